"""Which Java and which Spark this machine has, and the command that starts a Spark driver."""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ascii_hydra.aws.client import Place, aws_environment

LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
_LAUNCHER_TIMEOUT_S = 60.0
# Read by pyspark: a gateway of somebody else's must not leak into our steps.
_FOREIGN = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "_PYSPARK_DRIVER_CONN_INFO_PATH")


class SparkMissingError(Exception):
    """No Java or no Spark is installed here; the message says what to do."""


@dataclass(frozen=True)
class Installation:
    """The Java and the Spark that pyspark would use.

    Attributes:
        java: the `java` program, links resolved.
        spark: folder with `jars/` and `bin/`.
        core_jar: `jars/spark-core_<scala>-<version>.jar`.
    """

    java: Path
    spark: Path
    core_jar: Path

    @classmethod
    def found(cls) -> Installation:
        """Look for both where pyspark itself looks. Raises SparkMissingError."""
        home = os.environ.get("JAVA_HOME")
        java = shutil.which(str(Path(home, "bin", "java")) if home else "java")
        if java is None:
            place = f"JAVA_HOME={home}" if home else "PATH"
            raise SparkMissingError(
                f"No java in {place}: install Java 17 or newer, or set JAVA_HOME."
            )
        spark = os.environ.get("SPARK_HOME")
        if not spark:
            spec = importlib.util.find_spec("pyspark")
            if spec is None or not spec.submodule_search_locations:
                raise SparkMissingError("pyspark is not installed in this Python environment.")
            spark = spec.submodule_search_locations[0]
        jars = sorted(Path(spark, "jars").glob("spark-core_*.jar"))
        if not jars:
            raise SparkMissingError(f"{spark} has no jars/spark-core_*.jar: is SPARK_HOME right?")
        return cls(Path(java).resolve(), Path(spark), jars[0])

    def environment(self) -> dict[str, str]:
        """Variables that a Spark driver needs besides those of this process."""
        scala = self.core_jar.name.removeprefix("spark-core_").partition("-")[0]
        return {
            "SPARK_HOME": str(self.spark),
            "SPARK_SCALA_VERSION": scala,
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
        }

    def driver_command(self, conf: Mapping[str, str]) -> list[str]:
        """The command of a Spark driver that waits for Python to connect.

        Spark's own launcher words it (0.1 s), because only Spark knows which modules its version
        must open; running the result at once saves a shell. Raises SparkMissingError.
        """
        submit = [f"--conf={key}={value}" for key, value in sorted(conf.items())]
        submit.append("pyspark-shell")
        settings = Path(os.environ.get("SPARK_CONF_DIR") or self.spark / "conf")
        if (settings / "spark-env.sh").exists():  # a shell script: only a shell can heed it
            return [str(self.spark / "bin" / "spark-submit"), *submit]
        launcher = [str(self.java), "-Xmx128m", "-cp", f"{self.spark / 'jars'}/*"]
        launcher += ["org.apache.spark.launcher.Main", "org.apache.spark.deploy.SparkSubmit"]
        printed = subprocess.run(
            [*launcher, *submit],
            env={**os.environ, **self.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_LAUNCHER_TIMEOUT_S,
        )
        command = [word.decode() for word in printed.stdout.lstrip(b"\0\n").split(b"\0") if word]
        if printed.returncode != 0 or not command:
            said = printed.stderr.decode(errors="replace").strip().splitlines()
            raise SparkMissingError(f"Spark's launcher failed: {said[0] if said else 'no output'}")
        return command


def driver_conf(
    *,
    memory_mib: int,
    small_data: bool,
    temporary: Path,
    archive: Path | None,
    extra_options: str = "",
) -> dict[str, str]:
    """Spark settings that shape the driver's JVM at its start.

    Args:
        memory_mib: its heap.
        small_data: compile quickly and never twice (C1); loses on large data.
        temporary: folder for everything that Java and Spark would leave in /tmp or here.
        archive: of Spark's classes, if there is one.
        extra_options: the caller's own Java options, which win.
    """
    options = [
        "-XX:-UsePerfData",
        _quoted(f"-Djava.io.tmpdir={temporary}"),
        _quoted(f"-Dderby.system.home={temporary}"),
        _quoted(f"-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()}"),
    ]
    if small_data:
        options.append("-XX:TieredStopAtLevel=1")
    if archive is not None:
        # An archive that does not fit is no fault: Java goes on without, and without a word.
        options += ["-Xshare:auto", _quoted(f"-XX:SharedArchiveFile={archive}")]
        options += ["-Xlog:disable", "-Xlog:all=error:stderr"]
    if extra_options:
        options.append(extra_options)
    return {
        "spark.driver.memory": f"{memory_mib}m",
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.sql.warehouse.dir": str(temporary / "warehouse"),
    }


def step_environment(
    extra: Mapping[str, str], *, on_this_machine: bool, place: Place | None = None
) -> dict[str, str]:
    """This process's variables as a Python step or its Spark driver needs them.

    With a `place`, they hold the credentials for it.
    """
    variables = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
    if on_this_machine:
        variables["SPARK_LOCAL_IP"] = "127.0.0.1"
        variables["PYSPARK_PYTHON"] = variables["PYSPARK_DRIVER_PYTHON"] = sys.executable
    # A script imports ascii_hydra.step, also where this package is not installed but only found.
    root = str(Path(__file__).resolve().parents[2])
    if root not in (*site.getsitepackages(), site.getusersitepackages()):
        variables["PYTHONPATH"] = os.pathsep.join(
            [root, *filter(None, [variables.get("PYTHONPATH")])]
        )
    variables |= extra
    if place is not None:
        variables |= aws_environment(place)
        # Empty ones are there to hide our own; botocore would look for a profile of that name.
        variables = {k: v for k, v in variables.items() if v or not k.startswith("AWS_")}
    return variables


def _quoted(option: str) -> str:
    return f'"{option}"' if " " in option else option
