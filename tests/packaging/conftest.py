import os
from pathlib import Path

import pytest
from made_up_machine import Machine, bare


@pytest.fixture
def bare_machine(tmp_path: Path) -> Machine:
    """A machine with neither Java nor Python nor pixi."""
    return bare(tmp_path)


@pytest.fixture
def machine(bare_machine: Machine) -> Machine:
    """A machine with Java, Python and (a stand-in for) uv, but no pixi."""
    bare_machine.java("17.0.15")
    bare_machine.python("3.12.4")
    bare_machine.uv()
    return bare_machine


@pytest.fixture
def child_environment() -> dict[str, str]:
    """This environment for a child process, without what it could find the project's folder by."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "CI"} and not name.startswith("PYTEST_")
    }
