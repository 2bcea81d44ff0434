"""What is refused before EMR is asked, with the key to change and what to write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ascii_hydra.config.choices import Architecture, CatalogueSource
from ascii_hydra.config.engine_schema import EmrEngine
from ascii_hydra.engines.planned import describe
from ascii_hydra.engines.request import request, request_notices, request_problems
from ascii_hydra.engines.step_run import planned_run
from tests.emr_request.asking import filtered, run_of, settled, told
from tests.request_asking import problems_of

OTHERWISE = "Choose another, or say cluster.keeps_promise=false: comparisons then tell it."


@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("pipeline", ["two_steps", "webgraph"])
def test_what_is_shipped_has_no_problems(size: str, pipeline: str) -> None:
    words = (f"cluster={size}", f"pipeline={pipeline}")
    assert told(*words) == ""
    assert list(request_notices(settled(*words))) == []


def test_spot_growth_and_sharing_have_no_problems() -> None:
    words = ("cluster.spot_share=0.5", "cluster.max_workers=20", "launch.reuse_cluster=run")
    assert told(*words) == ""


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["engine.release_label=emr-6.15.0"],
            (
                "engine.release_label: emr-6.15.0 is too old: steps need emr-7.1.0 or newer, or"
                " emr-spark-8.0.0 or newer."
            ),
        ),
        (["engine.release_label=7.12"], "engine.release_label: 7.12 is none; write emr-7.12.0."),
        (
            ["engine.release_label=emr-spark-8.0.0", 'engine.python_version="3.9"'],
            "engine.python_version: emr-spark-8.0.0 has Python 3.11, 3.12 or 3.13 only.",
        ),
        (
            ['engine.python_version="3.9"'],
            (
                "engine.python_version: dagster_pipes, which every step needs, is for Python"
                " <3.15,>=3.10: use engine.python_version=3.11 and engine.release_label=emr-7.1.0"
                " or newer."
            ),
        ),
        (
            ["engine.staging_root=s3a://b/x"],
            (
                "engine.staging_root=s3a://b/x: write s3://bucket/folder, of letters, digits and"
                " !_.'()=- alone."
            ),
        ),
        (
            ["+engine.cluster_id=abc"],
            "engine.cluster_id=abc: write j-... as EMR shows it.",
        ),
        (
            ["engine.service_role=''"],
            "engine.service_role: is required by EMR: the name of an IAM role.",
        ),
        (
            ["engine.bootstrap_actions=[{name: a, script: /x.sh}]"],
            "engine.bootstrap_actions: /x.sh: EMR reads scripts from s3:// alone.",
        ),
        (
            ["+engine.spark_conf={spark.yarn.maxAppAttempts: '2', spark.master: 'local[*]'}"],
            (
                "engine.spark_conf.spark.yarn.maxAppAttempts: is always 1 on EMR: otherwise a"
                " step's end and its messages would not be its own.\n"
                "engine.spark_conf.spark.master: is always yarn on EMR."
            ),
        ),
        (
            ["cluster.instance_collection=groups", "engine.subnets=[subnet-0a,subnet-0b]"],
            (
                "engine.subnets: instance groups take one subnet; name one, or use"
                " cluster.instance_collection=fleets."
            ),
        ),
        (["engine.subnets=[x]"], "engine.subnets=x: write subnet-... as EC2 shows it."),
        (["cluster.max_workers=1"], "cluster.max_workers: is less than cluster.workers=2."),
        (
            ["cluster.workers=1", "cluster.max_workers=2", "cluster.keeps_promise=false"],
            (
                "cluster.max_workers: a cluster grows by task nodes, of which it needs one from the"
                " start: set cluster.workers=2 or more."
            ),
        ),
        (
            ["cluster.worker_instance_types=[m5d.xlarge,m5d.2xlarge]"],
            (
                "cluster.worker_instance_types: m5d.xlarge has 4, m5d.2xlarge has 8 vCPUs:"
                " alternatives have equally many, or clusters would not be equal."
            ),
        ),
        (
            ["cluster.worker_instance_types=[m6gd.xlarge]"],
            (
                "cluster.primary_instance_types: a cluster has one architecture; the primary comes"
                " first here, then what the workers are: m5d.xlarge (x86_64), m6gd.xlarge (arm64)."
                " Set cluster.primary_instance_types, or other workers."
            ),
        ),
        (
            ["cluster.worker_instance_types=[m5d.large]", "cluster.keeps_promise=false"],
            (
                "cluster.worker_instance_types: m5d.large is not offered by EMR; the smallest m5d"
                " is m5d.xlarge."
            ),
        ),
        (
            ["cluster.worker_instance_types=[zz.big]"],
            "cluster.worker_instance_types: zz.big is no instance type that emr-7.12.0 offers.",
        ),
        (
            ["cluster.primary_instance_types=[g7.2xlarge]", "engine.release_label=emr-7.5.0"],
            (
                "cluster.primary_instance_types: g7.2xlarge is offered from emr-7.12.0 on, not in"
                " emr-7.5.0."
            ),
        ),
        (
            ["cluster.worker_instance_types=[]"],
            "cluster.worker_instance_types: needs an instance type, such as m5d.xlarge.",
        ),
        (
            ["cluster.worker_instance_types=[c5d.xlarge]"],
            (
                "cluster.worker_instance_types: c5d.xlarge has 8 GiB of memory, and cluster=small"
                f" promises 16. {OTHERWISE}"
            ),
        ),
        (
            ["cluster.worker_instance_types=[m5.xlarge]", "cluster.ebs.volumes=1"],
            (
                "cluster.worker_instance_types: m5.xlarge has 64 GiB of disk, and cluster=small"
                f" promises 150 (see cluster.ebs). {OTHERWISE}"
            ),
        ),
        (
            ["cluster.workers=1"],
            f"cluster.workers: 1 are fewer than the 2 of cluster=small. {OTHERWISE}",
        ),
        (
            ["cluster.ebs.volume_type=fast"],
            "cluster.ebs.volume_type=fast: must be gp3, gp2, io1, io2, st1, sc1 or standard.",
        ),
    ],
)
def test_a_problem_names_its_key(overrides: list[str], said: str) -> None:
    assert told(*overrides) == said


def test_tags_that_aws_or_ascii_hydra_keep_for_themselves() -> None:
    # Such keys come from a file: Hydra's command line cannot read them.
    settings = settled()
    engine = settings.config.engine
    assert isinstance(engine, EmrEngine)
    engine = replace(engine, tags={"ascii_hydra/run": "x", "aws:y": "z", "k": "a;b"})
    steps = {name: replace(one, engine=engine) for name, one in settings.steps.items()}
    made = replace(settings, config=replace(settings.config, engine=engine), steps=steps)
    assert problems_of(made).splitlines() == [
        "engine.tags.ascii_hydra/run: is a tag of ascii_hydra's own.",
        "engine.tags.aws:y: tags that begin with aws: are AWS's own.",
        "engine.tags.k: tags have letters, digits, spaces and .:/=+-@_ alone.",
    ]


def test_all_is_said_at_once_and_each_thing_once() -> None:
    said = told("engine.release_label=x", "cluster.max_workers=1", libraries=("nosuchlibrary",))
    assert said.splitlines() == [
        "engine.release_label: x is none; write emr-7.12.0.",
        "cluster.max_workers: is less than cluster.workers=2.",
        (
            "pipeline.steps.step_1.libraries[0]=nosuchlibrary: is not installed here; write"
            " nosuchlibrary==version."
        ),
    ]


def test_a_step_of_its_own_engine_is_named() -> None:
    # Raw overrides of engine. are the run's engine's, so step_2's own has none.
    settings = settled("engine.release_label=x", "pipeline.steps.step_2.cluster=large")
    wheres = [one.where for one in request_problems(settings)]
    assert wheres == ["engine.release_label", "pipeline.steps.step_2: engine.release_label"]


def test_a_step_is_as_long_as_emr_takes() -> None:
    assert told(parameters={"big": "x" * 7_000}) == ""
    assert (
        "EMR takes 10,240 in all strings of a step, of which 1,024 are kept for Dagster Pipes"
        in (told(parameters={"big": "x" * 9_000}))
    )


def test_too_many_bootstrap_actions_and_tags() -> None:
    actions = ",".join(f"{{name: a{n}, script: 's3://b/{n}'}}" for n in range(16))
    tags = ",".join(f"k{n}: v" for n in range(45))
    said = told(f"engine.bootstrap_actions=[{actions}]", f"+engine.tags={{{tags}}}")
    assert "17 bootstrap actions; EMR takes 16, ours among them." in said
    assert "55 tags; EMR takes 50, ours among them." in said


def test_notices() -> None:
    said = "\n".join(request_notices(settled("engine.release_label=emr-7.99.0")))
    assert said.startswith("engine.release_label=emr-7.99.0 is not known here (known up to")
    assert told("engine.release_label=emr-7.99.0") == ""
    live = filtered(settled(), source=CatalogueSource.live)
    assert any("AWS is asked at the launch" in one for one in request_notices(live))


def test_filters_choose_by_price_among_equals() -> None:
    def chosen(**filters: object) -> str:
        settings = filtered(settled(), **filters)
        assert problems_of(settings) == ""
        return describe(request(planned_run(settings, settings.steps["step_1"]))).split(" + ")[0]

    assert chosen(families=("m5d", "r5d")) == "2 x m5d.xlarge/r5d.xlarge"
    assert chosen(families=("m5d", "r5d"), types=1) == "2 x m5d.xlarge"
    assert chosen(families=("m5d",), vcpus=5, size_at_most="4xlarge") == "2 x m5d.2xlarge"
    assert chosen(storage_gb=1, families=("m5", "m5d")) == "2 x m5d.xlarge"


def test_filters_that_nothing_passes() -> None:
    assert problems_of(filtered(settled(), families=("nope",))) == (
        "cluster.filters: no instance type of emr-7.12.0 has 4 vCPUs or more, 14.4 GiB or more, of"
        " nope, x86_64 (as cluster.primary_instance_types). Ask for less, or leave cluster.filters"
        " out and name types in cluster.worker_instance_types."
    )
    assert "huge is no size" in problems_of(filtered(settled(), size_at_most="huge"))
    arm = problems_of(filtered(settled(), architecture=Architecture.arm64, families=("m6g",)))
    assert "m5d.xlarge (x86_64), m6g.xlarge (arm64)" in arm


def test_computing_in_words() -> None:
    def words(*overrides: str) -> str:
        return describe(request(run_of(*overrides)))

    assert words() == "2 x m5d.xlarge + m5d.xlarge"
    assert words("cluster=medium", "cluster.spot_share=0.5", "cluster.max_workers=8") == (
        "4 to 8 x m5d.2xlarge (2 spot) + m5d.xlarge"
    )
    assert words("launch.reuse_cluster=run") == "2 x m5d.xlarge + m5d.xlarge, shared"
    assert words("engine.cluster_id=j-1") == "existing cluster j-1"
