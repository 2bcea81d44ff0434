"""Watching runs to their end, through everything that Databricks may answer meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
import pytest
from databricks.sdk.errors import InvalidParameterValue, PermissionDenied

from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.states import Stage, task_of, work_of
from ascii_hydra.engines.databricks.watcher import watched_run
from ascii_hydra.engines.payload_upload import ensure_uploaded
from tests.databricks.conftest import REFUSED, Cloud, fault
from tests.databricks.test_submission import filled
from tests.waiting import until

LOGIN = "databricks:oidc/v1/token"


@contextmanager
def cancelled(cloud: Cloud, ids: list[int]) -> Iterator[ExitStack]:
    """Runs are cancelled at the end of the block, and watched within it by whoever likes."""
    with ExitStack() as stack:
        yield stack
    for one in ids:
        cloud.api.cancel(one)
    until(lambda: not cloud.alive())


def test_a_failing_watch_is_borne_with(bench, cloud):
    cloud.behave(
        fault("get", "throttled", times=2, after=1, seconds=30),
        fault("get", "server_error", times=2, after=3),
        fault("get", "reply_lost", times=2, after=5),
        REFUSED,
        speed=200,  # 15 minutes, which is all the patience there is, are some seconds here
    )
    ended = bench.run(bench.request("watched"))
    assert "Databricks refuses its cluster" in ended.cause
    assert any("cannot be asked at the moment" in line for line in ended.logged)


def test_a_false_refusal_is_borne_with(bench, cloud):
    """While a workspace is maintained, it may answer 403 even to who has submitted the run."""
    denied = {"effect": "refused", "code": "PERMISSION_DENIED"}
    cloud.behave(fault("get", times=4, **denied), REFUSED, provisioning_seconds=300, speed=200)
    ended = bench.run(bench.request("denied"))
    assert "Databricks refuses its cluster" in ended.cause
    assert len(cloud.runs("tests/denied")) == 1


def test_a_lasting_refusal_ends_the_step(bench, cloud):
    denied = {"effect": "refused", "code": "PERMISSION_DENIED"}
    cloud.behave(fault("get", after=2, times=10_000, **denied), provisioning_seconds=36_000)
    ended = bench.run(bench.request("blind"))
    assert "blind was given up: Databricks has not told its state for 10 min" in ended.cause
    assert any("may still be running" in line for line in ended.logged)
    assert any("databricks jobs cancel-run" in line for line in ended.logged)
    cloud.behave()
    cloud.api.cancel(int(ended.evidence["databricks/run_id"]))
    until(lambda: not cloud.alive())


def test_a_run_that_somebody_deletes_is_no_success(bench, cloud):
    gone = {"effect": "refused", "code": "RESOURCE_DOES_NOT_EXIST", "message": "Run not found."}
    cloud.behave(fault("get", after=2, **gone), provisioning_seconds=36_000, speed=200)
    ended = bench.run(bench.request("deleted"))
    assert "deleted was given up: Databricks does not know it any more" in ended.cause
    assert cloud.result("tests/deleted") == ["CANCELED"]


def test_messages_that_may_not_be_read_are_a_failure(bench, cloud):
    """D9: the stock reader takes every error for "no message yet"."""
    denied = {"effect": "refused", "code": "PERMISSION_DENIED", "times": 999}
    cloud.behave(fault("databricks:fs/files GET", **denied), provisioning_seconds=36_000, speed=200)
    ended = bench.run(bench.request("unread"))
    assert "unread was given up: " in ended.cause
    assert "PERMISSION_DENIED" in ended.cause
    assert cloud.result("tests/unread") == ["CANCELED"]


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        ("no_capacity", "EC2 had no capacity for its cluster"),
        ("start_failure", "its cluster failed"),
    ],
)
def test_a_second_run_after_the_cloud_has_failed(bench, cloud, effect, said):
    cloud.behave(fault("cluster", effect, times=2))
    ended = bench.run(bench.request("unlucky"))
    assert said in ended.cause
    assert cloud.calls("submit") == 2
    assert bench.said("a second run is made")
    assert len({one["databricks/run_id"] for one in ended.handles}) == 2


def test_the_second_run_may_succeed(bench, cloud):
    cloud.behave(fault("cluster", "no_capacity"))
    ended = bench.run(bench.request("lucky"))
    assert ended.green, ended.cause
    assert cloud.calls("submit") == 2


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        ("validation_error", "in_vain never began: Databricks refuses its cluster"),
        ("library_failure", "in_vain never began: the library ascii_hydra_step-1"),
    ],
)
def test_no_second_run_of_what_would_fail_again(bench, cloud, effect, said):
    cloud.behave(fault("cluster", effect, times=9))
    ended = bench.run(bench.request("in_vain"), retry_policy=dg.RetryPolicy(max_retries=2))
    assert said in ended.cause
    assert cloud.calls("submit") == 1


def test_a_skipped_run_is_no_success(bench, cloud):
    cloud.behave(fault("step", "skipped", message="Too many runs."))
    ended = bench.run(bench.request("skipped"))
    assert ended.cause == "skipped was skipped by Databricks (Too many runs): start it again later."


def test_a_run_may_wait_in_the_queue(bench, cloud):
    cloud.behave(fault("step", "queued", seconds=1200), REFUSED)
    ended = bench.run(bench.request("queued"))
    assert "Databricks refuses its cluster" in ended.cause
    assert bench.said("is QUEUED (Queued due to reaching the maximum")


def test_a_run_does_not_wait_for_ever(bench, cloud):
    """D5: the stock client has no limit."""
    cloud.behave(fault("step", "queued", seconds=36_000))
    retries = dg.RetryPolicy(max_retries=2)
    ended = bench.run(bench.request("waiting", start_timeout_s=600.0), retry_policy=retries)
    assert "waiting never began: its run was still QUEUED after 10 min" in ended.cause
    cloud.behave(provisioning_seconds=36_000)
    ended = bench.run(bench.request("waiting", start_timeout_s=600.0), retry_policy=retries)
    assert "waiting never began: its run was still PENDING after 10 min" in ended.cause
    assert cloud.result("tests/waiting") == ["CANCELED", "CANCELED"]


def test_who_cancels_it_in_databricks(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=200)

    def cancel() -> None:
        until(lambda: bench.said("is PENDING"))
        cloud.api.cancel(int(cloud.runs("tests/unwanted")[0]["run_id"]))

    thread = threading.Thread(target=cancel)
    thread.start()
    ended = bench.run(bench.request("unwanted"))
    thread.join()
    assert "unwanted was cancelled by somebody else" in ended.cause


def test_what_is_wrong_with_one_run_is_no_other_runs(bench, cloud, monkeypatch):
    """And who waits is told, not who began to watch."""
    cloud.behave(provisioning_seconds=36_000, speed=600)
    body = filled(bench.request("apart")).submit
    ids = [cloud.api.submitted(body) for _ in range(3)]
    wrong = {
        str(ids[0]): InvalidParameterValue("not this one"),
        str(ids[1]): PermissionDenied("not for you"),
    }
    real = Databricks.run

    def run(self: Databricks, run_id: int) -> Any:
        if str(run_id) in wrong:
            raise wrong[str(run_id)]
        return real(self, run_id)

    monkeypatch.setattr(Databricks, "run", run)
    told: list[list[str]] = [[], [], []]
    with cancelled(cloud, ids) as stack:
        with ExitStack() as first:
            refused, denied = (
                first.enter_context(
                    watched_run(cloud.api, ids[n], longest_s=10.0, warn=told[n].append)
                )
                for n in range(2)
            )
            good = stack.enter_context(
                watched_run(cloud.api, ids[2], longest_s=10.0, warn=told[2].append)
            )
            until(lambda: refused.fault)
            assert "does not tell its state (InvalidParameterValue: not" in str(refused.fault)
            until(lambda: denied.fault)
            assert "has not told its state for 10 min" in str(denied.fault)
            seen_at = good.look.at
            until(lambda: good.look.at > seen_at)
        assert [len(one) for one in told] == [0, 1, 0]
        cloud.behave(fault("get", "server_error", times=3), provisioning_seconds=36_000, speed=600)
        seen_at = good.look.at
        until(lambda: good.look.at > seen_at and told[2])
        assert [len(one) for one in told] == [0, 1, 1]
        assert good.fault is None


def test_a_list_shows_that_a_task_has_begun(bench, cloud, monkeypatch):
    """A run as a whole may be called running from the first, while its cluster still starts."""
    real = Databricks.call

    def call(self: Databricks, *args: Any, **more: Any) -> Any:
        reply = real(self, *args, **more)
        for one in reply.get("runs", [reply]):
            if one.get("state", {}).get("life_cycle_state") == "PENDING":
                one["state"] = {**one["state"], "life_cycle_state": "RUNNING"}
        return reply

    monkeypatch.setattr(Databricks, "call", call)
    cloud.behave(provisioning_seconds=120, step_minutes=600, speed=20)
    request = bench.request("begun")
    ensure_uploaded(request.uploads, cloud.store, threading.Event(), print)
    ids = [cloud.api.submitted(filled(request).submit) for _ in range(5)]
    with cancelled(cloud, ids) as stack:
        watched = [
            stack.enter_context(watched_run(cloud.api, one, longest_s=10.0, warn=print))
            for one in ids
        ]
        until(lambda: all(one.look is not None for one in watched))
        until(lambda: all(work_of(one.look.run).stage is Stage.running for one in watched))
        task = task_of(watched[0].look.run)
        begun_at = (task["start_time"] + task["setup_duration"]) / 1000
        assert watched[0].look.run_at - begun_at < 300
        assert cloud.calls("list") > 0


def test_a_login_that_hangs_keeps_nobody_waiting(cloud):
    """Neither another workspace's threads, nor its own from hearing that they are to stop."""
    cloud.behave(fault(LOGIN, "slow", seconds=3600), speed=1)
    cloud.forget()
    stop = threading.Event()
    other = Databricks(Workspace(cloud.url.replace("127.0.0.1", "localhost")), cloud.clock, stop)
    with ThreadPoolExecutor(2) as pool:
        try:
            hanging = pool.submit(other.pools)
            until(lambda: cloud.calls(LOGIN) == 1)
            cloud.api.renew()
            assert pool.submit(cloud.api.pools).result(10) == []
            assert not hanging.done()
            stop.set()
            with pytest.raises(InterruptedError):
                hanging.result(10)
        finally:
            cloud.behave(speed=100_000)  # it hangs no more


def test_many_runs_are_watched_by_few_calls(bench, cloud):
    cloud.behave(provisioning_seconds=80_000, speed=240)
    body = filled(bench.request("many")).submit
    ids = [cloud.api.submitted(body) for _ in range(30)]
    with cancelled(cloud, ids) as stack:
        watched = [
            stack.enter_context(watched_run(cloud.api, one, longest_s=10.0, warn=print))
            for one in ids
        ]
        until(lambda: all(one.look is not None for one in watched))
        cloud.clock.sleep(180, threading.Event())
        cloud.forget()
        cloud.clock.sleep(300, threading.Event())
        # Of 30 runs at a look every 10 s, 900 calls of runs/get.
        assert cloud.calls("get") <= 10
        assert 5 <= cloud.calls("list") <= 100
        cloud.api.cancel(ids[7])
        until(lambda: watched[7].look.run["state"]["life_cycle_state"] == "TERMINATED")
