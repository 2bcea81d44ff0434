"""The whole request of a step, for every cluster size and every way to ask for instances.

After a change that is meant, remake the files and read the difference:

    ASCII_HYDRA_REMAKE_GOLDEN=1 python -m pytest tests/emr_request/test_golden.py; git diff
"""

from __future__ import annotations

import json
import re

import botocore.session
import pytest
from botocore.serialize import create_serializer

from ascii_hydra.report.plan import compact_json
from tests.emr_request.asking import asked, run_of
from tests.golden_files import golden, readable

CASES = {
    "emr_small": ["cluster=small"],
    "emr_medium": ["cluster=medium"],
    "emr_large": ["cluster=large"],
    "emr_large_spot_graviton_shared": [
        "cluster=large",
        "cluster.spot_share=0.5",
        "cluster.max_workers=16",
        "cluster.worker_instance_types=[m6gd.4xlarge,m6g.4xlarge,m7g.4xlarge]",
        "cluster.primary_instance_types=[m6gd.xlarge,m7g.xlarge]",
        "engine.release_label=emr-spark-8.0.0",
        'engine.python_version="3.12"',
        "engine.subnets=[subnet-0a,subnet-0b]",
        "engine.step_concurrency=4",
        "launch.reuse_cluster=run",
    ],
    "emr_small_groups": [
        "cluster.instance_collection=groups",
        "cluster.spot_share=0.5",
        "cluster.worker_instance_types=[m5.xlarge]",
        "engine.subnets=[subnet-0a]",
        "+engine.key_name=a-key",
        "+engine.security_configuration=ours",
        "engine.bootstrap_actions=[{name: more, script: 's3://b/more.sh', arguments: [a, 'b c']}]",
        "engine.configurations=[{classification: spark-defaults, properties: {a.b: c}}]",
        "+engine.tags={team: data}",
        "+engine.spark_conf={spark.sql.ansi.enabled: 'true'}",
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_golden_one(case: str) -> None:
    made = re.sub(
        r'("Key": "ascii_hydra/config",\s*"Value": )"[0-9a-f]{12}"',
        r'\1"<config>"',
        readable(asked(run_of(*CASES[case]))),
    )
    assert made == golden(case, made)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_shows_the_whole_request_compactly(case: str) -> None:
    whole = asked(run_of(*CASES[case])).as_json()
    shown = compact_json(whole)
    assert json.loads(shown) == whole
    assert shown.count("\n") < 0.7 * json.dumps(whole, indent=2).count("\n")


@pytest.mark.parametrize("case", CASES)
def test_botocore_sends_the_request_as_it_is(case: str) -> None:
    request = asked(run_of(*CASES[case]))
    model = botocore.session.get_session().get_service_model("emr")
    sent = create_serializer("json", include_validation=True)
    for operation, arguments in (
        ("RunJobFlow", request.run_job_flow),
        ("AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": [request.step_config]}),
    ):
        made = sent.serialize_to_request(arguments, model.operation_model(operation))
        assert json.loads(made["body"]) == arguments
