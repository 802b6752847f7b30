"""What storing features in half precision does to each scorer: AUROC with `store: {dtype: fp16}` and without.

    python benchmarks/half_precision.py            every registered scorer, two networks: some minutes

The networks are trained for it: one on scikit-learn's digits, a wider one on MNIST's first 5,000 images where
they are installed. Both stores hold the same weights and the same logits; features alone are
rounded, to 2^-11 of themselves. For each scorer the largest difference of AUROC, in points of percent, over
all OOD sets."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite

METHODS: list[Any] = [
    "cross-entropy", "mcd", "rotation", "background-class", "confidence-branch", "decoupled", "godin",
    {"ensemble": {"members": 2}},
]  # fmt: skip
"""Those of them that some scorer needs are trained beside the plain one."""
SUITES: dict[str, dict[str, Any]] = {
    "digits": {
        "pairs": ["digits"], "networks": [{"small-cnn": {"width": 16}}], "methods": METHODS,
        "recipe": {"epochs": 15, "batch_size": 64, "lr": 0.05},
    },
    "mnist-5k": {
        "pairs": ["mnist-5k"], "networks": [{"small-cnn": {"width": 32}}], "methods": ["cross-entropy"],
        "recipe": {"epochs": 4, "batch_size": 128, "lr": 0.05},
    },
}  # fmt: skip


def suite(name: str, **more: Any) -> dict[str, Any]:
    every = list(registry.scorers)
    if name == "mnist-5k":  # views take long, and what they add is stored as ever
        every = [n for n in every if getattr(registry.build("scorer", n), "view", lambda: None)() is None]
    return (
        SUITES[name] | {"name": f"half-{name}", "scorers": every, "seeds": [0], "inapplicable": "skip"} | more
    )


def compared(name: str, folder: Path) -> pd.DataFrame:
    """Rows of OOD sets in both precisions, side by side."""
    rows = []
    for dtype in ("fp32", "fp16"):
        done = run(
            parse_suite(suite(name, store={"dtype": dtype})), results=folder, device="cpu", plots=False
        )
        rows.append(done.rows[(done.rows["status"] == "ok") & (done.rows["ood"] != "")])
    keys = ["pair", "network", "method", "scorer", "ood"]
    return rows[0].merge(rows[1], on=keys, suffixes=("", " of fp16"))


def table(rows: pd.DataFrame) -> str:
    """The largest difference of each scorer on each pair; in one line those that do not differ."""
    rows["off"] = 100 * (rows["auroc"] - rows["auroc of fp16"]).abs()
    most = rows.pivot_table("off", "scorer", "pair", aggfunc="max")
    most = most.loc[most.max(axis=1).sort_values(ascending=False).index]
    names = list(most.columns)
    lines = [f"| scorer | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for scorer, row in most.iterrows():
        if row.max() >= 5e-5:
            cells = ("" if v != v else f"{v:.4f}" for v in row)
            lines.append(f"| {scorer} | {' | '.join(cells)} |")
    equal = sorted(str(scorer) for scorer, row in most.iterrows() if row.max() < 5e-5)
    return "\n".join([*lines, "", f"Not changed at all: {', '.join(equal)}"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suites", nargs="*", default=list(SUITES))
    asked = parser.parse_args(arguments)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.suites:
            try:
                found.append(compared(name, Path(folder)))
            except UserError as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
    print(table(pd.concat(found)))
    compared_here = {str(s).split("(")[0] for f in found for s in f["scorer"]}
    absent = sorted(set(registry.scorers) - compared_here)
    print(f"\nNot compared, since nothing here has what they need: {', '.join(absent) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
