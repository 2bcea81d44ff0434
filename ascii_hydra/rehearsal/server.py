"""The rehearsal cloud over HTTP: S3 by moto, EMR and Databricks by ourselves, and its own."""

from __future__ import annotations

import json
import socket
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule, RehearsalConfig
from ascii_hydra.loopback import LOOPBACK_NAMES, foreign_sign
from ascii_hydra.rehearsal.agenda import Agenda
from ascii_hydra.rehearsal.clock import VirtualClock
from ascii_hydra.rehearsal.databricks_api import WorkspaceApi
from ascii_hydra.rehearsal.driver import Sandbox
from ascii_hydra.rehearsal.emr_api import EmrApi
from ascii_hydra.rehearsal.emr_errors import ApiError, invalid
from ascii_hydra.rehearsal.faults import Faults
from ascii_hydra.rehearsal.guard import Guard
from ascii_hydra.rehearsal.pricing import products
from ascii_hydra.rehearsal.s3_operations import s3_operation
from ascii_hydra.rehearsal.settings import as_json, from_json, rules_from_json
from ascii_hydra.rehearsal.spot_market import OPERATION, ec2_error, spot_prices
from ascii_hydra.rehearsal.store import Store
from ascii_hydra.rehearsal.world import World
from ascii_hydra.rehearsal.wsgi import WORDS, Environ, StartResponse, hang_up, let_pass

_MOST_CALLS = 100_000
_OWN = "/_rehearsal/"
_DATE = "ascii_hydra.date"  # of a request's reply, in its environ

Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Cloud:
    """The WSGI application, and all that it answers from.

    Args:
        config: how it behaves.
        url: where it answers.
        folder: for the steps' files; its owner removes it.
        guard: ends what steps have started if this process is killed.
    """

    def __init__(self, config: RehearsalConfig, url: str, folder: Path, guard: Guard) -> None:
        store = Store()
        clock = VirtualClock(config.speed)
        self._world = World(
            config=config,
            clock=clock,
            agenda=Agenda(clock),
            faults=Faults(config.faults),
            store=store,
            sandbox=Sandbox(folder, url, store, guard),
        )
        self._emr = EmrApi(self._world)
        self._databricks = WorkspaceApi(self._world, url, self._record)
        self._calls: deque[dict[str, Any]] = deque(maxlen=_MOST_CALLS)
        self._moto: Application = DomainDispatcherApplication(create_backend_app)

    def load(self) -> None:
        """Import what takes long, so that the first request need not wait for it."""
        from ascii_hydra.aws.model import service_model

        self._databricks.load()
        service_model("emr")
        self._world.store.exists("s3://none/none")

    def close(self) -> None:
        """End every step; nothing more happens."""
        self._emr.close()
        self._databricks.close()
        self._world.agenda.close()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        # A web page can make a browser call this address, and a step is a program. This server has
        # no pages of its own, so a page that asks is always another's.
        if "HTTP_ORIGIN" in environ or foreign_sign(_headers(environ), LOOPBACK_NAMES):
            return _json(start_response, 403, {"message": "The rehearsal answers no browser."})
        path = environ.get("PATH_INFO", "")
        if path.startswith(_OWN):
            return self._own(path.removeprefix(_OWN), environ, start_response)
        if self._databricks.serves(environ):
            return self._databricks(environ, self._dated(environ, start_response))
        return self._aws(environ, start_response)

    def _dated(self, environ: Environ, start_response: StartResponse) -> StartResponse:
        """Replies that tell of virtual time have a Date of it. Those of S3 have the real one, as
        its objects have."""

        def start(*reply: Any) -> Any:
            environ[_DATE] = formatdate(self._world.clock.now(), usegmt=True)
            return start_response(*reply)

        return start

    # --- AWS -----------------------------------------------------------------------------------

    def _aws(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        if service == "ElasticMapReduce":
            dated = self._dated(environ, start_response)
            return self._called(operation, environ, dated, self._answer_emr)
        if service == "AWSPriceListService":
            return self._called(operation, environ, start_response, self._answer_pricing)
        if _service(environ) == "ec2":
            return self._ec2(environ, start_response)
        if _service(environ) not in ("", "s3"):
            return self._moto(environ, start_response)
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        path = environ.get("PATH_INFO", "")
        operation = s3_operation(environ["REQUEST_METHOD"], path, query, environ)
        return self._called(operation, environ, start_response, self._answer_s3)

    def _ec2(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(content)
        if parse_qs(content.decode()).get("Action") != [OPERATION]:
            return self._moto(environ, start_response)
        return self._called(OPERATION, environ, start_response, self._answer_spot)

    def _answer_spot(
        self, _operation: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        text = environ["wsgi.input"].read().decode()
        form = {name: values[0] for name, values in parse_qs(text).items()}
        try:
            told = spot_prices(form, _region(environ), datetime.now(UTC))
        except ApiError as error:
            return _xml(start_response, error.status, ec2_error(error))
        return _xml(start_response, 200, told)

    def _record(self, operation: str) -> None:
        self._calls.append({"operation": operation, "at": self._world.clock.now()})

    def _called(
        self,
        operation: str,
        environ: Environ,
        start_response: StartResponse,
        answer: Callable[[str, Environ, StartResponse], Iterable[bytes]],
    ) -> Iterable[bytes]:
        self._record(operation)
        fault = self._world.faults.taken(operation)
        if fault is None:
            return answer(operation, environ, start_response)
        if fault.effect is FaultEffect.reply_lost:
            list(answer(operation, environ, lambda *_args: None))
            hang_up(environ)
        if fault.effect in (FaultEffect.effect_late, FaultEffect.visible_late):
            late = fault.effect is FaultEffect.effect_late
            carry_out = self._emr.answer_late if late else self._emr.answer_unseen
            carry_out(operation, _body(environ), _region(environ), fault.seconds)
            hang_up(environ)
        if fault.effect is FaultEffect.slow:
            reply = list(answer(operation, environ, start_response))
            let_pass(self._world.clock, fault.seconds)
            return reply
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        error = _refusal(fault, s3=operation.startswith("s3:"))
        if operation == OPERATION:
            return _xml(start_response, error.status, ec2_error(error))
        if operation.startswith("s3:"):
            return _s3_error(start_response, error, environ)
        return _aws_error(start_response, error)

    def _answer_emr(
        self, operation: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        try:
            params = _body(environ)
            return _json(start_response, 200, self._emr.answer(operation, params, _region(environ)))
        except ApiError as error:
            return _aws_error(start_response, error)

    def _answer_pricing(
        self, operation: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        try:
            return _json(start_response, 200, products(operation, _body(environ)))
        except ApiError as error:
            return _aws_error(start_response, error)

    def _answer_s3(
        self, _operation: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self._moto(environ, start_response)

    # --- its own -------------------------------------------------------------------------------

    def _own(self, name: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, world = environ["REQUEST_METHOD"], self._world
        try:
            if (method, name) == ("GET", "clock"):
                clock = world.clock
                told: Any = {"now": clock.now(), "speed": clock.speed, "rate": clock.rate}
            elif (method, name) == ("GET", "calls"):
                told = list(self._calls)
            elif (method, name) == ("GET", "alive"):
                told = [*self._emr.alive(), *self._databricks.alive()]
            elif (method, name) == ("GET", "config"):
                told = as_json(world.config)
            elif (method, name) == ("PUT", "faults"):
                rules = rules_from_json(_body(environ))
                world.faults.replace(rules)
                world.config = replace(world.config, faults=rules)
                told = {}
            elif (method, name) == ("PUT", "config"):
                self._configure(from_json(_body(environ)))
                told = {}
            else:
                return _json(
                    start_response, 404, {"message": f"There is no {method} {_OWN}{name}."}
                )
        except (ValueError, ApiError) as fault:
            return _json(start_response, 400, {"message": str(fault)})
        return _json(start_response, 200, told)

    def _configure(self, config: RehearsalConfig) -> None:
        self._world.faults.replace(config.faults)
        with self._world.agenda.lock:
            self._world.config = config
        self._world.clock.speed = config.speed


class Handler(MotoRequestHandler):
    """Requests as moto wants them, without a line in a log for each."""

    # Headers and body are written apart; together with delayed acknowledgements that costs 40 ms.
    disable_nagle_algorithm = True

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of a reply, if the application has set none."""
        told: str | None = self.environ.get(_DATE)
        return told or super().date_time_string(timestamp)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def server_of(application: Cloud, listening: socket.socket) -> BaseWSGIServer:
    """A server, with a thread for each connection, that serves on a listening socket."""
    host, port = listening.getsockname()
    return make_server(
        host, port, application, threaded=True, request_handler=Handler, fd=listening.fileno()
    )


def _refusal(fault: FaultRule, *, s3: bool) -> ApiError:
    if fault.effect is FaultEffect.throttled:
        if s3:
            return ApiError("SlowDown", "Please reduce your request rate.", 503)
        return ApiError("ThrottlingException", "Rate exceeded")
    if fault.effect is FaultEffect.server_error:
        message = fault.message or "An internal error occurred."
        return ApiError("InternalError" if s3 else "InternalServerException", message, 500)
    code = fault.code or ("AccessDenied" if s3 else "AccessDeniedException")
    return ApiError(code, fault.message or "Access Denied", 403 if s3 else 400)


def _headers(environ: Environ) -> list[tuple[str, str]]:
    """The headers that say who asks; one that is given twice stands in one value here."""
    known = {"host": "HTTP_HOST", "sec-fetch-site": "HTTP_SEC_FETCH_SITE"}
    return [(name, environ[key]) for name, key in known.items() if key in environ]


def _region(environ: Environ) -> str:
    return _scope(environ)[0]


def _service(environ: Environ) -> str:
    return _scope(environ)[1]


def _scope(environ: Environ) -> tuple[str, str]:
    """Region and service of a signed request: `Credential=key/date/region/service/aws4_request`."""
    parts = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split(",")[0]
    words = parts.split("/")
    return (words[2], words[3]) if len(words) == 5 else ("us-east-1", "")  # noqa: PLR2004


def _body(environ: Environ) -> Any:
    content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    try:
        return json.loads(content or b"{}")
    except ValueError:
        raise invalid("The request's body is no JSON.") from None


def _json(
    start_response: StartResponse,
    status: int,
    told: Any,
    headers: Mapping[str, str] | None = None,
) -> list[bytes]:
    content = json.dumps(told).encode()
    given = {
        "Content-Type": "application/x-amz-json-1.1",
        "Content-Length": str(len(content)),
        "x-amzn-RequestId": str(uuid.uuid4()),
        **(headers or {}),
    }
    start_response(f"{status} {WORDS.get(status, 'Error')}", list(given.items()))
    return [content]


def _aws_error(start_response: StartResponse, error: ApiError) -> list[bytes]:
    told = {"__type": error.code, "message": error.message, "Message": error.message}
    return _json(start_response, error.status, told, {"x-amzn-ErrorType": error.code})


def _xml(start_response: StartResponse, status: int, told: str) -> list[bytes]:
    content = told.encode()
    headers = [("Content-Type", "text/xml;charset=UTF-8"), ("Content-Length", str(len(content)))]
    start_response(f"{status} {WORDS.get(status, 'Error')}", headers)
    return [content]


def _s3_error(start_response: StartResponse, error: ApiError, environ: Environ) -> list[bytes]:
    content = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
    ).encode()
    if environ["REQUEST_METHOD"] == "HEAD":
        content = b""
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))]
    start_response(f"{error.status} {WORDS.get(error.status, 'Error')}", headers)
    return [content]
