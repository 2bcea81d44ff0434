"""What a person is told after a mistake: the exact text, no traceback, nothing started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, CommandLine

ENGINES = "pyspark, emr or databricks"
LOCAL_ONLY = (
    "mode=small_dev_sample_local: reads files on this machine; engine={} cannot see them."
    " Use mode=small_dev_sample_s3, or engine=pyspark."
)
ROOT_KEYS = "action, cluster, endpoint, engine, launch, mode, pipeline, plan, prices, rehearsal"
COMMON_ENGINE_KEYS = "libraries, name, region, spark_conf, timeout_minutes"


def available(group: str, name: str, *options: str, meant: str = "") -> str:
    hint = f" Did you mean {group}={meant}?" if meant else ""
    return (
        f"{group}={name}: could not find '{group}/{name}'.{hint}"
        f" Available options: {', '.join(options)}.\n"
    )


def errors(*problems: str) -> str:
    if len(problems) == 1:
        return problems[0]
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return f"The configuration has {len(problems)} problems:{lines}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ["engine=spark"],
            available("engine", "spark", "databricks", "emr", "pyspark", meant="pyspark"),
            id="01_unknown_engine",
        ),
        pytest.param(
            ["mode=fulll"],
            available(
                "mode",
                "fulll",
                *("full", "small_dev_sample_local", "small_dev_sample_s3"),
                meant="full",
            ),
            id="02_unknown_mode",
        ),
        pytest.param(
            ["enigne=emr"],
            "enigne: there is no such key. Did you mean engine? Known here: action, cluster,"
            " endpoint, engine, experiment, hydra, launch, local, mode, pipeline, plan, prices,"
            " rehearsal.\n",
            id="03_misspelt_key",
        ),
        pytest.param(
            ["+enigne=emr", "+engine.typo=1"],
            errors(
                f"enigne: there is no such key. Did you mean engine? Known here: {ROOT_KEYS}.",
                "engine.typo: there is no such key. Known here: class_sharing, libraries, master,"
                " name, region, reuse_jvm, spark_conf, stop_grace_seconds, timeout_minutes.",
            )
            + "\n",
            id="04_added_keys_that_nothing_reads",
        ),
        pytest.param(
            ["action=foo"],
            "Error merging override action=foo\n"
            "Invalid value 'foo', expected one of [run, plan, refresh_prices]\n"
            "    full_key: action\n",
            id="05_value_of_no_choice",
        ),
        pytest.param(
            ["engine.timeout_minutes=abc"],
            "Error merging override engine.timeout_minutes=abc\n"
            "Value 'abc' of type 'str' could not be converted to Float\n"
            "    full_key: engine.timeout_minutes\n    reference_type=EngineConfig\n",
            id="05_value_of_wrong_type",
        ),
        pytest.param(
            ["engine=emr,databricks"],
            "Ambiguous value for argument 'engine=emr,databricks'\n"
            "1. To use it as a list, use key=[value1,value2]\n"
            "2. To use it as string, quote the value: key=\\'value1,value2\\'\n"
            "3. To sweep over it, add --multirun to your command line\n",
            id="06_several_without_multirun",
        ),
        pytest.param(
            ["--engine", "emr"],
            "--engine: options have no dashes here: write engine=emr.\n",
            id="07_dashes",
        ),
        pytest.param(["engine:emr"], "engine:emr: write engine=emr.\n", id="07_colon"),
        pytest.param(
            ["run", "engine=emr"], "run: is no override; write action=run.\n", id="07_subcommand"
        ),
        pytest.param(
            ["engine=null"], f"engine=null: engine is required: {ENGINES}.\n", id="09_null"
        ),
        pytest.param(["~engine"], f"~engine: engine is required: {ENGINES}.\n", id="10_deleted"),
        pytest.param(
            ["engine=[emr,databricks]"],
            "engine=[emr,databricks]: one engine a run; to compare several use"
            " -m engine=emr,databricks.\n",
            id="10_list",
        ),
        pytest.param(
            ["+engine=emr"],
            "+engine=emr: engine has a value already: write engine=emr.\n",
            id="11_plus",
        ),
        pytest.param(
            ["cluster=huge"],
            available("cluster", "huge", "large", "medium", "small"),
            id="12_unknown_cluster",
        ),
        pytest.param(["engine=emr"], LOCAL_ONLY.format("emr") + "\n", id="14_emr_local_mode"),
        pytest.param(
            ["engine=databricks", "action=plan"],
            LOCAL_ONLY.format("databricks") + "\n",
            id="14_databricks_local_mode",
        ),
        pytest.param(
            ["pipeline.steps.step_2.engine=emr"],
            LOCAL_ONLY.format("emr") + "\n",
            id="14_one_step_in_the_cloud",
        ),
        pytest.param(
            ["prices.discounts.ec2=12"],
            "prices.discounts.ec2: there is no such key. Did you mean prices.discounts.ec2_pct?"
            " Known here: dbu_pct, ebs_pct, ec2_pct, emr_pct, spot_pct.\n",
            id="11_misspelt_key_of_a_block",
        ),
        pytest.param(
            ["prices.folder=no/such"],
            "prices.folder=no/such: is no folder; action=refresh_prices makes and fills it.\n",
            id="25_mistyped_folder_of_prices",
        ),
        pytest.param(
            ["launch.budget_usd=-5"],
            "launch.budget_usd=-5: must be from 0 to 1,000,000.\n",
            id="24_negative_budget",
        ),
        pytest.param(
            ["cluster.cores=0", "engine.timeout_minutes=-1"],
            errors(
                "engine.timeout_minutes=-1: must be from 0.01 to 10,080.",
                "cluster.cores=0: must be from 1 to 1,024.",
            )
            + "\n",
            id="16_out_of_range",
        ),
        pytest.param(
            ["-m", "engine=emr,databricks", "mode=full", "engine.release_label=emr-7.1.0"],
            "engine.release_label: only engine=emr has this key, so it cannot be set for another"
            f" engine. Keys that every engine has: {COMMON_ENGINE_KEYS}.\n",
            id="17_key_of_one_engine_in_a_sweep",
        ),
        pytest.param(
            ["-m", "engine=pyspark,emr", "cluster=small,large"],
            "2 of 4 rows cannot run; nothing was started.\n"
            f"#2 engine=emr cluster=small\n    {LOCAL_ONLY.format('emr')}\n"
            f"#3 engine=emr cluster=large\n    {LOCAL_ONLY.format('emr')}\n",
            id="18_every_bad_row_of_a_sweep",
        ),
        pytest.param(
            ["-cd", "no_such_folder"],
            "Additional config directory '{cwd}/no_such_folder' not found\n",
            id="22_missing_config_dir",
        ),
        pytest.param(
            ["hydra.searchpath=[file:///no_such_folder]"],
            "hydra.searchpath: there is no folder /no_such_folder.\n",
            id="22_missing_search_path",
        ),
        pytest.param(
            ["pipeline.steps.step_1.script=nope.py", "pipeline.steps.step_2.deps=[step_9]"],
            errors(
                "pipeline.steps.step_1.script: there is no file {project}/steps/nope.py.",
                "pipeline.steps.step_2.deps: there is no step step_9. Steps: step_1, step_2.",
            )
            + "\n",
            id="28_script_and_dep",
        ),
        pytest.param(
            ["pipeline.steps.step_1.deps=[step_2]"],
            "pipeline.steps: deps run in a circle: step_1 -> step_2 -> step_1.\n",
            id="28_cycle",
        ),
        pytest.param(
            ["engine.master=yarn"],
            "engine.master=yarn: write spark://host:port, local[n] or null.\n",
            id="master_of_another_kind",
        ),
        pytest.param(
            ["engine.master=local[7]"],
            "engine.master=local[7]: cannot be read; quote the value:"
            """ 'engine.master="local[7]"'.\n""",
            id="07_brackets",
        ),
        pytest.param(
            ["engine.master=spark://127.0.0.1:1"],
            "engine.master=spark://127.0.0.1:1: cannot be reached: 127.0.0.1:1 (Connection"
            " refused).\n",
            id="master_that_does_not_answer",
        ),
        pytest.param(
            ["engine=databricks", "mode=small_dev_sample_s3", "mode.bucket=mine"],
            "DATABRICKS_HOST, DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET: there are no"
            " credentials for Databricks. Set all three, or log in otherwise (databricks auth"
            " login); or rehearse without any: endpoint=rehearsal.\n",
            id="databricks_without_credentials",
        ),
        pytest.param(
            ['+pipeline.steps.step_1.databricks_cluster_config={custom_tags: {"a": x}}'],
            '+pipeline.steps.step_1.databricks_cluster_config={{custom_tags: {{"a": x}}}}: cannot'
            " be read; keys stand without quotes:"
            " '+pipeline.steps.step_1.databricks_cluster_config={{custom_tags: {{a: x}}}}'.\n",
            id="quoted_keys",
        ),
        pytest.param(
            ["engine=databricks", "mode=full", "engine.serverless=true", "pipeline=webgraph"],
            "engine.serverless=true: step edges needs a cluster"
            " (pipeline.steps.edges.needs_cluster): serverless compute has neither RDDs nor a JVM"
            " to call. Leave it out, or let that step run elsewhere:"
            " pipeline.steps.edges.engine=emr.\n",
            id="rdds_on_serverless_compute",
        ),
        pytest.param(
            ["endpoint=rehearsal", "endpoint.url=https://s3.example.org"],
            "endpoint.url=https://s3.example.org: a rehearsal stays on this machine: use null,"
            " which starts one for this run, or http://127.0.0.1:port of one that make rehearsal"
            " keeps.\n",
            id="a_rehearsal_elsewhere",
        ),
        pytest.param(
            ["engine=emr", "mode=full", "endpoint.url=http://minio:9000"],
            "endpoint.url=http://minio:9000: is a service compatible with S3, which engine=emr"
            " does not reach: leave the url out, or use engine=pyspark.\n",
            id="emr_at_a_service_like_s3",
        ),
        pytest.param(
            ["endpoint.url=https://me:secret@minio:9000"],
            "endpoint.url: has a user or a password in it; credentials stay outside.\n",
            id="an_address_with_a_password",
        ),
        pytest.param(
            ["endpoint.url=minio:9000"],
            "endpoint.url=minio:9000: write http://host:port or https://host.\n",
            id="an_address_without_its_scheme",
        ),
        pytest.param(
            ["pipeline=webgrap"],
            available("pipeline", "webgrap", "two_steps", "webgraph", meant="webgraph"),
            id="01_what_was_meant",
        ),
        pytest.param(
            ["pipeline.steps.step_2.deps=[]"],
            "pipeline.steps.step_2.deps: is part of what Dagster knows of the assets, so no single"
            " run can change it: change it in conf/pipeline, or for every run in"
            " ASCII_HYDRA_OVERRIDES.\n",
            id="28_structure_that_no_single_run_can_change",
        ),
        pytest.param(
            ["-m", "experiment=compare_clusters", "cluster=medium"],
            "cluster=small,medium,large: is what the experiment sweeps over: do not set it.\n",
            id="18_a_sweep_that_is_taken_away",
        ),
        pytest.param(
            [
                "+engine.spark_conf={spark.hadoop.fs.s3a.secret.key: abc}",
                "pipeline.description='${oc.env:MY_TOKEN,none}'",
            ],
            errors(
                *(
                    f"{where}: looks like a secret, and a configuration is printed and kept in many"
                    " places. Leave it in the environment, where the step finds it."
                    for where in (
                        "engine.spark_conf.spark.hadoop.fs.s3a.secret.key",
                        "pipeline.description",
                    )
                )
            )
            + "\n",
            id="secrets",
        ),
        pytest.param(
            ["pipeline=webgraph", "pipeline.partitions=[]"],
            "pipeline.partitions: is empty: leave it out to make all of them.\n",
            id="no_partition",
        ),
        pytest.param(
            ["pipeline.partitions=[x]"],
            "pipeline.partitions: there is no x. This pipeline has no partitions.\n",
            id="partition_of_an_unpartitioned_pipeline",
        ),
    ],
)
def test_message(
    command_line: CommandLine, tmp_path: Path, arguments: list[str], said: str
) -> None:
    ended = command_line(*arguments)
    told = ended.stdout + ended.stderr
    expected = said.format(cwd=tmp_path, project=PROJECT)
    assert told == expected
    assert ended.returncode == 1
    assert "Traceback" not in told


def test_07_plugin_that_is_not_installed(command_line: CommandLine) -> None:
    told = command_line("-m", "hydra/launcher=joblib", "cluster=small,medium").stderr
    assert "Could not find 'hydra/launcher/joblib'" in told
    assert "pip install hydra-joblib-launcher" in told


def test_08_flags_may_stand_anywhere(command_line: CommandLine) -> None:
    ended = command_line("engine=emr", "--cfg", "job", "mode=full", "-p", "engine")
    assert ended.returncode == 0, ended.stderr
    assert "name: emr" in ended.stdout


def test_13_size_that_an_engine_lacks(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine" / "cluster").mkdir(parents=True)
    (tmp_path / "mine" / "cluster" / "tiny.yaml").write_text("size: small\n")
    told = command_line("-cd", "mine", "cluster=tiny").stderr
    assert told == (
        "cluster=tiny: engine=pyspark has no cluster of this size; it has small, medium or large."
        " A size of your own needs the file cluster/pyspark/tiny.yaml.\n"
    )


def test_19_misspelt_key_in_a_users_file(command_line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "cluster" / "pyspark"
    folder.mkdir(parents=True)
    (folder.parent / "tiny.yaml").write_text("size: small\n")
    (folder / "tiny.yaml").write_text(
        "defaults: [/ascii_hydra/cluster/pyspark@_here_, _self_]\nwrokers: 2\n"
    )
    told = command_line("-cd", "mine", "cluster=tiny").stderr
    assert told.startswith("In 'cluster/pyspark/tiny': ")
    assert "Key 'wrokers' not in 'PySparkCluster'" in told
    assert "Traceback" not in told


def test_20_yaml_that_cannot_be_read(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine" / "launch").mkdir(parents=True)
    (tmp_path / "mine" / "launch" / "odd.yaml").write_text("on_failure: [stop\nnext: 1\n")
    told = command_line("-cd", "mine", "launch=odd").stderr
    assert told == f"{tmp_path}/mine/launch/odd.yaml:2: expected ',' or ']', but got ':'.\n"


def test_23_conf_that_is_missing(tmp_path: Path, environment: dict[str, str]) -> None:
    package = tmp_path / "place" / "ascii_hydra"
    shutil.copytree(PROJECT / "ascii_hydra", package)
    ended = subprocess.run(
        [sys.executable, "-m", "ascii_hydra"],
        cwd=package.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == (
        f"conf/config.yaml is missing. Looked in {package}/conf (an installed ascii_hydra) and"
        f" {package.parent}/conf (a checkout). Install ascii_hydra again, or run it from a whole"
        " checkout.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "notice"),
    [
        pytest.param(
            ["cluster.spot_share=0.5"],
            "cluster.spot_share has no effect on engine=pyspark.",
            id="26_no_effect",
        ),
        pytest.param(
            ["cluster=small", "cluster=medium"],
            "cluster is given 2 times; the last one counts: cluster=medium.",
            id="27_given_twice",
        ),
        pytest.param(
            ["endpoint=rehearsal"],
            "endpoint=rehearsal has no effect on mode=small_dev_sample_local.",
            id="nothing_to_rehearse",
        ),
    ],
)
def test_notice(command_line: CommandLine, arguments: list[str], notice: str) -> None:
    ended = command_line(*arguments, "action=plan")
    assert ended.stderr == f"Note: {notice}\n"
    assert ended.returncode == 0


def test_29_bad_values_in_the_environment(command_line: CommandLine) -> None:
    ended = command_line(extra={"SPARK_PIPES_ENGINE": "spark", "SPARK_EXECUTION_MODE": "all"})
    assert ended.stderr == (
        "The configuration has 2 problems:\n"
        f"  - SPARK_PIPES_ENGINE=spark: is not known. Set it to {ENGINES}.\n"
        "  - SPARK_EXECUTION_MODE=all: is not known. Set it to small_dev_sample_local,"
        " small_dev_sample_s3 or full.\n"
    )
    assert ended.returncode == 1


def test_29_dagster_home_that_is_relative(command_line: CommandLine) -> None:
    ended = command_line(extra={"DAGSTER_HOME": "some/folder"})
    assert "DAGSTER_HOME=some/folder: must be an absolute path; unset it for the default." in (
        ended.stdout + ended.stderr
    )
    assert ended.returncode == 1


NO_CREDENTIALS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "none",
    "AWS_CONFIG_FILE": "none",
}


def test_15_missing_credentials(command_line: CommandLine) -> None:
    ended = command_line("engine=emr", "mode=full", "mode.bucket=mine", extra=NO_CREDENTIALS)
    assert " ".join(ended.stdout.split()) == (
        "ASCII_AWS_ACCESS_KEY_ID, ASCII_AWS_SECRET_ACCESS_KEY: there are no credentials for AWS."
        " Set both, or configure AWS as usual (AWS_PROFILE, aws sso login, a role); or rehearse"
        " without any: endpoint=rehearsal."
    )
    assert ended.returncode == 1
    half = {**NO_CREDENTIALS, "ASCII_AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}
    ended = command_line("mode=small_dev_sample_s3", "mode.bucket=mine", extra=half)
    assert " ".join(ended.stdout.split()) == (
        "ASCII_AWS_SECRET_ACCESS_KEY: is not set, but ASCII_AWS_ACCESS_KEY_ID is: set both, or"
        " neither."
    )


def test_the_example_bucket_is_nobodys(command_line: CommandLine) -> None:
    ended = command_line("engine=emr", "mode=full")
    assert ended.stderr == (
        "mode.bucket=ascii-hydra: is an example, and all of AWS shares the names of buckets: name"
        " one of yours (mode.bucket=NAME, or in conf/local/default.yaml), or use"
        " endpoint=rehearsal.\n"
    )
    assert ended.returncode == 1


def test_a_machine_without_java(command_line: CommandLine, tmp_path: Path) -> None:
    ended = command_line(extra={"PATH": str(tmp_path), "JAVA_HOME": ""})
    assert ended.returncode == 1
    assert ended.stdout.startswith("engine=pyspark: No java in PATH: install Java 17 or newer")
    assert "started" not in ended.stdout


def test_refused_run_leaves_no_folder(command_line: CommandLine, tmp_path: Path) -> None:
    command_line("engine=emr")
    assert not (tmp_path / "outputs").exists()
