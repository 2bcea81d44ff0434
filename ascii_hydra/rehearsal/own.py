"""The rehearsal cloud of this process: started when a run needs one, with the samples in it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.config.arguments import override_key
from ascii_hydra.config.choices import Endpoint
from ascii_hydra.config.compose import composed
from ascii_hydra.config.engine_schema import DatabricksEngine, EmrEngine
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.schema import PipelineConfig, RehearsalConfig
from ascii_hydra.config.settle import Settings, located, settle
from ascii_hydra.rehearsal.settings import as_json

_SAMPLES = "samples"

_lock = Lock()
_running = ExitStack()
_urls: dict[RehearsalConfig, str] = {}
_told: set[tuple[str, RehearsalConfig]] = set()
_filled: set[tuple[str, tuple[str, ...]]] = set()


def rehearsed(settings: Settings, conf: Path | None = None) -> Settings:
    """The same settings with the address of a rehearsal cloud that has the samples in it.

    Settings that rehearse nothing, or do not leave this machine, are returned as they are.

    Args:
        settings: what was settled.
        conf: the folder that it was composed from, if not the shipped one.

    Raises:
        ConfigError: the cloud of `endpoint.url` does not answer.
    """
    endpoint = settings.config.endpoint
    if endpoint.name is not Endpoint.rehearsal or settings.config.mode.bucket is None:
        return settings
    wanted = settings.config.rehearsal
    told = any(override_key(one).startswith("rehearsal.") for one in settings.overrides)
    if endpoint.url is None:
        overrides = (*settings.overrides, f"endpoint.url={_own_url(wanted)}")
        settings = settle(composed(overrides, conf), overrides, conf)
        told = bool(wanted.faults)
    _fill(settings)
    assert settings.config.endpoint.url is not None
    if told:
        _behave(settings.config.endpoint.url, wanted)
    return settings


def with_sample_input(settings: Settings) -> PipelineConfig:
    """The pipeline of these settings. The input of a rehearsal that is not there yet is taken from
    the samples that it will be filled with."""
    config = settings.config
    if config.endpoint.name is not Endpoint.rehearsal or config.endpoint.url is not None:
        return config.pipeline
    here = config.pipeline.input.replace(config.mode.input_root, str(located(_SAMPLES)), 1)
    return replace(config.pipeline, input=here)


def close_own() -> None:
    """End the rehearsal clouds of this process, and with them all that they hold."""
    with _lock:
        _urls.clear()
        _filled.clear()
        _running.close()


def _own_url(config: RehearsalConfig) -> str:
    from ascii_hydra.rehearsal.started import RehearsalError, started

    with _lock:
        if config not in _urls:
            try:
                # Nothing goes wrong while the samples are brought in.
                _urls[config] = _running.enter_context(started(replace(config, faults=())))
            except RehearsalError as fault:
                raise ConfigError([Problem("endpoint=rehearsal", str(fault))]) from None
        return _urls[config]


def _behave(url: str, config: RehearsalConfig) -> None:
    """Let a cloud behave as configured; once, because its rules count what they have seen."""
    with _lock:
        if (url, config) in _told:
            return
        _told.add((url, config))
    body = json.dumps(as_json(config)).encode()
    request = Request(f"{url}/_rehearsal/config", body, method="PUT")  # noqa: S310 - loopback
    urlopen(request, timeout=10).close()  # noqa: S310


def _fill(settings: Settings) -> None:
    """Make the buckets that the settings name, with the samples in the mode's input folder; once,
    because rules for what goes wrong count every call."""
    from botocore.exceptions import BotoCoreError, ClientError

    config = settings.config
    engines = [step.engine for step in settings.steps.values()]
    staging = [one.staging_root for one in engines if isinstance(one, EmrEngine | DatabricksEngine)]
    roots = (config.mode.input_root, config.mode.output_root, config.pipeline.output, *staging)
    assert config.endpoint.url is not None
    with _lock:
        if (config.endpoint.url, roots) in _filled:
            return
    place = Place(config.mode.region, config.endpoint.url, path_style=True, rehearsal=True)
    store = aws_client("s3", place, retried=False)  # it is on this machine: it answers, or not
    buckets = {urlsplit(root).netloc for root in roots if root.startswith("s3")}
    try:
        known = {one["Name"] for one in store.list_buckets()["Buckets"]}
        for bucket in sorted(buckets - known):
            store.create_bucket(Bucket=bucket)
        target = urlsplit(config.mode.input_root)
        prefix = target.path.strip("/")
        found = store.list_objects_v2(Bucket=target.netloc, Prefix=f"{prefix}/", MaxKeys=1)
        if found["KeyCount"] == 0:
            samples = located(_SAMPLES)
            for path in sorted(samples.glob("*/**/*")):
                if path.is_file():
                    key = f"{prefix}/{path.relative_to(samples).as_posix()}"
                    store.upload_file(str(path), target.netloc, key)
    except (BotoCoreError, ClientError) as fault:
        at = f"endpoint.url={config.endpoint.url}"
        what = f"is no rehearsal cloud that answers ({fault}). Start one: make rehearsal"
        raise ConfigError([Problem(at, what)]) from None
    with _lock:
        _filled.add((config.endpoint.url, roots))
