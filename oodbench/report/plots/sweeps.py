"""A metric over a parameter, and over the severity of a corruption."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation.metrics.columns import in_percent, label
from oodbench.report.plots.style import (
    COLOURS,
    MARKERS,
    first,
    grid,
    headline,
    legend,
    plain_log,
    shifts_of,
    styled,
    where,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_SEVERITY = re.compile(r"(?P<what>.*?)[,:( ]*(?:severity=|:)(?P<level>\d+)(?P<rest>.*)")


def swept(board: pd.DataFrame, of: str = "method") -> dict[tuple[str, str], dict[str, float]]:
    """Sweeps on a board: {(name, parameter): {label: value}} where at least three variants of a name differ
    in that number alone."""
    variants: dict[str, dict[str, dict[str, Any]]] = {}
    for name, params in board[[of, f"{of}_params"]].drop_duplicates().itertuples(index=False):
        try:
            given = json.loads(params)
        except ValueError:
            continue
        if isinstance(given, dict):
            variants.setdefault(str(name).partition("(")[0], {})[str(name)] = given
    found: dict[tuple[str, str], dict[str, float]] = {}
    for base, each in variants.items():
        for key in {
            k
            for given in each.values()
            for k, v in given.items()
            if isinstance(v, (int, float)) and not isinstance(v, bool)
        }:
            alike: dict[str, dict[str, float]] = {}
            for name, given in each.items():
                if isinstance(given.get(key), (int, float)):
                    rest = json.dumps({k: v for k, v in given.items() if k != key}, sort_keys=True)
                    alike.setdefault(rest, {})[name] = float(given[key])
            most = max(alike.values(), key=len, default={})
            if len(set(most.values())) >= 3:
                found[base, key] = dict(sorted(most.items(), key=lambda item: item[1]))
    return found


@styled
def sweep_curves(
    board: pd.DataFrame, name: str, parameter: str, *, of: str = "method", metric: str = "auroc",
    scorers: Sequence[str] | None = None,
    baseline: str | None = None,
) -> Figure:  # fmt: skip
    """A value along a swept parameter (such as ALS's lambda), near and far, and ID accuracy; the band is the
    95 % interval. A line per scorer (or per method, where a scorer is swept); dotted levels are the same line
    of `baseline`, by default the first other method."""
    variants = swept(board, of)[name, parameter]
    other = "scorer" if of == "method" else "method"
    lines = first(board[other] if scorers is None else scorers, 5)
    values = [
        *(f"{s}_{metric}" for s in shifts_of(board, metric)),
        *(["id_accuracy"] if of == "method" else []),
    ]
    figure, axes = grid(1, len(values), width=2.7, height=2.4)
    x = np.array(list(variants.values()))
    without = baseline or next((str(n) for n in board[of] if not str(n).startswith(name)), None)
    for axis, value in zip(axes[0], values, strict=True):
        for i, line in enumerate(lines if value != "id_accuracy" else lines[:1]):
            mine = board[board[other] == line].drop_duplicates(of).set_index(of)
            y, low, high = (
                100 * mine[value + suffix].reindex(list(variants)).to_numpy(float)
                for suffix in ("", "_low", "_high")
            )
            text = str(line) if value != "id_accuracy" else None
            axis.plot(x, y, marker=MARKERS[i], markersize=4, color=COLOURS[i], label=text)
            if in_percent(value):
                low, high = low.clip(0), high.clip(None, 100)  # a t interval knows of no bounds
            axis.fill_between(x, low, high, color=COLOURS[i], alpha=0.13, linewidth=0)
            if without is not None and of == "method" and without in mine.index:
                axis.axhline(
                    100 * float(mine[value].loc[[without]].iloc[0]),
                    color=COLOURS[i],
                    linestyle=":",
                    linewidth=1,
                )
        positive = x[x > 0]
        if len(positive) and x.max() / positive.min() >= 10:
            plain_log(axis, x.tolist())
        axis.set(xlabel=parameter, title=label(value))
    axes[0, 0].set_ylabel("percent")
    legend(figure, axes, 5)
    dotted = f"; dotted: {without}" if without is not None and of == "method" else ""
    headline(figure, f"{name} along {parameter}, {where(board)}{dotted}")
    return figure


def severity_of(condition: str) -> tuple[str, int] | None:
    """The corruption and its severity that a condition names, as in ``gaussian_noise:3`` or
    ``corrupted(kind=fog, severity=3)``."""
    found = _SEVERITY.fullmatch(condition)
    return (found["what"] + found["rest"], int(found["level"])) if found else None


@styled
def severity_curves(
    board: pd.DataFrame,
    *,
    metric: str = "auroc",
    scorers: Sequence[str] | None = None,
    method: str | None = None,
) -> Figure:
    """How detection and ID accuracy fall with the severity of a corruption of ID images, averaged over
    corruptions; severity 0 is clean.

    Takes a board with the rows of every condition; the set `full` is left out. One method (the first, unless
    named), a line per scorer."""
    board = board[board["id_set"] == "id"]
    methods = first(board["method"], 1)
    board = board[board["method"] == (method or (methods[0] if methods else ""))]
    named = {c: severity_of(c) for c in map(str, board["condition"].unique())}
    levels = {c: at[1] for c, at in named.items() if at} | {"clean": 0}
    board = board[board["condition"].isin(list(levels))].assign(_level=board["condition"].map(levels))
    lines = first(board["scorer"] if scorers is None else scorers, 5)
    values = [*(f"{s}_{metric}" for s in shifts_of(board, metric)), "id_accuracy"]
    figure, axes = grid(1, len(values), width=2.7, height=2.4, sharex=True)
    for axis, value in zip(axes[0], values, strict=True):
        for i, line in enumerate(lines if value != "id_accuracy" else lines[:1]):
            mean = 100 * board[board["scorer"] == line].groupby("_level")[value].mean()
            text = None if value == "id_accuracy" else str(line)
            axis.plot(
                mean.index, mean.to_numpy(), marker=MARKERS[i], markersize=4, color=COLOURS[i], label=text
            )
        axis.set(xlabel="severity", title=label(value), xticks=sorted(set(levels.values())))
    axes[0, 0].set_ylabel("percent")
    legend(figure, axes, 5)
    headline(
        figure, f"Corrupted ID images, {where(board)}, {', '.join(map(str, dict.fromkeys(board['method'])))}"
    )
    return figure
