"""Pictures of scores, drawn with matplotlib in one colour-blind safe style. Every function takes frames and
returns a Figure.

`samples` is the per-sample frame: one row per run, scorer and set, with columns pair, split, network, method,
seed, scorer, ood (empty for ID test), shift (id | near | far) and `value`, a float array (N,). The scorers
``max_probability`` and ``max_logit`` stand for what label smoothing changes. `rows` are those of results.csv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation.metrics.arrays import Array
from oodbench.report.distributions import QUANTITY, bin_edges, pooled, quantity_edges, rocs
from oodbench.report.plots.style import (
    COLOURS,
    KIND,
    first,
    grid,
    headline,
    legend,
    note,
    one_of_each,
    short,
    square_root,
    styled,
    where,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _trial(samples: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The first trial alone, and what to call it: scores of two trials have different scales."""
    split, seed = str(samples["split"].iloc[0]), str(samples["seed"].iloc[0])
    chosen = samples[(samples["split"].astype(str) == split) & (samples["seed"].astype(str) == seed)]
    return chosen, f"split {split}, seed {seed}" if split else f"seed {seed}"


def _densities(axis: Axes, samples: pd.DataFrame, edges: Array) -> None:
    for shift, (label, colour, line) in KIND.items():
        values = pooled(samples, shift)
        if len(values):
            share = np.histogram(values, edges)[0] / len(values)
            axis.stairs(share, edges, fill=True, color=colour, alpha=0.18, linewidth=0)
            axis.stairs(share, edges, color=colour, linestyle=line, label=label, linewidth=1.2)


@styled
def score_histograms(
    samples: pd.DataFrame, *, scorers: Sequence[str] | None = None, bins: int = 40
) -> Figure:
    """Distributions of OOD scores on ID, near- and far-OOD samples: methods down, scorers across. Takes one
    pair and network."""
    samples, trial = _trial(samples)
    every = [s for s in dict.fromkeys(samples["scorer"]) if s not in QUANTITY]
    scorers = first(every if scorers is None else scorers, 5)
    all_methods = list(dict.fromkeys(samples["method"]))
    methods = all_methods[:8]
    figure, axes = grid(len(methods), len(scorers), width=2.3, height=1.5)
    for i, method in enumerate(methods):
        for j, scorer in enumerate(scorers):
            mine = samples[(samples["method"] == method) & (samples["scorer"] == scorer)]
            axis = axes[i, j]
            values = np.concatenate([pooled(mine, shift) for shift in KIND])
            if not len(values):
                axis.text(
                    0.5, 0.5, "no scores", ha="center", va="center", color="#777777", transform=axis.transAxes
                )
            else:
                _densities(axis, mine, bin_edges(values, bins))
                square_root(axis)
                axis.locator_params(axis="x", nbins=4)
            axis.set_yticks([])
            axis.set_title(wrapped(scorer) if i == 0 else "")
        axes[i, 0].set_ylabel(wrapped(method, 18))
    legend(figure, axes, columns=3)
    shown = note(len(scorers), len(every), "scorers") + note(len(methods), len(all_methods), "methods")
    headline(figure, f"OOD scores (higher = more OOD; square-root heights), {where(samples)}, {trial}{shown}")
    return figure


_FPR = np.linspace(0, 1, 201)


def _roc_panel(axis: Axes, curves: Mapping[str, Sequence[tuple[Array, float]]]) -> None:
    """The curves of one method and shift: for each scorer those of its trials and sets, with their areas."""
    axis.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    for i, (scorer, each) in enumerate(curves.items()):
        if each:
            tprs, area = np.mean([t for t, _ in each], axis=0), float(np.mean([a for _, a in each]))
            dash: Any = "-" if i < 4 else (0, (4, 1.5))
            name = f"{short(scorer, 22)} {100 * area:.1f}"
            axis.plot(_FPR, tprs, color=COLOURS[i], linestyle=dash, label=name)
    if len(axis.lines) > 1:
        small: dict[str, Any] = {
            "fontsize": 7,
            "title_fontsize": 7,
            "handlelength": 1.4,
            "labelspacing": 0.25,
        }
        axis.legend(loc="lower right", title="AUROC %", **small)
    else:
        axis.text(0.5, 0.3, "no scores", ha="center", va="center", color="#777777")
    axis.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")


@styled
def roc_curves(samples: pd.DataFrame, *, scorers: Sequence[str] | None = None) -> Figure:
    """ROC curves, OOD positive: methods across, near-OOD above far-OOD, one line per scorer, averaged
    vertically over trials and sets."""
    every = [s for s in dict.fromkeys(samples["scorer"]) if s not in QUANTITY]
    scorers = first(every if scorers is None else scorers, len(COLOURS))
    all_methods = list(dict.fromkeys(samples["method"]))
    methods = all_methods[:6]
    shifts = [s for s in ("near", "far") if (samples["shift"] == s).any()]
    figure, axes = grid(max(len(shifts), 1), len(methods), width=2.5, height=2.4, sharex=True, sharey=True)
    drawn = samples[samples["method"].isin(methods) & samples["scorer"].isin(scorers)]
    curves = {key: rocs(mine, _FPR) for key, mine in drawn.groupby(["method", "scorer"], sort=False)}
    for i, shift in enumerate(shifts):
        for j, method in enumerate(methods):
            found = {
                scorer: [one for (s, _), each in curves.get((method, scorer), {}).items() if s == shift
                         for one in each]
                for scorer in scorers
            }  # fmt: skip
            _roc_panel(axes[i, j], found)
        axes[i, 0].set_ylabel(f"{KIND[shift][0]} rejected (TPR)")
    for j, method in enumerate(methods):
        axes[0, j].set_title(wrapped(method) if shifts else "")
        axes[-1, j].set_xlabel("ID rejected (FPR)" if shifts else "")
    trials = samples[["split", "seed"]].drop_duplicates().shape[0]
    shown = note(len(scorers), len(every), "scorers") + note(len(methods), len(all_methods), "methods")
    headline(figure, f"ROC, {where(samples)}, mean of {trials} trial{'s' * (trials > 1)}{shown}")
    return figure


@styled
def known_unknown(samples: pd.DataFrame, *, bins: int = 40) -> Figure:
    """The picture of the label-smoothing argument: maximal probability and maximal logit of known and unknown
    samples, method by method.

    All trials pooled; the axes of a row are shared, so that scales can be compared. Dots mark the means.
    Shares stand on a square-root scale, since nearly all known samples may fall into one bin."""
    quantities = [q for q in QUANTITY if (samples["scorer"] == q).any()]
    all_methods = list(dict.fromkeys(samples["method"]))
    methods = one_of_each(all_methods, 6)
    figure, axes = grid(max(len(quantities), 1), len(methods), width=2.5, height=2.0, sharey="row")
    for i, quantity in enumerate(quantities):
        of = samples[samples["scorer"] == quantity]
        values = np.concatenate([pooled(of[of["method"].isin(methods)], shift) for shift in KIND])
        edges = quantity_edges(quantity, values, bins)
        for j, method in enumerate(methods):
            axis, mine = axes[i, j], of[of["method"] == method]
            _densities(axis, mine, edges)
            for shift, (_, colour, _line) in KIND.items():
                found = pooled(mine, shift)
                if len(found):
                    dot: Any = {
                        "marker": "o",
                        "color": colour,
                        "markersize": 5,
                        "markeredgecolor": "white",
                        "clip_on": False,
                        "zorder": 5,
                    }
                    axis.plot(found.mean(), 0, **dot)
            axis.set_xlim(edges[0], edges[-1])
            axis.set_xlabel(QUANTITY[quantity])
            if i == 0:
                axis.set_title(wrapped(method))
        for axis in axes[i]:  # now that all is drawn, for the panels of a row share their heights
            square_root(axis)
        axes[i, 0].set_ylabel("share (square-root scale)")
    legend(figure, axes, columns=3)
    headline(
        figure,
        f"Known against unknown, {where(samples)}, all trials; dots:"
        f" means{note(len(methods), len(all_methods), 'methods')}",
    )
    return figure
