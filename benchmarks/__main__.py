"""`make bench`: what is claimed about speed, as ratios of pairs measured in one run.

python -m benchmarks                     all of them
python -m benchmarks command --rounds 9  one, with more rounds
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks import command, configuration, databricks, emr, plan, webgraph

BENCHMARKS = {
    "command": command.measured,
    "configuration": configuration.measured,
    "databricks": databricks.measured,
    "emr": emr.measured,
    "plan": plan.measured,
    "webgraph": webgraph.measured,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=5, help="pairs to measure (default 5)")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    print(f"{os.cpu_count()} cores, {given.rounds} rounds, medians of pairs")
    for name in given.names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="ascii_hydra_bench_") as folder:
            BENCHMARKS[name](Path(folder), given.rounds)


if __name__ == "__main__":
    main()
