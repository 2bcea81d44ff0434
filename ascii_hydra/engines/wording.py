"""How causes are worded, the same for every engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ascii_hydra.costs.bill import Bill, BillLine, Part

_SHOWN = 400
# Exceptions that tell of what has happened elsewhere, in their text: in the JVM, in a worker.
_OF_OTHERS = {
    *("Py4JJavaError", "Py4JNetworkError", "Py4JError", "PythonException"),
    *("SparkException", "SparkConnectGrpcException", "QueryExecutionException"),
    "UnknownException",
}


def exception_words(name: str, message: str) -> str:
    """An exception in one line: `KeyError: 'text'`."""
    # py4j puts the Java exception, which says more, behind a line about its own call.
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if name.startswith("Py4JJavaError") and len(lines) > 1:
        lines = [lines[1].removeprefix(": ")]
    if name.startswith("PythonException") and (raised := _raised_in_worker(message)):
        return f"{shortened(raised)} (in a Python worker of Spark)"
    head = lines[0] if lines else ""
    # Dagster Pipes gives the message as a traceback ends: with the name in front.
    head = re.sub(rf"^(?:[\w.]*\.)?{re.escape(name)}(?::\s*|$)", "", head)
    return f"{name}: {shortened(head)}" if head else name


def lacked_memory(exception: tuple[str, str] | None, said: str, pattern: re.Pattern[str]) -> bool:
    """Whether a step has failed for want of memory.

    Args:
        exception: name and message of what it reported, or None.
        said: all that is known of its end, in words.
        pattern: of the words that speak of memory.
    """
    name = None if exception is None else exception[0].rpartition(".")[2]
    if name is None or name in _OF_OTHERS:
        return pattern.search(said) is not None
    # The text of any other is the script's own, whatever it speaks of.
    return name.endswith("MemoryError")


def _raised_in_worker(message: str) -> str | None:
    """What a Python worker raised: the line below its traceback."""
    _, traceback, below = message.partition("Traceback (most recent call last)")
    found = re.search(r"^[A-Za-z_][\w.]*(?:: .*)?$", below, re.MULTILINE)
    return found[0] if traceback and found else None


def shortened(text: str) -> str:
    """A text that fits into a sentence."""
    text = text.strip()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def duration_words(seconds: float) -> str:
    """`45 s`, `10 min`, `3 h`."""
    for unit, length_s in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:g} {unit}"
    return f"{seconds:g} s"


def money(usd: float) -> str:
    """`$0.41`, `$1,204.50`; what is more than nothing is never shown as nothing: `$0.0021`,
    `<$0.0001`."""
    if usd == 0 or usd >= 0.01:  # noqa: PLR2004
        return f"${usd:,.2f}"
    return f"${usd:.4f}" if usd >= 0.0001 else "<$0.0001"  # noqa: PLR2004


def marked(usd: float, *, estimated: bool) -> str:
    """An amount; `~` marks an estimate."""
    return f"{'~' if estimated else ''}{money(usd)}"


def money_of(bill: Bill) -> str:
    """What a bill comes to: `~` marks an estimate; `>` what is lacking something without a price,
    or `unpriced` if nothing of it has one."""
    if bill.usd is not None:
        return marked(bill.usd, estimated=bill.estimated)
    known_usd = bill.known_usd
    return f"> {marked(known_usd, estimated=bill.estimated)}" if known_usd else "unpriced"


def part_of(bill: Bill, part: Part) -> str | None:
    """What a part of a bill comes to; `~` marks an estimate. None if nobody knows: the bill lacks
    something, and has no line of this part."""
    lines = [one for one in bill.lines if one.part is part]
    if not lines:
        return None if bill.unpriced else money(0.0)
    return marked(bill.of(part), estimated=_doubted(bill, lines))


def wasted_of(bill: Bill) -> str:
    """What of a bill is known to be wasted; `~` marks an estimate."""
    lines = [one for one in bill.lines if one.wasted]
    return marked(bill.wasted_usd, estimated=_doubted(bill, lines))


def _doubted(bill: Bill, lines: Sequence[BillLine]) -> bool:
    return bool(lines) and (bool(bill.assumed) or any(one.estimated for one in lines))


def unreported(step: str, *, opened: bool, closed: bool) -> str | None:
    """What a step lacks that ended well but did not say all there is to say, or None."""
    if not opened:
        return (
            f"{step} ended without any Dagster Pipes message, so nothing shows that it did its"
            " work: end the script with <YourStep>.run(), or open Pipes in it."
        )
    if not closed:
        return (
            f"{step} ended without closing Dagster Pipes, so reports may be missing: leave the"
            " script by its end, not by os._exit."
        )
    return None
