"""The ledger keeps every sample whole, whoever writes at the same time or is killed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ascii_hydra.costs.ledger import FILE, Sample, record, samples
from ascii_hydra.dagster_home import known_home

SAMPLE = Sample(
    at="2026-11-20T10:00:00+00:00",
    endpoint="cloud",
    pipeline="webgraph",
    step="edges",
    partition="SAMPLE|ä",
    mode="full",
    engine="emr",
    cluster="large",
    vcpus=128.0,
    startup_s=210.0,
    run_s=35964.0,
    usd=402.54,
    estimated_usd=None,
    run_id="r-1",
)


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    second = replace(SAMPLE, run_id="r-2", photon=True, partition=None)
    for one in (SAMPLE, second):
        record(tmp_path, one)
    assert samples(tmp_path, pytest.fail) == [SAMPLE, second]


def test_without_a_ledger_there_is_no_history(tmp_path: Path) -> None:
    assert samples(None, pytest.fail) == []
    assert samples(tmp_path, pytest.fail) == []
    assert list(tmp_path.iterdir()) == []


def test_broken_lines_are_skipped_and_said(tmp_path: Path) -> None:
    record(tmp_path, SAMPLE)
    path = tmp_path / FILE
    whole = path.read_text(encoding="utf-8")
    data = json.loads(whole)
    wrong = [
        "[]",
        "{}",
        json.dumps({**data, "run_s": "long"}),
        json.dumps({**data, "run_s": -1}),
        '{"run_s": NaN}',
        json.dumps({**data, "run_s": math.inf}),
        json.dumps({**data, "at": 5}),
        "\udc80".encode("utf-8", "surrogateescape").decode("latin-1"),
    ]
    path.write_text("\n".join([whole, *wrong, ""]), encoding="utf-8")
    said: list[str] = []
    assert samples(tmp_path, said.append) == [SAMPLE]
    assert said == [f"{path}: 8 of 10 lines cannot be read and are skipped: 3, 4, 5, 6, 7, ...."]


def test_a_line_after_half_a_line_is_whole(tmp_path: Path) -> None:
    record(tmp_path, SAMPLE)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-20])
    record(tmp_path, SAMPLE)
    said: list[str] = []
    assert samples(tmp_path, said.append) == [SAMPLE]
    assert len(said) == 1


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    record(tmp_path, SAMPLE)
    path = tmp_path / FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "weather": "wet"}) + "\n")
    assert samples(tmp_path, pytest.fail) == [SAMPLE]


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    script = f"""
from dataclasses import replace
from pathlib import Path
from ascii_hydra.costs.ledger import record
from tests.costs.test_ledger import SAMPLE
import sys
for number in range(200):
    record(Path({str(tmp_path)!r}), replace(SAMPLE, run_id=f"{{sys.argv[1]}}-{{number}}"))
"""
    root = Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", script, name], cwd=root) for name in ("a", "b")
    ]
    assert [one.wait(60) for one in writers] == [0, 0]
    found = samples(tmp_path, pytest.fail)
    assert {one.run_id for one in found} == {f"{w}-{n}" for w in "ab" for n in range(200)}


def test_a_home_is_found_and_never_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert known_home({"DAGSTER_HOME": str(home)}) is None
    assert not home.exists()
    home.mkdir()
    assert known_home({"DAGSTER_HOME": str(home)}) == home
