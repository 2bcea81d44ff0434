"""What tests ask of a rehearsal cloud, and tell it, whichever engine runs on it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.request import Request, urlopen

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.rehearsal.clock import RehearsalClock

SPEED = 3_000.0
# A passing fault must not last as long as an outage that ends a step because the machine is busy:
# these are 15 minutes, which are 0.3 s at the usual speed.
SPEED_WITH_FAULTS = 600.0
PIPES = """
import os, sys, time
from dagster_pipes import PipesCliArgsParamsLoader
from ascii_hydra.step.folder_messages import opened_pipes
def opened():
    return opened_pipes(PipesCliArgsParamsLoader())
"""
GOOD = """
with opened() as context:
    context.report_asset_materialization(metadata={"me": sys.argv[1]})
"""

# Overwrites its output with so many rows, if it is told any number. Spark does not see the
# rehearsal's volumes, so there it is a file of Python's.
STEP = """
from ascii_hydra.step import SparkStep

class Step(SparkStep):
    def execute_business_logic(self, context, execution_mode, partition_key, spark, engine):
        if "rows" in self.parameters:
            rows = spark.range(self.parameters["rows"])
            if self.output.startswith("/Volumes/"):
                os.makedirs(self.output, exist_ok=True)
                with open(f"{self.output}/rows.txt", "w") as file:
                    file.write("\\n".join(str(row.id) for row in rows.collect()))
            else:
                rows.write.mode("overwrite").parquet(self.output)
        context.report_asset_materialization(metadata={"out": self.output})

if __name__ == "__main__":
    Step.run()
"""


def asked(url: str, name: str) -> Any:
    """What a rehearsal's own address answers."""
    with urlopen(f"{url}/_rehearsal/{name}", timeout=30) as reply:
        return json.load(reply)


def tell(url: str, name: str, body: Any) -> None:
    """Put something to a rehearsal's own address."""
    data = json.dumps(body).encode()
    urlopen(Request(f"{url}/_rehearsal/{name}", data=data, method="PUT"), timeout=30).close()


def place_of(url: str) -> Place:
    return Place("us-east-1", url, path_style=True, rehearsal=True)


@dataclass
class RehearsalCloud:
    """A rehearsal cloud that an engine's tests run their steps on."""

    url: str
    _seen: Counter[str] = field(default_factory=Counter)

    @property
    def place(self) -> Place:
        return place_of(self.url)

    @property
    def clock(self) -> RehearsalClock:
        return RehearsalClock(self.url)

    @cached_property
    def s3(self) -> Any:
        return aws_client("s3", self.place)

    def behave(self, *faults: dict[str, Any], **config: Any) -> None:
        """From now on; what is not named is as usual in these tests."""
        speed = SPEED_WITH_FAULTS if faults else SPEED
        usual = {"speed": speed, "provisioning_seconds": 210, "step_minutes": None}
        tell(self.url, "config", {**usual, **config})
        tell(self.url, "faults", list(faults))

    def calls(self, operation: str) -> int:
        """How often an operation has been called since the last `forget`."""
        return self._called()[operation] - self._seen[operation]

    def forget(self) -> None:
        self._seen = self._called()

    def _called(self) -> Counter[str]:
        return Counter(one["operation"] for one in asked(self.url, "calls"))
