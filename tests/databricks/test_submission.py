"""Submitting exactly once, whatever the network does, and finding again what was submitted."""

from __future__ import annotations

import threading

import dagster as dg
import pytest
from dagster_pipes import DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT, encode_param

from ascii_hydra.engines.databricks.job import Job, UnusableClusterError
from ascii_hydra.engines.databricks.submission import UnclearError
from ascii_hydra.engines.identity import Identity
from ascii_hydra.step.folder_messages import FOLDER_KEY
from tests.databricks.conftest import REFUSED, ROOT, fault

TOKEN = "0123456789ab"


def filled(request, nonce="1"):
    """A request as the client submits it."""
    uri = f"{ROOT}/pipes/{request.step}/{nonce}"
    bootstrap = [DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT, encode_param({FOLDER_KEY: uri})]
    return request.of(Identity("run", "launch", TOKEN, ""), bootstrap)


def job_of(bench):
    return Job(bench.cloud.api, bench.cloud.store, bench.told.append)


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
    job, again = job_of(bench), job_of(bench)
    job.submit(filled(request), "lasting-1")
    assert again.adopt(TOKEN, request) == f"{ROOT}/pipes/lasting/1"
    assert (again.run_id, again.adopted) == (job.run_id, True)
    assert again.end() is None
    assert cloud.result("tests/lasting") == ["CANCELED"]
    assert job_of(bench).adopt(TOKEN, request) is None


def test_a_retry_ends_what_is_not_the_step_that_is_asked_for(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=10)
    job_of(bench).submit(filled(bench.request("changed")), "changed-1")
    assert job_of(bench).adopt(TOKEN, bench.request("changed", arguments=["other"])) is None
    assert cloud.result("tests/changed") == ["CANCELED"]


def test_a_run_that_an_unclear_call_makes_late_is_ended_too(bench, cloud):
    cloud.behave(
        fault("submit", "server_error", times=99), provisioning_seconds=36_000, speed=2_000
    )
    request, job = filled(bench.request("late")), job_of(bench)
    with pytest.raises(UnclearError):
        job.submit(request, "late-1")
    cloud.behave(provisioning_seconds=36_000, speed=10)
    cloud.api.submitted(request.submit)  # what a call comes to after all
    assert job.end() is None
    assert cloud.result("tests/late") == ["CANCELED"]


# --- existing clusters --------------------------------------------------------------------------


def test_an_existing_cluster_must_be_there(bench, cloud):
    ended = bench.run(bench.request("guest", task={"existing_cluster_id": "0101-000000-nowhere1"}))
    assert "guest cannot run on engine.cluster_id=0101-000000-nowhere1" in ended.cause
    assert cloud.calls("submit") == 0


def test_another_runs_job_cluster_is_no_existing_cluster(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=10)
    job = job_of(bench)
    job.submit(filled(bench.request("other")), "other-1")
    cluster_id = cloud.api.run(job.run_id)["tasks"][0]["cluster_instance"]["cluster_id"]
    with pytest.raises(UnusableClusterError, match="another run's job cluster"):
        job_of(bench).check(cluster_id)
    assert job.end() is None


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
