"""The base class of a Spark script.

A script is started with everything it must know as arguments, so that the same command works by
hand, on this machine and through `spark-submit` on any cluster:

    python steps/step_2.py --engine pyspark --mode small_dev_sample_local \\
        --input step_1=data/step_1 --output data/step_2

Dagster adds its Pipes bootstrap as two more arguments. Without them the step runs just the same
and prints what it would have reported.

The syntax here stays within Python 3.9, the oldest Python that a supported cluster ships.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple, Type

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT,
    DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT,
    PipesContext,
    PipesParams,
    PipesParamsLoader,
    decode_param,
)

from ascii_hydra.step.choices import Engine, ExecutionMode
from ascii_hydra.step.folder_messages import opened_pipes
from ascii_hydra.step.metadata import INPUT_BYTES, OUTPUT_CHECKED
from ascii_hydra.step.read_files import FilesRead
from ascii_hydra.step.written_output import OutputWatch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class StepArguments:
    """What one run of a step was told, parsed from the script's arguments.

    Attributes:
        engine: where the step runs.
        mode: how much data it reads.
        output: URI of the folder that this step (and this partition of it) overwrites.
        inputs: URI of every upstream output, by the upstream step's name.
        partition: value of every partition dimension; empty for a step without partitions.
        partition_key: the partition as Dagster names it (dimensions joined by `|` in
            alphabetical order of the dimensions), or None.
        parameters: the step's own settings, decoded from JSON.
        spark_conf: Spark settings for this step's session.
        py_files: Python files that the executors must be able to import.
        pipes_context: Dagster's encoded context, or None when started by hand.
        pipes_messages: where to report to, encoded, or None when started by hand.
        payload: names the Python code that this run was submitted with, or None.
        writes_output: the step fails if it has written no file of its output.
    """

    engine: Engine
    mode: ExecutionMode
    output: str
    inputs: Mapping[str, str]
    partition: Mapping[str, str]
    partition_key: Optional[str]
    parameters: Mapping[str, Any]
    spark_conf: Mapping[str, str]
    py_files: Tuple[str, ...]
    pipes_context: Optional[str]
    pipes_messages: Optional[str]
    payload: Optional[str] = None
    writes_output: bool = True

    @classmethod
    def parsed(cls, argv: Sequence[str]) -> StepArguments:
        """The arguments of a step's command line. Exits with a usage message if they are wrong."""
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--engine", type=Engine, choices=list(Engine), required=True)
        parser.add_argument(
            "--mode", type=ExecutionMode, choices=list(ExecutionMode), required=True
        )
        parser.add_argument("--output", required=True, metavar="URI")
        parser.add_argument("--input", action="append", default=[], metavar="STEP=URI")
        parser.add_argument("--partition", action="append", default=[], metavar="DIMENSION=VALUE")
        parser.add_argument("--partition-key", default=None)
        parser.add_argument("--parameter", action="append", default=[], metavar="NAME=JSON")
        parser.add_argument("--spark-conf", action="append", default=[], metavar="KEY=VALUE")
        parser.add_argument("--py-file", action="append", default=[], metavar="PATH")
        parser.add_argument("--payload", default=None, metavar="DIGEST")
        parser.add_argument("--writes-output", choices=("true", "false"), default="true")
        parser.add_argument(DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT, dest="pipes_context", default=None)
        parser.add_argument(
            DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT, dest="pipes_messages", default=None
        )
        given = parser.parse_args(argv)

        def pairs(option: str) -> Dict[str, str]:
            found = {}
            for text in getattr(given, option.replace("-", "_")):
                name, equal, value = text.partition("=")
                if not name or not equal:
                    parser.error("--{} {!r}: write NAME=VALUE".format(option, text))
                found[name] = value
            return found

        try:
            parameters = {name: json.loads(text) for name, text in pairs("parameter").items()}
        except json.JSONDecodeError as fault:
            parser.error("--parameter: the value must be JSON ({})".format(fault))
        return cls(
            engine=given.engine,
            mode=given.mode,
            output=given.output,
            inputs=pairs("input"),
            partition=pairs("partition"),
            partition_key=given.partition_key,
            parameters=parameters,
            spark_conf=pairs("spark-conf"),
            py_files=tuple(given.py_file),
            pipes_context=given.pipes_context,
            pipes_messages=given.pipes_messages,
            payload=given.payload,
            writes_output=given.writes_output == "true",
        )


class SparkStep:
    """One Spark step: subclass it, implement `execute_business_logic`, end the script with `run`.

    ```python
    class CountWords(SparkStep):
        def execute_business_logic(self, context, execution_mode, partition_key, spark, engine):
            words = spark.read.parquet(self.inputs["words"])
            words.groupBy("word").count().write.mode("overwrite").parquet(self.output)
            context.report_asset_materialization(metadata={"words": words.count()})


    if __name__ == "__main__":
        CountWords.run()
    ```
    """

    def __init__(self, arguments: StepArguments) -> None:
        self.arguments = arguments

    @property
    def inputs(self) -> Mapping[str, str]:
        """URI of every upstream output, by the upstream step's name."""
        return self.arguments.inputs

    @property
    def output(self) -> str:
        """URI of the folder that this run overwrites."""
        return self.arguments.output

    @property
    def partition(self) -> Mapping[str, str]:
        """Value of every partition dimension of this run, by the dimension's name."""
        return self.arguments.partition

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The step's own settings, from `pipeline.steps.<step>.parameters`."""
        return self.arguments.parameters

    def execute_business_logic(
        self,
        context: PipesContext,
        execution_mode: ExecutionMode,
        partition_key: Optional[str],
        spark: SparkSession,
        engine: Engine,
    ) -> None:
        """The work of the step. Report what was made through `context`.

        It must write at least one file of `self.output` (an empty table has one too), or the step
        fails; not so if it is declared with `writes_output: false`.

        Args:
            context: the Dagster Pipes context: log, report metadata and asset checks.
            execution_mode: how much data to read or make.
            partition_key: the Dagster partition, or None.
            spark: a session made for this run alone; it is stopped afterwards.
            engine: where this runs; a step rarely needs it.
        """
        raise NotImplementedError(_missing_method(type(self)))

    @classmethod
    def run(cls, argv: Optional[Sequence[str]] = None) -> None:
        """Run the step with the arguments of the command line, then leave the process.

        Any exception is reported to Dagster (with its traceback), then raised again, so that
        Spark's own exit state says the same. Raises OutputNotWrittenError if the step's work has
        ended and no file of its output was written by it: what an earlier run has left there is
        not what this one made.
        """
        arguments = StepArguments.parsed(sys.argv[1:] if argv is None else argv)
        _check_payload(arguments.payload)
        step = cls(arguments)
        # Databricks' driver process and its session serve others too. Whoever ends one of them
        # makes the run fail.
        ours = arguments.engine is not Engine.databricks
        with opened_pipes(_ArgumentsLoader(arguments), spark_is_ours=ours) as context:
            spark = _session(cls.__name__, arguments)
            try:
                watch = None
                if arguments.writes_output:
                    watch = OutputWatch(arguments.output, arguments.engine, spark)
                reads = FilesRead(spark, arguments.engine)
                step.execute_business_logic(
                    context=context,
                    execution_mode=arguments.mode,
                    partition_key=arguments.partition_key,
                    spark=spark,
                    engine=arguments.engine,
                )
                read = reads.total()
                if read is not None:
                    context.report_custom_message({INPUT_BYTES: read})
                if watch is not None:
                    _check_output(watch, context)
            finally:
                if ours:
                    spark.stop()
        if ours and "PYSPARK_GATEWAY_PORT" in os.environ:
            # The JVM is not ours and nothing is left to do: skip the interpreter's slow farewell.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def _missing_method(step: Type[SparkStep]) -> str:
    import difflib

    name = SparkStep.execute_business_logic.__name__
    close = difflib.get_close_matches(name, vars(step), n=1)
    meant = "; is {} meant to be it?".format(*close) if close else ""
    return "class {} has no method {}{}".format(step.__name__, name, meant)


def _check_output(watch: OutputWatch, context: PipesContext) -> None:
    watch.check("pipeline.steps.STEP.writes_output=false, or writes_output=False of spark_asset")
    context.report_custom_message({OUTPUT_CHECKED: True})
    if watch.unknown is not None:
        context.log.warning(
            "nobody can tell whether this step has written its output: {}".format(watch.unknown)
        )


class PayloadError(Exception):
    """The Python code that is installed here is not the one that the step was submitted with."""


def _check_payload(submitted: Optional[str]) -> None:
    """Databricks installs a step's code as a wheel; a cluster that ran another step before may keep
    that step's."""
    if submitted is None:
        return
    try:
        # In the wheel alone.
        installed = importlib.import_module("ascii_hydra_payload").DIGEST
    except ImportError:
        installed = "none"
    if installed != submitted:
        raise PayloadError(
            "the step was submitted with the Python code {}, and installed here is {}. A cluster"
            " keeps what was installed on it before: restart it, or let the step have a cluster of"
            " its own (engine.cluster_id=null).".format(submitted, installed)
        )


class _ArgumentsLoader(PipesParamsLoader):
    """Pipes bootstrap from the step's own arguments; by hand, a context that prints."""

    def __init__(self, arguments: StepArguments) -> None:
        self._arguments = arguments

    def is_dagster_pipes_process(self) -> bool:
        return True

    def load_context_params(self) -> PipesParams:
        if self._arguments.pipes_context is not None:
            return decode_param(self._arguments.pipes_context)  # type: ignore[no-any-return]
        return {
            "data": {
                "asset_keys": [Path(sys.argv[0]).stem or "step"],
                "code_version_by_asset_key": None,
                "provenance_by_asset_key": None,
                "partition_key": self._arguments.partition_key,
                "partition_key_range": None,
                "partition_time_window": None,
                "run_id": "by-hand",
                "job_name": None,
                "retry_number": 0,
                "extras": {},
            }
        }

    def load_messages_params(self) -> PipesParams:
        if self._arguments.pipes_messages is not None:
            return decode_param(self._arguments.pipes_messages)  # type: ignore[no-any-return]
        return {"stdio": "stdout"}


def _session(name: str, arguments: StepArguments) -> SparkSession:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    ours = arguments.engine is not Engine.databricks
    if ours:
        builder = builder.appName(name)
    # To a session that is there, those are applied that can be set while it runs.
    for key, value in arguments.spark_conf.items():
        builder = builder.config(key, value)
    spark: SparkSession = builder.getOrCreate()
    if ours:
        # Databricks has installed them as a wheel; Spark Connect has no SparkContext.
        for path in arguments.py_files:
            spark.sparkContext.addPyFile(path)
    return spark
