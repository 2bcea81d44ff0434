"""The plan in docs/costs.md is what is printed."""

from __future__ import annotations

import re
import shlex

from tests.conftest import PROJECT, CommandLine

_BLOCK = re.compile(
    r"^```console title=plan\n\$ python -m ascii_hydra (.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def test_the_documented_plan_is_what_is_printed(command_line: CommandLine) -> None:
    found = _BLOCK.search((PROJECT / "docs" / "costs.md").read_text(encoding="utf-8"))
    assert found is not None
    ended = command_line(*shlex.split(found[1]), extra={"DAGSTER_HOME": "/nonexistent"})
    assert ended.returncode == 0, ended.stderr

    def lines(text: str) -> list[str]:
        # The digest changes with every default.
        text = re.sub(r"configuration [0-9a-f]{12}", "configuration N", text)
        return [" ".join(line.split()) for line in text.splitlines()]

    assert lines(ended.stdout) == lines(found[2])
