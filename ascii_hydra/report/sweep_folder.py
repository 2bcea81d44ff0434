"""What a sweep leaves in its folder: the list of its rows, and a folder for each row with its
outcome."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.settle import Settings
from ascii_hydra.outcome import Ending, Outcome

ROWS_FILE = "rows.json"
_OF_THE_COST = ("launch.reuse_cluster", "prices.tier", "prices.folder", "prices.discounts")


@dataclass(frozen=True)
class SweptRow:
    """One row of a sweep.

    Attributes:
        number: counted from 0.
        overrides: what it was composed from.
        outcome: how it ended; None if it never came to an end that could be written.
        folder: its folder; None if it has none.
    """

    number: int
    overrides: tuple[str, ...]
    outcome: Outcome | None
    folder: Path | None


def written_rows(folder: Path, rows: Sequence[Sequence[str]]) -> None:
    """Keep the overrides of every row of a sweep, so that one that never ends is known too."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([list(one) for one in rows], indent=2)
    (folder / ROWS_FILE).write_text(text + "\n", encoding="utf-8")


def swept_rows(folder: Path) -> list[SweptRow]:
    """Every row of a sweep, as far as its folder tells of it."""
    listed = folder / ROWS_FILE
    overrides = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
    folders = {
        int(path.name.partition("-")[0]): path for path in folder.glob("[0-9]*-*") if path.is_dir()
    }
    return [
        SweptRow(
            number,
            tuple(overrides[number]) if number < len(overrides) else (),
            _outcome(folders.get(number)),
            folders.get(number),
        )
        for number in sorted({*range(len(overrides)), *folders})
    ]


def earlier_rows(resume: str) -> list[SweptRow]:
    """The rows of the sweep that `launch.resume` names which need not be run again: they
    succeeded. A relative folder is taken from where the command is given, as Hydra names it.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    folder = Path(resume).absolute()
    if not (folder / ROWS_FILE).is_file():
        what = "is no folder" if not folder.is_dir() else f"holds no sweep (no {ROWS_FILE})"
        raise ConfigError(
            [
                Problem(
                    f"launch.resume={resume}",
                    f"{what}. Name the folder that the sweep wrote to: multirun/<day>/<time>.",
                )
            ]
        )
    return [
        one
        for one in swept_rows(folder)
        if one.outcome is not None and one.outcome.ending is Ending.succeeded and one.folder
    ]


def taken_over(earlier: Iterable[SweptRow], settings: Settings) -> Outcome | None:
    """The outcome of the row among `earlier_rows` that did what these settings say, or None.

    The digest names what is done. Whom a cluster serves and whose prices count are not in it, but
    change what it costs.
    """
    wanted = _costly(OmegaConf.create(settings.yaml))
    for one in earlier:
        assert one.outcome is not None
        assert one.folder is not None
        settled = one.folder / "settled.yaml"
        if one.outcome.digest != settings.digest or not settled.is_file():
            continue
        if _costly(OmegaConf.load(settled)) == wanted:
            # What it may have left running was told by its own sweep, and may have ended since.
            origin = one.outcome.resumed_from or str(one.folder)
            return replace(one.outcome, resumed_from=origin, left=())
    return None


def _costly(settled: Any) -> list[Any]:
    """What a settled configuration says, beside what is done, that changes the cost."""
    return [OmegaConf.select(settled, key) for key in _OF_THE_COST]


def _outcome(folder: Path | None) -> Outcome | None:
    if folder is None or not (folder / "result.json").is_file():
        return None
    try:
        return Outcome.read(folder / "result.json")
    except (ValueError, KeyError, TypeError):  # of another version, or spoiled
        return None
