"""Run a task of pixi.toml with this interpreter's environment, as `pixi run -e` would.

python scripts/task.py ENVIRONMENT TASK [ARGUMENT...]
"""

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def tasks(environment: str) -> dict[str, str]:
    """Return the commands that pixi.toml defines for `environment`, by the names of their tasks."""
    manifest = tomllib.loads((PROJECT / "pixi.toml").read_text(encoding="utf-8"))
    features = manifest["environments"].get(environment, [])
    tables = [manifest["tasks"], *(manifest["feature"][name]["tasks"] for name in features)]
    return {name: task["cmd"] for table in tables for name, task in table.items()}


def main(environment: str, task: str, *arguments: str) -> None:
    os.environ["VIRTUAL_ENV"] = sys.prefix
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.prefix, "bin")), os.environ["PATH"]])
    *first, last = (shlex.split(command) for command in tasks(environment)[task].split(" && "))
    for command in first:
        if code := subprocess.call(command):
            sys.exit(code)
    # pixi, too, gives the arguments to the last command. Replacing this process, not starting
    # another, lets signals reach the program.
    os.execvp(last[0], [*last, *arguments])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
