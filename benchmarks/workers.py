"""What two processes of one machine win over one, at one thread each; and what a job costs besides its work.

    python benchmarks/workers.py                    six trainings, five rounds: ten minutes on two idle cores
    python benchmarks/workers.py --rounds 1 --epochs 2    to see that it runs

Both ways are whole commands in fresh stores, in turns. `work` is what the command says it spent on the
suite, the start of the workers included, without planning and page. The overhead of a job is measured where
everything is stored already and rows alone are made, for many runs and for few: what one more run costs a
fleet beyond half of what it costs one process."""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from measured import table

SUITE = {
    "name": "six", "pairs": [{"digits": {"split": {"grid": [0, 1, 2]}}}],
    "networks": [{"mlp": {"hidden": [256]}}],
    "methods": ["cross-entropy", "als"], "scorers": ["msp", "energy"],
    "recipe": {"batch_size": 32, "lr": 0.05},
}  # fmt: skip


def spent(suite: Path, results: Path, *how: str) -> tuple[float, float]:
    """Seconds of a whole command, and of the suite's work as it says itself."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "oodbench", "run", str(suite), "--results", str(results), "--no-plots",
         "--device", "cpu", "--threads", "1", *how],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    said = re.findall(r"^suite \S+: done in ([0-9.]+) s", done.stderr, re.MULTILINE)
    return time.perf_counter() - start, float(said[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument(
        "--seeds", type=int, default=20, help="runs of each method and split, for the overhead"
    )
    given = parser.parse_args()
    ways = {"one process": (), "2 workers": ("--workers", "2")}
    whole: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    again = {(name, count): list[float]() for name in ways for count in (2, given.seeds)}
    with tempfile.TemporaryDirectory() as place:
        suite, many = Path(place) / "six.yaml", Path(place) / "many.yaml"
        suite.write_text(yaml.safe_dump(SUITE | {"recipe": SUITE["recipe"] | {"epochs": given.epochs}}))
        few = {"epochs": 1, "batch_size": 512}
        many.write_text(yaml.safe_dump(SUITE | {"recipe": few, "seeds": list(range(given.seeds))}))
        for number in range(given.rounds):
            for name in list(ways) if number % 2 else reversed(list(ways)):
                a, b = spent(suite, Path(place) / f"{name} {number}", *ways[name])
                whole[name].append(a)
                work[name].append(b)
        spent(many, Path(place) / "many")
        for number in range(given.rounds):
            for name, count in list(again) if number % 2 else reversed(list(again)):
                seeds = ",".join(map(str, range(count)))
                again[name, count].append(spent(many, Path(place) / "many", "--seeds", seeds, *ways[name])[1])
    one, two = ways
    rows = [
        [what, *(f"{statistics.median(found[n]):.1f}" for n in ways), _faster(found[one], found[two]), target]
        for what, found, target in (
            (f"six trainings of {given.epochs} epochs: work, s", work, ">= 1.7 x"),
            ("the whole command, s", whole, ""),
        )
    ]
    table(f"One thread each, {given.rounds} rounds, medians", ["", one, two, "faster by", "target"], rows)
    more = 6 * (given.seeds - 2)
    each = {
        name: [1000 * (b - a) / more for a, b in zip(again[name, 2], again[name, given.seeds], strict=True)]
        for name in ways
    }
    table(
        f"One more run, of which everything is stored ({12} and {6 * given.seeds} runs)",
        ["", one, two],
        [
            ["ms a run", *(f"{statistics.median(found):.0f}" for found in each.values())],
            ["overhead of a job, ms (target: < 100)", "",
             f"{statistics.median(b - a / 2 for a, b in zip(each[one], each[two], strict=True)):.0f}"],
        ],
    )  # fmt: skip


def _faster(one: list[float], two: list[float]) -> str:
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
