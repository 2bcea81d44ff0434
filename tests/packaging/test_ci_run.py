"""`.ci/run`: the linters, then the tests; pytest's summary last; a skipped test fails."""

import subprocess
import sys
from pathlib import Path

import pytest
from made_up_machine import PROJECT, Machine


def test_linters_then_tests(bare_machine: Machine) -> None:
    (bare_machine.folder / "bin/make").unlink()
    bare_machine.executable(
        "make",
        'read line && exit 9; echo "make $* CI=$CI" >>"$LOG"; echo "=== 3 passed ==="',
    )
    done = bare_machine.run(".ci/run")
    assert done.returncode == 0, done.stderr
    assert bare_machine.calls() == [
        "make --no-print-directory lint CI=true",
        "make --no-print-directory test CI=true",
    ]
    assert done.stdout.splitlines()[-1] == "=== 3 passed ==="


@pytest.mark.parametrize("target", ["lint", "test"])
def test_a_failure_ends_it(bare_machine: Machine, target: str) -> None:
    (bare_machine.folder / "bin/make").unlink()
    bare_machine.executable("make", f'echo "$2" >>"$LOG"; [ "$2" != {target} ] || exit 5')
    assert bare_machine.run(".ci/run").returncode == 5
    assert bare_machine.calls()[-1] == target


@pytest.mark.parametrize(
    ("body", "on_ci", "elsewhere"),
    [
        ("def test_it(): pass", 0, 0),
        ("import pytest\ndef test_it(): pytest.skip('no Java')", 1, 0),
        ("import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass", 1, 5),
        ("import pytest\n@pytest.mark.xfail\ndef test_it(): assert False", 0, 0),
        ("", 5, 5),
    ],
)
def test_a_skipped_test_fails_on_ci(
    tmp_path: Path, child_environment: dict[str, str], body: str, on_ci: int, elsewhere: int
) -> None:
    (tmp_path / "test_it.py").write_text(body)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", tmp_path]

    def code(environment: dict[str, str]) -> int:
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, check=False
        )
        return done.returncode

    assert code(child_environment | {"CI": "true"}) == on_ci
    assert code(child_environment) == elsewhere
