"""Databricks' API as the engine uses it: calls are tried once, reads are repeated with patience.

Requests and replies are plain data, as the REST API has them: a state that is newer than the SDK is
then seen, and not lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from ascii_hydra.databricks.workspace import Workspace, workspace_client
from ascii_hydra.engines.calls import CallFault, aside, repeated
from ascii_hydra.engines.clock import Clock, CloudClock, cloud_clock
from ascii_hydra.engines.databricks_errors import (
    DATABRICKS_FAULTS,
    LOG_IN_AGAIN,
    OddAnswerError,
    OneAttempt,
    check_error,
    databricks_fault,
    fault_of,
    login_error,
)

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from requests import PreparedRequest

T = TypeVar("T")
JOBS = "/api/2.2/jobs/runs"
POOLS = "/api/2.0/instance-pools"
# Of runs/list: "greater than 0 and less than 25" (the SDK's docstring).
PAGE = 24
# Of clusters/events, "maximum allowed value is 500".
_EVENTS_PAGE = 500
_EVENTS = (
    *("CREATING", "STARTING", "RESTARTING", "RUNNING", "TERMINATING"),
    *("RESIZING", "UPSIZE_COMPLETED", "NODES_LOST", "EXPANDED_DISK"),
)
# What answers are, of the SDK's types, and what of them is always there: a list that is empty may
# be left out.
_ANSWERS: Mapping[str, tuple[str, str | None]] = {
    f"{JOBS}/get": ("jobs.Run", "run_id"),
    f"{JOBS}/list": ("jobs.ListRunsResponse", None),
    f"{JOBS}/get-output": ("jobs.RunOutput", None),
    "/api/2.1/clusters/get": ("compute.ClusterDetails", "cluster_id"),
    "/api/2.1/clusters/events": ("compute.GetEventsResponse", None),
    f"{POOLS}/create": ("compute.CreateInstancePoolResponse", "instance_pool_id"),
    f"{POOLS}/get": ("compute.GetInstancePool", "instance_pool_id"),
    f"{POOLS}/list": ("compute.ListInstancePools", None),
}
# What the SDK's types raise for a value of another type than theirs.
_ODD = (AttributeError, KeyError, TypeError, ValueError)
_READ_PATIENCE_S = 5 * 60.0
_TICK_S = 0.1
_DATE = "Date"  # no field of a reply begins with a capital letter


class Databricks:
    """One workspace. May be shared by threads.

    Args:
        workspace: which one.
        clock: by which repeated calls wait; as an attribute, the time of the
            workspace: see `CloudClock`.
        stop: once set, no call is made again.
        warn: is told to log in again.
    """

    def __init__(
        self,
        workspace: Workspace,
        clock: Clock,
        stop: threading.Event,
        warn: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.workspace = workspace
        self.clock = cloud_clock(clock)
        self.stop = stop
        self.warn = warn
        self._on_the_way_out = False
        self._told = False

    def call(self, method: str, path: str, **request: Any) -> Any:
        """The reply to one call.

        A token that is accepted no more (it lives an hour, or until it is revoked) is replaced by a
        new one, once: such a call was not carried out.

        Args:
            method, path: `GET`, `/api/2.2/jobs/runs/get`.
            request: as the SDK's `ApiClient.do` has it: query, body, data, headers, raw.

        Raises:
            DATABRICKS_FAULTS, see `databricks_fault` for what they mean; among them OddAnswerError
            for an answer that is not what the SDK's types promise: taken for an empty one, it would
            say that nothing is there.
        """
        client = _client(self.workspace, self.stop)
        try:
            return _done(client, self.clock, method, path, request)
        except DATABRICKS_FAULTS as raised:
            if not fault_of(raised).expired:
                raise
            _forget(self.workspace, client)
        return _done(_client(self.workspace, self.stop), self.clock, method, path, request)

    def renew(self) -> None:
        """The credentials are accepted no more: the next call looks for new ones."""
        client = _login_to(self.workspace).client
        if client is not None:
            _forget(self.workspace, client)

    @property
    def host(self) -> str:
        """Address of the workspace."""
        return str(_client(self.workspace, self.stop).config.host).rstrip("/")

    def submitted(self, body: Mapping[str, Any]) -> int:
        """Id of the run that runs/submit has made, or had made for the same idempotency token."""
        return int(self.call("POST", f"{JOBS}/submit", body=dict(body))["run_id"])

    def run(self, run_id: int) -> Mapping[str, Any]:
        """What runs/get says, at the first attempt."""
        found: Mapping[str, Any] = self.call("GET", f"{JOBS}/get", query={"run_id": run_id})
        return found

    def runs(
        self, *, active: bool, since: float | None = None, tasks: bool = False
    ) -> Iterator[Mapping[str, Any]]:
        """Submitted runs, newest first, page by page, each at the first attempt.

        Args:
            active: only those that have not ended.
            since: seconds since the epoch, by Databricks' clock, from which they were submitted.
            tasks: with their tasks.
        """
        query: dict[str, Any] = {"run_type": "SUBMIT_RUN", "limit": PAGE, "expand_tasks": tasks}
        if active:
            query["active_only"] = True
        if since is not None:
            query["start_time_from"] = int(since * 1000)
        while True:
            reply = self.call("GET", f"{JOBS}/list", query=query)
            yield from reply.get("runs", ())
            token = reply.get("next_page_token")
            if not token or not reply.get("has_more", True):
                return
            query["page_token"] = token

    def cancel(self, run_id: int) -> None:
        """Ask for the end of a run; it ends some time later. One that has ended stays as it is."""
        self.call("POST", f"{JOBS}/cancel", body={"run_id": run_id})

    def output(self, task_run_id: int) -> Mapping[str, Any]:
        """What runs/get-output says of the run of a task."""
        found: Mapping[str, Any] = self.call(
            "GET", f"{JOBS}/get-output", query={"run_id": task_run_id}
        )
        return found

    def cluster(self, cluster_id: str) -> Mapping[str, Any]:
        """What clusters/get says, at the first attempt."""
        found: Mapping[str, Any] = self.call(
            "GET", "/api/2.1/clusters/get", query={"cluster_id": cluster_id}
        )
        return found

    def cluster_events(self, cluster_id: str) -> Iterator[Mapping[str, Any]]:
        """What has happened to a cluster's size and state until now, the newest first, page by
        page, each at the first attempt.

        No end is asked for, which would be this machine's time: the API takes its own, and its
        `next_page` has all that the next page wants.
        """
        body: dict[str, Any] | None = {
            "cluster_id": cluster_id,
            "order": "DESC",
            "event_types": list(_EVENTS),
            "limit": _EVENTS_PAGE,
        }
        while body:
            reply = self.call("POST", "/api/2.1/clusters/events", body=body)
            yield from reply.get("events", ())
            token = reply.get("next_page_token")
            body = reply.get("next_page") or ({**body, "page_token": token} if token else None)

    def pool(self, pool_id: str) -> Mapping[str, Any]:
        """What instance-pools/get says, at the first attempt."""
        found: Mapping[str, Any] = self.call(
            "GET", f"{POOLS}/get", query={"instance_pool_id": pool_id}
        )
        return found

    def pools(self) -> list[Mapping[str, Any]]:
        """Every instance pool, at the first attempt."""
        return list(self.call("GET", f"{POOLS}/list").get("instance_pools", ()))

    def on_the_way_out(self) -> Databricks:
        """The same, for what must be done though everything is being stopped, or the credentials
        that something was submitted with are accepted no more, or a refusal is false."""
        other = Databricks(self.workspace, self.clock, threading.Event(), self.warn)
        other._on_the_way_out = True
        return other

    def patient(self, call: Callable[[], T], patience_s: float = _READ_PATIENCE_S) -> T:
        """The reply to a call that changes nothing, or that may be made twice."""
        return repeated(
            call,
            self._borne_fault if self._on_the_way_out else databricks_fault,
            self.clock.local,
            self.stop,
            patience_s=patience_s,
            expired=self._expired if self._on_the_way_out else None,
        )

    def _borne_fault(self, raised: BaseException) -> CallFault | None:
        """While a workspace is maintained, it may deny for some minutes what it has allowed."""
        fault = databricks_fault(raised)
        if fault is not None and fault.denied:
            return replace(fault, transient=True)
        return fault

    def _expired(self, fault: CallFault) -> None:
        self.renew()
        if not self._told:
            self.warn(f"{fault.words}: {LOG_IN_AGAIN}")
        self._told = True


@dataclass
class _Login:
    """A workspace's client, once it is logged in. The SDK asks for a token and for what the
    workspace is with every client, so there is one.

    Attributes:
        lock: held by whoever logs in.
        client: None as long as nobody has, or if new credentials are to be looked for.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    client: WorkspaceClient | None = None


_LOCK = threading.Lock()
_LOGINS: dict[Workspace, _Login] = {}


def _done(
    client: WorkspaceClient, clock: CloudClock, method: str, path: str, request: Mapping[str, Any]
) -> Any:
    # As the SDK's own methods do it, for addresses that several workspaces have.
    workspace_id = client.config.workspace_id
    ours = {"X-Databricks-Workspace-Id": workspace_id} if workspace_id else {}
    headers = {**ours, **request.get("headers", {})}

    def prepare(prepared: PreparedRequest) -> PreparedRequest:
        prepared.headers.update(client.config.authenticate())
        prepared.register_hook("response", lambda response, **_: check_error(response))
        return prepared

    call = f"{method} {path}"
    wanted = [*request.get("response_headers", ()), _DATE]
    request = {**request, "headers": headers, "response_headers": wanted, "auth": prepare}
    sent = clock.last_reading
    try:
        answer = client.api_client.do(method, path, **request)
    except TypeError as raised:  # of a JSON value that is neither a mapping nor a list
        raise OddAnswerError(call, str(raised)) from raised
    # A list has no room for headers.
    date = answer.pop(_DATE, None) if isinstance(answer, dict) else None
    _check_answer(call, path, answer)
    clock.hear(date, sent)  # of a good answer only: else it may be a gateway's, and its date
    return answer


def _check_answer(call: str, path: str, answer: object) -> None:
    """Raises OddAnswerError for what is not of the SDK's type."""
    if not isinstance(answer, Mapping):
        raise OddAnswerError(call, f"it is a {type(answer).__name__}")
    if path not in _ANSWERS:
        return
    kind, key = _ANSWERS[path]
    module, name = kind.split(".")
    try:
        getattr(import_module(f"databricks.sdk.service.{module}"), name).from_dict(answer)
    except _ODD as raised:
        raise OddAnswerError(call, f"it is no {kind} ({raised})") from raised
    if key is not None and not answer.get(key):
        raise OddAnswerError(call, f"it is without {key}")


def _login_to(workspace: Workspace) -> _Login:
    with _LOCK:
        return _LOGINS.setdefault(workspace, _Login())


def _client(workspace: Workspace, stop: threading.Event) -> WorkspaceClient:
    """The SDK's client, logged in, with a token."""
    login = _login_to(workspace)
    while not login.lock.acquire(timeout=_TICK_S):
        _heed(stop)
    try:
        known = login.client
        if known is not None:
            return _logging_in(lambda: _authenticated(known), stop)
        login.client = _logging_in(lambda: _made(workspace), stop)
        return login.client
    finally:
        login.lock.release()


def _forget(workspace: Workspace, client: WorkspaceClient) -> None:
    login = _login_to(workspace)
    with _LOCK:
        if login.client is client:
            login.client = None


def _logging_in(call: Callable[[], T], stop: threading.Event) -> T:
    """The result of a call that is deaf to any stop: the SDK repeats its questions about the
    workspace for up to 5 min, and a service of tokens may not answer."""
    return aside(lambda: _logged_in(call), lambda: _heed(stop))


def _heed(stop: threading.Event) -> None:
    if stop.is_set():
        raise InterruptedError("stopped while logging in to Databricks")


def _made(workspace: Workspace) -> WorkspaceClient:
    return _authenticated(workspace_client(workspace, clock=OneAttempt()))


def _authenticated(client: WorkspaceClient) -> WorkspaceClient:
    # Asked for a token by itself, the SDK's error is known from that of a call.
    client.config.authenticate()
    return client


def _logged_in(call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as raised:
        error = login_error(raised)
        if error is None:
            raise
        raise error from raised
