"""A user's emr_job_config over our RunJobFlow: theirs counts, ours stays."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.engines.emr.job_config import merged, merged_configurations
from tests.emr_request.asking import asked, flow_of, run_of, told, words_of

PLAIN = st.recursive(
    st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.text(max_size=3), PLAIN, max_size=4)
PROPERTIES = st.dictionaries(st.sampled_from("abcd"), st.text(max_size=3), max_size=3)
CONFIGURATIONS = st.lists(
    st.fixed_dictionaries(
        {"Classification": st.sampled_from(["spark", "spark-defaults", "yarn-site"])},
        optional={"Properties": PROPERTIES},
    ),
    max_size=4,
)


@given(MAPPINGS, MAPPINGS)
def test_merging_loses_and_changes_nothing(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    before = copy.deepcopy((ours, theirs))
    made = merged(ours, theirs)
    assert (ours, theirs) == before
    assert set(made) == set(ours) | set(theirs)
    assert merged(ours, {}) == ours
    assert merged({}, theirs) == theirs
    assert merged(made, theirs) == made
    for key in set(ours) - set(theirs):
        assert made[key] == ours[key]


@given(CONFIGURATIONS, CONFIGURATIONS)
def test_configurations_are_one_of_each_with_all_properties(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> None:
    made = merged_configurations(ours, theirs)
    names = [one["Classification"] for one in made]
    assert len(set(names)) == len(names)
    for name in names:
        wanted: dict[str, str] = {}
        for one in (*ours, *theirs):
            if one["Classification"] == name:
                wanted |= one.get("Properties", {})
        (found,) = (one for one in made if one["Classification"] == name)
        assert found.get("Properties", {}) == wanted


def test_a_users_spark_defaults_are_kept_with_ours() -> None:
    theirs = {
        "Configurations": [
            {"Classification": "spark-defaults", "Properties": {"spark.x": "1", "spark.y": True}},
            {
                "Classification": "spark-env",
                "Configurations": [{"Classification": "export", "Properties": {"A": "b"}}],
            },
        ]
    }
    made = asked(run_of(emr_job_config=theirs))
    assert made.run_job_flow is not None
    by_name = {one["Classification"]: one for one in made.run_job_flow["Configurations"]}
    assert (
        by_name["spark-defaults"]["Properties"].items()
        >= {
            "spark.yarn.am.nodeLabelExpression": "CORE",
            "spark.x": "1",
            "spark.y": "true",
        }.items()
    )
    assert by_name["spark-env"]["Configurations"][0]["Properties"] == {"A": "b"}
    # Pipes is told by the step's own arguments, which no configuration of a cluster reaches.
    assert words_of(made) == words_of(asked(run_of()))


def test_tags_bootstraps_and_applications_are_added_and_other_lists_replaced() -> None:
    flow = flow_of(
        "+engine.tags={team: data}",
        emr_job_config={
            "Tags": [{"Key": "team", "Value": "other"}, {"Key": "cost", "Value": "1"}],
            "Applications": [{"Name": "Livy"}, {"Name": "Spark"}],
            "BootstrapActions": [{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://b/x"}}],
            "Instances": {"AdditionalMasterSecurityGroups": ["sg-1"]},
        },
    )
    tags = {one["Key"]: one["Value"] for one in flow["Tags"]}
    assert (tags["team"], tags["cost"], tags["project"]) == ("other", "1", "ascii_hydra")
    assert [one["Name"] for one in flow["Applications"]] == ["Hadoop", "Spark", "Livy"]
    assert [one["Name"] for one in flow["BootstrapActions"]] == ["ascii_hydra-max-lifetime", "b"]
    assert flow["Instances"]["AdditionalMasterSecurityGroups"] == ["sg-1"]
    assert len(flow["Instances"]["InstanceFleets"]) == 2


def test_a_users_own_instances_take_the_place_of_ours() -> None:
    groups = [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}]
    instances = flow_of(
        "engine.subnets=[subnet-0a,subnet-0b]",
        emr_job_config={"Instances": {"InstanceGroups": groups, "Ec2SubnetId": "subnet-0c"}},
    )["Instances"]
    assert instances["InstanceGroups"] == groups
    assert "InstanceFleets" not in instances
    assert "Ec2SubnetIds" not in instances
    assert instances["KeepJobFlowAliveWhenNoSteps"] is False


def test_what_may_not_be_set_and_what_is_misspelled() -> None:
    said = told(
        emr_job_config={
            "Instanecs": {},
            "Steps": [],
            "Name": "mine",
            "Instances": {"KeepJobFlowAliveWhenNoSteps": True, "TerminationProtected": True},
            "Tags": [{"Key": "ascii_hydra/token", "Value": "x"}, {"Value": "y"}],
            "Configurations": [{"Classification": "spark", "Properties": [1]}],
        }
    )
    at = "pipeline.steps.step_1.emr_job_config"
    assert f"Did you mean {at}.Instances?" in said
    for key in ("Steps", "Name", "Instances.KeepJobFlowAliveWhenNoSteps", "Tags[0]", "Tags[1]"):
        assert f"{at}.{key}: " in said
    assert f"{at}.Instances.TerminationProtected: " in said
    assert f"{at}.Configurations[0].Properties: must be a mapping." in said


def test_botocores_model_and_the_catalogue_check_a_users_members() -> None:
    said = told(
        emr_job_config={
            "EbsRootVolumeSize": "big",
            "ScaleDownBehavior": "LATER",
            "Instances": {"InstanceFleets": [fleet("CORE", ["m5.large"] * 6)]},
        }
    )
    at = "pipeline.steps.step_1.emr_job_config"
    assert f"{at}: EbsRootVolumeSize: 'big' is not a whole number." in said
    assert f"{at}: ScaleDownBehavior: 'LATER' is none of TERMINATE_AT" in said
    assert f"{at}.Instances: m5.large is not offered by EMR; the smallest m5 is m5.xlarge." in said
    assert f"{at}.Instances: 6 types in a fleet; EMR takes 5, and 30 with" in said


def fleet(role: str, types: list[str]) -> dict[str, Any]:
    return {
        "InstanceFleetType": role,
        "TargetOnDemandCapacity": 1,
        "InstanceTypeConfigs": [{"InstanceType": one} for one in types],
    }
