"""What stands in a request, and that nothing of a user's is lost or changed on the way."""

from __future__ import annotations

import copy
import io
import json
import shlex
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ascii_hydra.config.problems import ConfigError
from ascii_hydra.engines.emr.lifetime import MAX_LIFETIME
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.payload import step_runtime
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import StepRun, on_a_cluster
from ascii_hydra.step import StepArguments
from tests.emr_request.asking import after, asked, flow_of, run_of, words_of

IDENTITY = Identity("run-1", "launch-1", "0123456789ab", "2026-11-21T10:00:00Z")


def fleets(*overrides: str) -> dict[str, dict[str, int]]:
    """Of each fleet, how many instances on demand and on spot."""
    return {
        one["InstanceFleetType"]: {
            key: one[key] for key in ("TargetOnDemandCapacity", "TargetSpotCapacity") if key in one
        }
        for one in flow_of(*overrides)["Instances"]["InstanceFleets"]
    }


@pytest.mark.parametrize(
    ("workers", "spot_share", "core", "spot"),
    [(4, 0, 4, 0), (4, 0.5, 2, 2), (4, 1, 1, 3), (1, 1, 1, 0), (8, 0.3, 6, 2), (3, 0.5, 1, 2)],
)
def test_spot_is_for_task_nodes_and_a_core_node_stays(
    workers: int, spot_share: float, core: int, spot: int
) -> None:
    made = fleets(f"cluster.workers={workers}", f"cluster.spot_share={spot_share}")
    assert made["MASTER"] == {"TargetOnDemandCapacity": 1}
    assert made["CORE"] == {"TargetOnDemandCapacity": core}
    assert made.get("TASK") == ({"TargetSpotCapacity": spot} if spot else None)


def test_a_cluster_grows_by_task_nodes() -> None:
    words = ("cluster.workers=4", "cluster.max_workers=10", "cluster.keeps_promise=false")
    flow = flow_of(*words)
    assert flow["ManagedScalingPolicy"]["ComputeLimits"] == {
        "UnitType": "InstanceFleetUnits",
        "MinimumCapacityUnits": 4,
        "MaximumCapacityUnits": 10,
        "MaximumOnDemandCapacityUnits": 10,
        "MaximumCoreCapacityUnits": 3,
    }
    assert fleets(*words)["TASK"] == {"TargetOnDemandCapacity": 1}
    limits = flow_of(*words, "cluster.spot_share=0.5")["ManagedScalingPolicy"]["ComputeLimits"]
    assert limits["MaximumOnDemandCapacityUnits"] == 5
    assert limits["MaximumCoreCapacityUnits"] == 2


def test_types_without_local_disks_get_the_promised_disk() -> None:
    def volumes(*overrides: str) -> list[tuple[int, int] | None]:
        found: list[tuple[int, int] | None] = []
        for fleet in flow_of(*overrides)["Instances"]["InstanceFleets"]:
            ebs = fleet["InstanceTypeConfigs"][0].get("EbsConfiguration")
            one = ebs and ebs["EbsBlockDeviceConfigs"][0]
            found.append(
                one and (one["VolumesPerInstance"], one["VolumeSpecification"]["SizeInGB"])
            )
        return found

    assert volumes() == [None, None]
    assert volumes("cluster.worker_instance_types=[m5.xlarge]") == [None, (1, 150)]
    assert volumes(
        "cluster.worker_instance_types=[m5.xlarge]", "cluster.primary_instance_types=[m5.xlarge]"
    ) == [(1, 64), (1, 150)]
    assert volumes("cluster.ebs.volumes=2", "cluster.ebs.size_gib=100") == [(2, 100), (2, 100)]


def test_every_cluster_ends_itself() -> None:
    own = flow_of("engine.max_lifetime_minutes=90")
    assert own["BootstrapActions"][0]["Name"] == "ascii_hydra-max-lifetime"
    assert own["BootstrapActions"][0]["ScriptBootstrapAction"]["Args"] == ["5400"]
    assert own["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    assert own["Steps"][0]["ActionOnFailure"] == "TERMINATE_CLUSTER"
    shared = asked(run_of("launch.reuse_cluster=run", "engine.idle_timeout_minutes=3"))
    assert shared.shared
    assert shared.run_job_flow is not None
    assert shared.run_job_flow["AutoTerminationPolicy"] == {"IdleTimeout": 180}
    assert shared.run_job_flow["BootstrapActions"][0]["Name"] == "ascii_hydra-max-lifetime"
    assert shared.run_job_flow["Steps"] == []
    assert shared.step_config["ActionOnFailure"] == "CONTINUE"


def test_the_lifetime_script_is_a_shell_script() -> None:
    subprocess.run(["sh", "-n"], input=MAX_LIFETIME, text=True, check=True)


def test_steps_of_a_launch_ask_for_the_same_shared_cluster() -> None:
    first, second = (
        asked(run_of("launch.reuse_cluster=run", step=step)) for step in ("step_1", "step_2")
    )
    assert first.run_job_flow == second.run_job_flow


def test_an_existing_cluster_gets_the_step_alone() -> None:
    made = asked(run_of("engine.cluster_id=j-2AXXXXXXGAPLF"))
    assert made.run_job_flow is None
    assert made.step_config["ActionOnFailure"] == "CONTINUE"
    assert not any(one.uri.endswith("max_lifetime.sh") for one in made.uploads)
    assert made.as_json()["AddJobFlowSteps"]["JobFlowId"] == "j-2AXXXXXXGAPLF"


def test_a_run_fills_its_names_in_and_leaves_the_users_words_alone() -> None:
    run = run_of(parameters={"text": "<run> <token>"})
    made = asked(run).of(IDENTITY, ["--dagster-pipes-context", "x"])
    assert made.run_job_flow is not None
    assert made.run_job_flow["Name"] == "ascii_hydra two_steps/step_1 0123456789ab"
    assert made.run_job_flow["Steps"] == [made.step_config]
    assert made.step_config["Name"] == f"two_steps/step_1 0123456789ab {run.digest}"
    tags = {one["Key"]: one["Value"] for one in made.run_job_flow["Tags"]}
    assert tags["ascii_hydra/run"] == "run-1"
    assert tags["ascii_hydra/launch"] == "launch-1"
    assert tags["ascii_hydra/deadline"] == "2026-11-21T10:00:00Z"
    assert tags["ascii_hydra/config"] == run.digest
    assert made.messages_uri == "s3://ascii-hydra/ascii_hydra/pipes/run-1/0123456789ab"
    words = words_of(made)
    assert words[-2:] == ["--dagster-pipes-context", "x"]
    assert "text=" in (sent := next(one for one in words if one.startswith("text=")))
    assert json.loads(sent.removeprefix("text=")) == "<run> <token>"


def test_names_fit_however_long_a_partition_is() -> None:
    run = replace(run_of(), partition_key="x" * 500)
    made = asked(run).of(IDENTITY)
    assert len(made.step_config["Name"]) <= 256
    assert made.step_config["Name"].endswith(f" 0123456789ab {run.digest}")


# --- the step's command -------------------------------------------------------------------------


def test_spark_settings_and_python_reach_the_step() -> None:
    made = asked(
        run_of(
            "+engine.spark_conf={a.b: 'c d', spark.submit.pyFiles: 's3://b/more.zip',"
            " spark.executorEnv.PYTHONPATH: /theirs}",
            libraries=("idna",),
        )
    )
    words = words_of(made)
    conf = dict(one.split("=", 1) for one in after(words, "--conf"))
    assert conf["a.b"] == "c d"
    assert conf["spark.yarn.maxAppAttempts"] == "1"
    assert conf["spark.yarn.appMasterEnv.PYSPARK_PYTHON"] == "/usr/bin/python3.11"
    assert conf["spark.executorEnv.PYTHONPATH"] == "./libraries:/theirs"
    assert conf["spark.yarn.appMasterEnv.PYTHONPATH"] == "./libraries"
    (files,) = after(words, "--py-files")
    assert files.split(",")[0].endswith("/ascii_hydra_step.zip")
    assert files.split(",")[-1] == "s3://b/more.zip"
    (archive,) = after(words, "--archives")
    assert archive.endswith("/libraries.zip#libraries")
    assert archive.removesuffix("#libraries") in [one.uri for one in made.uploads]


HOSTILE = 'it\'s "quoted" $(whoami) `id` \\ a\tb\n ümlaut 🙂 {{x}} <LOG_DIR> --output *'


def by_yarn(words: list[str]) -> list[str]:
    """The words as a driver gets them: quoted by Spark (YarnSparkHadoopUtil.escapeForShell),
    expanded by YARN, and read by the shell of its launch script."""

    def escaped(word: str) -> str:
        quoted = word.replace("$", "\\$").replace('"', '\\"').replace("'", "'\\''")
        return f"'{quoted}'"

    line = " ".join(map(escaped, words)).replace("<LOG_DIR>", "/logs")
    line = line.replace("{{", "$").replace("}}", "")
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    command = f'exec /bin/bash -c "$SHOW {line}"'
    shown = subprocess.run(
        ["bash", "-c", command],
        env={"SHOW": f"{shlex.quote(sys.executable)} -c {shlex.quote(show)}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    found: list[str] = json.loads(shown.stdout)
    return found


def test_hostile_parameters_arrive_as_they_are() -> None:
    parameters = {"text": HOSTILE, "deep": {"a": {"b": {"c": [{}, {"d": HOSTILE}]}}}}
    run = run_of(parameters=parameters)
    words = words_of(asked(run))
    assert words[-len(run.arguments()) :] == [on_a_cluster(one) for one in run.arguments()]
    arrived = by_yarn(list(run.arguments()))
    assert arrived == list(run.arguments())
    assert dict(StepArguments.parsed(arrived).parameters) == parameters


def test_hostile_partitions_are_single_words_or_refused() -> None:
    plain = 'it\'s a "quoted" $(whoami) ümlaut 🙂 --output'
    run = replace(run_of(), partition={"query": plain}, partition_key=plain)
    words = words_of(asked(run))
    assert f"query={plain}" in words
    assert by_yarn(list(run.arguments())) == list(run.arguments())
    for one in ("`id`", "a\\b", "{{x}}"):
        with pytest.raises(ConfigError, match="YARN's shell reads"):
            request(replace(run, partition={"query": one}, partition_key=one))


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_any_parameter_is_quiet_json(value: object) -> None:
    base = RUN
    config = replace(base.settings.config, parameters={"value": value})
    run = replace(base, settings=replace(base.settings, config=config))
    (word,) = (one for one in run.arguments() if one.startswith("value="))
    assert json.loads(word.removeprefix("value=")) == value
    assert not any(one in word for one in ("{{", "}}", "`", "$", "<", "'", '\\"', "\\\\"))


RUN: StepRun = run_of()


# --- the payload --------------------------------------------------------------------------------


def test_uploads_are_named_by_their_content(tmp_path: Path) -> None:
    run = run_of()
    script = tmp_path / "a script;.py"
    script.write_text("print(1)\n", encoding="utf-8")
    there = replace(run, settings=replace(run.settings, script=script))
    first = asked(there)
    assert asked(there).uploads == first.uploads
    assert first.uploads[0].uri.endswith("/a_script_.py")
    assert first.uploads[0].path == script
    script.write_text("print(2)\n", encoding="utf-8")
    second = asked(there)
    assert second.uploads[0].uri != first.uploads[0].uri
    assert second.uploads[1:] == first.uploads[1:]


def test_the_step_runtime_is_enough_to_import_a_step(tmp_path: Path) -> None:
    archive = tmp_path / "runtime.zip"
    archive.write_bytes(step_runtime())
    names = zipfile.ZipFile(io.BytesIO(step_runtime())).namelist()
    assert {name.split("/")[0] for name in names} == {"ascii_hydra", "dagster_pipes"}
    assert all(name.startswith("ascii_hydra/step/") for name in names if name.count("/") > 1)
    code = "import ascii_hydra.step as s, dagster_pipes as d"
    code += "; print(s.SparkStep, s.__file__, d.__file__)"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(archive)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count(str(archive)) == 2


def test_rendering_changes_nothing_of_the_users() -> None:
    theirs = {"Instances": {"Ec2KeyName": "k"}, "Configurations": [{"Classification": "spark"}]}
    kept = copy.deepcopy(theirs)
    run = run_of(emr_job_config=theirs)
    first = asked(run)
    assert theirs == kept
    assert asked(run) == first
