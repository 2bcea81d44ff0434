"""Why a local step failed, in one sentence: what happened, and what to do about it. Pure."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

_SHOWN = 400


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


def cause(seen: Evidence) -> str | None:  # noqa: PLR0911 - one line for each cause
    """One sentence on why the step failed, or None if it succeeded."""
    if seen.timed_out_after_s is None and seen.exit_code == 0:
        return _unreported(seen)
    text = "\n".join((*seen.stderr, *(seen.exception or ())))
    more = f"give it more than {seen.driver_memory_mib} MiB (a larger cluster=) or less data"
    if seen.timed_out_after_s is not None:
        limit = _duration(seen.timed_out_after_s)
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
    if seen.exception is not None:
        return f"{seen.step} raised {_exception(*seen.exception)}"
    if (seen.exit_code or 0) < 0:
        return f"{seen.step} was ended from outside by {ending(seen.exit_code)}."
    last = next((line for line in reversed(seen.stderr) if line.strip()), None)
    said = f"its last words: {_short(last)}" if last else "it printed no error"
    return f"{seen.step} ended with {ending(seen.exit_code)}; {said}"


def _unreported(seen: Evidence) -> str | None:
    if seen.exception is not None:
        return f"{seen.step} reported {_exception(*seen.exception)}"
    if not seen.opened:
        return (
            f"{seen.step} ended without any Dagster Pipes message, so nothing shows that it did its"
            " work: end the script with <YourStep>.run(), or open Pipes in it."
        )
    if not seen.closed:
        return (
            f"{seen.step} ended without closing Dagster Pipes, so reports may be missing: leave the"
            " script by its end, not by os._exit."
        )
    return None


def _exception(name: str, message: str) -> str:
    # py4j puts the Java exception, which says more, behind a line about its own call.
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if name.startswith("Py4JJavaError") and len(lines) > 1:
        lines = [lines[1].removeprefix(": ")]
    head = lines[0] if lines else ""
    # Dagster Pipes gives the message as a traceback ends: with the name in front.
    head = re.sub(rf"^(?:[\w.]*\.)?{re.escape(name)}(?::\s*|$)", "", head)
    return f"{name}: {_short(head)}" if head else name


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


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


def _duration(seconds: float) -> str:
    for unit, length_s in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:g} {unit}"
    return f"{seconds:g} s"
