"""When a running step is looked at."""

from __future__ import annotations

import itertools

from ascii_hydra.engines.watched import pause_s


def looks(until_s: float, longest_s: float) -> list[float]:
    """The times of looks at a step that does not change."""
    times = [0.0]
    while times[-1] < until_s:
        pause = pause_s(unchanged_s=times[-1], closed_s=None, longest_s=longest_s)
        times.append(times[-1] + pause)
    return times


def test_a_short_step_is_looked_at_often_and_a_long_one_seldom():
    pauses = [b - a for a, b in itertools.pairwise(looks(3600, 10))]
    assert pauses[0] == 1.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10
    # Of a step of ten hours and of one of a minute.
    assert len(looks(36_000, 10)) < 3_650
    assert len(looks(60, 10)) > 25


def test_after_the_closing_message_the_end_is_seen_within_a_second():
    for closed_s in range(60):
        assert pause_s(unchanged_s=5_000, closed_s=closed_s, longest_s=10) <= 1.0
    # Something is wrong with a step that does not end: it is not asked for ever so often.
    assert pause_s(unchanged_s=5_000, closed_s=600, longest_s=10) == 10


def test_the_longest_pause_is_kept_to():
    assert pause_s(unchanged_s=0, closed_s=None, longest_s=0.2) == 0.2
    assert pause_s(unchanged_s=0, closed_s=30, longest_s=0.2) == 0.2
