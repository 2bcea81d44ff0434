"""What is composed and settled: every combination, from every source of overrides."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ascii_hydra.config.arguments import arguments
from ascii_hydra.config.checks import launch_problems
from ascii_hydra.config.choices import ClusterSize
from ascii_hydra.config.cluster_schema import DatabricksCluster, EmrCluster
from ascii_hydra.config.compose import as_yaml, composed, conf_folder
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.step import Engine, ExecutionMode
from tests.conftest import CommandLine

CONF = conf_folder()
MATRIX = list(itertools.product(Engine, ExecutionMode, ClusterSize))


def settled(*overrides: str) -> Settings:
    return settle(composed(overrides), overrides)


@pytest.mark.parametrize(("engine", "mode", "size"), MATRIX)
def test_every_combination_settles_or_is_refused_for_its_mode(
    engine: Engine, mode: ExecutionMode, size: ClusterSize
) -> None:
    overrides = [f"engine={engine.value}", f"mode={mode.value}", f"cluster={size.value}"]
    if engine is not Engine.pyspark and mode is ExecutionMode.small_dev_sample_local:
        with pytest.raises(Exception, match="reads files on this machine"):
            settled(*overrides, "action=plan")
        return
    config = settled(*overrides, "action=plan").config
    assert (config.engine.name, config.mode.name, config.cluster.size) == (engine, mode, size)


def test_command_line_and_compose_agree(command_line: CommandLine) -> None:
    for overrides in ([], ["engine=emr", "mode=full", "cluster=large", "pipeline=webgraph"]):
        printed = command_line(*overrides, "--cfg", "job", "--resolve")
        assert yaml.safe_load(printed.stdout) == yaml.safe_load(as_yaml(composed(overrides)))


@pytest.mark.parametrize("size", ClusterSize)
def test_clusters_keep_their_promise(size: ClusterSize) -> None:
    """A comparison of engines is fair only between equal clusters."""
    # vCPU, GiB and NVMe GB, as AWS publishes them for the instance types in conf/.
    published = {
        "m5d.xlarge": (4, 16, 150),
        "m5d.2xlarge": (8, 32, 300),
        "m5d.4xlarge": (16, 64, 600),
    }
    for engine in (Engine.emr, Engine.databricks):
        cluster = settled(
            f"engine={engine.value}", "mode=full", f"cluster={size.value}", "action=plan"
        ).config.cluster
        assert isinstance(cluster, (EmrCluster, DatabricksCluster))
        kind = (
            cluster.worker_instance_types[0]
            if isinstance(cluster, EmrCluster)
            else cluster.worker_node_type
        )
        promise = cluster.promise
        assert cluster.keeps_promise
        assert cluster.workers == promise.workers
        asked = (
            promise.vcpus_per_worker,
            promise.memory_gib_per_worker,
            promise.disk_gib_per_worker,
        )
        assert published[kind] == asked
    assert not settled(f"cluster={size.value}").config.cluster.keeps_promise


def test_step_with_an_engine_and_cluster_of_its_own() -> None:
    steps = settled(
        "engine=emr",
        "mode=full",
        "action=plan",
        "engine.release_label=emr-7.1.0",
        "cluster.workers=3",
        "pipeline.steps.step_2.engine=databricks",
        "pipeline.steps.step_2.cluster=large",
    ).steps
    assert steps["step_1"].engine.name is Engine.emr
    assert steps["step_1"].cluster.workers == 3
    assert steps["step_2"].engine.name is Engine.databricks
    assert steps["step_2"].cluster.size is ClusterSize.large
    assert steps["step_2"].cluster.workers == 8


def test_settings_are_frozen_all_the_way_down() -> None:
    def check(value: object) -> None:
        if dataclasses.is_dataclass(value):
            assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]
            for field in dataclasses.fields(value):
                check(getattr(value, field.name))

    check(settled("pipeline=webgraph"))


def test_digest_names_the_configuration_and_not_what_is_done_with_it() -> None:
    plain = settled().digest
    assert settled("action=plan").digest == plain
    assert settled("launch=ci").digest == plain
    assert settled("pipeline.steps.step_1.expected_minutes=4").digest == plain  # a guess
    assert settled("cluster=medium").digest != plain
    assert settled("pipeline.steps.step_1.parameters.seed=8").digest != plain


@pytest.mark.parametrize("experiment", sorted(p.stem for p in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_composes(experiment: str) -> None:
    settled(f"experiment={experiment}", "action=plan")


def test_overrides_win_in_the_order_that_is_promised() -> None:
    variables = {"SPARK_PIPES_ENGINE": "emr", "SPARK_EXECUTION_MODE": "full"}

    def given_by(typed: list[str], **more: str) -> list[str]:
        return arguments(typed, {**variables, **more})[0]

    assert given_by([]) == ["engine=emr", "mode=full"]
    assert given_by(["engine=pyspark"]) == ["mode=full", "engine=pyspark"]
    assert given_by([], ASCII_HYDRA_OVERRIDES="engine=databricks cluster=large") == [
        "mode=full",
        "engine=databricks",
        "cluster=large",
    ]
    assert given_by(["cluster=small"], ASCII_HYDRA_OVERRIDES="cluster=large")[-2:] == [
        "cluster=large",
        "cluster=small",
    ]


def test_an_experiment_silences_the_older_variables() -> None:
    found, notices = arguments(["experiment=compare_clusters"], {"SPARK_PIPES_ENGINE": "emr"})
    assert found == ["experiment=compare_clusters"]
    assert notices == ["SPARK_PIPES_ENGINE=emr is ignored: the experiment chooses the engine."]


def test_threads_compose_without_harm() -> None:
    faults: list[BaseException] = []

    def work(size: str) -> None:
        try:
            for _ in range(3):
                assert composed([f"cluster={size}"]).cluster.size.value == size
        except BaseException as fault:  # noqa: BLE001 - asserted below
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(one.value,)) for one in ClusterSize]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


@settings(max_examples=15)
@given(
    cores=st.integers(1, 1024),
    memory_gib=st.floats(0.5, 1024, allow_nan=False),
    minutes=st.floats(0.01, 10080, allow_nan=False),
)
def test_numbers_within_their_range_settle(cores: int, memory_gib: float, minutes: float) -> None:
    config = settled(
        f"cluster.cores={cores}",
        f"cluster.driver_memory_gib={memory_gib!r}",
        f"engine.timeout_minutes={minutes!r}",
    ).config
    assert config.cluster.cores == cores  # type: ignore[attr-defined]
    assert config.cluster.driver_memory_gib == memory_gib  # type: ignore[attr-defined]
    assert config.engine.timeout_minutes == minutes


def test_conf_has_no_construct_that_breaks_elsewhere() -> None:
    """Why each: facts of Hydra 1.3 and 1.4, in docs/architecture.md."""
    for path in CONF.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        inside_hydra = path.relative_to(CONF).parts[0] == "hydra" or path.name == "config.yaml"
        if not inside_hydra:
            assert "_target_" not in text, path
            assert "${hydra" not in text, path
        assert "${oc." not in text.partition("defaults:")[2].partition("\n\n")[0], path


def test_help_lists_exactly_the_options(command_line: CommandLine) -> None:
    shown = command_line("--help").stdout
    for group in ("engine", "mode", "cluster", "pipeline", "endpoint", "launch", "experiment"):
        options = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        line = next(one for one in shown.splitlines() if one.strip().startswith(f"{group} "))
        words = line.split(group, 1)[1].split("   ")
        listed = next(one for one in words if one.strip())
        assert sorted(one.strip() for one in listed.split("|")) == options


def test_cloud_engines_show_without_credentials(command_line: CommandLine) -> None:
    for engine in ("emr", "databricks"):
        shown = command_line("action=plan", f"engine={engine}", "mode=full", "cluster=large")
        assert shown.returncode == 0, shown.stderr
        assert "8 x m5d.4xlarge + m5d.xlarge" in shown.stdout
        assert "s3a://ascii-hydra/full/output/two_steps/step_1" in shown.stdout


def test_nothing_heavy_is_imported_before_a_task_starts(
    environment: dict[str, str], tmp_path: Path
) -> None:
    import subprocess
    import sys

    program = (
        "import os, sys, atexit\n"
        "def heavy():\n"
        "    names = ('dagster', 'pyspark', 'boto3', 'botocore', 'databricks')\n"
        "    print('HEAVY', [name for name in names if name in sys.modules])\n"
        "real = os._exit\n"
        "os._exit = lambda code: (heavy(), sys.stdout.flush(), real(code))\n"
        "from ascii_hydra.cli import main\n"
        "main()\n"
    )
    for words in (["--cfg", "job"], ["action=plan"], ["-m", "action=plan", "cluster=small,large"]):
        ended = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "HEAVY []" in ended.stdout, (words, ended.stdout[-300:], ended.stderr[-300:])


def test_no_secret_reaches_a_file_or_the_terminal(
    command_line: CommandLine, tmp_path: Path
) -> None:
    canary = "canary-7f3a"
    names = ("ASCII_AWS_SECRET_ACCESS_KEY", "DATABRICKS_CLIENT_SECRET", "ASCII_AWS_ACCESS_KEY_ID")
    extra = dict.fromkeys(names, canary)
    for words in (["--cfg", "all", "--resolve"], ["action=plan", "engine=emr", "mode=full"]):
        shown = command_line(*words, extra=extra)
        assert canary not in shown.stdout + shown.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or canary.encode() not in path.read_bytes()


def test_launching_is_refused_by_engine_not_by_row() -> None:
    address = "endpoint.url=http://minio:9000"
    words = ("engine=databricks", "mode=full", "mode.bucket=mine", "action=plan", address)
    config = settled(*words).config
    engines = dict.fromkeys(("a", "b"), config.engine)
    assert [one.where for one in launch_problems(config, engines)] == [address]


def test_faults_that_no_step_will_meet_are_named() -> None:
    faults = (
        "rehearsal.faults=[{target: step, effect: step_interrupted},"
        " {target: 'databricks:jobs/runs/submit', effect: slow}, {target: s3:PutObject,"
        " effect: slow}, {target: cluster, effect: no_capacity}, {target: step, effect: queued}]"
    )
    words = ("mode=small_dev_sample_s3", "endpoint=rehearsal", faults)
    for chosen, numbers in (
        (["engine=databricks"], [0]),
        (["engine=emr"], [1, 4]),
        (["engine=emr", "pipeline.steps.step_2.engine=databricks"], []),
        (["engine=pyspark"], [0, 1, 3, 4]),
    ):
        notices = settled(*chosen, *words).notices
        assert [one.partition(" ")[0] for one in notices] == [
            f"rehearsal.faults[{number}]" for number in numbers
        ]
