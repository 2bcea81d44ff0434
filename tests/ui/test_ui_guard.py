"""What a web page of somebody else's tries with a running UI, and that nothing comes of it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.conftest import clean_environment
from tests.ui.running_ui import Ui, running_ui

EVIL = "http://evil.example"
LAUNCH = """mutation { launchRun(executionParams: {
selector: {repositoryLocationName: "ascii_hydra.definitions", repositoryName: "__repository__",
jobName: "two_steps"}, runConfigData: {resources: {spark_pipes_client: {config: {
engine: "emr", mode: "small_dev_sample_s3", cluster: "large", overrides: ["endpoint=rehearsal"]
}}}}}) { __typename } }"""
IN_URL = f"/graphql?query={quote(LAUNCH)}"
BODY = json.dumps({"query": LAUNCH})
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
IMAGE = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "no-cors",
    "Sec-Fetch-Dest": "image",
    "Referer": f"{EVIL}/",
}
LINK = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Accept": "text/html",
}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    with running_ui(tmp_path_factory.mktemp("project")) as running:
        yield running


def sent(
    ui: Ui, method: str, path: str, headers: Mapping[str, str], body: str | None = None
) -> tuple[int, str]:
    """Status and text of the answer. PORT in a header is the UI's."""
    connection = HTTPConnection("127.0.0.1", ui.port, timeout=60)
    given = {name: value.replace("PORT", str(ui.port)) for name, value in headers.items()}
    connection.request(method, path, body, given)
    reply = connection.getresponse()
    return reply.status, reply.read().decode()


def runs(ui: Ui) -> list[str]:
    known = ui.ask("{ runsOrError { ... on Runs { results { runId } } } }")["runsOrError"]
    return [one["runId"] for one in known["results"]]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        pytest.param("GET", IN_URL, IMAGE, None, id="image"),
        pytest.param("GET", IN_URL, {}, None, id="image of an old browser"),
        pytest.param("GET", IN_URL, LINK, None, id="link"),
        pytest.param("POST", IN_URL, TEXT | {"Origin": EVIL}, "", id="simple POST"),
        pytest.param("POST", IN_URL, TEXT, "", id="simple POST of an old browser"),
        pytest.param("POST", IN_URL, {}, None, id="POST without content"),
        pytest.param(
            "POST",
            "/graphql",
            {"Content-Type": "text/plain; a=application/json"},
            BODY,
            id="simple POST that Dagster takes for JSON",
        ),
        pytest.param("POST", "/graphql", JSON | {"Host": "evil.example:PORT"}, BODY, id="rebound"),
        pytest.param("POST", "/graphql", JSON | {"Origin": EVIL}, BODY, id="JSON"),
        pytest.param("POST", "/graphql", JSON | {"Origin": "null"}, BODY, id="sandboxed frame"),
        pytest.param(
            "POST",
            "/graphql",
            JSON | {"Origin": "http://localhost:8888", "Sec-Fetch-Site": "same-site"},
            BODY,
            id="another server on this machine",
        ),
        pytest.param(
            "POST",
            "/report_asset_materialization/two_steps/step_1",
            TEXT | {"Origin": EVIL},
            "",
            id="an asset said to be made",
        ),
        pytest.param("OPTIONS", "/graphql", {"Origin": EVIL}, None, id="preflight"),
    ],
)
def test_a_foreign_page_starts_nothing(
    ui: Ui, method: str, path: str, headers: Mapping[str, str], body: str | None
) -> None:
    before = runs(ui)
    status, text = sent(ui, method, path, headers, body)
    assert status == 403
    assert text.startswith("Refused: ")
    assert runs(ui) == before


def test_a_page_of_the_ui_is_served_and_may_ask(ui: Ui) -> None:
    status, page = sent(ui, "GET", "/", {"Accept": "text/html", "Sec-Fetch-Site": "none"})
    assert (status, page.startswith("<!DOCTYPE html>")) == (200, True)
    # A link to it, in a chat or an issue, may be followed; a frame around it may not.
    assert sent(ui, "GET", "/runs", LINK)[0] == 200
    assert sent(ui, "GET", "/runs", LINK | {"Sec-Fetch-Dest": "iframe"})[0] == 403
    for host in ("127.0.0.1", "localhost"):
        own = {"Host": f"{host}:PORT", "Origin": f"http://{host}:PORT"}
        headers = JSON | own | {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        status, text = sent(ui, "POST", "/graphql", headers, json.dumps({"query": "{ version }"}))
        assert (status, "version" in json.loads(text)["data"]) == (200, True)
    status, text = sent(ui, "GET", "/graphql?query={version}", {})
    assert (status, "version" in json.loads(text)["data"]) == (200, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:PORT"}, 101),
        ({}, 101),
        ({"Origin": EVIL}, 403),
        ({"Origin": "http://localhost:8888"}, 403),
        ({"Host": "evil.example:PORT", "Origin": "http://evil.example:PORT"}, 403),
    ],
)
def test_a_websocket_is_for_the_own_pages(ui: Ui, headers: Mapping[str, str], status: int) -> None:
    upgrade = {
        "Host": "127.0.0.1:PORT",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "graphql-ws",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in upgrade.items())
    request = f"GET /graphql HTTP/1.1\r\n{lines}\r\n".replace("PORT", str(ui.port))
    with socket.create_connection(("127.0.0.1", ui.port), timeout=60) as connection:
        connection.sendall(request.encode())
        answer = connection.makefile("rb").readline().decode()
    assert answer.split()[1] == str(status)


def test_the_launchpad_names_no_code_and_no_place(ui: Ui, tmp_path: Path) -> None:
    dropped = tmp_path / "executed"
    script = tmp_path / "drop.py"
    script.write_text(f"open({str(dropped)!r}, 'w').close()\n")
    refused = [
        f"pipeline.steps.step_1.script={script}",
        f"pipeline.steps.step_1.py_files=[{script}]",
        "mode.bucket=attackers-bucket",
        "endpoint.url=http://127.0.0.1:9",
        "+engine.spark_conf={spark.plugins: evil.Plugin}",
    ]
    overrides = [*refused, "engine.timeout_minutes=30"]
    run_id = ui.launch("two_steps", {"overrides": overrides})["run"]["runId"]
    assert ui.ended(run_id) == "FAILURE"
    said = ui.why_failed(run_id)
    assert f"{', '.join(refused)}: cannot be chosen in the launchpad" in said
    assert "conf/local/default.yaml or ASCII_HYDRA_OVERRIDES" in said
    assert not dropped.exists()


def test_neither_does_what_is_chosen_for_one_step(ui: Ui) -> None:
    jar = "+engine.spark_conf={spark.jars: /tmp/evil.jar}"
    steps = {"two_steps__step_1": {"overrides": [jar]}}
    run_id = ui.launch("two_steps", {}, steps)["run"]["runId"]
    assert ui.ended(run_id) == "FAILURE"
    assert f"{jar}: cannot be chosen in the launchpad" in ui.why_failed(run_id)


def test_a_sigterm_ends_everything_also_of_a_job_in_the_background(tmp_path: Path) -> None:
    # A shell starts background jobs so: nohup does it for SIGHUP, `&` in a script for SIGINT.
    ignoring = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    wrapper = [sys.executable, "-c", f"{ignoring}; os.execv(sys.argv[1], sys.argv[1:])"]
    with running_ui(tmp_path / "project", *wrapper) as ui:
        family = psutil.Process(ui.process.pid).children(recursive=True)
        assert len(family) >= 3  # webserver, daemon, code server
        os.kill(ui.process.pid, signal.SIGTERM)
        assert ui.process.wait(timeout=60) == 0
        _, alive = psutil.wait_procs(family, timeout=60)
        assert alive == []


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "ascii_hydra.serve", f"--port={port}"],
            cwd=tmp_path,
            env=clean_environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert f"Port {port} is taken: is the UI open already?" in ended.stderr
