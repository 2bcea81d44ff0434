"""What is refused before Databricks is asked, with the key to change and what to write."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ascii_hydra.engines.databricks.runtimes import (
    RUNTIMES,
    environment_notice,
    environment_problem,
    runtime_notice,
    runtime_of,
    runtime_problem,
    spark_versions,
)
from ascii_hydra.engines.planned import describe
from ascii_hydra.engines.request import request, request_problems
from ascii_hydra.rehearsal.databricks_runtimes import LISTED, version_problem
from ascii_hydra.rehearsal.databricks_runtimes import (
    environment_problem as rehearsed_environment_problem,
)
from tests.databricks_request.asking import (
    cluster_of,
    noticed,
    run_of,
    settled,
    told,
    with_engine,
)
from tests.request_asking import problems_of

OTHERWISE = "Choose another, or say cluster.keeps_promise=false: comparisons then tell it."
WRITE = (
    "write /Volumes/<catalog>/<schema>/<volume>/..., /Workspace/<folder>/..., s3://bucket/folder or"
    " dbfs:/folder, of letters, digits, spaces and !_.'()=@+- alone."
)
SHARED = "launch.reuse_cluster=run"


@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("pipeline", ["two_steps", "webgraph"])
def test_what_is_shipped_has_no_problems(size: str, pipeline: str) -> None:
    words = (f"cluster={size}", f"pipeline={pipeline}")
    assert told(*words) == ""
    assert noticed(*words) == []


@pytest.mark.parametrize(
    "words",
    [
        ("cluster.spot_share=0.5", "cluster.max_workers=20", "cluster.photon=true"),
        (SHARED, "cluster.spot_share=1"),
        ("engine.serverless=true", "engine.staging_root=/Workspace/Shared/x"),
        ("engine.cluster_id=0123-456789-abcdefgh",),
        ("engine.staging_root='dbfs:/ascii_hydra'",),
        ("engine.staging_root=s3://bucket", "cluster.worker_node_type=m6gd.xlarge"),
        ("engine.spark_version=16.4.x-cpu-ml-scala2.12", "cluster.zone=us-east-1a"),
        ("cluster.worker_node_type=m5.xlarge", "cluster.driver_node_type=m5.xlarge"),
        ("cluster.pool_id=0101-120000-brick1-pool-abc", SHARED),
    ],
)
def test_what_has_no_problems(words: tuple[str, ...]) -> None:
    if any("m6gd" in word for word in words):
        words = (*words, "cluster.driver_node_type=m6gd.xlarge")
    assert told(*words) == ""


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["engine.spark_version=14.3.x-scala2.12"],
            (
                "engine.spark_version=14.3.x-scala2.12: is too old: steps need 15.4.x-scala2.12 or"
                " newer, or 17.3.x-scala2.13."
            ),
        ),
        (
            ["engine.spark_version=17.3"],
            "engine.spark_version=17.3: is no Databricks Runtime; write 17.3.x-scala2.13.",
        ),
        (
            ["engine.spark_version=17.3.x-scala2.12"],
            (
                "engine.spark_version=17.3.x-scala2.12: there is no such image; write"
                " 17.3.x-scala2.13."
            ),
        ),
        (
            ["engine.spark_version=15.4.x-photon-scala2.12"],
            (
                "engine.spark_version=15.4.x-photon-scala2.12: write 15.4.x-scala2.12 and"
                " cluster.photon=true."
            ),
        ),
        (
            ["engine.spark_version=15.4.x-gpu-ml-scala2.12"],
            (
                "engine.spark_version=15.4.x-gpu-ml-scala2.12: is for instance types with GPUs, of"
                " which none is known here."
            ),
        ),
        (
            ["engine.spark_version=17.3.x-aarch64-scala2.13"],
            (
                "engine.spark_version=17.3.x-aarch64-scala2.13: is for arm64, and"
                " cluster.worker_node_type=m5d.xlarge is of x86_64."
            ),
        ),
        (
            ["engine.serverless=true", "engine.environment_version=latest"],
            "engine.environment_version=latest: must be 1, 2, 3, 4 or 5, or a later one.",
        ),
        (
            ["engine.region=null"],
            "engine.region: is required: that of the workspace, us-east-1, ...",
        ),
        (["engine.region=here"], "engine.region=here: is no region; write us-east-1, ..."),
        (["engine.staging_root=/Volumes/main/x"], f"engine.staging_root=/Volumes/main/x: {WRITE}"),
        (["engine.staging_root='dbfs:/'"], f"engine.staging_root=dbfs:/: {WRITE}"),
        (
            ["engine.staging_root=/Workspace/a/../b"],
            f"engine.staging_root=/Workspace/a/../b: {WRITE}",
        ),
        (["engine.staging_root=s3a://b/x"], f"engine.staging_root=s3a://b/x: {WRITE}"),
        (
            ["engine.staging_root=s3://bucket/x", "engine.serverless=true"],
            (
                "engine.staging_root=s3://bucket/x: is out of reach of serverless compute: name a"
                " folder of a volume (/Volumes/...) or of the workspace (/Workspace/...)."
            ),
        ),
        (
            ["engine.staging_root=s3://bucket/x", "cluster.data_security_mode=user_isolation"],
            (
                "engine.staging_root=s3://bucket/x: needs cluster.data_security_mode=single_user:"
                " its messages pass through the JVM, which a step on a cluster for several users"
                " (here user_isolation) does not reach. Name a folder of a volume (/Volumes/...) or"
                " of the workspace (/Workspace/...)."
            ),
        ),
        (
            ["engine.cluster_id=j-1"],
            "engine.cluster_id=j-1: write 0123-456789-abcdefgh, as Databricks shows it.",
        ),
        (
            ["engine.cluster_id=0123-456789-abcdefgh", "engine.serverless=true"],
            "engine.serverless: and engine.cluster_id exclude each other; set one to null.",
        ),
        (
            ["engine.instance_profile=ours"],
            ("engine.instance_profile=ours: write arn:aws:iam::<account>:instance-profile/<name>."),
        ),
        (["engine.policy_id='a b'"], "engine.policy_id=a b: write the id as Databricks shows it."),
        (
            ["engine.budget_policy_id=a"],
            (
                "engine.budget_policy_id: is for serverless compute (engine.serverless=true);"
                " clusters have engine.policy_id and engine.tags."
            ),
        ),
        (
            ["engine.init_scripts=['dbfs:/x.sh']"],
            (
                "engine.init_scripts[0]=dbfs:/x.sh: write /Volumes/..., /Workspace/... or s3://...:"
                " Databricks runs none from DBFS."
            ),
        ),
        (["cluster.max_workers=1"], "cluster.max_workers: is less than cluster.workers=2."),
        (
            ["cluster.zone=eu-west-1a"],
            (
                "cluster.zone=eu-west-1a: must be auto or a zone of engine.region=us-east-1, such"
                " as us-east-1a."
            ),
        ),
        (
            ["cluster.spot_share=0.5", SHARED],
            (
                "cluster.spot_share=0.5: must be 0 or 1 with launch.reuse_cluster=run: all workers"
                " are of one pool, which is on spot or on demand."
            ),
        ),
        (
            ["cluster.driver_pool_id=a"],
            "cluster.driver_pool_id: needs cluster.pool_id: the workers' pool.",
        ),
        (
            ["cluster.pool_id=a/b", "cluster.spot_share=1", "cluster.zone=us-east-1a"],
            (
                "cluster.pool_id=a/b: write the pool's id as Databricks shows it.\n"
                "cluster.spot_share=1: has no effect with cluster.pool_id: whether instances are on"
                " spot is the pool's.\n"
                "cluster.zone=us-east-1a: has no effect with cluster.pool_id: the zone is the"
                " pool's."
            ),
        ),
        (
            ["cluster.worker_node_type=m5d.metal", "cluster.keeps_promise=false"],
            (
                "cluster.worker_node_type=m5d.metal: is no instance type that Databricks lists; the"
                " smallest m5d is m5d.large."
            ),
        ),
        (
            ["cluster.driver_node_type=m5x.xlarge"],
            (
                "cluster.driver_node_type=m5x.xlarge: is no instance type that Databricks lists;"
                " did you mean m5.xlarge?"
            ),
        ),
        (
            ["cluster.worker_node_type=m6gd.xlarge"],
            (
                "cluster.driver_node_type=m5d.xlarge: is of x86_64, and"
                " cluster.worker_node_type=m6gd.xlarge of arm64: a cluster has one architecture."
            ),
        ),
        (
            ["cluster.worker_node_type=c5d.xlarge"],
            (
                "cluster.worker_node_type: c5d.xlarge has 8 GiB of memory, and cluster=small"
                f" promises 16. {OTHERWISE}"
            ),
        ),
        (
            ["cluster.ebs.volumes=1"],  # with a volume, Spark leaves the local disks alone
            (
                "cluster.worker_node_type: m5d.xlarge has 100 GiB of disk, and cluster=small"
                f" promises 150 (see cluster.ebs). {OTHERWISE}"
            ),
        ),
        (
            ["cluster.workers=1"],
            f"cluster.workers: 1 are fewer than the 2 of cluster=small. {OTHERWISE}",
        ),
        (
            ["cluster.ebs.volume_type=gp3"],
            (
                "cluster.ebs.volume_type=gp3: must be general_purpose_ssd or"
                " throughput_optimized_hdd."
            ),
        ),
        (
            ["cluster.ebs={volumes: 2, size_gib: 200, volume_type: throughput_optimized_hdd}"],
            (
                "cluster.ebs.size_gib=200: must be 500 or more for volumes of"
                " throughput_optimized_hdd."
            ),
        ),
        (
            ["engine.libraries=[nosuchlibrary]"],
            (
                "engine.libraries[0]=nosuchlibrary: is not installed here; write"
                " nosuchlibrary==version."
            ),
        ),
    ],
)
def test_a_problem_names_its_key(overrides: list[str], said: str) -> None:
    assert told(*overrides) == said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"num_worker": 3},
            (
                ".num_worker: there is no such key. Did you mean"
                " pipeline.steps.step_1.databricks_cluster_config.num_workers?"
            ),
        ),
        ({"num_workers": "three"}, ".num_workers: 'three' is not a whole number."),
        (
            {"aws_attributes": {"zone": "a"}},
            ".aws_attributes.zone: there is no such field; did you mean zone_id?",
        ),
        ({"spark_version": "x"}, ".spark_version: is engine.spark_version"),
        ({"autotermination_minutes": 10}, ".autotermination_minutes: is not for job clusters"),
        ({"custom_tags": None}, ".custom_tags: must be a mapping: by its tags a cluster is found."),
        (
            {"custom_tags": {"ascii_hydra/run": "x"}},
            ".custom_tags.ascii_hydra/run: is a tag of ascii_hydra's own.",
        ),
        ({"custom_tags": {"a": 1}}, ".custom_tags.a: 1 is not a text."),
        (
            {"num_workers": 1, "autoscale": {"min_workers": 1}},
            ": num_workers and autoscale exclude each other; name one.",
        ),
        (
            {"node_type_id": "zz.big"},
            ".node_type_id=zz.big: is no instance type that Databricks lists; write m5d",
        ),
        (
            {"instance_pool_id": "p"},
            ".node_type_id: is not for a cluster whose instances come from",
        ),
    ],
)
def test_a_problem_of_a_users_own_cluster_names_its_key(config: dict[str, Any], said: str) -> None:
    lines = told(databricks_cluster_config=config).splitlines()
    assert f"pipeline.steps.step_1.databricks_cluster_config{said}" in lines[0]


def test_tags_that_others_keep_for_themselves() -> None:
    # Such keys come from a file: Hydra's command line cannot read them.
    tags = {"ascii_hydra/run": "x", "aws:y": "z", "Name": "n", "k": "a;b", "l": "v" * 256}
    assert problems_of(with_engine(settled(), tags=tags)).splitlines() == [
        "engine.tags.ascii_hydra/run: is a tag of ascii_hydra's own.",
        "engine.tags.aws:y: tags that begin with aws: are AWS's own.",
        "engine.tags.Name: is Databricks' own: without it, a cluster is not ended.",
        "engine.tags.k: tags have letters, digits, spaces and .:/=+-@_ alone.",
        "engine.tags.l: a tag's key has 1 to 127 characters and its value 255 at most.",
    ]
    many = problems_of(with_engine(settled(), tags={f"k{n}": "v" for n in range(40)}))
    assert many == "engine.tags: 48 tags; Databricks takes 45, ours among them."


def test_all_is_said_at_once_and_each_thing_once() -> None:
    said = told(
        "engine.spark_version=x",
        "cluster.max_workers=1",
        libraries=("nosuchlibrary==1", "ab cd"),
        databricks_cluster_config={"cluster_name": "x"},
    )
    assert [line.partition(": ")[0] for line in said.splitlines()] == [
        "engine.spark_version=x",
        "cluster.max_workers",
        "pipeline.steps.step_1.databricks_cluster_config.cluster_name",
        "pipeline.steps.step_1.libraries[1]=ab cd",
    ]


def test_a_step_of_its_own_cluster_is_named() -> None:
    settings = settled("engine.region=here", "pipeline.steps.step_2.cluster=large")
    wheres = [one.where for one in request_problems(settings)]
    assert wheres == ["engine.region=here", "pipeline.steps.step_2: engine.region=here"]


def test_arguments_are_as_long_as_databricks_takes() -> None:
    assert told(parameters={"big": "x" * 8_000}) == ""
    assert "Databricks takes 10,000, of which 1,024 are kept for Dagster Pipes" in told(
        parameters={"big": "x" * 9_000}
    )


def test_what_databricks_would_replace_is_refused_outside_of_parameters() -> None:
    assert told(parameters={"a": "{{job.run_id}}", "b": {"c": {"d": 1}}}) == ""
    said = "holds {{, which Databricks reads as the name of a value: write it without."
    assert told("mode.output_root='s3://b/{{x}}'").splitlines() == [
        f"pipeline.steps.step_1: s3://b/{{{{x}}}}/two_steps/step_1 {said}",
        f"pipeline.steps.step_2: s3://b/{{{{x}}}}/two_steps/step_2 {said}",
        f"pipeline.steps.step_2: step_1=s3://b/{{{{x}}}}/two_steps/step_1 {said}",
    ]
    secret = {"spark.hadoop.key": "{{secrets/ours/key}}"}
    assert problems_of(with_engine(settled(), spark_conf=secret)) == ""
    existing = settled("engine.cluster_id=0123-456789-abcdefgh")
    assert said in problems_of(with_engine(existing, spark_conf=secret))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["engine.serverless=true"],
            "engine.serverless=true: the step gets what it needs, and cluster has no effect.",
        ),
        (
            ["engine.cluster_id=0123-456789-abcdefgh", "+engine.spark_conf={a.b: c}"],
            "engine.spark_conf is set in the step's session on an existing cluster",
        ),
        (["cluster.pool_id=a-pool"], "cluster.pool_id=a-pool: its instance types count"),
        (["cluster.spot_share=1", SHARED], "the pool is asked for spot alone"),
        (["+mode.region=eu-west-1"], "mode.region=eu-west-1 is not engine.region=us-east-1"),
        (["engine.spark_version=18.2.x-scala2.13"], "engine.spark_version=18.2.x-scala2.13 is not"),
    ],
)
def test_notices(words: list[str], said: str) -> None:
    words = [word.replace("+mode.", "mode.") for word in words]
    assert any(said in one for one in noticed(*words))
    assert told(*words) == ""


def test_what_has_no_effect_is_said() -> None:
    said = noticed("engine.serverless=true", databricks_cluster_config={"num_workers": 3})
    at = "pipeline.steps.step_1.databricks_cluster_config"
    assert f"{at} has no effect on serverless compute." in said


def test_runtimes_by_the_book_and_by_rule() -> None:
    assert [runtime_problem(name) for name, _ in spark_versions()] == [None] * 10
    assert {
        name: (one.spark, one.python) for name, one in RUNTIMES.items() if one.end_of_support
    } == {
        "15.4": ("3.5.0", "3.11"),
        "16.4": ("3.5.2", "3.12"),
        **dict.fromkeys(("17.0", "17.1", "17.2", "17.3"), ("4.0.0", "3.12")),
        **dict.fromkeys(("18.0", "18"), ("4.1.0", "3.12")),
    }
    assert (RUNTIMES["19"].spark, RUNTIMES["19"].python) == ("4.2.0", "3.12")
    later = runtime_of("21.1.x-scala2.13")
    assert (later.spark, later.python) == (None, "3.12")
    assert runtime_of("18.3.x-scala2.13").spark == "4.1.0"
    assert runtime_of("16.2.x-scala2.12").scalas == ("2.12", "2.13")


@pytest.mark.parametrize("version", ["18.x-scala2.13", "19.x-scala2.13", "18.x-cpu-ml-scala2.13"])
def test_a_line_of_runtimes_has_no_minor(version: str) -> None:
    assert told(f"engine.spark_version={version}") == ""
    assert not any("spark_version" in one for one in noticed(f"engine.spark_version={version}"))
    assert cluster_of(f"engine.spark_version={version}")["spark_version"] == version


@pytest.mark.parametrize(
    "version",
    [f"{line}.x-scala2.13" for line in (17, 18, 19, 20)]
    + [f"{release}.x-scala2.12" for release in ("15.3", "15.4", "16.0", "16.4", "17.1", "18")]
    + [f"{release}.x-scala2.13" for release in ("15.4", "16.4", "17.0", "17.1", "17.2", "17.3")]
    + [f"{release}.x-scala2.13" for release in ("18.0", "18.2", "19.1", "21.0")]
    + ["18.x-aarch64-scala2.13", "17.3.x-cpu-ml-scala2.13", "18.x", "18-scala2.13", "x-scala2.13"],
)
def test_plan_and_rehearsal_take_the_same_runtimes(version: str) -> None:
    assert (runtime_problem(version) is None) == (version_problem(version) is None)


def test_the_rehearsal_lists_what_a_plan_takes() -> None:
    assert [runtime_problem(one) for one in LISTED] == [None] * len(LISTED)
    assert {runtime_of(one).release for one in LISTED} <= set(RUNTIMES)
    for version in ("1", "5", "6", "0", "x"):
        plan, rehearsal = environment_problem(version), rehearsed_environment_problem(version)
        assert (plan is None) == (rehearsal is None)


def test_a_runtime_that_is_not_known_is_said_to_be_so() -> None:
    known = "15.4, 16.4, 17.0, 17.1, 17.2, 17.3, 18.0, 18, 19"
    assert runtime_notice("18.2.x-scala2.13") == (
        f"engine.spark_version=18.2.x-scala2.13 is not known here (known are {known}): its Spark is"
        " taken to be 4.1.0, and its Python is taken to be 3.12."
    )
    assert "its Spark is not known, and its Python" in (runtime_notice("21.x-scala2.13") or "")
    assert "has ceased to be supported on 2026-03-26" in (
        runtime_notice("17.2.x-scala2.13", date(2026, 11, 21)) or ""
    )
    assert environment_notice("5", date(2026, 11, 21)) is None


def test_the_end_of_support_is_told_half_a_year_before() -> None:
    version = "15.4.x-scala2.12"
    assert runtime_notice(version, date(2027, 1, 1)) is None
    assert runtime_notice(version, date(2027, 7, 1)) == (
        f"engine.spark_version={version} ceases to be supported on 2027-08-19"
        " (Databricks' release notes)."
    )
    assert "has ceased to be supported" in (runtime_notice(version, date(2027, 8, 19)) or "")
    assert "environment_version=1 ceases" in (environment_notice("1", date(2027, 1, 1)) or "")
    assert "its Python is taken to be 3.12" in (environment_notice("9", date(2027, 1, 1)) or "")


def test_computing_in_words() -> None:
    def words(*overrides: str) -> str:
        return describe(request(run_of(*overrides)))

    assert words() == "2 x m5d.xlarge + m5d.xlarge"
    assert words("cluster=medium", "cluster.spot_share=0.5", "cluster.max_workers=8") == (
        "4 to 8 x m5d.2xlarge (2 spot) + m5d.xlarge"
    )
    assert words(SHARED, "cluster.photon=true") == (
        "2 x m5d.xlarge + m5d.xlarge, Photon, shared pools"
    )
    assert words("cluster.pool_id=p", SHARED) == "2 of pool p + 1 of pool p"
    assert words("engine.serverless=true") == "serverless"
    assert (
        words("engine.cluster_id=0123-456789-abcdefgh") == "existing cluster 0123-456789-abcdefgh"
    )
