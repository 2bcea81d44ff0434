"""What a step of EMR is told to do: the command that `command-runner.jar` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# Options of spark-submit that take a value, by what they set; None for what has no meaning here.
_VALUED: Mapping[str, str | None] = {
    "--master": "spark.master",
    "--deploy-mode": "spark.submit.deployMode",
    "--name": "spark.app.name",
    "--driver-memory": "spark.driver.memory",
    "--driver-cores": "spark.driver.cores",
    "--driver-java-options": "spark.driver.extraJavaOptions",
    "--driver-library-path": "spark.driver.extraLibraryPath",
    "--driver-class-path": "spark.driver.extraClassPath",
    "--executor-memory": "spark.executor.memory",
    "--executor-cores": "spark.executor.cores",
    "--total-executor-cores": "spark.cores.max",
    "--num-executors": "spark.executor.instances",
    "--py-files": "spark.submit.pyFiles",
    "--archives": "spark.archives",
    "--files": "spark.files",
    "--jars": "spark.jars",
    "--queue": None,
    "--principal": None,
    "--keytab": None,
    "--proxy-user": None,
}
_FLAGS = {"--verbose", "-v", "--supervise"}
# What would need a repository of packages, or a program in Java.
_UNSUPPORTED = {"--packages", "--repositories", "--exclude-packages", "--class"}
_UNSUPPORTED |= {"--properties-file", "--kill", "--status"}
# Commands of command-runner that only keep EMR itself informed.
_NO_OPS = {"state-pusher-script"}


class UnsupportedStepError(Exception):
    """A step that the rehearsal cannot execute; the message says why."""


@dataclass(frozen=True)
class SparkSubmit:
    """One spark-submit.

    Attributes:
        script: URI of the Python script.
        arguments: the script's own.
        conf: Spark's settings, those of the options among them.
    """

    script: str
    arguments: tuple[str, ...] = ()
    conf: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_cluster(self) -> bool:
        """The driver runs in a container of YARN, rather than on the primary."""
        return self.conf.get("spark.submit.deployMode", "client") == "cluster"

    def listed(self, key: str) -> tuple[str, ...]:
        """The values of a setting that holds a list."""
        return tuple(one.strip() for one in self.conf.get(key, "").split(",") if one.strip())

    def environment(self, prefix: str) -> dict[str, str]:
        """The variables that settings with a prefix set: `spark.yarn.appMasterEnv.`."""
        return {
            key.removeprefix(prefix): value
            for key, value in self.conf.items()
            if key.startswith(prefix)
        }


def parsed(step: Mapping[str, object]) -> SparkSubmit | None:
    """The spark-submit of a HadoopJarStep; None if there is nothing to do.

    Raises UnsupportedStepError.
    """
    jar = str(step["Jar"])
    words = [str(word) for word in step.get("Args") or ()]  # type: ignore[attr-defined]
    if jar != "command-runner.jar":
        raise UnsupportedStepError(
            f"the rehearsal runs command-runner.jar alone, and the step's jar is {jar}"
        )
    command = words[0] if words else "nothing"
    if command in _NO_OPS:
        return None
    if command != "spark-submit":
        raise UnsupportedStepError(
            f"the rehearsal runs spark-submit alone, and the step's command is {command}"
        )
    return _submit(words[1:])


def _submit(words: Sequence[str]) -> SparkSubmit:
    conf: dict[str, str] = {}
    left = list(words)
    while left and left[0].startswith("-"):
        option, equal, value = left.pop(0).partition("=")
        if option in _FLAGS:
            continue
        if option in _UNSUPPORTED:
            raise UnsupportedStepError(f"the rehearsal does not know spark-submit's {option}")
        if option not in _VALUED and option not in ("--conf", "-c"):
            raise UnsupportedStepError(f"Unrecognized option: {option}")
        if not equal:
            if not left:
                raise UnsupportedStepError(f"Missing argument for option '{option}'.")
            value = left.pop(0)
        if option in ("--conf", "-c"):
            key, equal, value = value.partition("=")
            if not equal:
                raise UnsupportedStepError(f"Spark config without '=': {key}")
            conf[key] = value
        elif (known := _VALUED[option]) is not None:
            conf[known] = value
    if not left:
        raise UnsupportedStepError("Missing application resource.")
    script, *arguments = left
    if not script.endswith(".py"):
        raise UnsupportedStepError(
            f"the rehearsal runs Python scripts alone, and the application is {script}"
        )
    return SparkSubmit(script, tuple(arguments), conf)
