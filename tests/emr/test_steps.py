"""Steps that really run: green if EMR and the step both say so, and for no other reason."""

from __future__ import annotations

import threading

import dagster as dg

from ascii_hydra.engines import pipes_folder
from ascii_hydra.engines.emr.sizing import properties
from ascii_hydra.engines.emr.submit_words import spark_conf_in
from tests.emr.conftest import BUCKET
from tests.emr_request.asking import asked, run_of, words_of
from tests.rehearsal_cloud import STEP


def fault(on: str, effect: str, **more):
    return {"target": on, "effect": effect, **more}


def test_a_step_succeeds_and_leaves_nothing(bench, cloud):
    ended = bench.run(bench.request("good", arguments=("hello",)))
    assert ended.green, ended.cause
    made = ended.materialized
    assert made["me"] == "hello"
    (handle,) = ended.handles
    assert handle.items() <= {key: str(value) for key, value in made.items()}.items()
    (cluster,) = cloud.clusters("tests/good")
    assert cluster["Id"] == handle["emr/cluster_id"]
    assert cloud.alive() == []
    assert cloud.keys("pipes/") == []
    states = [line.rpartition(" ")[2] for line in bench.told if "step s-" in line]
    assert states[-1] == "COMPLETED"


def test_a_step_of_ten_hours_costs_neither_patience_nor_many_calls(bench, cloud):
    """E5, E6: the stock client waits 30 minutes, and wants to see the cluster running. This one
    ends between two looks."""
    cloud.behave(step_minutes=600, speed=20_000)
    begun = cloud.clock.now()
    ended = bench.run(bench.request("long", timeout_s=12 * 3600.0, poll_s=300.0))
    assert ended.green, ended.cause
    assert cloud.clock.now() - begun > 36_000
    assert cloud.calls("ListSteps") < 300


def test_spark_is_told_the_sizes_that_the_plan_shows(bench, cloud):
    """Sizes are the cluster's settings, and a step's own `--conf` comes before them."""
    planned = asked(run_of())
    own = "+engine.spark_conf={spark.executor.memory: 2g}"
    keys = "executor.memory executor.cores dynamicAllocation.initialExecutors"
    source = f"""
        from pyspark.sql import SparkSession
        conf = SparkSession.builder.getOrCreate().sparkContext.getConf()
        told = {{key: conf.get("spark." + key) or "" for key in {keys.split()!r}}}
        with opened() as context:
            context.report_asset_materialization(metadata=told)
        """
    configurations = {"Configurations": planned.run_job_flow["Configurations"]}
    ended = bench.run(bench.request("sized", source, flow=configurations))
    assert ended.green, ended.cause
    made = ended.materialized
    assert made["executor.cores"] == "4"
    assert made["executor.memory"] == "7572m"
    assert made["dynamicAllocation.initialExecutors"] == "2"
    (cluster,) = cloud.clusters("tests/sized")
    told = cloud.emr.describe_cluster(ClusterId=cluster["Id"])["Cluster"]["Configurations"]
    assert properties({"Configurations": told}, "spark-defaults")["spark.driver.memory"] == "1877m"

    words = words_of(asked(run_of(own)))
    assert "spark.executor.memory=2g" in words
    assert spark_conf_in(asked(run_of(own)).step_config)["spark.executor.memory"] == "2g"


def test_a_raised_exception_is_the_cause(bench, cloud):
    cloud.behave(fault("logs", "logs_late", seconds=100_000, times=99))
    ended = bench.run(
        bench.request(
            "raising",
            """
            with opened():
                raise KeyError("text")
            """,
        )
    )
    assert ended.cause == "raising raised KeyError: 'text'"
    assert ended.evidence["emr/step_state"] == "FAILED"


def test_the_log_is_read_when_the_step_itself_says_nothing(bench, cloud):
    """E10, E11: it comes late, and lies where a step in cluster mode has it."""
    cloud.behave(fault("logs", "logs_late", seconds=10, times=99))
    ended = bench.run(bench.request("mute", "raise ValueError('no rows, no columns')"))
    assert "ValueError: no rows, no columns" in ended.cause
    assert "ValueError: no rows, no columns" in ended.evidence["emr/log_tail"]
    assert "/containers/application_" in ended.evidence["emr/log_files"]


def test_missing_logs_change_no_verdict(bench, cloud):
    cloud.behave(fault("logs", "logs_missing", times=99))
    ended = bench.run(bench.request("bare", "sys.exit(3)", log_wait_s=5.0))
    assert ended.cause.startswith("bare failed")
    assert ended.evidence["emr/log_tail"] == "(no log)"


def test_no_message_no_green(bench, cloud):
    """G1: EMR says COMPLETED, and stock Pipes believes it."""
    ended = bench.run(bench.request("silent", "print('done')"))
    assert "silent ended without any Dagster Pipes message" in ended.cause
    assert ended.evidence["emr/step_state"] == "COMPLETED"


def test_a_step_that_writes_nothing_is_not_green(bench):
    """An empty table is a table, and what an earlier run has left is not this one's."""

    def made(*more):
        output = f"s3://{BUCKET}/output/emr_unwritten"
        told = ("--engine=emr", "--mode=full", f"--output={output}", *more)
        return bench.run(bench.request("unwritten", STEP, arguments=told))

    empty = made("--parameter=rows=0")
    assert empty.green, empty.cause
    assert not [line for line in empty.logged if "nobody can tell" in line]
    idle = made().cause
    assert "unwritten raised OutputNotWrittenError: nothing was written to " in idle
    assert "file(s) there are of an earlier run. Write to self.output" in idle


def test_what_another_asset_would_report_is_refused(bench, cloud):
    ended = bench.run(
        bench.request(
            "stranger",
            """
            with opened() as context:
                context._data["asset_keys"] = ["stranger", "other"]
                context.report_asset_materialization(asset_key="other")
            """,
        )
    )
    assert "reported the asset 'other'" in ended.cause or "rejects" in ended.cause


def test_a_lost_instance(bench, cloud):
    cloud.behave(fault("step", "step_interrupted"))
    ended = bench.run(bench.request("spotty", "time.sleep(60)"))
    assert "spotty lost the instances that it ran on" in ended.cause
    assert "cluster.spot_share" in ended.cause


def test_a_killed_driver(bench, cloud):
    cloud.behave(fault("step", "step_killed"))
    ended = bench.run(bench.request("killed", "time.sleep(60)"))
    assert "killed ran out of memory" in ended.cause, ended.evidence


def test_a_step_that_takes_too_long_is_stopped(bench, cloud):
    ended = bench.run(
        bench.request(
            "slow",
            """
            with opened():
                time.sleep(300)
            """,
            timeout_s=4.0,
            poll_s=1.0,
        )
    )
    assert ended.cause.startswith("slow was stopped after its time limit of 4 s")
    assert cloud.alive() == []


def test_a_step_that_ends_before_it_can_be_stopped_has_succeeded(bench, cloud):
    """EMR refuses to end its cluster for two minutes; meanwhile it ends itself."""
    cloud.behave(
        fault("TerminateJobFlows", "throttled", times=99),
        provisioning_seconds=60,
        step_minutes=5,
        speed=100,
    )
    ended = bench.run(bench.request("punctual", timeout_s=200.0))
    assert ended.green, ended.cause


def test_messages_that_cannot_be_read_end_the_step(bench, cloud, monkeypatch):
    monkeypatch.setattr(pipes_folder, "_DENIED_S", 1.0)  # they could be read before
    cloud.behave(fault("s3:GetObject", "refused", code="AccessDenied", after=4, times=10_000))
    ended = bench.run(bench.request("unheard", "time.sleep(300)"))
    assert "unheard was given up: its messages in" in ended.cause
    assert "allow s3:ListBucket on the bucket and s3:GetObject" in ended.cause
    assert cloud.alive() == []


def test_two_steps_at_once_share_a_cluster_of_their_launch(bench, cloud):
    """E1, R1, and the truth of each step on a cluster that lives on (E7)."""
    client = bench.client(launch_id="launch-1")
    two = {"StepConcurrencyLevel": 2}
    requests = [
        bench.request("left", arguments=("l",), shared=True, flow=two),
        bench.request("right", "sys.exit(3)", shared=True, flow=two, log_wait_s=0.0),
    ]
    ended = {}

    def run(request) -> None:
        ended[request.step] = bench.run(request, client)

    threads = [threading.Thread(target=run, args=(one,)) for one in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended["left"].materialized["me"] == "l"
    assert ended["right"].cause.startswith("right failed")
    assert cloud.calls("RunJobFlow") == 1
    assert len(cloud.clusters("launch-1")) == 1
    assert len(cloud.alive()) == 1


def test_a_lost_reply_adds_no_second_step(bench, cloud):
    cloud.behave(fault("AddJobFlowSteps", "reply_lost"))
    ended = bench.run(bench.request("once", shared=True), bench.client(launch_id="launch-2"))
    assert ended.green, ended.cause
    (cluster,) = cloud.clusters("launch-2")
    assert len(cloud.steps(cluster["Id"])) == 1
    assert cloud.calls("AddJobFlowSteps") == 1


def test_a_step_retried_by_dagster_does_not_see_what_its_first_attempt_said(bench, cloud):
    """The messages of each attempt have a folder of their own."""
    source = """
    import urllib.request
    with opened() as context:
        if context.retry_number == 0:
            raise RuntimeError("not yet")
        context.report_asset_materialization(metadata={"me": context.retry_number})
    """
    ended = bench.run(bench.request("again", source), retry_policy=dg.RetryPolicy(max_retries=1))
    assert ended.green
    assert ended.materialized["me"] == 1
    assert len(cloud.clusters("tests/again")) == 2
    assert cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix="ascii_hydra/pipes/")["KeyCount"] == 0


def test_pipes_left_open_is_no_green(bench, cloud):
    ended = bench.run(
        bench.request(
            "hasty",
            """
            context = opened()
            context.report_asset_materialization(metadata={"rows": 1})
            time.sleep(3)
            os._exit(0)
            """,
        )
    )
    assert "hasty ended without closing Dagster Pipes" in ended.cause
    assert ended.evidence["emr/step_state"] == "COMPLETED"


def test_a_second_cluster_may_fare_better(bench, cloud):
    cloud.behave(fault("cluster", "start_failure"))
    ended = bench.run(bench.request("lucky", arguments=("second",)))
    assert ended.green, ended.cause
    assert ended.materialized["me"] == "second"
    assert ended.materialized["emr/cluster_id"] == cloud.clusters("tests/lucky")[0]["Id"]
    assert cloud.calls("RunJobFlow") == 2


def test_a_cluster_that_loses_its_instances(bench, cloud):
    cloud.behave(fault("cluster", "instance_failure"))
    ended = bench.run(bench.request("stranded", "time.sleep(60)"))
    assert "stranded lost the instances that it ran on" in ended.cause
    assert cloud.calls("RunJobFlow") == 1


def test_a_cluster_that_reaches_the_end_of_its_lifetime(bench, cloud):
    cloud.behave(step_minutes=600)
    cloud.s3.put_object(Bucket=BUCKET, Key="lifetime.sh", Body=b"#!/bin/sh\n")
    script = {"Path": f"s3://{BUCKET}/lifetime.sh", "Args": ["3600"]}
    action = {"Name": "ascii_hydra-max-lifetime", "ScriptBootstrapAction": script}
    request = bench.request(
        "overdue", "pass", flow={"BootstrapActions": [action]}, log_wait_s=0.0, timeout_s=36_000.0
    )
    ended = bench.run(request)
    assert "overdue was still there when its cluster reached the end of its lifetime" in ended.cause


def test_a_request_is_as_it_was(bench, cloud):
    """E2: the stock client changes the caller's own configuration."""
    request = bench.request("unchanged", "pass", log_wait_s=0.0)
    before = repr(request)
    bench.run(request)
    bench.run(request)
    assert repr(request) == before
    one, other = cloud.clusters("tests/unchanged")
    tags = [cloud.emr.describe_cluster(ClusterId=c["Id"])["Cluster"]["Tags"] for c in (one, other)]
    assert [len(one) for one in tags] == [1, 1]
