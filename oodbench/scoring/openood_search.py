"""What OpenOOD v1.5 searches for each scorer when it chooses parameters by itself (`APS_mode: True` in
configs/postprocessors/*.yml): its grids under the names and in the units used here.

It takes the point of the highest AUROC of its OOD validation set against ID validation
(`Evaluator.hyperparam_search`), the first of equal ones. Its first parameter varies fastest, and its defaults
are tried only where the grid holds them: `tuning.candidates` does the same. What it does not search, or
searches at one value alone (`ebo`, `gram`, `mds_ensemble`), is not here and keeps its parameters.
Read in the main branch of December 2025, commit 3c35632."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Point = Mapping[str, Any]


def _grid(**values: Sequence[Any]) -> tuple[Point, ...]:
    """Every combination, the first parameter varying fastest."""
    made: list[dict[str, Any]] = [{}]
    for name, several in values.items():
        made = [{**before, name: value} for value in several for before in made]
    return tuple(made)


_PERCENTILES = (65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0)

POINTS: Mapping[str, Sequence[Point]] = {
    "adascale": [
        {"low": low, "high": high}
        for low in (60.0, *_PERCENTILES)
        for high in (*_PERCENTILES, 99.0)
        if low < high
    ],
    "ash": _grid(percentile=_PERCENTILES),
    "fdbd": _grid(normaliser=("distance", "norm")),
    "gen": _grid(gamma=(0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0), top=(10, 50, 100, 200, 500, 1000)),
    "knn": _grid(k=(50, 100, 200, 500, 1000)),
    "nci": _grid(alpha=(0.0001, 0.001, 0.01, 0.1)),
    "odin": _grid(temperature=(1.0, 10.0, 100.0, 1000.0), epsilon=(0.0014, 0.0028)),
    "react": _grid(percentile=(85.0, 90.0, 95.0, 99.0)),
    "relation": _grid(power=(1.0, 2.0, 4.0, 6.0, 8.0)),
    "scale": _grid(percentile=_PERCENTILES),
    "vim": _grid(dim=(256, 1000)),
    "vra": _grid(high=(85.0, 90.0, 95.0, 99.0), low=(1.0, 5.0, 10.0, 15.0)),
}
"""Scorer -> the points that are tried, in order."""
