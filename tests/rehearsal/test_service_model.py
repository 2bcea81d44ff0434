"""What breaks a service's model is said in full, with the place and what is allowed."""

from __future__ import annotations

import pytest
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationNotFoundError

from ascii_hydra.aws.model import _pattern, model_problems, service_model

FLEET = "Instances.InstanceFleets[0]"


def flow(**changes):
    return {
        "Name": "x",
        "Instances": {"InstanceFleets": [{"InstanceFleetType": "MASTER"}]},
    } | changes


def fleet(**changes):
    return flow(Instances={"InstanceFleets": [{"InstanceFleetType": "MASTER", **changes}]})


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"Instances": {}}, "Name: is missing"),
        (flow(Nam="x"), "Nam: there is no such member; did you mean Name?"),
        (flow(Name=1), "Name: 1 is not a text"),
        (flow(Name="x" * 257), "Name: 257 characters, allowed are 0 to 256"),
        (flow(Name="a\x00b"), "Name: 'a\\x00b' does not match"),
        (flow(Tags={"Key": "k"}), "Tags: {'Key': 'k'} is not a list"),
        (flow(EbsRootVolumeSize=True), "EbsRootVolumeSize: True is not a whole number"),
        (flow(EbsRootVolumeSize=1.5), "EbsRootVolumeSize: 1.5 is not a whole number"),
        (flow(VisibleToAllUsers=1), "VisibleToAllUsers: 1 is not true or false"),
        (fleet(InstanceFleetType="CORES"), f"{FLEET}.InstanceFleetType: 'CORES' is none of MASTER"),
        (fleet(TargetSpotCapacity=-1), f"{FLEET}.TargetSpotCapacity: -1, allowed are at least 0"),
        (
            fleet(LaunchSpecifications={"SpotSpecification": {"TimeoutDurationMinutes": 5}}),
            f"{FLEET}.LaunchSpecifications.SpotSpecification.TimeoutAction: is missing",
        ),
        (
            flow(Configurations=[{"Classification": "c", "Properties": {"a": 1}}]),
            "Configurations[0].Properties.a: 1 is not a text",
        ),
        (flow(StepExecutionRoleArn="arn"), "StepExecutionRoleArn: 3 characters, allowed are 20"),
    ],
)
def test_each_problem_names_its_place(params, problem: str) -> None:
    (found,) = [one for one in model_problems("emr", "RunJobFlow", params) if problem in one]
    assert found.startswith(problem)


def test_all_problems_at_once_and_none_of_a_good_request() -> None:
    broken = model_problems("emr", "RunJobFlow", {"Nam": 1, "Instances": 2, "Tags": 3})
    assert [one.partition(":")[0] for one in broken] == ["Name", "Nam", "Instances", "Tags"]
    assert model_problems("emr", "RunJobFlow", flow(Name="naïve 🚀 $(x)")) == []


def test_times_may_be_told_in_each_way_that_boto3_takes() -> None:
    for time in (1.5, 2, "2026-11-20T10:00:00Z"):
        assert model_problems("emr", "ListClusters", {"CreatedAfter": time}) == []


def test_every_pattern_of_emr_is_checked() -> None:
    shapes = service_model("emr")._service_description["shapes"].values()
    patterns = {shape["pattern"] for shape in shapes if "pattern" in shape}
    assert patterns
    assert all(_pattern(one) is not None for one in patterns)


def test_what_is_not_known_is_not_passed_over() -> None:
    with pytest.raises(UnknownServiceError):
        model_problems("emrr", "RunJobFlow", {})
    with pytest.raises(OperationNotFoundError):
        model_problems("emr", "RunJobFlows", {})
