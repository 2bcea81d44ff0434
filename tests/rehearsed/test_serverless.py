"""A real pipeline on the rehearsal's serverless compute."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import SMALL, CommandLine


def test_two_steps_on_serverless_compute(command_line: CommandLine, tmp_path: Path) -> None:
    ended = command_line(
        "engine=databricks",
        "engine.serverless=true",
        "mode=small_dev_sample_s3",
        "endpoint=rehearsal",
        SMALL["two_steps"],
        timeout_s=240,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (path,) = tmp_path.glob("outputs/*/*/result.json")
    outcome = json.loads(path.read_text())
    assert [(one["step"], one["rows"], one["ending"]) for one in outcome["steps"]] == [
        ("step_1", 2000, "succeeded"),
        ("step_2", 2000, "succeeded"),
    ]
    # Its DBU are metered, and nobody tells them: that is not zero.
    assert outcome["cost_usd"] is None
    for step in outcome["steps"]:
        assert step["cost_usd"] is None
        assert "system.billing.usage" in step["bill"]["unpriced"][0]
        assert step["bill"]["run_s"] > 0
