"""Growth: planning 100, 1,000 and 10,000 runs, and tables of 1e5, 1e6 and 1e7 rows.

    python benchmarks/scale.py                            minutes, and 15 GB of disk here
    python benchmarks/scale.py --runs 100 --rows 1e5
    python benchmarks/scale.py --into docs/scale.md       the tables between the page's marks

Each size is measured in a process of its own: seconds of processor time, seconds that passed, and the most
memory up to the end of a step (resident, what is mapped included). Rows are made: they are no results.
Nothing is asserted."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import measured
import scale_plan

HERE = Path(__file__).resolve().parent
STEPS = ("rounded as written", "results.csv", "read", "ranked", "leaderboard.csv", "page")


def fresh(rows: int) -> dict[str, Any]:
    """Tables of so many rows, measured in a process of its own."""
    command = [sys.executable, HERE / "scale_rows.py", str(rows)]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return found


def of_rows(sizes: Sequence[int]) -> str:
    """A line for each step, CPU seconds (seconds that passed), and the peak of all."""
    found = [fresh(size) for size in sizes]
    header = ["", *(f"{f['rows']:,} rows" for f in found)]
    body = [[step, *(f"{f[step]['cpu_s']} s ({f[step]['s']})" for f in found)] for step in STEPS]
    body.append(["all but `read`", *(_whole(f) for f in found)])
    body.append(["most memory, GB", *(f"{f['page']['peak_mb'] / 1024:.1f}" for f in found)])
    for name, label in (("csv_mb", "results.csv, MB"), ("parquet_mb", "results.parquet, MB"),
                        ("cells", "cells of the leaderboard"), ("page_mb", "page, MB")):  # fmt: skip
        body.append([label, *(f"{f[name]:,}" for f in found)])
    return _table(header, body)


def _whole(found: Mapping[str, Any]) -> str:
    steps = [found[step] for step in STEPS if step != "read"]
    return f"{sum(s['cpu_s'] for s in steps):.0f} s ({sum(s['s'] for s in steps):.0f})"


def of_runs(sizes: Sequence[int]) -> str:
    """A line for each thing that `scale_plan.measure` tells."""
    found = [scale_plan.measure(size) for size in sizes]
    names = [name for name in found[0] if name != "runs"]
    header = ["", *(f"{f.get('runs', size):,} runs" for f, size in zip(found, sizes, strict=True))]
    return _table(header, [[name, *(str(f.get(name, "")) for f in found)] for name in names])


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = "|".join(["---", *["---:"] * (len(header) - 1)])
    return "\n".join([f"| {' | '.join(header)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in body)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=float, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--rows", type=float, nargs="*", default=[1e5, 1e6, 1e7])
    parser.add_argument("--into", type=Path, help="a page with the marks `scale-runs` and `scale-rows`")
    options = parser.parse_args()
    for name, make, sizes in (("scale-runs", of_runs, options.runs), ("scale-rows", of_rows, options.rows)):
        if sizes:
            text = make([int(size) for size in sizes])
            print(f"\n{text}", flush=True)
            if options.into:
                measured.into(options.into, name, text)


if __name__ == "__main__":
    main()
