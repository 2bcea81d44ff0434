"""Between what the cost and the duration of a row are known to be."""

from __future__ import annotations

from collections.abc import Iterator

from ascii_hydra.costs.estimate import Basis
from ascii_hydra.costs.frontier import UNKNOWN, Band, Timing
from ascii_hydra.outcome import Ending, Outcome, StepOutcome


def usd_band(outcome: Outcome, usd: float) -> Band:
    """Of what a row costs, which is `usd` as a whole.

    A row that ran: MARGIN either way. A plan: the spreads of its steps together, at least MARGIN.
    Unknown of a rehearsal, whose durations are this machine's, and of a plan by a law of which no
    spread is known.
    """
    if _is_unknown(outcome):
        return UNKNOWN
    low = high = usd
    for one in outcome.steps:
        if one.spread_usd is not None and one.cost_usd is not None:
            low, high = (
                low + one.spread_usd[0] - one.cost_usd,
                high + one.spread_usd[1] - one.cost_usd,
            )
    return Band.around(usd, (low, high))


def duration_band(outcome: Outcome, duration_s: float) -> Band:
    """Of how long a row takes, which is `duration_s` as a whole: as `usd_band`, but that what was
    told counts exactly."""
    if _is_unknown(outcome):
        return UNKNOWN
    if outcome.ending is not Ending.planned:
        return Band.around(duration_s)
    low = high = duration_s
    for one in outcome.steps:
        if one.duration_basis is not Basis.told and one.duration_s is not None:
            band = Band.around(one.duration_s, one.spread_s)
            low, high = low + band.low - one.duration_s, high + band.high - one.duration_s
    return Band(low, high)


def timings(outcome: Outcome) -> tuple[Timing, ...]:
    """Of a plan, where its durations are from; nothing of any other row, or of a rehearsal."""
    if outcome.ending is not Ending.planned or outcome.virtual:
        return ()
    return tuple(_timings(outcome))


def _is_unknown(outcome: Outcome) -> bool:
    planned = outcome.ending is Ending.planned
    return outcome.virtual or (planned and any(_lacks_spread(one) for one in outcome.steps))


def _timings(outcome: Outcome) -> Iterator[Timing]:
    for one in outcome.steps:
        run_s = 0.0 if one.bill is None else one.bill.run_s
        told = one.duration_basis is Basis.told
        yield Timing(one.step, one.computing or "", run_s, told)


def _lacks_spread(step: StepOutcome) -> bool:
    """Nothing is known of how good the expected duration of a planned step is."""
    basis = step.duration_basis
    return basis is None or (basis is Basis.scaled and step.spread_s is None)
