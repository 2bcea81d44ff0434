from __future__ import annotations

from pathlib import Path

import make_webgraph
from webgraph_pages import Page, PageReader

SAMPLE = Path(make_webgraph.__file__).parent / "webgraph"


def shipped() -> dict[str, bytes]:
    return {
        str(path.relative_to(SAMPLE)): path.read_bytes()
        for path in SAMPLE.rglob("*")
        if path.is_file()
    }


def test_making_is_deterministic(tmp_path: Path) -> None:
    make_webgraph.main(tmp_path)
    assert {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    } == make_webgraph.files()


def test_shipped_files_are_what_the_script_makes(tmp_path: Path) -> None:
    make_webgraph.main(tmp_path)
    assert shipped().keys() == make_webgraph.files().keys()
    for path, content in shipped().items():
        # Another zlib may compress to other bytes; what they hold must be the same.
        if content != (tmp_path / path).read_bytes():
            assert path.endswith(".gz")
            assert held(SAMPLE / path) == held(tmp_path / path)


def held(path: Path) -> list[object]:
    found = PageReader().pages(str(path))
    return [
        (one.uri, one.fetched, one.record_id, one.urls) if isinstance(one, Page) else one.reason
        for one in found
    ]


def test_sample_is_small() -> None:
    assert sum(map(len, shipped().values())) < 60_000
