"""The one path by which a configuration is composed, for the command line and for Dagster."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from ascii_hydra.config.schema import SCHEMAS

CONFIG_NAME = "config"
# Hydra 1.3's behaviour. Deprecated as a parameter in 1.4, so it is named in this one place.
VERSION_BASE = "1.3"
SCHEMA_GROUP = "ascii_hydra"

# GlobalHydra is one per process and not safe to initialise from two threads.
_composing = threading.RLock()


def shipped_folder() -> Path:
    """The folder that holds conf/, steps/ and samples/: the checkout, or the installed package.

    Raises:
        FileNotFoundError: neither has conf/config.yaml; the message names both places.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package, package.parent):
        if (folder / "conf" / f"{CONFIG_NAME}.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"conf/{CONFIG_NAME}.yaml is missing. Looked in {package / 'conf'} (an installed"
        f" ascii_hydra) and {package.parent / 'conf'} (a checkout). Install ascii_hydra again,"
        " or run it from a whole checkout."
    )


def project_folder() -> Path:
    """The folder that relative paths of the configuration start from: the checkout, or, for an
    installed package, the working directory."""
    shipped = shipped_folder()
    return shipped if (shipped / "pyproject.toml").is_file() else Path.cwd()


def conf_folder() -> Path:
    """The folder of the Hydra configuration, absolute."""
    return shipped_folder() / "conf"


@cache
def unfrozen(cls: type) -> type:
    """The twin of a frozen dataclass that OmegaConf can compose into.

    OmegaConf makes a frozen dataclass read-only and knows neither `Mapping` nor `tuple`.
    """
    hints = get_type_hints(cls)
    bases = tuple(unfrozen(base) for base in cls.__bases__ if dataclasses.is_dataclass(base))
    own = [one for one in dataclasses.fields(cls) if one.name in cls.__annotations__]
    return dataclasses.make_dataclass(
        cls.__name__,
        [(one.name, _open_type(hints[one.name]), _open_default(one)) for one in own],
        bases=bases,
    )


def _open_type(hint: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Mapping:
        return dict.__class_getitem__((args[0], _open_type(args[1])))
    if origin is tuple:
        return list.__class_getitem__(_open_type(args[0]))
    if origin is not None and type(None) in args:
        inner = next(one for one in args if one is not type(None))
        return _open_type(inner) | None
    return unfrozen(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else hint


def _open_default(one: dataclasses.Field[Any]) -> Any:
    if one.default_factory is not dataclasses.MISSING:
        factory = one.default_factory
        made: Any = factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            made = unfrozen(factory)
        return dataclasses.field(default_factory=made)
    if isinstance(one.default, tuple):
        return dataclasses.field(default_factory=list)
    return dataclasses.field(default=one.default)


@cache
def register_schemas() -> None:
    """Put the schemas into Hydra's ConfigStore, in a group of their own so that they are no
    options of the groups that people choose from."""
    store = ConfigStore.instance()
    for path, cls in SCHEMAS.items():
        *group, name = path.split("/")
        store.store(
            group="/".join([SCHEMA_GROUP, *group]),
            name=name,
            node=unfrozen(cls),
            provider="ascii_hydra",
        )


def composed(
    overrides: Sequence[str], conf: Path | None = None, *, with_hydra: bool = False
) -> DictConfig:
    """The configuration that these overrides compose.

    Args:
        overrides: as on the command line, later ones win.
        conf: the folder of the configuration; by default the shipped one. Within `hydra.main`
            the folder is the one it was started with.
        with_hydra: keep Hydra's own node.

    Raises:
        hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: what was given
            cannot be composed.
    """
    with _composing:
        if GlobalHydra.instance().is_initialized():
            return compose(CONFIG_NAME, list(overrides), return_hydra_config=with_hydra)
        register_schemas()
        folder = str(conf or conf_folder())
        with initialize_config_dir(folder, version_base=VERSION_BASE):
            return compose(CONFIG_NAME, list(overrides), return_hydra_config=with_hydra)


def as_yaml(config: DictConfig) -> str:
    """The configuration as YAML with every interpolation resolved, without Hydra's own node."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return OmegaConf.to_yaml(OmegaConf.create(plain))
