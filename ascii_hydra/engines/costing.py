"""What a client must know to price what it runs, as a value that a request carries.

`step_costs.py` has `StepCosts`, which adds up the bill of a run of a step while it runs: it is not
here because a plan has requests without importing Dagster.
"""

from __future__ import annotations

from dataclasses import dataclass

from ascii_hydra.catalogue.prices import PriceList, price_list
from ascii_hydra.config.settle import StepSettings
from ascii_hydra.costs.estimate import Estimate

# Of a bill's metadata, on a materialisation, a failure and in the run's history alike: the whole as
# JSON; Dagster plots the others, which are numbers.
BILL_KEY = "cost/bill"


@dataclass(frozen=True)
class Costing:
    """What a client needs to know to price what it runs.

    Attributes:
        prices: of the region where the instances are, as they were when the request was made: a
            refresh or a broken file in the middle of a run changes no bill of it.
        budget_usd: what the launch may cost; None for any.
        endpoint, pipeline, mode, cluster: by which later plans find this run's duration.
        estimate: what was expected, if it has been asked for.
    """

    prices: PriceList
    budget_usd: float | None
    endpoint: str
    pipeline: str
    mode: str
    cluster: str
    estimate: Estimate | None = None


def costing_of(settings: StepSettings, region: str | None, *, rents: bool = True) -> Costing:
    """How a step is priced, without an estimate.

    Args:
        settings: of the step.
        region: AWS region of the instances.
        rents: instances are rented. Else no price is looked up.

    Raises ConfigError: a file in `prices.folder` is not as it has to be.
    """
    tier = settings.prices.tier.value
    return Costing(
        prices=price_list(settings.prices, region) if rents else PriceList("", tier),
        budget_usd=settings.launch.budget_usd,
        endpoint=settings.endpoint.name.value,
        pipeline=settings.pipeline,
        mode=settings.mode.name.value,
        cluster=settings.cluster.size.value,
    )
