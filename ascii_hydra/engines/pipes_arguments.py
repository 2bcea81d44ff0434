"""The words of a submitted step, by which it is known whose it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import PipesSession
from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT,
    DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT,
    decode_param,
    encode_param,
)

from ascii_hydra.step.claim import SUBMISSION_KEY
from ascii_hydra.step.folder_messages import FOLDER_KEY

_PIPES_ARGUMENTS = (DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT, DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT)


def bootstrap_words(session: PipesSession) -> list[str]:
    """Pipes' arguments, which stand at the end of a step's own."""
    return [word for pair in session.get_bootstrap_cli_arguments().items() for word in pair]


def own_arguments(words: Sequence[str]) -> list[str]:
    """A step's words, submitted or to be, without those of Pipes."""
    starts = [words.index(one) for one in _PIPES_ARGUMENTS if one in words]
    return list(words[: min(starts, default=len(words))])


def folder_uri(words: Sequence[str]) -> str | None:
    """Where the Pipes messages of a submitted step go; None for a step that is not ours."""
    uri = _context_params(words).get(FOLDER_KEY)
    return None if uri is None else str(uri)


def numbered(words: Sequence[str], number: int) -> list[str]:
    """A step's words with the number of its submission, which its driver claims."""
    made = list(words)
    at = made.index(DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT) + 1
    made[at] = encode_param({**decode_param(made[at]), SUBMISSION_KEY: number})
    return made


def submission_number(words: Sequence[str]) -> int | None:
    """Number of the submission that made a step; None for a step that has none."""
    number = _context_params(words).get(SUBMISSION_KEY)
    return number if isinstance(number, int) else None


def _context_params(words: Sequence[str]) -> Mapping[str, Any]:
    if DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT not in words[:-1]:
        return {}
    encoded = words[words.index(DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT) + 1]
    try:
        params = decode_param(encoded)
    except (ValueError, KeyError, TypeError, OSError):
        return {}
    return params if isinstance(params, dict) else {}
