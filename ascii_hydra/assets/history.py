"""Dagster's history as the command line opens it, and the place in it of the runs it makes."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from ascii_hydra.assets.abandoned import close_abandoned
from ascii_hydra.assets.step_logs import StepLogs
from ascii_hydra.dagster_home import first_alone

# The module that `make start` serves; a run names it as its code's place.
LOCATION = "ascii_hydra.definitions"


def opened_instance(home: Path) -> dg.DagsterInstance:
    """The history of a DAGSTER_HOME, with the runs of dead processes ended.

    The steps' output goes to its files directly, unless dagster.yaml says where it is kept.
    """
    with first_alone(home):
        instance = _opened(home)
        close_abandoned(instance)
    return instance


def _opened(home: Path) -> dg.DagsterInstance:
    own = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")) or {}
    if "compute_logs" in own:
        return dg.DagsterInstance.from_config(str(home))
    logs = {"module": StepLogs.__module__, "class": StepLogs.__name__}
    folder = {"base_dir": str(home / "storage")}
    return dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(str(home), overrides={"compute_logs": {**logs, "config": folder}})
    )


def job_origin(job: str) -> RemoteJobOrigin:
    """The job as the UI's code location has it, so that the run can be executed again there."""
    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=LOCATION, working_directory=str(Path.cwd())
    )
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=LOCATION)
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job)
