"""How the end of a run words what it has cost."""

from __future__ import annotations

from ascii_hydra.costs.bill import Bill, BillLine, Part
from ascii_hydra.engines.wording import part_of, wasted_of
from ascii_hydra.outcome import Ending, Outcome, StepOutcome
from ascii_hydra.report.progress import cost_lines

EXACT = BillLine(Part.compute, "2 x m5.xlarge", 2.0, "instance-hours", 0.5, "a source", "2026")
GUESS = BillLine(
    Part.platform, "EMR's fee", 2.0, "instance-hours", 0.1, "a guess", "2026", estimated=True
)
WASTED = BillLine(Part.compute, "1 x", 1.0, "instance-hours", 0.25, "a source", "2026", wasted=True)


def words(*bills: Bill | None) -> list[str]:
    steps = tuple(
        StepOutcome("one", None, "emr", "small", Ending.succeeded, bill=bill) for bill in bills
    )
    return list(cost_lines(Outcome(Ending.succeeded, "emr", "full", "small", "two", "0", steps)))


def test_every_part_of_an_estimate_bears_its_own_mark():
    (line,) = words(Bill((EXACT, GUESS)))
    assert line == (
        "cost ~$1.20: compute $1.00, platform ~$0.20, storage $0.00, startup and idle $0.00"
    )


def test_a_bill_of_assumed_instances_is_marked_in_all_parts():
    bill = Bill((EXACT, GUESS, WASTED), assumed=("the instances that were asked for",))
    line, wasted, _ = words(bill)
    assert line.startswith("cost ~$1.45: compute ~$1.25, platform ~$0.20, storage $0.00")
    assert wasted.startswith("  ~$0.25 of it wasted")
    assert wasted_of(Bill((EXACT, GUESS, WASTED))) == "$0.25"


def test_parts_that_nobody_knows_are_not_shown_as_nothing():
    assert words(Bill(unpriced=("serverless compute",))) == [
        "cost unpriced",
        "  without a price: serverless compute",
    ]
    line, _ = words(Bill((EXACT,), unpriced=("EBS io2",)))
    assert line == "cost > $1.00: compute $1.00"
    assert part_of(Bill((EXACT,), unpriced=("EBS io2",)), Part.storage) is None
    line, named = words(Bill((GUESS,)), None)
    assert line == "cost > ~$0.20: platform ~$0.20"
    assert named == "  without a price: the cost of one"
