"""Growth of the plan: a suite of the package's own scorers on the digits, planned, told and told by a dry
run, at 100, 1,000 and 10,000 runs.

    python benchmarks/scale_plan.py                       about a minute on one core
    python benchmarks/scale_plan.py --runs 100 1000

Each size is measured in a process of its own: seconds of processor time, seconds that passed, and the most
memory that was its own (resident, beside files). The targets at 10,000 runs: 15 s and 1 GB to plan, and as
much for a dry run. Nothing is trained, and nothing is asserted."""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SPLITS, NETWORKS = 5, ["mlp", {"mlp": {"hidden": [64]}}]


def suite_of(runs: int) -> dict[str, Any]:
    """At least so many runs: 5 splits x 2 networks x methods x seeds, about as many methods as seeds, with
    every scorer of the suite digits-all-scores."""
    cells = max(1, runs // (SPLITS * len(NETWORKS)))
    methods = max(1, min(40, math.isqrt(cells)))
    raw: dict[str, Any] = yaml.safe_load((ROOT / "suites" / "digits-all-scores.yaml").read_text())
    return raw | {
        "name": "scale",
        "pairs": [{"digits": {"split": {"grid": list(range(SPLITS))}}}],
        "networks": NETWORKS,
        "methods": [{"als": {"lam": {"grid": [(i + 1) / 4 for i in range(methods)]}}}],
        "seeds": list(range(math.ceil(cells / methods))),
    }


def timed(found: dict[str, Any], name: str, work: Callable[[], Any]) -> Any:
    start, clock = time.process_time(), time.perf_counter()
    made = work()
    found[f"{name}_cpu_s"] = round(time.process_time() - start, 2)
    found[f"{name}_s"] = round(time.perf_counter() - clock, 2)
    found[f"{name}_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return made


def one(runs: int) -> dict[str, Any]:
    """What it costs here, step after step; peaks are those up to the end of a step."""
    from oodbench.runs.dry_run import lines_of
    from oodbench.suite.asked import asked_of
    from oodbench.suite.parse import parse_suite
    from oodbench.suite.plan import make_plan

    found: dict[str, Any] = {}
    suite = timed(found, "read", lambda: parse_suite(suite_of(runs)))
    plan = timed(found, "plan", lambda: make_plan(suite))
    found |= {"runs": len(plan.runs), "scorers": len(plan.runs[0].scorers)}
    timed(found, "keys", lambda: [(run.key, run.expected) for run in plan.runs])
    found["rows"] = timed(found, "rows_owed", lambda: sum(1 for run in plan.runs for _ in asked_of(run)))
    found["lines"] = timed(found, "dry_run", lambda: sum(1 for _ in lines_of(plan, None)))
    return found


def measure(runs: int) -> dict[str, Any]:
    """The numbers of one size, from a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one)))
        return
    for runs in options.runs:
        print(json.dumps(measure(runs)), flush=True)


if __name__ == "__main__":
    main()
