"""Pictures of a leaderboard, in the style of `plots`: ranks, trade-offs, costs, sweeps, severities. Every
function takes frames and returns a Figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oodbench.evaluation import statistics
from oodbench.evaluation.metrics.columns import label, lower_is_better
from oodbench.report.plots.style import (
    COLOURS,
    KIND,
    MARKERS,
    bulk,
    first,
    grid,
    headline,
    legend,
    plain_log,
    rgb,
    shifts_of,
    short,
    styled,
    where,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def cd_diagram(
    table: pd.DataFrame, *, title: str = "", lower_is_better: bool = False, alpha: float = 0.05
) -> Figure:
    """Demsar's critical-difference diagram of a table of blocks (rows) by names (columns), as `stats.blocks`
    makes it: names at their average rank, 1 is best; a bar joins those that Nemenyi's test does not part at
    `alpha`."""
    ranking = statistics.rank_blocks(table, lower_is_better=lower_is_better, alpha=alpha)
    order, k = ranking.order, len(ranking.names)
    rank = dict(zip(ranking.names, ranking.ranks, strict=True))
    cliques = ranking.cliques() if ranking.n > 1 else []
    half, top = (k + 1) // 2, 1.0 + 0.35 * len(cliques)
    figure, axes = grid(1, 1, width=6.6, height=0.8 + 0.23 * (top + half))
    axis: Axes = axes[0, 0]
    axis.set(xlim=(1 - 0.55 * (k - 1 or 1), k + 0.55 * (k - 1 or 1)), ylim=(top + 0.9 * half + 0.5, -2))
    axis.set_axis_off()
    line: dict[str, Any] = {"color": "#555555", "linewidth": 1.0, "clip_on": False}
    axis.plot([1, k], [0, 0], **line)
    for r in range(1, k + 1, max(1, -(-k // 12))):
        axis.plot([r, r], [0, -0.25], **line)
        axis.text(r, -0.4, str(r), ha="center", va="bottom", fontsize=8)
    if ranking.cd == ranking.cd and k > 1:
        wide = min(ranking.cd, k - 1)
        axis.plot([1, 1 + wide], [-1.5, -1.5], marker="|", **line)
        more = ", wider than the scale" if ranking.cd > k - 1 else ""
        axis.text(1 - 0.03 * k, -1.5, f"CD = {ranking.cd:.2f}{more}", ha="right", va="center", fontsize=8)
    for i, clique in enumerate(cliques):
        y = 0.35 + 0.35 * i
        x = [rank[clique[0]] - 0.01 * k, rank[clique[-1]] + 0.01 * k]
        axis.plot(x, [y, y], color=COLOURS[0], linewidth=3.5, solid_capstyle="round")
    for i, name in enumerate(order):
        left = i < half
        y = top + 0.9 * (i if left else k - 1 - i)
        edge = 1 - 0.05 * k if left else k + 0.05 * k
        axis.plot([rank[name], rank[name], edge], [0, y, y], **line | {"linewidth": 0.8})
        axis.text(
            edge,
            y,
            f" {short(name, 24)} {rank[name]:.2f} ",
            ha="right" if left else "left",
            va="center",
            fontsize=8,
        )
    test = f"Friedman χ² = {ranking.chi2:.2f}, p = {ranking.p:.2g}, " if ranking.chi2 == ranking.chi2 else ""
    headline(figure, f"{title or 'Average ranks'} ({test}{ranking.n} block{'' if ranking.n == 1 else 's'})")
    return figure


@styled
def trade_off(board: pd.DataFrame, *, metric: str = "auroc") -> Figure:
    """ID accuracy against near and far detection: a dot per cell, a colour and marker per method. Bars (std
    over trials) stand at each method's best cell alone: the ID accuracy is the network's, so that those of
    all its scorers would lie on one another."""
    shifts = shifts_of(board, metric) or ["near"]
    figure, axes = grid(1, len(shifts), width=3.4, height=2.8, sharex=True)
    methods = first(board["method"], len(COLOURS))
    for axis, shift in zip(axes[0], shifts, strict=True):
        value = f"{shift}_{metric}"
        for i, method in enumerate(methods):
            mine = board[(board["method"] == method) & board[value].notna() & board["id_accuracy"].notna()]
            if mine.empty:
                continue
            style: dict[str, Any] = {
                "fmt": MARKERS[i],
                "color": COLOURS[i],
                "markersize": 4,
                "elinewidth": 0.8,
                "linestyle": "none",
            }
            style["ecolor"] = (*rgb(COLOURS[i]), 0.3)
            axis.errorbar(100 * mine["id_accuracy"], 100 * mine[value], label=method, **style)
            best = mine.sort_values(value, ascending=lower_is_better(value), kind="stable").head(1)
            bars = {
                side: 100 * best[f"{c}_std"].fillna(0)
                for side, c in (("xerr", "id_accuracy"), ("yerr", value))
            }
            axis.errorbar(100 * best["id_accuracy"], 100 * best[value], **bars, **style)
        axis.set(xlabel="ID accuracy, %", ylabel=f"{label(value)}, %", title=KIND[shift][0])
        bulk(axis, (100 * board[value]).tolist(), lower_is_better(value))
    legend(figure, axes)
    headline(
        figure,
        f"ID accuracy against detection, {where(board)}; bars: std over trials, at the best of each method",
    )
    return figure


def pareto(cost: Sequence[float], quality: Sequence[float]) -> list[int]:
    """Places of the points that nothing beats: none is both cheaper (or equal) and better (or equal) and not
    the same; cheapest first."""
    order = sorted(range(len(cost)), key=lambda i: (cost[i], -quality[i]))
    front: list[int] = []
    for i in order:
        if not front or quality[i] > quality[front[-1]]:
            front.append(i)
    return front


@styled
def cost_quality(
    board: pd.DataFrame,
    costs: pd.DataFrame,
    *,
    value: str = "near_auroc",
    cost: str = "score_seconds_per_1000",
) -> Figure:
    """Detection against cost (a column of `costs.COLUMNS`, log scale): a dot per scorer and method, the
    Pareto front dashed and named."""
    both = board.merge(costs, on=["network", "method", "scorer", "tune"])
    both = both[both[value].notna() & (both[cost] > 0)].reset_index(drop=True)
    figure, axes = grid(1, 1, width=5.2, height=3.4)
    axis: Axes = axes[0, 0]
    for i, method in enumerate(first(both["method"], len(COLOURS))):
        mine = both[both["method"] == method]
        style: dict[str, Any] = {"color": COLOURS[i], "markersize": 4.5, "alpha": 0.85, "label": method}
        axis.plot(mine[cost], 100 * mine[value], MARKERS[i], **style)
    x, y = both[cost].tolist(), (100 * both[value]).tolist()
    front = pareto(x, [-v for v in y] if lower_is_better(value) else y)
    _front(axis, [(x[i], y[i]) for i in front], [str(both["scorer"][i]) for i in front])
    plain_log(axis)
    axis.set(xlabel=_COSTS.get(cost, cost), ylabel=f"{label(value)}, %")
    bulk(axis, y, lower_is_better(value))
    legend(figure, axes)
    axis.set_title("dashed: what nothing cheaper beats")
    headline(figure, f"Cost against detection, {where(board)}")
    return figure


_COSTS = {
    "score_seconds_per_1000": "score seconds per 1,000 samples",
    "fit_seconds": "fit seconds",
    "bytes_stored": "bytes stored",
    "passes": "forward passes",
    "train_seconds": "training seconds",
}
"""What people read for a column of costs."""


def _front(axis: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """The Pareto front, dashed; each name once, every other one below its point, so that neighbours keep
    apart."""
    from matplotlib.patheffects import withStroke

    line: dict[str, Any] = {"color": "#555555", "linestyle": "--", "linewidth": 1, "zorder": 1}
    axis.plot([x for x, _ in points], [y for _, y in points], drawstyle="steps-post", **line)
    for place, (point, name) in enumerate(zip(points, names, strict=True)):
        if name in names[:place]:
            continue
        beside = (0, -12 if place % 2 else 6)
        text = axis.annotate(name, point, textcoords="offset points", xytext=beside, ha="center", fontsize=7)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
