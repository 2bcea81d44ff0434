"""One step on local Spark as a value: what `plan` prints is what the client starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from ascii_hydra.aws.client import Place
from ascii_hydra.engines.costing import Costing

# These are read while a JVM starts, or stay with it (Hadoop caches its file systems): a JVM serves
# only steps that agree on them.
_LAUNCH_PREFIXES = (
    "spark.driver.default",
    "spark.driver.extra",
    "spark.driver.memory",
    "spark.driver.userClassPathFirst",
    "spark.files",
    "spark.hadoop.",
    "spark.jars",
    "spark.local.dir",
    "spark.plugins",
    "spark.submit.",
)
# The arguments show the latter.
_UNSHOWN = {"costing", "writes_output"}


@dataclass(frozen=True)
class LocalRequest:
    """Everything about one step on local Spark.

    Attributes:
        step: the step's name as people know it.
        script: absolute path of the Python script.
        arguments: the step's own arguments, without Spark settings and Pipes bootstrap.
        output: folder or URI that the step overwrites; a folder of this machine is kept from other
            runs meanwhile.
        spark_conf: Spark settings, `spark.master` among them; they reach the step as
            `--spark-conf KEY=VALUE`.
        driver_memory_mib: heap of the Spark driver; with a local master also that of all tasks.
        small_data: the JVM may use its quick compiler alone, which loses on large data.
        reuse_jvm: the steps of this process share one JVM, one step at a time.
        class_sharing: use the archive of Spark's classes where it has been built.
        timeout_s: the step is stopped and fails after so long.
        stop_grace_s: time for a step to leave after SIGINT, and again after SIGTERM.
        environment: variables added to this process's own; nothing secret.
        place: the AWS that its data is in, or None. The credentials for it are given to processes
            when they are started, and stand nowhere else.
        costing: by what later plans find how long it took; None to keep no account.
        writes_output: a run that does not say that it has written its output fails.
    """

    step: str
    script: str
    arguments: tuple[str, ...] = ()
    output: str = ""
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    driver_memory_mib: int = 1024
    small_data: bool = False
    reuse_jvm: bool = True
    class_sharing: bool = True
    timeout_s: float = 86_400.0
    stop_grace_s: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    place: Place | None = None
    costing: Costing | None = None
    writes_output: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "spark_conf", MappingProxyType(dict(self.spark_conf)))
        object.__setattr__(self, "environment", MappingProxyType(dict(self.environment)))

    @property
    def master(self) -> str:
        """Where Spark's tasks run."""
        return self.spark_conf.get("spark.master", "local[*]")

    @property
    def computing(self) -> str:
        """What Spark gets, in a few words: `2 cores, 1 GiB here`."""
        memory = f"{self.driver_memory_mib / 1024:g} GiB"
        cores = re.fullmatch(r"local\[(\d+)\]", self.master)
        return f"{self.master}, {memory}" if cores is None else f"{cores[1]} cores, {memory} here"

    @property
    def py_files(self) -> tuple[str, ...]:
        """Paths of the user's further Python files, as the arguments name them."""
        words = zip(self.arguments, self.arguments[1:], strict=False)
        return tuple(path for option, path in words if option == "--py-file")

    @property
    def on_this_machine(self) -> bool:
        """Driver and tasks all run here, so that the loopback address is enough."""
        return is_loopback(self.master)

    def launch_conf(self) -> dict[str, str]:
        """The settings that a JVM must be started with."""
        return {k: v for k, v in self.spark_conf.items() if k.startswith(_LAUNCH_PREFIXES)}

    def as_json(self) -> dict[str, object]:
        """The request in plain types."""
        return {
            **{one: getattr(self, one) for one in self.__dataclass_fields__ if one not in _UNSHOWN},
            "arguments": list(self.arguments),
            "spark_conf": dict(self.spark_conf),
            "environment": dict(self.environment),
            "place": None if self.place is None else asdict(self.place),
        }


def is_loopback(master: str) -> bool:
    """Whether a Spark master URL names this machine alone."""
    return master.startswith(("local", "spark://127.", "spark://localhost"))


def local_conf(master: str, *, cores: int) -> dict[str, str]:
    """Spark settings that suit a step on this machine; the caller's own go on top.

    Args:
        master: `local[4]`, or `spark://host:port` of a standalone cluster.
        cores: how many tasks run at a time.
    """
    conf = {
        "spark.master": master,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Adaptive execution joins small shuffle partitions; more of them than this only cost time.
        "spark.sql.shuffle.partitions": str(max(2 * cores, 8)),
        "spark.sql.catalogImplementation": "in-memory",
    }
    if master.startswith("spark://"):
        conf["spark.cores.max"] = str(cores)
    if is_loopback(master):
        conf["spark.driver.host"] = "127.0.0.1"
        conf["spark.driver.bindAddress"] = "127.0.0.1"
    return conf
