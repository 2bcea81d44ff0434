"""Requests against the SDK's own types: names, types and closed choices."""

from __future__ import annotations

from typing import Any

import pytest

from ascii_hydra.databricks.model import field_names, model_problems


def body(**task: Any) -> dict[str, Any]:
    cluster = {"spark_version": "17.3.x-scala2.13", "node_type_id": "m5d.xlarge", "num_workers": 2}
    script = {"python_file": "/Volumes/c/s/v/x.py", "parameters": ["a"], "source": "WORKSPACE"}
    whole = {"task_key": "step", "new_cluster": cluster, "spark_python_task": script, **task}
    return {"run_name": "x", "timeout_seconds": 60, "queue": {"enabled": True}, "tasks": [whole]}


def test_a_right_request_has_no_problems() -> None:
    assert model_problems("jobs.JobsAPI.submit", body()) == []
    assert model_problems("jobs.JobsAPI.submit", {**body(), "budget_policy_id": None}) == []
    found = model_problems(
        "compute.InstancePoolsAPI.create", {"instance_pool_name": "a", "node_type_id": "m5d.large"}
    )
    assert found == []


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            {"new_cluster": {"num_worker": 2}},
            "tasks[0].new_cluster.num_worker: there is no such field; did you mean num_workers?",
        ),
        (
            {"new_cluster": {"num_workers": "2"}},
            "tasks[0].new_cluster.num_workers: '2' is not a whole number",
        ),
        (
            {"new_cluster": {"num_workers": True}},
            "tasks[0].new_cluster.num_workers: True is not a whole number",
        ),
        (
            {"new_cluster": {"spark_conf": {"a": 1}}},
            "tasks[0].new_cluster.spark_conf.a: 1 is not a text",
        ),
        ({"new_cluster": {"spark_conf": {1: "a"}}}, "1 is no text, as a key must be"),
        (
            {"new_cluster": {"autoscale": 3}},
            "tasks[0].new_cluster.autoscale: 3 is not a mapping",
        ),
        (
            {"new_cluster": {"enable_elastic_disk": "yes"}},
            "tasks[0].new_cluster.enable_elastic_disk: 'yes' is not true or false",
        ),
        (
            {"new_cluster": {"runtime_engine": "FAST"}},
            "tasks[0].new_cluster.runtime_engine: 'FAST' is none of NULL, PHOTON, STANDARD",
        ),
        ({"spark_python_task": {}}, "tasks[0].spark_python_task.python_file: is missing"),
        (
            {"spark_python_task": {"python_file": "a", "parameters": "b"}},
            "tasks[0].spark_python_task.parameters: 'b' is not a list",
        ),
        ({"libraries": [{"pypi": {}}]}, "tasks[0].libraries[0].pypi.package: is missing"),
        (
            {"libraries": [{"spark": "a"}]},
            (
                "tasks[0].libraries[0].spark: there is no such field; known are cran, egg, jar,"
                " maven, pypi, requirements, whl"
            ),
        ),
    ],
)
def test_what_is_wrong_is_named(task: dict[str, Any], said: str) -> None:
    (found,) = model_problems("jobs.JobsAPI.submit", body(**task))
    assert found == said or found.endswith(said)


def test_everything_is_told_at_once() -> None:
    wrong = {"run_nam": "x", "tasks": [{"libraries": 1}], "queue": {}}
    assert model_problems("jobs.JobsAPI.submit", wrong) == [
        "run_nam: there is no such field; did you mean run_name?",
        "tasks[0].task_key: is missing",
        "tasks[0].libraries: 1 is not a list",
        "queue.enabled: is missing",
    ]
    assert model_problems("compute.ClusterSpec", []) == ["the request: [] is not a mapping"]


@pytest.mark.parametrize(
    "kind", ["compute.Nothing", "nothing.ClusterSpec", "compute", "compute.ClustersAPI"]
)
def test_what_the_sdk_does_not_have(kind: str) -> None:
    with pytest.raises(LookupError, match=kind):
        model_problems(kind, {})


def test_names_that_python_keeps_for_itself_are_those_of_the_api() -> None:
    assert "global" in field_names("compute.InitScriptEventDetails")
    assert "timeout" not in field_names("compute.ClustersAPI.create")
    assert {"spark_version", "autoscale"} <= set(field_names("compute.ClustersAPI.create"))
