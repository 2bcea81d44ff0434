"""Calls to a cloud that may fail: what a failure means, and calling again with patience."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from ascii_hydra.engines.clock import Clock, http_date

T = TypeVar("T")
_LONGEST_PAUSE_S = 30.0
# What is paid for is not left alone for longer, whatever a gateway asks for.
_LONGEST_RETRY_AFTER_S = 60.0
_TICK_S = 0.1
# Of real time. A bill is not worth more, and Ctrl-C least of all.
_PROMPT_S, _PROMPT_STOPPED_S = 30.0, 2.0


@dataclass(frozen=True)
class CallFault:
    """What a failed call says, whichever cloud it was made to.

    Attributes:
        code: the cloud's name for it.
        words: for people: `ValidationException: Instance type ...`.
        transient: the call may succeed later; whether it has been carried out is not known unless
            `undone`.
        undone: the call was certainly not carried out.
        expired: the credentials are valid no more; the call was not carried out.
        denied: the call is not allowed.
        retry_after_s: how long the cloud asks to wait, or None.
    """

    code: str
    words: str
    transient: bool = False
    undone: bool = False
    expired: bool = False
    denied: bool = False
    retry_after_s: float | None = None


FaultOf = Callable[[BaseException], "CallFault | None"]
"""What an exception says of a call; None for one that no call raises."""


def pause_s(failures: int) -> float:
    """How long to wait after so many failures: doubling from 1 s to 30 s, with jitter."""
    pause = min(_LONGEST_PAUSE_S, 2.0 ** min(failures - 1, 10))
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret


def retry_after_s(header: str | None, date: str | None = None) -> float | None:
    """How long an answer asks to wait, in seconds, at most a minute; None if it does not, or if
    nobody can tell.

    Args:
        header: its `Retry-After`: seconds, or a date of HTTP (RFC 9110, section 10.2.3).
        date: its `Date`, for its clock need not be ours.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        return _tolerable_pause_s(float(text))
    due = http_date(text)
    if due is None:
        return None
    now = http_date(date) or datetime.now(UTC)
    return _tolerable_pause_s((due - now).total_seconds())


def _tolerable_pause_s(wanted_s: float) -> float | None:
    """What of a wait that somebody asks for is granted, in seconds; None if it is none."""
    return min(_LONGEST_RETRY_AFTER_S, wanted_s) if wanted_s > 0 else None


def repeated(
    call: Callable[[], T],
    fault_of: FaultOf,
    clock: Clock,
    stop: threading.Event,
    *,
    patience_s: float,
    expired: Callable[[CallFault], None] | None = None,
) -> T:
    """The reply to a call that may be made more than once.

    Args:
        call: makes it.
        fault_of: of the cloud that is called.
        clock: by it, one waits between two calls.
        stop: no call is made again once it is set.
        patience_s: how long a transient failure is borne with.
        expired: is told of credentials that are valid no more, which are borne with too; it makes
            the next call ask for them anew. Without it they are an error at once.

    Raises what the last call raised.
    """
    deadline: float | None = None
    failures = 0
    while True:
        try:
            return call()
        except Exception as raised:
            fault = fault_of(raised)
            if fault is None:
                raise
            lapsed = expired is not None and fault.expired
            if not (lapsed or fault.transient) or stop.is_set():
                raise
            if lapsed and expired is not None:
                expired(fault)
            failures += 1
            now = clock.now()
            deadline = now + patience_s if deadline is None else deadline
            if now >= deadline:
                raise
            wait_s = max(pause_s(failures), fault.retry_after_s or 0.0)
        clock.sleep(wait_s, stop)


def aside(call: Callable[[], T], heed: Callable[[], None]) -> T:
    """The result of a call that is not waited for longer than one wants to.

    Args:
        call: is made in a thread of its own, which goes on if nobody waits for it.
        heed: is asked again and again meanwhile; raises to wait no longer.
    """
    made: list[T] = []
    wrong: list[BaseException] = []

    def make() -> None:
        try:
            made.append(call())
        except BaseException as raised:  # noqa: BLE001 - raised again below
            wrong.append(raised)

    thread = threading.Thread(target=make, name="call-aside", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK_S)
        if thread.is_alive():
            heed()
    if wrong:
        raise wrong[0]
    return made[0]


def promptly(call: Callable[[threading.Event], T], stop: threading.Event) -> T:
    """The result of calls that a bill is made from, which nobody waits long for: 30 s of real time,
    and 2 s of it once everything is being stopped.

    Args:
        call: makes them. It is given a stop of its own, for the bill of what was stopped is wanted
            too: it is set once nobody waits any more.
        stop: whether everything is being stopped.

    Raises TimeoutError if it takes longer, and what the call raises.
    """
    over, begun = threading.Event(), time.monotonic()

    def heed() -> None:
        longest_s = _PROMPT_STOPPED_S if stop.is_set() else _PROMPT_S
        if time.monotonic() - begun > longest_s:
            over.set()
            raise TimeoutError("no answer in time")

    return aside(lambda: call(over), heed)
