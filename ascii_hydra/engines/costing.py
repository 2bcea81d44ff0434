"""How a step's run is priced, and told: the bill of every attempt, as a client adds them up."""

from __future__ import annotations

from dataclasses import dataclass

from ascii_hydra.config.schema import PricesConfig
from ascii_hydra.costs.estimate import Estimate

# Of a bill's metadata, on a materialisation, a failure and in the run's history alike: the whole as
# JSON; Dagster plots the others, which are numbers.
BILL_KEY = "cost/bill"


@dataclass(frozen=True)
class Costing:
    """What a client needs to know to price what it runs.

    Attributes:
        prices: which prices count.
        region: where the instances are.
        budget_usd: what the launch may cost; None for any.
        endpoint, pipeline, mode, cluster: by which later plans find this run's duration.
        estimate: what was expected, if it has been asked for.
    """

    prices: PricesConfig
    region: str
    budget_usd: float | None
    endpoint: str
    pipeline: str
    mode: str
    cluster: str
    estimate: Estimate | None = None
