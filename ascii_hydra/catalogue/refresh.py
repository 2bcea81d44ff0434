"""`action=refresh_prices`: today's prices, from those who set them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ascii_hydra.aws.credentials import credential_problems as aws_credential_problems
from ascii_hydra.aws.place import place_of
from ascii_hydra.catalogue.aws_prices import Told, UnreadableError, aws_prices
from ascii_hydra.catalogue.databricks_prices import dbu_prices
from ascii_hydra.catalogue.instances import instance_types
from ascii_hydra.catalogue.plausible import refusals
from ascii_hydra.catalogue.price_tables import (
    HOME_REGION,
    Figure,
    Kind,
    Source,
    Table,
    sources_of,
    table_of,
    written,
)
from ascii_hydra.catalogue.prices import known
from ascii_hydra.config.choices import Endpoint
from ascii_hydra.config.compose import project_folder
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.schema import PricesConfig
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.databricks.credentials import credential_problems
from ascii_hydra.databricks.workspace import workspace_of
from ascii_hydra.step.choices import Engine

_CHANGED = 0.05
_NAMED = 8
_REHEARSAL = "rehearsal-"
_AWS_LIST = ("aws-price-list", "AWS Price List API", True)
# Another zone and another hour have another price: exact as of that moment, an estimate of a bill.
_SPOT_HISTORY = ("ec2-spot-history", "EC2's spot price history, the median of its zones", False)
_LIST_PRICES = ("databricks-list-prices", "Databricks' system.billing.list_prices", True)
_SELLERS: Mapping[Kind, tuple[str, str, bool]] = {
    Kind.ec2_on_demand: _AWS_LIST,
    Kind.ec2_spot: _SPOT_HISTORY,
    Kind.emr_fee: _AWS_LIST,
    Kind.ebs: _AWS_LIST,
    Kind.dbu: _LIST_PRICES,
}
_WORDS: Mapping[Kind, str] = {
    Kind.ec2_on_demand: "EC2 on demand",
    Kind.ec2_spot: "EC2 spot",
    Kind.emr_fee: "EMR's fee",
    Kind.ebs: "EBS",
    Kind.dbu: "a DBU",
}
_OF_INSTANCES = (Kind.ec2_on_demand, Kind.ec2_spot, Kind.emr_fee)


@dataclass(frozen=True)
class _Question:
    """Prices that are asked for.

    Attributes:
        kind: what they are of.
        region: where.
        step: whose endpoint and credentials are used.
    """

    kind: Kind
    region: str
    step: StepSettings

    def __str__(self) -> str:
        return f"{_WORDS[self.kind]} in {self.region}"


class _LackingError(Exception):
    """Prices that cannot be had; the text is why, for people."""


def refreshed(settings: Settings, say: Callable[[str], None]) -> None:
    """Ask for prices and keep them in `prices.folder`; what cannot be had stays as it was.

    Asked for are the regions and engines of the run's steps. Every question stands for itself: one
    that has no answer is named with its cause, and what others brought is kept.

    Args:
        settings: which steps, and where the prices are kept; with an endpoint that answers.
        say: takes a line for people.

    Raises:
        ConfigError: nothing could be had, or the folder cannot be written.
    """
    config = settings.config.prices
    folder = project_folder() / config.folder
    questions = _questions(settings)
    if not questions:
        what = "no step of this run is in a cloud: choose engine=emr or engine=databricks."
        raise ConfigError([Problem("action=refresh_prices", what)])
    rehearsed = settings.config.endpoint.name is Endpoint.rehearsal
    _check_folder(config, folder, rehearsed=rehearsed)
    today = datetime.now(UTC).date().isoformat()
    tables: dict[str, dict[tuple[Kind, str], Figure]] = {}
    lacking: dict[str, list[_Question]] = {}
    had = False
    for question in questions:
        table = tables.setdefault(question.region, dict(table_of(folder, question.region)))
        before = {**known(config, question.region), **table}
        try:
            fresh = _answered(question, config, before, today, rehearsed=rehearsed, say=say)
        except _LackingError as fault:
            lacking.setdefault(str(fault), []).append(question)
            continue
        had = True
        say(f"{question}: {_told(question.kind, fresh, before)}")
        table.update({(question.kind, item): figure for item, figure in fresh.items()})
    missed = [Problem(", ".join(map(str, those)), why) for why, those in lacking.items()]
    if not had:
        raise ConfigError(missed)
    try:
        written(folder, tables)
    except OSError as fault:
        what = f"{folder} cannot be written: {fault.strerror}. Set another folder."
        raise ConfigError([Problem("prices.folder", what)]) from None
    for problem in missed:
        say(f"Not had, so that what was known stays: {problem}")
    say(f"Kept in {folder}.")


def _questions(settings: Settings) -> list[_Question]:
    """On demand before what is judged by it; nothing twice."""
    kinds: dict[Engine, tuple[Kind, ...]] = {
        Engine.emr: (Kind.ec2_on_demand, Kind.ec2_spot, Kind.emr_fee, Kind.ebs),
        Engine.databricks: (Kind.ec2_on_demand, Kind.ec2_spot, Kind.ebs, Kind.dbu),
    }
    found: dict[tuple[Kind, str], _Question] = {}
    for step in settings.steps.values():
        region = step.engine.region or HOME_REGION
        for kind in kinds.get(step.engine.name, ()):
            found.setdefault((kind, region), _Question(kind, region, step))
    return list(found.values())


def _check_folder(config: PricesConfig, folder: Path, *, rehearsed: bool) -> None:
    """A rehearsal's prices are kept apart from those that real plans are made of."""
    names = sources_of(folder)
    real = any(not name.startswith(_REHEARSAL) for name in names)
    if not rehearsed and any(name.startswith(_REHEARSAL) for name in names):
        what = "has the prices of a rehearsal: delete it, or keep real prices elsewhere."
        raise ConfigError([Problem(f"prices.folder={config.folder}", what)])
    usual = project_folder() / PricesConfig().folder
    if rehearsed and (real or folder.resolve() == usual.resolve()):
        what = (
            "the prices of a rehearsal would count in plans and bills of the cloud. Keep them"
            " elsewhere: prices.folder=/tmp/rehearsed_prices."
        )
        raise ConfigError([Problem(f"prices.folder={config.folder}", what)])


def _answered(
    question: _Question,
    config: PricesConfig,
    before: Table,
    today: str,
    *,
    rehearsed: bool,
    say: Callable[[str], None],
) -> dict[str, Figure]:
    """The prices that were told and can be true. Raises _LackingError if there are none."""
    told = _asked(question, config)
    kind = question.kind
    if kind in _OF_INSTANCES:
        types = instance_types()
        told = Told(
            {name: value for name, value in told.values.items() if name in types},
            {name: why for name, why in told.refused.items() if name in types},
        )
    refused = {**told.refused, **refusals(kind, told.values, before)}
    for item, why in sorted(refused.items()):
        say(f"{question}: {item} is refused, what was known stays: {why}.")
    taken = {item: value for item, value in told.values.items() if item not in refused}
    if not taken:
        raise _LackingError(f"None of {len(refused)} prices can be true." if refused else "None.")
    name, what, exact = _SELLERS[kind]
    source = Source(f"{name}-{today}", today, exact, what)
    if rehearsed:
        what = f"the rehearsal's stand-in for {what}"
        source = replace(source, name=f"{_REHEARSAL}{source.name}", exact=False, what=what)
    return {item: Figure(value, source) for item, value in taken.items()}


def _asked(question: _Question, config: PricesConfig) -> Told:
    if question.kind is Kind.dbu:
        return _asked_databricks(question, config)
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    place = replace(place_of(question.step), region=question.region)
    if problems := list(aws_credential_problems(place)):
        raise _LackingError(_joined(problems))
    try:
        return aws_prices(question.kind, place, question.region)
    except (ClientError, BotoCoreError, ResponseParserError, UnreadableError) as fault:
        raise _LackingError(f"{fault}.") from None


def _asked_databricks(question: _Question, config: PricesConfig) -> Told:
    workspace = workspace_of(question.step)
    problems = list(credential_problems(workspace))
    if config.warehouse_id is None:
        what = (
            "is not set; Databricks tells its prices by a query, for which it needs a SQL"
            " warehouse: set the id of one."
        )
        problems.append(Problem("prices.warehouse_id", what))
    if problems or config.warehouse_id is None:
        raise _LackingError(_joined(problems))
    import requests
    from databricks.sdk.errors.base import DatabricksError

    try:
        return dbu_prices(workspace, config.warehouse_id, question.region)
    except (
        *(DatabricksError, requests.RequestException, TimeoutError),
        *(ValueError, UnreadableError),
    ) as fault:
        raise _LackingError(f"{fault}.") from None


def _joined(problems: list[Problem]) -> str:
    return " ".join(str(one) for one in problems)


def _told(kind: Kind, fresh: Mapping[str, Figure], before: Table) -> str:
    changes = list(_changes(kind, fresh, before))
    new = sum((kind, item) not in before for item in fresh)
    words = f"{len(fresh)} prices"
    words += f", {new} of them new" if new else ""
    if not changes:
        return f"{words}; none has changed by more than {100 * _CHANGED:g} %."
    named = ", ".join(f"{item} {old:g} -> {value:g}" for _, item, old, value in changes[:_NAMED])
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return f"{words}; {len(changes)} changed by more than {100 * _CHANGED:g} %: {named}{more}."


def _changes(
    kind: Kind, fresh: Mapping[str, Figure], before: Table
) -> Iterator[tuple[float, str, float, float]]:
    """How much, which, and from what to what; the largest first."""
    found = []
    for item, figure in fresh.items():
        old = before.get((kind, item))
        if old is not None and abs(figure.value / old.value - 1) > _CHANGED:
            found.append((abs(figure.value / old.value - 1), item, old.value, figure.value))
    yield from sorted(found, key=lambda one: (-one[0], one[1]))
