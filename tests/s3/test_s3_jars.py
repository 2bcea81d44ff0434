"""The jars for s3a://: what is locked, and how they come here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ascii_hydra.engines import s3_jars
from ascii_hydra.engines.s3_jars import JarsMissingError
from ascii_hydra.engines.spark_launch import Installation
from tests.s3.conftest import answering

LOCKED = json.loads(s3_jars.LOCK.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def kept() -> dict[str, Path]:
    """The real files by their paths in a repository."""
    s3_jars.ensured(lambda _: None)
    found = s3_jars.needed()
    return {jar.path: path for jar, path in zip(found.jars, found.paths, strict=True)}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a cache and without Maven's."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASCII_HYDRA_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def one_jar(empty: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The content of the only jar of a lock that the test made."""
    content = b"a jar" * 50_000
    locked = {
        s3_jars.needed().hadoop: [
            {
                "jar": "org.example:thing:1.0",
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        ]
    }
    (empty / "lock.json").write_text(json.dumps(locked))
    monkeypatch.setattr(s3_jars, "LOCK", empty / "lock.json")
    monkeypatch.setattr(s3_jars, "_locked_jars", s3_jars._locked_jars.__wrapped__)
    return content


def giving(content: bytes, asked: list[str], size: int | None = None) -> Callable[..., None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        request.send_response(200)
        request.send_header("Content-Length", str(size or len(content)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(content)
        request.close_connection = True

    return answer


def test_every_jar_is_locked() -> None:
    jars = [one for hadoop, each in LOCKED.items() if hadoop != "about" for one in each]
    for one in jars:
        assert re.fullmatch(r"[\w.-]+:[\w.-]+:[0-9][\w.]*", one["jar"])
        assert re.fullmatch(r"[0-9a-f]{64}", one["sha256"])
        assert 1_000 < one["bytes"] < 10_000_000
    assert len({one["jar"] for one in jars}) == len(jars)
    assert len({one["sha256"] for one in jars}) == len(jars)
    # Of the installed Spark's own Hadoop and Scala.
    found = s3_jars.needed()
    names = [jar.name for jar in found.jars]
    assert f"hadoop-aws-{found.hadoop}.jar" in names
    scala = Installation.found().core_jar.name.removeprefix("spark-core_").partition("-")[0]
    assert any(name.startswith(f"spark-hadoop-cloud_{scala}-") for name in names)
    assert sum(jar.size for jar in found.jars) < 20_000_000


def test_all_of_them_are_found_through_one(kept: dict[str, Path]) -> None:
    found = s3_jars.needed()
    assert s3_jars.spark_jars(on_this_machine=True) == (found.all_in_one,)
    assert s3_jars.spark_jars(on_this_machine=False) == s3_jars.jar_paths()
    for jar, path in zip(found.jars, found.paths, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256
    with zipfile.ZipFile(found.all_in_one) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    assert max(len(line) for line in manifest.splitlines()) <= 72
    named = manifest.replace("\r\n ", "").splitlines()[1].removeprefix("Class-Path: ").split(" ")
    assert named == [path.name for path in found.paths]


def test_a_jar_is_downloaded_once(
    one_jar: bytes, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    said: list[str] = []
    with answering(giving(one_jar, asked)) as url:
        monkeypatch.setenv("ASCII_HYDRA_MAVEN_REPOSITORY", f"{url}/maven2/")
        (path,) = s3_jars.ensured(said.append)
        assert path.read_bytes() == one_jar
        assert s3_jars.ensured(said.append) == (path,)
        host = url.removeprefix("http://")
    assert asked == ["/maven2/org/example/thing/1.0/thing-1.0.jar"]
    assert said == [f"Downloading 1 jars (0 MB) for s3a:// from {host} …"]
    assert {one.name for one in path.parent.iterdir()} == {"lock", "s3a.jar", "thing-1.0.jar"}


def test_a_jar_that_maven_has_is_not_downloaded(one_jar: bytes, empty: Path) -> None:
    (jar,) = s3_jars.needed().jars
    mavens = empty / "home" / ".m2" / "repository" / jar.path
    mavens.parent.mkdir(parents=True)
    mavens.write_bytes(one_jar)
    (path,) = s3_jars.ensured(pytest.fail)
    assert path.read_bytes() == one_jar


@pytest.mark.parametrize(
    ("content", "size", "why"),
    [
        (b"another jar" * 50_000, None, "is not the file that was locked"),
        (b"a jar" * 100, 250_000, "it ended after 500 of 250000 bytes"),
    ],
)
def test_a_bad_download_is_refused_and_nothing_is_kept(
    one_jar: bytes,
    empty: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    size: int | None,
    why: str,
) -> None:
    mavens = empty / "home" / ".m2" / "repository" / s3_jars.needed().jars[0].path
    mavens.parent.mkdir(parents=True)
    mavens.write_bytes(b"damaged, too")
    with answering(giving(content, [], size)) as url:
        monkeypatch.setenv("ASCII_HYDRA_MAVEN_REPOSITORY", url)
        with pytest.raises(JarsMissingError, match=why):
            s3_jars.ensured(lambda _: None)
    assert [one.name for one in s3_jars.needed().folder.iterdir()] == ["lock"]


def test_a_repository_that_cannot_be_reached(
    one_jar: bytes, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCII_HYDRA_MAVEN_REPOSITORY", "http://127.0.0.1:9")
    with pytest.raises(JarsMissingError) as missing:
        s3_jars.ensured(lambda _: None)
    folder = s3_jars.needed().folder
    assert str(missing.value) == (
        "A jar that s3a:// needs cannot be downloaded from"
        " http://127.0.0.1:9/org/example/thing/1.0/thing-1.0.jar ([Errno 111] Connection refused):"
        " connect to the network, or set ASCII_HYDRA_MAVEN_REPOSITORY to a mirror of Maven"
        f" Central, or put the jars that {s3_jars.LOCK} lists into {folder}."
    )
    # What was put there by hand is used.
    (folder / "thing-1.0.jar").write_bytes(one_jar)
    assert s3_jars.ensured(pytest.fail) == (folder / "thing-1.0.jar",)


def test_a_spark_of_another_hadoop(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars = empty / "spark" / "jars"
    jars.mkdir(parents=True)
    monkeypatch.setenv("SPARK_HOME", str(empty / "spark"))
    (jars / "hadoop-client-api-2.7.4.jar").touch()
    with pytest.raises(JarsMissingError, match=r"has Hadoop 2\.7\.4; s3a:// works here with"):
        s3_jars.needed()
    # One that was built with them needs nothing.
    (jars / "hadoop-aws-2.7.4.jar").touch()
    (jars / "spark-hadoop-cloud_2.12-3.0.0.jar").touch()
    assert s3_jars.ensured(pytest.fail) == ()


def test_two_processes_at_once_download_once(kept: dict[str, Path], empty: Path) -> None:
    asked: list[str] = []
    once = threading.Lock()

    def answer(request: BaseHTTPRequestHandler) -> None:
        with once:
            asked.append(request.path)
        giving(kept[request.path[1:]].read_bytes(), [])(request)

    with answering(answer) as url:
        environment = {**os.environ, "ASCII_HYDRA_MAVEN_REPOSITORY": url}
        command = [sys.executable, "-m", "ascii_hydra.engines.s3_jars"]
        both = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        said = [one.communicate(timeout=60)[0].splitlines() for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted(asked) == sorted(f"/{path}" for path in kept)
    assert sorted(map(len, said)) == [1, 2]
    assert {lines[-1] for lines in said} == {
        f"{len(kept)} jars for s3a:// in {s3_jars.needed().folder}"
    }
