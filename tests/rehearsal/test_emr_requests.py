"""What EMR refuses and how, what it lists and how, and that its replies fit its model."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from ascii_hydra.aws.model import reply_problems
from tests.rehearsal.conftest import BUCKET, CORE, MASTER, TASK, Rehearsed

GROUP = {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}
TYPES = (
    *("m5.xlarge", "m5.2xlarge", "m5.4xlarge", "m5d.xlarge", "m5d.2xlarge", "r5.xlarge"),
    *("r5.2xlarge", "c5.xlarge"),
)


def core(*types: str, **changes):
    configs = [{"InstanceType": one} for one in types]
    return {"InstanceFleets": [MASTER, {**CORE, "InstanceTypeConfigs": configs, **changes}]}


STRATEGY = {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}}


def refused(cloud: Rehearsed, operation: str, **params) -> str:
    """The code and message with which AWS refuses a call."""
    with pytest.raises(ClientError) as fault:
        getattr(cloud.emr, operation)(**params)
    error = fault.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ReleaseLabel": "emr-99.0.0"}, "The supplied release label is invalid: emr-99.0.0."),
        ({"ServiceRole": ""}, "ServiceRole is required for creating cluster."),
        ({"JobFlowRole": ""}, "InstanceProfile is required for creating cluster."),
        ({"JobFlowRole": "no spaces"}, "Invalid InstanceProfile: no spaces."),
        ({"LogUri": "/tmp/logs"}, "is not a valid S3 path"),
        ({"StepConcurrencyLevel": 300}, "StepConcurrencyLevel must be between 1 and 256"),
        ({"AutoTerminationPolicy": {"IdleTimeout": 59}}, "IdleTimeout must be between 60 and"),
        ({"AutoTerminationPolicy": {"IdleTimeout": 604_801}}, "IdleTimeout must be between 60"),
        ({"Tags": [{"Key": "a"}, {"Key": "a"}]}, "keys of tags must differ"),
        ({"Tags": [{"Key": "aws:a"}]}, "The tag 'aws:a' is not valid"),
        ({"Tags": [{"Key": str(n)} for n in range(51)]}, "At most 50 tags"),
        ({"ManagedScalingPolicy": {}}, "ComputeLimits must be specified"),
        ({"Instances": core("zz.big")}, "Instance type 'zz.big' is not supported."),
        ({"Instances": core("m5.large")}, "Instance type 'm5.large' is not supported."),
        ({"Instances": core("m6g.xlarge")}, "must have one architecture"),
        ({"Instances": core("m5.xlarge", "m5.xlarge")}, "must differ"),
        ({"Instances": core()}, "must have at least one instance type"),
        ({"Instances": core(*TYPES[:6])}, "at most 5 are allowed without an allocation strategy"),
        ({"Instances": core("m5.xlarge", TargetOnDemandCapacity=0)}, "capacity of at least 1"),
        (
            {"Instances": core("m5.xlarge", TargetSpotCapacity=1)},
            "asks for Spot and has no SpotSpecification",
        ),
        ({"Instances": {"InstanceFleets": [CORE]}}, "Exactly one MASTER instance fleet"),
        ({"Instances": {"InstanceGroups": [GROUP]}}, "instance groups or instance fleets, but not"),
        ({"Instances": {"Ec2SubnetIds": ["a"], "Ec2SubnetId": "a"}}, "but not both"),
        ({"Instances": {"EmrManagedMasterSecurityGroup": "sg-1"}}, "must be specified together"),
    ],
)
def test_clusters_that_are_refused(cloud: Rehearsed, changes, why: str) -> None:
    said = refused(cloud, "run_job_flow", **cloud.flow(cloud.step(), **changes))
    assert said.startswith("ValidationException: ")
    assert why in said


def test_several_subnets_are_for_fleets(cloud: Rehearsed) -> None:
    request = cloud.flow()
    request["Instances"] = {"InstanceGroups": [GROUP], "Ec2SubnetIds": ["a", "b"]}
    assert "instance fleets only" in refused(cloud, "run_job_flow", **request)
    allowed = cloud.kept(Instances={"Ec2SubnetIds": ["subnet-a", "subnet-b"]})
    network = cloud.cluster(allowed)["Ec2InstanceAttributes"]
    assert network["RequestedEc2SubnetIds"] == ["subnet-a", "subnet-b"]
    assert network["Ec2SubnetId"] == "subnet-a"
    more = cloud.kept(Instances=core(*TYPES, LaunchSpecifications=STRATEGY))
    for cluster in (allowed, more):
        cloud.end(cluster)


def test_limits_of_scaling_must_fit_together(cloud: Rehearsed) -> None:
    limits = {"UnitType": "Instances", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 1}
    request = cloud.flow(ManagedScalingPolicy={"ComputeLimits": limits})
    assert "not more than MaximumCapacityUnits" in refused(cloud, "run_job_flow", **request)
    limits |= {"MaximumCapacityUnits": 4, "MaximumCoreCapacityUnits": 5}
    assert "must be between 1 and 4" in refused(cloud, "run_job_flow", **request)


def test_a_request_must_fit_the_model_in_all_details(cloud: Rehearsed) -> None:
    lenient = cloud.client("emr", parameter_validation=False)
    with pytest.raises(ClientError, match="2 validation errors detected") as fault:
        lenient.run_job_flow(Name="x" * 300, Instances={"InstanceFleets": [{}]})
    assert "Name: 300 characters" in str(fault.value)
    assert "InstanceFleets[0].InstanceFleetType: is missing" in str(fault.value)
    assert cloud.get("alive") == []


def test_steps_that_are_refused(cloud: Rehearsed) -> None:
    cloud.configure(step_minutes=60)
    cluster = cloud.kept()
    add = {"JobFlowId": cluster}
    long = cloud.step("x" * 5120, "y" * 5105)
    assert "exceeds the total of 10240" in refused(cloud, "add_job_flow_steps", **add, Steps=[long])
    fits = cloud.step("state-pusher-script", "y" * (10_240 - 18 - 19))
    cloud.emr.add_job_flow_steps(**add, Steps=[fits] + [cloud.step()] * 255)
    many = refused(cloud, "add_job_flow_steps", **add, Steps=[cloud.step()])
    assert many.startswith("ValidationException: Maximum number of active steps (State = 'Running'")
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster])
    late = refused(cloud, "add_job_flow_steps", **add, Steps=[cloud.step()])
    expected = "A job flow that is shutting down, terminating, or finished may not be modified."
    assert late == f"ValidationException: {expected}"
    cloud.until_state(cluster)
    side_by_side = cloud.flow(cloud.step(action="CANCEL_AND_WAIT"), StepConcurrencyLevel=2)
    assert "CANCEL_AND_WAIT is not valid" in refused(cloud, "run_job_flow", **side_by_side)


def test_what_does_not_exist(cloud: Rehearsed) -> None:
    cluster, other = cloud.kept(), {"ClusterId": "j-NOSUCH"}
    unknown = "InvalidRequestException: Cluster id 'j-NOSUCH' is not valid."
    assert refused(cloud, "describe_cluster", **other) == unknown
    assert refused(cloud, "list_steps", **other) == unknown
    no_flow = "ValidationException: Specified job flow ID does not exist."
    assert refused(cloud, "terminate_job_flows", JobFlowIds=["j-NOSUCH"]) == no_flow
    assert refused(cloud, "add_job_flow_steps", JobFlowId="j-X", Steps=[cloud.step()]) == no_flow
    no_step = "InvalidRequestException: Step id 's-NOSUCH' is not valid."
    at = {"ClusterId": cluster}
    assert refused(cloud, "describe_step", **at, StepId="s-NOSUCH") == no_step
    assert refused(cloud, "cancel_steps", **at, StepIds=["s-NOSUCH"]) == no_step
    groups = refused(cloud, "list_instance_groups", **at)
    assert groups.startswith("InvalidRequestException: Instance groups and instance fleets are")
    assert "UnknownOperation" in refused(cloud, "list_studios")
    elsewhere = cloud.client("emr", region="eu-west-1")
    with pytest.raises(ClientError, match="is not valid"):
        elsewhere.describe_cluster(ClusterId=cluster)
    cloud.end(cluster)


def test_lists_come_in_pages(cloud: Rehearsed) -> None:
    cloud.configure(step_minutes=600)
    steps = [cloud.step(name=f"step {number}") for number in range(120)]
    cluster = cloud.kept(*steps)
    page = cloud.emr.list_steps(ClusterId=cluster)
    assert [one["Name"] for one in page["Steps"][:2]] == ["step 119", "step 118"], "newest first"
    assert len(page["Steps"]) == 50
    pages = list(cloud.emr.get_paginator("list_steps").paginate(ClusterId=cluster))
    assert [len(one["Steps"]) for one in pages] == [50, 50, 20]
    ids = [one["Id"] for one in page["Steps"][:3]]
    some = cloud.emr.list_steps(ClusterId=cluster, StepIds=ids)["Steps"]
    assert [one["Id"] for one in some] == ids

    def found():
        return cloud.emr.list_steps(ClusterId=cluster, StepStates=["RUNNING"])["Steps"]

    running = cloud.until(found)
    assert [one["Name"] for one in running] == ["step 0"]
    too_many = [one["Id"] for one in page["Steps"][:11]]
    assert "At most 10 StepIds" in refused(cloud, "list_steps", ClusterId=cluster, StepIds=too_many)
    cloud.end(cluster)


def test_clusters_are_found_by_state_and_time(cloud: Rehearsed) -> None:
    ended = cloud.run()
    created = cloud.until_state(ended)["Timeline"]["CreationDateTime"]
    living = cloud.kept(Name="living")
    active = cloud.emr.list_clusters(ClusterStates=["STARTING", "BOOTSTRAPPING", "WAITING"])
    assert [(one["Id"], one["Name"]) for one in active["Clusters"]] == [(living, "living")]
    # botocore sends whole seconds.
    since = cloud.emr.list_clusters(CreatedAfter=created - timedelta(seconds=1))["Clusters"]
    assert [one["Id"] for one in since] == [living, ended]
    before = cloud.emr.list_clusters(CreatedBefore=created + timedelta(seconds=1))["Clusters"]
    assert living not in [one["Id"] for one in before]
    cloud.end(living)


def test_releases_and_what_they_take(cloud: Rehearsed) -> None:
    labels = cloud.emr.list_release_labels(Filters={"Prefix": "emr-7"})["ReleaseLabels"]
    assert "emr-7.12.0" in labels
    assert all(one.startswith("emr-7") for one in labels)
    first = cloud.emr.list_release_labels(MaxResults=2)
    second = cloud.emr.list_release_labels(MaxResults=2, NextToken=first["NextToken"])
    assert not set(first["ReleaseLabels"]) & set(second["ReleaseLabels"])
    described = cloud.emr.describe_release_label(ReleaseLabel="emr-7.12.0")
    assert described["Applications"][0]["Name"] == "Spark"
    types, marker = [], {"Marker": "0"}
    while marker:
        page = cloud.emr.list_supported_instance_types(ReleaseLabel="emr-7.12.0", **marker)
        types += page["SupportedInstanceTypes"]
        marker = {"Marker": page["Marker"]} if "Marker" in page else {}
    xlarge = next(one for one in types if one["Type"] == "m5.xlarge")
    assert (xlarge["VCPU"], xlarge["MemoryGB"], xlarge["Architecture"]) == (4, 16, "X86_64")
    assert len({one["Type"] for one in types}) == len(types) > 300
    unknown = refused(cloud, "describe_release_label", ReleaseLabel="emr-99.0.0")
    assert "release label is invalid" in unknown


def test_every_reply_fits_the_service_model(cloud: Rehearsed, uploaded) -> None:
    """boto3 passes over what it does not know; here a reply is compared with the model itself."""

    def call(operation: str, **params):
        request = Request(
            cloud.url,
            json.dumps(params).encode(),
            {"X-Amz-Target": f"ElasticMapReduce.{operation}"},
        )
        with urlopen(request, timeout=30) as answer:
            content = answer.read()
        reply = json.loads(content)
        if content != b"{}":  # for operations that answer nothing
            assert reply_problems("emr", operation, reply) == [], operation
        return reply

    actions = [
        {"Name": "a", "ScriptBootstrapAction": {"Path": uploaded("setup.sh", b""), "Args": ["1"]}}
    ]
    limits = {"UnitType": "Instances", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 4}
    ebs = {
        "EbsBlockDeviceConfigs": [
            {
                "VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 64},
                "VolumesPerInstance": 2,
            }
        ]
    }
    configs = [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1, "EbsConfiguration": ebs}]
    flow = cloud.flow(
        cloud.step("hive", action="CONTINUE"),
        BootstrapActions=actions,
        Instances={"InstanceFleets": [MASTER, {**CORE, "InstanceTypeConfigs": configs}, TASK]},
        ManagedScalingPolicy={"ComputeLimits": limits},
        Configurations=[{"Classification": "spark", "Properties": {"a": "b"}}],
        Tags=[{"Key": "a", "Value": "b"}],
    )
    flow["Instances"]["KeepJobFlowAliveWhenNoSteps"] = True
    cluster = call("RunJobFlow", **flow)["JobFlowId"]
    cloud.until_step(cluster, "FAILED")
    at = {"ClusterId": cluster}
    step = call("ListSteps", **at)["Steps"][0]["Id"]
    call("DescribeStep", **at, StepId=step)
    call("CancelSteps", **at, StepIds=[step])
    for operation in (
        *("DescribeCluster", "ListInstances", "ListInstanceFleets", "ListBootstrapActions"),
        *("GetManagedScalingPolicy", "GetAutoTerminationPolicy"),
    ):
        call(operation, **at)
    call("ModifyCluster", **at, StepConcurrencyLevel=2)
    call("AddJobFlowSteps", JobFlowId=cluster, Steps=[cloud.step(action="CONTINUE")])
    call("PutAutoTerminationPolicy", **at, AutoTerminationPolicy={"IdleTimeout": 3600})
    for operation in ("ListClusters", "ListReleaseLabels"):
        call(operation)
    call("DescribeReleaseLabel", ReleaseLabel="emr-7.12.0")
    call("ListSupportedInstanceTypes", ReleaseLabel="emr-7.12.0")
    volumes = call("ListInstanceFleets", **at)["InstanceFleets"][1]["InstanceTypeSpecifications"]
    assert [one["Device"] for one in volumes[0]["EbsBlockDevices"]] == ["/dev/sdb", "/dev/sdc"]
    call("TerminateJobFlows", JobFlowIds=[cluster])
    cloud.until_state(cluster)
    call("DescribeCluster", **at)
    groups = cloud.flow()
    groups["Instances"] = {"InstanceGroups": [GROUP]}
    grouped = call("RunJobFlow", **groups)["JobFlowId"]
    call("ListInstanceGroups", ClusterId=grouped)
    cloud.until_state(grouped)


def test_a_body_that_is_no_json_is_refused(cloud: Rehearsed) -> None:
    headers = {"X-Amz-Target": "ElasticMapReduce.ListClusters"}
    with pytest.raises(HTTPError) as fault:
        urlopen(Request(cloud.url, b"{", headers), timeout=30)
    assert json.load(fault.value)["__type"] == "ValidationException"


def test_other_services_that_a_launch_asks(cloud: Rehearsed) -> None:
    types = cloud.client("ec2").describe_instance_types(InstanceTypes=["m5.xlarge"])
    assert types["InstanceTypes"][0]["VCpuInfo"]["DefaultVCpus"] == 4
    assert cloud.client("sts").get_caller_identity()["Account"]
    operations = [one["operation"] for one in cloud.get("calls")]
    assert "s3:CreateBucket" in operations
    assert BUCKET in [one["Name"] for one in cloud.s3.list_buckets()["Buckets"]]
