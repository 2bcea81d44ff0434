"""Answers that are broken on their way, and refusals that are false: a run that works goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.pools import close_shared
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of
from ascii_hydra.engines.workspace_store import WorkspaceStore
from tests.asset_runs import Ended
from tests.cloud_proxy import HTML, CloudProxy, Rule, Waits, body, cut, proxy_of, refusal
from tests.databricks.conftest import REFUSED, ROOT, Bench, Cloud, fault, request
from tests.databricks.test_pools import CREATE, pooled
from tests.rehearsal_cloud import GOOD

LATIN_1 = "<p>für später</p>".encode("latin-1")
# So that a call of a busy machine is not longer than the patience with it.
SLOW = 100.0
UPLOAD, MESSAGES = "PUT /api/2.0/fs/files", r"GET /api/2.0/fs/files/.*/messages/"
RUNS, RUN = "GET /api/2.2/jobs/runs/list", "GET /api/2.2/jobs/runs/get[?]"
POOL = "POST /api/2.0/instance-pools/create"


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[CloudProxy]:
    with proxy_of(cloud.url) as made:
        yield made


def api_of(cloud: Cloud, proxy: CloudProxy) -> Databricks:
    return Databricks(Workspace(proxy.url), cloud.clock, threading.Event())


def ran(bench: Bench, proxy: CloudProxy, name: str, *rules: Rule, source: str = GOOD) -> Ended:
    """A step that is run through the proxy."""
    proxy.behave(*rules)
    return bench.run(request(proxy.url, name, source))


# --- uploads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("content", [HTML, LATIN_1, b"upstream connect error", b"", b"[1]"])
def test_a_gateway_that_refuses_an_upload_says_so_in_a_sentence(
    cloud: Cloud, proxy: CloudProxy, status: int, content: bytes
) -> None:
    store, uri = WorkspaceStore(api_of(cloud, proxy)), f"{ROOT}/pipes/upload"
    proxy.behave(refusal(UPLOAD, status, content))
    with pytest.raises(DATABRICKS_FAULTS) as raised:
        store.write(uri, bytes(range(256)))
    found = fault_of(raised.value)
    assert found.transient
    assert found.undone == (status == 429)
    assert len(found.words) < 160, found.words
    assert "<" not in found.words
    store.write(uri, bytes(range(256)))
    assert cloud.store.read(uri) == bytes(range(256))


def test_an_upload_is_made_again_when_the_gateway_is_back(
    bench: Bench, cloud: Cloud, proxy: CloudProxy
) -> None:
    cloud.behave(REFUSED, speed=SLOW)
    broken = refusal(UPLOAD, 502, HTML, times=2)
    ended = ran(bench, proxy, "uploaded", broken)
    assert "Databricks refuses its cluster" in ended.cause
    assert broken.effects == 2


# --- answers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"{}", b"[]", b"null", b'{"instance_pool_id": null}', HTML])
def test_a_pool_that_nobody_names_is_found_and_deleted(
    bench: Bench, cloud: Cloud, proxy: CloudProxy, content: bytes
) -> None:
    cloud.behave(REFUSED, speed=SLOW)
    proxy.behave(body(POOL, content))
    asked = replace(pooled(bench, "swimmer"), workspace=Workspace(proxy.url))
    ended = bench.run(asked, bench.client(launch_id="pooled"))
    assert "Databricks refuses its cluster" in ended.cause
    assert cloud.calls(CREATE) == 1
    assert close_shared("pooled") == ()
    assert cloud.alive() == []


def test_a_cut_answer_leaves_no_pool(bench: Bench, cloud: Cloud, proxy: CloudProxy) -> None:
    cloud.behave(REFUSED, speed=SLOW)
    proxy.behave(cut(POOL))
    asked = replace(pooled(bench, "diver"), workspace=Workspace(proxy.url))
    bench.run(asked, bench.client(launch_id="cut"))
    assert bench.said("diver: makes the launch's pool")
    assert cloud.calls(CREATE) == 1
    assert close_shared("cut") == ()
    assert cloud.alive() == []


@pytest.mark.parametrize("content", [b"[]", b"7", b'{"runs": [1]}', b'{"runs": "none"}', HTML])
def test_a_list_of_runs_that_is_none_is_asked_for_again(proxy: CloudProxy, content: bytes) -> None:
    api = Databricks(Workspace(proxy.url), Waits(), threading.Event())
    broken = body(RUNS, content, times=2)
    proxy.behave(broken)
    assert isinstance(api.patient(lambda: list(api.runs(active=True))), list)
    assert broken.effects == 2


@pytest.mark.parametrize(
    "broken",
    [
        body(RUN, b"[]", after=1, times=2),
        body(RUN, b"{}", after=1, times=2),
        body(RUN, b'{"run_id": 1, "state": "RUNNING"}', after=1, times=2),
        cut(RUN, after=1, times=2),
        refusal(RUN, 404, HTML, after=1, times=2),
        refusal(RUN, 418, HTML, after=1, times=2),
        refusal(RUN, 429, HTML, ("Retry-After", "7"), after=1, times=2),
    ],
    ids=["list", "empty", "text", "cut", "gateway 404", "gateway 418", "429"],
)
def test_a_broken_look_is_no_reason_to_give_up_a_run(
    bench: Bench, cloud: Cloud, proxy: CloudProxy, broken: Rule
) -> None:
    cloud.behave(REFUSED, provisioning_seconds=600, speed=SLOW)
    ended = ran(bench, proxy, "watched", broken)
    assert "Databricks refuses its cluster" in ended.cause
    assert broken.effects == 2
    assert any("cannot be asked at the moment" in line for line in ended.logged)
    assert all("<" not in line for line in ended.logged if "cannot be asked" in line)


# --- messages ------------------------------------------------------------------------------------


TALKING = """
with opened() as context:
    time.sleep(4)
    context.report_asset_materialization(metadata={"me": 1})
"""


@pytest.mark.parametrize(
    "broken",
    [
        refusal(MESSAGES, 403, b'{"error_code": "PERMISSION_DENIED"}', after=2, times=3),
        refusal(MESSAGES, 418, b"{}", after=2, times=2),
        refusal(MESSAGES, 403, HTML, after=2, times=2),
        cut(MESSAGES, times=2),
    ],
    ids=["403", "418", "403 of a gateway", "cut"],
)
def test_a_false_answer_to_a_look_for_messages_ends_no_run(
    bench: Bench, cloud: Cloud, proxy: CloudProxy, broken: Rule
) -> None:
    cloud.behave(speed=SLOW)
    ended = ran(bench, proxy, "heard", broken, source=TALKING)
    assert ended.green, ended.cause
    assert broken.effects == broken.times
    assert ended.materialized["me"] == 1


def test_the_rehearsals_own_refusal_of_messages_ends_no_run(bench: Bench, cloud: Cloud) -> None:
    denied = {"effect": "refused", "code": "PERMISSION_DENIED", "after": 2, "times": 3}
    cloud.behave(fault("databricks:fs/files GET", **denied), speed=SLOW)
    ended = bench.run(bench.request("allowed", TALKING))
    assert ended.green, ended.cause
    (told,) = [line for line in ended.logged if "cannot be read at the moment" in line]
    assert "PERMISSION_DENIED" in told
