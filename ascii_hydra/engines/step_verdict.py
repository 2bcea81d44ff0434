"""Why a local step failed, in one sentence: what happened, and what to do about it. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from ascii_hydra.aws.client import Place
from ascii_hydra.engines.s3_cause import s3_cause
from ascii_hydra.engines.wording import duration_words, exception_words, shortened, unreported


@dataclass(frozen=True)
class Evidence:
    """What is known about a step that has ended.

    Attributes:
        step: its name.
        exit_code: of its process; -N for an end by signal N, None if it never started.
        opened: its Pipes messages began.
        closed: they were read to their end.
        exception: name and message of the exception it reported, or None.
        timed_out_after_s: its time limit, if that is why it was stopped.
        jvm_exit_code: how the JVM that served it ended, None while that lives.
        stderr: the last lines of its errors, the JVM's among them.
        driver_memory_mib: heap of its driver.
        place: the AWS that its data is in, or None.
    """

    step: str
    exit_code: int | None
    opened: bool
    closed: bool
    exception: tuple[str, str] | None = None
    timed_out_after_s: float | None = None
    jvm_exit_code: int | None = None
    stderr: tuple[str, ...] = ()
    driver_memory_mib: int = 0
    place: Place | None = None


def cause(seen: Evidence) -> str | None:  # noqa: PLR0911 - one line for each cause
    """One sentence on why the step failed, or None if it succeeded."""
    if seen.timed_out_after_s is None and seen.exit_code == 0:
        return _unreported(seen)
    text = "\n".join((*seen.stderr, *(seen.exception or ())))
    more = f"give it more than {seen.driver_memory_mib} MiB (a larger cluster=) or less data"
    if seen.timed_out_after_s is not None:
        limit = duration_words(seen.timed_out_after_s)
        if "Initial job has not accepted any resources" in text:
            return (
                f"{seen.step} got no executor from its Spark cluster within {limit}: no worker has"
                " the cores and memory asked for; choose a smaller cluster= or start more workers."
            )
        return (
            f"{seen.step} was stopped after its time limit of {limit}: look at its output for what"
            " it was waiting for, or raise the limit."
        )
    if "java.lang.OutOfMemoryError" in text:
        return f"{seen.step} ran out of Java memory: {more}."
    if signal.SIGKILL in (-(seen.exit_code or 0), -(seen.jvm_exit_code or 0)):
        who = "Spark's JVM" if seen.jvm_exit_code == -signal.SIGKILL else "its process"
        return (
            f"{seen.step} failed because {who} was killed by SIGKILL, most often by the system for"
            " want of memory: choose a smaller cluster= or less data, or free memory."
        )
    said = "\n".join(seen.exception or seen.stderr)
    if seen.place is not None and (refused := s3_cause(said, seen.place)) is not None:
        return f"{seen.step} {refused}"
    if seen.exception is not None:
        return f"{seen.step} raised {exception_words(*seen.exception)}"
    if (seen.exit_code or 0) < 0:
        return f"{seen.step} was ended from outside by {ending(seen.exit_code)}."
    last = next((line for line in reversed(seen.stderr) if line.strip()), None)
    words = f"its last words: {shortened(last)}" if last else "it printed no error"
    return f"{seen.step} ended with {ending(seen.exit_code)}; {words}"


def _unreported(seen: Evidence) -> str | None:
    if seen.exception is not None:
        return f"{seen.step} reported {exception_words(*seen.exception)}"
    return unreported(seen.step, opened=seen.opened, closed=seen.closed)


def ending(exit_code: int | None) -> str:
    """An exit code as people say it: `exit code 3`, `signal SIGKILL`."""
    if exit_code is None:
        return "not started"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"signal {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-exit_code}"
