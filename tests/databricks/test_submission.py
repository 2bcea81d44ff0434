"""Submitting exactly once, whatever the network does, and finding again what was submitted."""

from __future__ import annotations

import threading

import dagster as dg
import pytest
from dagster_pipes import DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT, encode_param

from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.job import Job
from ascii_hydra.engines.databricks.parameters import pipes_uri
from ascii_hydra.engines.databricks.states import task_of
from ascii_hydra.engines.databricks.submission import UnclearError
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.pipes_run import UnusableClusterError
from ascii_hydra.step.folder_messages import FOLDER_KEY
from tests.databricks.conftest import CLUSTER, REFUSED, ROOT, altered, fault
from tests.waiting import until

TOKEN = "0123456789ab"
RUNTIME = str(CLUSTER["spark_version"])


def filled(request, nonce="1"):
    """A request as the client submits it."""
    uri = f"{ROOT}/pipes/{request.step}/{nonce}"
    bootstrap = [DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT, encode_param({FOLDER_KEY: uri})]
    return request.of(Identity("run", "launch", TOKEN, ""), bootstrap)


def job_of(bench):
    return Job(bench.cloud.api, bench.cloud.store, bench.told.append)


def left_running(bench, request):
    """The job of an attempt whose process is gone."""
    job = job_of(bench)
    bench.cloud.store.write(f"{ROOT}/pipes/{request.step}/1/context.json", b"{}")
    job.submit(filled(request), f"{request.step}-1")
    return job


def test_the_run_and_its_cluster_are_named_after_the_step(bench, cloud):
    """D3, D4: what the stock client submits has no name, and drops its tags."""
    cloud.behave(REFUSED)
    tags = {"ascii_hydra/run": "<run>", "ascii_hydra/token": "<token>"}
    request = bench.request("named")
    spec = {**request.task["new_cluster"], "custom_tags": tags}
    ended = bench.run(bench.request("named", task={"new_cluster": spec}))
    (run,) = cloud.runs("ascii_hydra tests/named ")
    made = cloud.api.cluster(ended.evidence["databricks/cluster_id"])
    assert made["custom_tags"]["ascii_hydra/run"] == ended.result.run_id
    assert run["run_name"].endswith(made["custom_tags"]["ascii_hydra/token"])


def test_throttling_is_waited_for_as_long_as_databricks_says(bench, cloud):
    cloud.behave(fault("submit", "throttled", times=3, seconds=120), REFUSED)
    begun = cloud.clock.now()
    assert "Databricks refuses its cluster" in bench.run(bench.request("patient")).cause
    assert cloud.clock.now() - begun >= 3 * 120
    assert cloud.calls("submit") == 4
    assert len(cloud.runs("tests/patient")) == 1


@pytest.mark.parametrize("effect", ["reply_lost", "server_error"])
def test_a_lost_reply_makes_no_second_run(bench, cloud, effect):
    """D3: the stock client would pay for two clusters."""
    cloud.behave(fault("submit", effect, times=2), REFUSED)
    ended = bench.run(bench.request(f"deaf_{effect}"))
    assert cloud.calls("submit") == 3
    (made,) = cloud.runs(f"tests/deaf_{effect}")
    assert {one["databricks/run_id"] for one in ended.handles} == {str(made["run_id"])}


def test_a_run_whose_reply_is_always_lost_is_found_by_its_name(bench, cloud):
    cloud.behave(fault("submit", "reply_lost", times=99), REFUSED)
    ended = bench.run(bench.request("mute"))
    assert "mute never began: Databricks refuses its cluster" in ended.cause
    assert cloud.calls("submit") == 5
    assert len(cloud.runs("tests/mute")) == 1


def test_a_run_of_which_one_cannot_be_sure(bench, cloud):
    cloud.behave(fault("submit", "server_error", times=99))
    ended = bench.run(bench.request("unclear"))
    assert "unclear may or may not have been submitted: Databricks gave no clear" in ended.cause
    assert "databricks jobs list-runs --active-only" in ended.cause
    assert cloud.runs("tests/unclear") == []


def test_what_databricks_refuses_is_said_at_once(bench, cloud):
    cloud.behave(fault("submit", "refused", code="PERMISSION_DENIED", message="No clusters here."))
    ended = bench.run(bench.request("denied"), retry_policy=dg.RetryPolicy(max_retries=2))
    assert "denied could not be run: PERMISSION_DENIED: No clusters here: allow" in ended.cause
    assert "allow the service principal to create clusters" in ended.cause
    assert "client_secret" not in ended.cause
    assert cloud.calls("submit") == 1


def test_a_wrong_request_is_not_tried_again(bench, cloud):
    request = bench.request("wrong", body={"run_as_sombody": "else"})
    ended = bench.run(request, retry_policy=dg.RetryPolicy(max_retries=2))
    assert "run_as_sombody" in ended.cause
    assert cloud.calls("submit") == 1


def test_the_next_attempt_is_given_no_old_run(bench, cloud):
    """An idempotency token that is the same for every retry would find the run that has failed."""
    cloud.behave(fault("cluster", "start_failure", times=4), REFUSED)
    ended = bench.run(bench.request("again"), retry_policy=dg.RetryPolicy(max_retries=1))
    assert not ended.green
    runs = cloud.runs("tests/again")
    assert len(runs) == 4
    assert len({one["run_name"] for one in runs}) == 1
    # Each run has its own messages, and is told of as the first one is.
    assert len({pipes_uri(task_of(one)) for one in runs}) == 4
    assert len([line for line in bench.told if " is at " in line]) == 4


def test_a_denied_upload_says_what_is_missing(bench, cloud):
    cloud.behave(fault("databricks:fs/files PUT", "refused", code="PERMISSION_DENIED", times=99))
    ended = bench.run(bench.request("homeless"))
    assert "homeless could not start: " in ended.cause
    assert "allow READ VOLUME and WRITE VOLUME on main.default.tests" in ended.cause
    assert cloud.calls("submit") == 0


def test_stopping_while_the_submission_is_unclear(bench, cloud):
    """The reply is lost, so the run is there: it is found and cancelled, and no other is made."""
    cloud.behave(fault("submit", "reply_lost", times=99), provisioning_seconds=36_000, speed=10)
    ended = bench.stopped(bench.request("hasty"), lambda: cloud.calls("submit"))
    assert "DagsterExecutionInterruptedError: hasty was stopped" in ended.cause
    assert cloud.result("tests/hasty") == ["CANCELED"]


# --- retries ------------------------------------------------------------------------------------


def test_a_retry_goes_on_with_the_run_that_is_there(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=10)
    request = bench.request("lasting")
    job, again = left_running(bench, request), job_of(bench)
    assert again.adopt(TOKEN, request) == f"{ROOT}/pipes/lasting/1"
    assert (again.run_id, again.adopted) == (job.run_id, True)
    assert again.end() == ()
    assert cloud.result("tests/lasting") == ["CANCELED"]
    assert job_of(bench).adopt(TOKEN, request) is None


@pytest.mark.parametrize("what", ["arguments", "configuration", "stop", "context"])
def test_a_retry_ends_what_is_not_the_step_that_is_asked_for(bench, cloud, what):
    """Nor does it go on with one that is about to end itself."""
    cloud.behave(provisioning_seconds=36_000, speed=100)
    request, folder = bench.request(f"changed_{what}"), f"{ROOT}/pipes/changed_{what}/1"
    left_running(bench, request)
    if what == "arguments":
        request = bench.request(request.step, arguments=["other"])
    elif what == "configuration":
        # Such as another size of the cluster.
        name = f"{request.submit['run_name']} 0123456789ab"
        request = bench.request(request.step, body={"run_name": name})
    elif what == "stop":
        cloud.store.write(f"{folder}/stop", b"")
    else:
        cloud.store.delete(folder)
    assert job_of(bench).adopt(TOKEN, request) is None
    assert cloud.result(f"tests/{request.step}") == ["CANCELED"]


def test_a_run_that_nobody_can_look_at_is_cancelled_all_the_same(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=100)
    job = left_running(bench, bench.request("unseen"))
    cloud.behave(fault("get", "refused", times=9_999), provisioning_seconds=36_000)
    (left,) = job.end()
    assert left.resource == f"run {job.run_id}"
    assert cloud.calls("cancel") == 1
    cloud.behave()
    until(lambda: cloud.result("tests/unseen") == ["CANCELED"])


def test_a_cluster_that_is_left_is_told_of_as_a_cluster(bench, cloud):
    """Its run has ended: nobody needs to be asked to stop."""
    cloud.behave(fault("databricks:clusters/get", "server_error", times=9_999), REFUSED)
    ended = bench.run(bench.request("littered"))
    (run,) = cloud.runs("tests/littered")
    cluster_id = ended.evidence["databricks/cluster_id"]
    (said,) = [line for line in ended.logged if "may still be running" in line]
    assert f"cluster {cluster_id} of the ended run {run['run_id']} may still" in said
    assert f"End it: databricks clusters delete {cluster_id}" in said
    assert cloud.calls("databricks:clusters/delete") == 1
    assert cloud.files() == []


def test_an_answer_that_names_no_run_is_no_clear_answer(bench, cloud):
    cloud.behave(REFUSED)

    def nameless(path, reply):
        return {} if path.endswith("/runs/submit") else reply

    with altered(cloud.url, nameless) as url:
        api = Databricks(Workspace(url), cloud.clock, threading.Event())
        job = Job(api, cloud.store, bench.told.append)
        job.submit(filled(bench.request("nameless")), "nameless-1")
        (made,) = cloud.runs("tests/nameless")
        assert job.run_id == made["run_id"]
        assert job.end() == ()
    assert cloud.calls("submit") == 5


def test_a_run_that_an_unclear_call_makes_late_is_ended_too(bench, cloud):
    cloud.behave(
        fault("submit", "server_error", times=99), provisioning_seconds=36_000, speed=2_000
    )
    request, job = filled(bench.request("late")), job_of(bench)
    with pytest.raises(UnclearError):
        job.submit(request, "late-1")
    cloud.behave(provisioning_seconds=36_000, speed=1)
    cloud.forget()
    ended = []
    thread = threading.Thread(target=lambda: ended.append(job.end()))
    thread.start()
    until(lambda: cloud.calls("list"))  # it has not been shown at the first look
    cloud.api.submitted(request.submit)  # what a call comes to after all
    cloud.behave(provisioning_seconds=36_000, speed=100)
    thread.join(30)
    assert ended == [()]
    assert cloud.result("tests/late") == ["CANCELED"]


# --- existing clusters --------------------------------------------------------------------------


def test_an_existing_cluster_must_be_there(bench, cloud):
    ended = bench.run(bench.request("guest", task={"existing_cluster_id": "0101-000000-nowhere1"}))
    assert "guest cannot run on engine.cluster_id=0101-000000-nowhere1" in ended.cause
    assert cloud.calls("submit") == 0


def test_an_existing_cluster_of_another_runtime_is_not_what_was_planned(bench, host):
    with pytest.raises(UnusableClusterError, match=f"is {RUNTIME}: its Spark and Python are not"):
        job_of(bench).check(host, "16.4.x-scala2.12")


@pytest.mark.parametrize("version", ["18.x-scala2.13", "19.x-scala2.13"])
def test_an_existing_cluster_may_be_of_a_runtime_without_a_minor(bench, cloud, version):
    spec = {**CLUSTER, "spark_version": version, "autotermination_minutes": 10_000}
    clusters = "/api/2.1/clusters"
    made = cloud.api.call("POST", f"{clusters}/create", body={**spec, "cluster_name": "line"})
    job_of(bench).check(made["cluster_id"], version)
    cloud.behave(speed=100_000)
    cloud.api.call("POST", f"{clusters}/permanent-delete", body=made)
    until(lambda: made["cluster_id"] not in cloud.alive())


def test_another_runs_job_cluster_is_no_existing_cluster(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=10)
    job = job_of(bench)
    job.submit(filled(bench.request("other")), "other-1")
    cluster_id = cloud.api.run(job.run_id)["tasks"][0]["cluster_instance"]["cluster_id"]
    with pytest.raises(UnusableClusterError, match="another run's job cluster"):
        job_of(bench).check(cluster_id, RUNTIME)
    assert job.end() == ()


def test_an_existing_cluster_that_nobody_would_end_is_not_started(bench, cloud, host):
    cloud.api.call("POST", "/api/2.1/clusters/delete", body={"cluster_id": host})
    job_of(bench).check(host, RUNTIME)
    assert bench.said(f"cluster {host} is TERMINAT")
    assert bench.said("until it has been idle for 10000 min (its autotermination_minutes)")
    made = cloud.api.call(
        "POST", "/api/2.1/clusters/create", body={**CLUSTER, "cluster_name": "endless"}
    )["cluster_id"]
    job_of(bench).check(made, RUNTIME)  # it costs money already
    cloud.api.call("POST", "/api/2.1/clusters/delete", body={"cluster_id": made})
    with pytest.raises(UnusableClusterError, match="never end once it is started: set its auto"):
        job_of(bench).check(made, RUNTIME)


# --- credentials --------------------------------------------------------------------------------


def test_a_token_that_has_expired_is_replaced_by_itself(bench, cloud):
    """A token lives for an hour, a step for longer."""
    cloud.behave(fault("submit", "expired"), fault("get", "expired", after=1), REFUSED)
    ended = bench.run(bench.request("lapsed"))
    assert "Databricks refuses its cluster" in ended.cause
    assert not any("log in again" in line for line in ended.logged)
    assert len(cloud.runs("tests/lapsed")) == 1


def test_credentials_that_are_refused_while_a_step_is_watched_are_an_outage(bench, cloud):
    cloud.behave(
        fault("get", "expired", after=1, times=3),
        fault("databricks:oidc/v1/token", "refused", times=4, after=1),
        REFUSED,
        speed=300,
    )
    cloud.api.renew()
    ended = bench.run(bench.request("rotated"))
    assert "Databricks refuses its cluster" in ended.cause
    assert any("DATABRICKS_CLIENT_SECRET" in line for line in ended.logged)


def test_credentials_that_are_wrong_are_an_error_at_first(bench, cloud):
    cloud.api.renew()
    cloud.behave(fault("databricks:oidc/v1/token", "refused", times=99))
    ended = bench.run(bench.request("wrong"))
    assert "Databricks refuses the credentials (invalid_client: Client is not" in ended.cause
    assert cloud.calls("submit") == 0
    cloud.behave()


def test_stopping_before_anything_is_submitted(bench, cloud):
    stop = threading.Event()
    stop.set()
    ended = bench.run(bench.request("hasty"), bench.client(stop=stop))
    assert "DagsterExecutionInterruptedError: hasty was stopped" in ended.cause
    assert cloud.calls("submit") == 0
