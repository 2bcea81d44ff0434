"""From a composed configuration to settings that can be trusted.

`settle` checks everything at once and returns frozen dataclasses; nothing behind it sees
OmegaConf, and nothing behind it checks the configuration again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ascii_hydra.config.arguments import override_key
from ascii_hydra.config.checks import (
    bucket_problems,
    endpoint_problems,
    engine_problems,
    launch_problems,
    pipeline_problems,
    secret_problems,
    serverless_problems,
)
from ascii_hydra.config.choices import Action, ClusterSize, Endpoint
from ascii_hydra.config.cluster_schema import (
    ClusterConfig,
    DatabricksCluster,
    EmrCluster,
    PySparkCluster,
)
from ascii_hydra.config.compose import composed, project_folder, shipped_folder
from ascii_hydra.config.engine_schema import (
    DatabricksEngine,
    EmrEngine,
    EngineConfig,
    PySparkEngine,
)
from ascii_hydra.config.faults import fault_notices, fault_problems
from ascii_hydra.config.frozen import as_data, frozen, plain_values
from ascii_hydra.config.problems import ConfigError, Problem, one_of
from ascii_hydra.config.schema import (
    Config,
    EndpointConfig,
    LaunchConfig,
    ModeConfig,
    PipelineConfig,
    PricesConfig,
    RehearsalConfig,
    StepConfig,
)
from ascii_hydra.step.choices import Engine

ENGINES: Mapping[Engine, tuple[type[EngineConfig], type[ClusterConfig]]] = {
    Engine.pyspark: (PySparkEngine, PySparkCluster),
    Engine.emr: (EmrEngine, EmrCluster),
    Engine.databricks: (DatabricksEngine, DatabricksCluster),
}


@dataclass(frozen=True)
class StepSettings:
    """One step with everything that decides how it runs.

    Attributes:
        name: the step's name in its pipeline.
        config: what conf/pipeline says of it.
        engine, cluster: the run's own, or those that the step names for itself.
        mode: how much data it reads, and where that lives.
        endpoint: whose cloud is talked to.
        launch: how the run is conducted.
        prices: which prices count.
        rehearsal: how a rehearsed cloud behaves, if the endpoint is one.
        pipeline: the name of the pipeline.
        script: the script's absolute path.
        py_files: absolute paths of the Python files that the executors import.
    """

    name: str
    config: StepConfig
    engine: EngineConfig
    cluster: ClusterConfig
    mode: ModeConfig
    endpoint: EndpointConfig
    launch: LaunchConfig
    prices: PricesConfig
    rehearsal: RehearsalConfig
    pipeline: str
    script: Path
    py_files: tuple[Path, ...]

    @property
    def yaml(self) -> str:
        """The engine and the cluster that the step runs with, as text."""
        own = {"engine": as_data(self.engine), "cluster": as_data(self.cluster)}
        return OmegaConf.to_yaml(OmegaConf.create(own))


@dataclass(frozen=True)
class Settings:
    """The whole settled configuration.

    Attributes:
        config: every value, checked.
        steps: the pipeline's steps, every one after those it depends on.
        overrides: what was composed, so that it can be composed again elsewhere.
        yaml: the configuration as text, without anything secret.
        digest: 12 hexadecimal digits that name this configuration; what is done with it
            (`action`, `launch`) does not change them.
        notices: what the user should know though nothing is wrong.
    """

    config: Config
    steps: Mapping[str, StepSettings]
    overrides: tuple[str, ...]
    yaml: str
    digest: str
    notices: tuple[str, ...]

    @property
    def virtual(self) -> bool:
        """Durations are of a rehearsed cloud's time, which passes faster: a step runs there."""
        in_a_cloud = any(one.engine.name is not Engine.pyspark for one in self.steps.values())
        return in_a_cloud and self.config.endpoint.name is Endpoint.rehearsal


def located(path: str) -> Path:
    """Where a path of the configuration points to: itself if absolute, else in the project's
    folder, else among what ascii_hydra ships."""
    mine = project_folder() / path
    shipped = shipped_folder() / path
    return shipped if shipped.exists() and not mine.exists() else mine


def settle(config: DictConfig, overrides: Sequence[str], conf: Path | None = None) -> Settings:
    """The settings that a composed configuration means.

    Args:
        config: as Hydra composed it.
        overrides: what it was composed from; steps with an engine or a cluster of their own are
            composed from the same.
        conf: the folder that it was composed from, if not the shipped one.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[Problem] = []
    whole = _with_whole_paths(config)
    problems += secret_problems(OmegaConf.to_container(whole))
    plain = plain_values(whole, "", problems)
    chosen = _chosen_engine(plain, problems)
    if chosen is None:
        raise ConfigError(problems)
    engine_type, cluster_type = ENGINES[chosen]
    settled = frozen(Config, plain, "", problems, engine=engine_type, cluster=cluster_type)
    if settled is None:
        raise ConfigError(problems)
    script_root = located(settled.pipeline.script_root)
    problems += pipeline_problems(settled.pipeline, script_root)
    problems += endpoint_problems(settled.endpoint)
    problems += bucket_problems(settled.mode)
    problems += fault_problems(settled.rehearsal)
    problems += _prices_problems(settled)
    steps = {
        name: _step(settled, name, step, script_root, overrides, conf, problems)
        for name, step in settled.pipeline.steps.items()
    }
    if not problems and settled.action is Action.run:
        problems += launch_problems(settled, {name: one.engine for name, one in steps.items()})
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Settings(
        config=settled,
        steps={name: steps[name] for name in _in_order(settled.pipeline)},
        overrides=tuple(overrides),
        yaml=OmegaConf.to_yaml(OmegaConf.create(_identity(settled, steps))),
        digest=_digest(settled, steps),
        notices=tuple(_notices(settled, overrides, {one.engine.name for one in steps.values()})),
    )


def _prices_problems(config: Config) -> Iterator[Problem]:
    folder = config.prices.folder
    wanted = config.action is not Action.refresh_prices and folder != PricesConfig().folder
    if wanted and not located(folder).is_dir():  # else the packaged prices would count, unnoticed
        what = "is no folder; action=refresh_prices makes and fills it."
        yield Problem(f"prices.folder={folder}", what)


def _with_whole_paths(config: DictConfig) -> DictConfig:
    """A copy in which the folders of the data are absolute or URIs, for what refers to them.

    A value that cannot be read is left as it is: reading it again reports it.
    """
    whole = config.copy()
    OmegaConf.set_readonly(whole, False)
    OmegaConf.set_struct(whole, False)
    whole.pop("hydra", None)
    for key, find in (
        ("mode.input_root", located),
        ("mode.output_root", project_folder().joinpath),
        ("pipeline.input", located),
        ("pipeline.output", project_folder().joinpath),
    ):
        try:
            value = OmegaConf.select(whole, key)
        except OmegaConfBaseException:
            continue
        if isinstance(value, str) and "://" not in value:
            OmegaConf.update(whole, key, str(find(value)))
    return whole


# --- the run ------------------------------------------------------------------------------


def _chosen_engine(plain: Mapping[str, Any], problems: list[Problem]) -> Engine | None:
    engine = plain.get("engine")
    name = engine.get("name") if isinstance(engine, dict) else None
    if isinstance(name, Engine):
        return name
    problems.append(Problem("engine", f"is required: {one_of(e.value for e in Engine)}."))
    return None


def _identity(config: Config, steps: Mapping[str, StepSettings]) -> dict[str, Any]:
    """Everything that was settled, with what a step's own engine and cluster were composed to."""
    own = {
        name: {"engine": as_data(step.engine), "cluster": as_data(step.cluster)}
        for name, step in steps.items()
        if (step.engine, step.cluster) != (config.engine, config.cluster)
    }
    return {**as_data(config), **({"own": own} if own else {})}


def _digest(config: Config, steps: Mapping[str, StepSettings]) -> str:
    identity = _identity(config, steps)
    for key in ("action", "launch", "plan", "prices"):  # how it is run and told, not what
        del identity[key]
    for step in identity["pipeline"]["steps"].values():
        del step["expected_minutes"]
    if config.endpoint.name is Endpoint.rehearsal:
        del identity["endpoint"]["url"]  # another one each time
    else:
        del identity["rehearsal"]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


# --- steps ----------------------------------------------------------------------------------


def settled_step(
    settings: Settings,
    name: str,
    step: StepConfig,
    script_root: Path,
    conf: Path | None = None,
    own_overrides: Sequence[str] = (),
) -> StepSettings:
    """The settings of a step of a settled run, with what was chosen for this step alone.

    Args:
        settings: the run's.
        name, step, script_root: the step, and the folder of its script.
        conf: the folder that the run was composed from, if not the shipped one.
        own_overrides: raw overrides of `engine.` and `cluster.` for this step.

    Raises:
        ConfigError: with every problem found.
    """
    problems = [
        Problem(one, "a step's own overrides are of engine. or cluster. alone.")
        for one in own_overrides
        if not override_key(one).startswith(("engine.", "cluster."))
    ]
    if problems:
        raise ConfigError(problems)
    made = _step(
        settings.config,
        name,
        step,
        script_root,
        settings.overrides,
        conf,
        problems,
        own_overrides=own_overrides,
    )
    if settings.config.action is Action.run:
        problems += launch_problems(settings.config, {name: made.engine})
    if problems:
        raise ConfigError(problems)
    return made


def _step(
    config: Config,
    name: str,
    step: StepConfig,
    script_root: Path,
    overrides: Sequence[str],
    conf: Path | None,
    problems: list[Problem],
    own_overrides: Sequence[str] = (),
) -> StepSettings:
    engine, cluster = _own_engine(config, name, step, overrides, conf, problems, own_overrides)
    problems += engine_problems(engine, config.mode.name)
    problems += serverless_problems(name, step, engine)
    return StepSettings(
        name=name,
        config=step,
        engine=engine,
        cluster=cluster,
        mode=config.mode,
        endpoint=config.endpoint,
        launch=config.launch,
        prices=config.prices,
        rehearsal=config.rehearsal,
        pipeline=config.pipeline.name,
        script=script_root / step.script,
        py_files=tuple(script_root / path for path in step.py_files),
    )


def _own_engine(
    config: Config,
    name: str,
    step: StepConfig,
    overrides: Sequence[str],
    conf: Path | None,
    problems: list[Problem],
    own_overrides: Sequence[str],
) -> tuple[EngineConfig, ClusterConfig]:
    """The engine and cluster of a step: the run's, or freshly composed for a step that names
    its own. Raw overrides of `engine.` reach steps on the run's engine, those of `cluster.` steps
    on the run's engine and size: they were written for these. A step's own come last."""
    engine = step.engine or config.engine.name
    size = step.cluster or config.cluster.size
    as_run = (engine, size) == (config.engine.name, config.cluster.size)
    if as_run and not own_overrides:
        return config.engine, config.cluster
    foreign: tuple[str, ...] = ()
    if not as_run:
        foreign = ("engine.", "cluster.") if engine is not config.engine.name else ("cluster.",)
    kept = [one for one in overrides if not override_key(one).startswith(foreign or ("\0",))]
    named = [f"engine={engine.value}", f"cluster={size.value}"] if not as_run else []
    own = composed([*kept, *named, *own_overrides], conf)
    found: list[Problem] = []
    plain = {key: plain_values(own[key], key, found) for key in ("engine", "cluster")}
    engine_type, cluster_type = ENGINES[engine]
    settled = (
        frozen(engine_type, plain["engine"], "engine", found),
        frozen(cluster_type, plain["cluster"], "cluster", found),
    )
    problems += [Problem(f"pipeline.steps.{name}: {one.where}", one.what) for one in found]
    return settled[0] or config.engine, settled[1] or config.cluster


def _in_order(pipeline: PipelineConfig) -> list[str]:
    """The steps, every one after those it depends on. Steps of a cycle are left out."""
    done: list[str] = []
    waiting = dict(pipeline.steps)
    while ready := [name for name, step in waiting.items() if not set(step.deps) - set(done)]:
        done += ready
        for name in ready:
            del waiting[name]
    return done


def _notices(
    config: Config, overrides: Sequence[str], engines: Collection[Engine]
) -> Iterator[str]:
    if config.engine.name is Engine.pyspark:
        for key in ("cluster.workers", "cluster.spot_share", "engine.region", "engine.libraries"):
            if any(override_key(one) == key for one in overrides):
                yield f"{key} has no effect on engine=pyspark."
    if config.endpoint.name is Endpoint.rehearsal and config.mode.bucket is None:
        yield f"endpoint=rehearsal has no effect on mode={config.mode.name}."
    keys = [override_key(one) for one in overrides if not one.startswith("~")]
    if config.endpoint.name is Endpoint.rehearsal:
        yield from fault_notices(config.rehearsal, engines)
    else:
        for key in dict.fromkeys(one for one in keys if one.startswith("rehearsal.")):
            yield f"{key} has an effect on endpoint=rehearsal alone."
    for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
        values = [one for one in overrides if override_key(one) == key]
        yield f"{key} is given {len(values)} times; the last one counts: {values[-1]}."


def sizes(conf: Path, engine: Engine) -> list[str]:
    """The cluster sizes that an engine has in a configuration folder."""
    found = {path.stem for path in (conf / "cluster" / engine.value).glob("*.yaml")}
    order = [size.value for size in ClusterSize]
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))
