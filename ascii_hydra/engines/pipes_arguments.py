"""The words of a submitted step, by which it is known whose it is."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import PipesSession
from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT,
    DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT,
    decode_param,
)

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
    if DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT not in words[:-1]:
        return None
    encoded = words[words.index(DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT) + 1]
    try:
        return str(decode_param(encoded)[FOLDER_KEY])
    except (ValueError, KeyError, TypeError, OSError):
        return None
