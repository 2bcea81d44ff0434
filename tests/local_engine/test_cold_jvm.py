"""Without a shared JVM a step starts its own, as it would by hand."""

from __future__ import annotations

import pytest

from .conftest import marked_processes
from .test_warm_jvm import LOOK


@pytest.mark.usefixtures("archive")
def test_a_step_with_a_jvm_of_its_own_gets_its_memory_and_leaves_nothing(bench):
    ended = bench.run(bench.spark("alone", LOOK, reuse_jvm=False, driver_memory_mib=700))
    assert ended.green, ended.cause
    assert 650 <= ended.materialized["heap_mib"] <= 720
    assert ended.materialized["master"] == "local[1]"
    assert marked_processes() == []
    assert {p.name for p in bench.folder.iterdir()} == {"alone.py"}
    assert [line for stream, line in bench.said if stream == "stderr"] == []
    assert not [text for text in ended.logged if "left" in text]
