"""Another process that runs one step through Dagster, to be interrupted or killed.

python -m tests.orchestrator MODULE URL STEP SOURCE DAGSTER_HOME PARENT_RUN

The module's `orchestrated(url, step, source, tell)` makes the engine's client and the request.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dagster as dg

from tests.rehearsal_cloud import GOOD


@dataclass
class Orchestrator:
    """The process, and what it has printed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def said(self, text: str) -> str | None:
        return next((one for one in self.lines if text in one), None)


@contextmanager
def orchestrators(module: str, url: str, home: Path) -> Iterator[Callable[..., Orchestrator]]:
    """Starts such processes, which are killed at the end.

    Args:
        module: name of the module that makes clients and requests.
        url: of the rehearsal cloud.
        home: the processes' DAGSTER_HOME.
    """
    made: list[Orchestrator] = []
    home.mkdir()

    def start(name: str, source: str = GOOD, parent: str = "") -> Orchestrator:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, module, url, name, source, str(home), parent],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        one = Orchestrator(process)
        made.append(one)

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                one.lines.append(line.rstrip())

        threading.Thread(target=read, daemon=True).start()
        return one

    try:
        yield start
    finally:
        for one in made:
            one.process.kill()
            one.process.wait(10)
            sys.stdout.write("\n".join(one.lines) + "\n")  # shown if the test has failed


def main() -> None:
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run_iterator
    from dagster._core.instance.ref import InstanceRef

    said = partial(print, flush=True)
    module, url, name, source, home, parent = sys.argv[1:]
    client, request = importlib.import_module(module).orchestrated(url, name, source, said)

    @dg.asset(name=name)
    def made(context):
        return client.run(context=context, request=request).get_results()

    defs = dg.Definitions(
        assets=[made], jobs=[dg.define_asset_job("job")], executor=dg.in_process_executor
    )
    job = defs.resolve_job_def("job")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(home)) as instance:
        again = {"parent_run_id": parent, "root_run_id": parent} if parent else {}
        if parent:  # as the next start does with a run whose process is gone
            instance.report_run_failed(instance.get_run_by_id(parent))
        run = instance.create_run_for_job(job_def=job, **again)
        said("RUN", run.run_id)
        for _event in execute_run_iterator(InMemoryJob(job), run, instance):
            pass
        said("ENDED", instance.get_run_by_id(run.run_id).status.value)


if __name__ == "__main__":
    main()
