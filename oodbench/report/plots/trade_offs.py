"""Pictures of a leaderboard, in the style of `plots`: ranks, trade-offs, costs, sweeps, severities. Every function takes frames and returns
a Figure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation.leaderboard import BOARD, NO_PERCENT, label, lower_is_better
from oodbench.evaluation.statistics import trials as stats
from oodbench.report.plots.scores import (
    COLOURS,
    KIND,
    first,
    grid,
    headline,
    legend,
    room,
    short,
    styled,
    table_of_numbers,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SEVERITY = re.compile(r"(?P<what>.*?)[,:( ]*(?:severity=|:)(?P<level>\d+)(?P<rest>.*)")


def _where(board: pd.DataFrame) -> str:
    names = [", ".join(dict.fromkeys(map(str, board[k]))) for k in ("pair", "network") if k in board]
    return ", ".join(n if len(n) < 60 else f"{n[:57]}..." for n in names if n)


def _shifts(board: pd.DataFrame, metric: str) -> list[str]:
    return [s for s in ("near", "far") if f"{s}_{metric}" in board and board[f"{s}_{metric}"].notna().any()]


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _plain_log(axis: Axes, at: Sequence[float] | None = None) -> None:
    """A logarithmic scale whose ticks are written out (a power of ten would be mathematics, which text here never is)."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    lowest = min((v for v in at if v > 0), default=1.0) if at is not None else 1.0
    if at is not None and min(at) <= 0:
        axis.set_xscale("symlog", linthresh=lowest)
        axis.set_xlim(left=min(at) - 0.2 * lowest)  # or as many decades below zero as above it
    else:
        axis.set_xscale("log")
    if at is not None:
        axis.xaxis.set_major_locator(FixedLocator(list(at)))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _bulk(axis: Axes, values: Sequence[float], lower: bool) -> None:
    """The y axis over the bulk of some values; a few far on the bad side (beyond three interquartile ranges) are counted at the edge, so
    that one broken scorer does not press all others into a line."""
    y = np.asarray(values, dtype=float)
    y = y[np.isfinite(y)]
    if len(y) < 8:
        return
    q1, q3 = np.quantile(y, [0.25, 0.75])
    reach = 3 * (q3 - q1)
    off = y > q3 + reach if lower else y < q1 - reach
    if not off.any() or reach == 0:
        return
    margin = 0.06 * float(np.ptp(y[~off]))
    axis.set_ylim(float(y[~off].min()) - margin, float(y[~off].max()) + margin)
    axis.set_title(f"{'↑' if lower else '↓'} {off.sum()} off the scale", loc="right", fontsize=7, color="#555555")


# ---------------------------------------------------------------- ranks


@styled
def cd_diagram(table: pd.DataFrame, *, title: str = "", lower_is_better: bool = False, alpha: float = 0.05) -> Figure:
    """Demsar's critical-difference diagram of a table of blocks (rows) by names (columns), as `stats.blocks` makes it: names at their
    average rank, 1 is best; a bar joins those that Nemenyi's test does not part at `alpha`."""
    ranking = stats.rank_blocks(table, lower_is_better=lower_is_better, alpha=alpha)
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
        axis.text(edge, y, f" {short(name, 24)} {rank[name]:.2f} ", ha="right" if left else "left", va="center", fontsize=8)
    test = f"Friedman χ² = {ranking.chi2:.2f}, p = {ranking.p:.2g}, " if ranking.chi2 == ranking.chi2 else ""
    headline(figure, f"{title or 'Average ranks'} ({test}{ranking.n} block{'' if ranking.n == 1 else 's'})")
    return figure


@styled
def rank_heat_map(board: pd.DataFrame, *, of: str = "scorer", value: str = "near_auroc", most: int = 40) -> Figure:
    """Average rank of each name (down; 1 is best) within each board and network (across), over everything else; best names first."""
    import pandas as pd

    boards = [*BOARD, "network"]
    other = "method" if of == "scorer" else "scorer"
    cells = board[board[value].notna()]
    signed = cells[value] if lower_is_better(value) else -cells[value]
    ranks = signed.groupby([cells[c] for c in [*boards, other]], sort=False).rank(method="average")
    across = cells[["pair", "network"]].apply(lambda r: ", ".join(x for x in map(str, r) if x), axis=1)
    long = pd.DataFrame({"name": cells[of], "board": across, "rank": ranks})
    table = long.pivot_table(index="name", columns="board", values="rank", sort=False)
    order = table.mean(axis=1).sort_values(kind="stable").index[:most]
    table = table.loc[order]
    columns = list(table.columns)
    height = 0.25 * len(order) + 0.3 + 0.45 * room(columns)
    figure, axes = grid(1, 1, width=0.55 * len(columns) + 1.5 + room(order), height=height)
    values = table.to_numpy()
    worst = max(2.0, float(np.nanmax(values)) if values.size else 2.0)
    table_of_numbers(axes[0, 0], values, list(order), columns, cmap="cividis_r", vmin=1, vmax=worst)
    headline(figure, f"Average rank by {label(value)}, over {other}s")
    return figure


# ---------------------------------------------------------------- trade-offs


@styled
def trade_off(board: pd.DataFrame, *, metric: str = "auroc") -> Figure:
    """ID accuracy against near and far detection: a dot per cell, a colour and marker per method. Bars (std over trials) stand at each
    method's best cell alone: the ID accuracy is the network's, so that those of all its scorers would lie on one another."""
    shifts = _shifts(board, metric) or ["near"]
    figure, axes = grid(1, len(shifts), width=3.4, height=2.8, sharex=True)
    methods = first(board["method"], len(COLOURS))
    for axis, shift in zip(axes[0], shifts, strict=True):
        value = f"{shift}_{metric}"
        for i, method in enumerate(methods):
            mine = board[(board["method"] == method) & board[value].notna() & board["id_accuracy"].notna()]
            if mine.empty:
                continue
            style: dict[str, Any] = {"fmt": MARKERS[i], "color": COLOURS[i], "markersize": 4, "elinewidth": 0.8, "linestyle": "none"}
            style["ecolor"] = (*_rgb(COLOURS[i]), 0.3)
            axis.errorbar(100 * mine["id_accuracy"], 100 * mine[value], label=method, **style)
            best = mine.sort_values(value, ascending=lower_is_better(value), kind="stable").head(1)
            bars = {side: 100 * best[f"{c}_std"].fillna(0) for side, c in (("xerr", "id_accuracy"), ("yerr", value))}
            axis.errorbar(100 * best["id_accuracy"], 100 * best[value], **bars, **style)
        axis.set(xlabel="ID accuracy, %", ylabel=f"{label(value)}, %", title=KIND[shift][0])
        _bulk(axis, (100 * board[value]).tolist(), lower_is_better(value))
    legend(figure, axes)
    headline(figure, f"ID accuracy against detection, {_where(board)}; bars: std over trials, at the best of each method")
    return figure


def pareto(cost: Sequence[float], quality: Sequence[float]) -> list[int]:
    """Places of the points that nothing beats: none is both cheaper (or equal) and better (or equal) and not the same; cheapest first."""
    order = sorted(range(len(cost)), key=lambda i: (cost[i], -quality[i]))
    front: list[int] = []
    for i in order:
        if not front or quality[i] > quality[front[-1]]:
            front.append(i)
    return front


@styled
def cost_quality(board: pd.DataFrame, costs: pd.DataFrame, *, value: str = "near_auroc", cost: str = "score_seconds_per_1000") -> Figure:
    """Detection against cost (a column of `costs.COLUMNS`, log scale): a dot per scorer and method, the Pareto front dashed and named."""
    from matplotlib.patheffects import withStroke

    both = board.merge(costs, on=["network", "method", "scorer", "tune"])
    both = both[both[value].notna() & (both[cost] > 0)].reset_index(drop=True)
    figure, axes = grid(1, 1, width=5.2, height=3.4)
    axis: Axes = axes[0, 0]
    for i, method in enumerate(first(both["method"], len(COLOURS))):
        mine = both[both["method"] == method]
        axis.plot(mine[cost], 100 * mine[value], MARKERS[i], color=COLOURS[i], markersize=4.5, alpha=0.85, label=method)
    x, y = both[cost].tolist(), (100 * both[value]).tolist()
    front = pareto(x, [-v for v in y] if lower_is_better(value) else y)
    axis.plot([x[i] for i in front], [y[i] for i in front], color="#555555", linestyle="--", linewidth=1, drawstyle="steps-post", zorder=1)
    named: set[str] = set()
    for place, i in enumerate(front):
        if str(both["scorer"][i]) not in named:  # each name once, every other one below its point, so that neighbours keep apart
            named.add(str(both["scorer"][i]))
            beside = (0, -12 if place % 2 else 6)
            text = axis.annotate(str(both["scorer"][i]), (x[i], y[i]), textcoords="offset points", xytext=beside, ha="center", fontsize=7)
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    words = {"score_seconds_per_1000": "score seconds per 1,000 samples", "fit_seconds": "fit seconds", "bytes_stored": "bytes stored",
             "passes": "forward passes", "train_seconds": "training seconds"}  # fmt: skip
    _plain_log(axis)
    axis.set(xlabel=words.get(cost, cost), ylabel=f"{label(value)}, %")
    _bulk(axis, y, lower_is_better(value))
    legend(figure, axes)
    axis.set_title("dashed: what nothing cheaper beats")
    headline(figure, f"Cost against detection, {_where(board)}")
    return figure


# ---------------------------------------------------------------- sweeps


def swept(board: pd.DataFrame, of: str = "method") -> dict[tuple[str, str], dict[str, float]]:
    """Sweeps on a board: {(name, parameter): {label: value}} where at least three variants of a name differ in that number alone."""
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
        for key in {k for given in each.values() for k, v in given.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}:
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
    board: pd.DataFrame, name: str, parameter: str, *, of: str = "method", metric: str = "auroc", scorers: Sequence[str] | None = None,
    baseline: str | None = None,
) -> Figure:  # fmt: skip
    """A value along a swept parameter (such as ALS's lambda), near and far, and ID accuracy; the band is the 95 % interval. A line per
    scorer (or per method, where a scorer is swept); dotted levels are the same line of `baseline`, by default the first other method."""
    variants = swept(board, of)[name, parameter]
    other = "scorer" if of == "method" else "method"
    lines = first(board[other] if scorers is None else scorers, 5)
    values = [*(f"{s}_{metric}" for s in _shifts(board, metric)), *(["id_accuracy"] if of == "method" else [])]
    figure, axes = grid(1, len(values), width=2.7, height=2.4)
    x = np.array(list(variants.values()))
    without = baseline or next((str(n) for n in board[of] if not str(n).startswith(name)), None)
    for axis, value in zip(axes[0], values, strict=True):
        for i, line in enumerate(lines if value != "id_accuracy" else lines[:1]):
            mine = board[board[other] == line].drop_duplicates(of).set_index(of)
            y, low, high = (100 * mine[value + suffix].reindex(list(variants)).to_numpy(float) for suffix in ("", "_low", "_high"))
            text = str(line) if value != "id_accuracy" else None
            axis.plot(x, y, marker=MARKERS[i], markersize=4, color=COLOURS[i], label=text)
            if value.removeprefix("near_").removeprefix("far_") not in NO_PERCENT:
                low, high = low.clip(0), high.clip(None, 100)  # a t interval knows of no bounds
            axis.fill_between(x, low, high, color=COLOURS[i], alpha=0.13, linewidth=0)
            if without is not None and of == "method" and without in mine.index:
                axis.axhline(100 * float(mine[value].loc[[without]].iloc[0]), color=COLOURS[i], linestyle=":", linewidth=1)
        positive = x[x > 0]
        if len(positive) and x.max() / positive.min() >= 10:
            _plain_log(axis, x.tolist())
        axis.set(xlabel=parameter, title=label(value))
    axes[0, 0].set_ylabel("percent")
    legend(figure, axes, 5)
    dotted = f"; dotted: {without}" if without is not None and of == "method" else ""
    headline(figure, f"{name} along {parameter}, {_where(board)}{dotted}")
    return figure


def severity_of(condition: str) -> tuple[str, int] | None:
    """The corruption and its severity that a condition names, as in ``gaussian_noise:3`` or ``corrupted(kind=fog, severity=3)``."""
    found = _SEVERITY.fullmatch(condition)
    return (found["what"] + found["rest"], int(found["level"])) if found else None


@styled
def severity_curves(
    board: pd.DataFrame, *, metric: str = "auroc", scorers: Sequence[str] | None = None, method: str | None = None
) -> Figure:
    """How detection and ID accuracy fall with the severity of a corruption of ID images, averaged over corruptions; severity 0 is clean.

    Takes a board with the rows of every condition; the set `full` is left out. One method (the first, unless named), a line per scorer.
    """
    board = board[board["id_set"] == "id"]
    methods = first(board["method"], 1)
    board = board[board["method"] == (method or (methods[0] if methods else ""))]
    named = {c: severity_of(c) for c in map(str, board["condition"].unique())}
    levels = {c: at[1] for c, at in named.items() if at} | {"clean": 0}
    board = board[board["condition"].isin(list(levels))].assign(_level=board["condition"].map(levels))
    lines = first(board["scorer"] if scorers is None else scorers, 5)
    values = [*(f"{s}_{metric}" for s in _shifts(board, metric)), "id_accuracy"]
    figure, axes = grid(1, len(values), width=2.7, height=2.4, sharex=True)
    for axis, value in zip(axes[0], values, strict=True):
        for i, line in enumerate(lines if value != "id_accuracy" else lines[:1]):
            mean = 100 * board[board["scorer"] == line].groupby("_level")[value].mean()
            text = None if value == "id_accuracy" else str(line)
            axis.plot(mean.index, mean.to_numpy(), marker=MARKERS[i], markersize=4, color=COLOURS[i], label=text)
        axis.set(xlabel="severity", title=label(value), xticks=sorted(set(levels.values())))
    axes[0, 0].set_ylabel("percent")
    legend(figure, axes, 5)
    headline(figure, f"Corrupted ID images, {_where(board)}, {', '.join(map(str, dict.fromkeys(board['method'])))}")
    return figure


# ---------------------------------------------------------------- all of a run


def draw(board: pd.DataFrame, trials: pd.DataFrame, costs: pd.DataFrame | None, *, scorers: Sequence[str]) -> Mapping[str, Figure]:
    """Every picture that the leaderboard of one pair and network (all conditions) has something to show in, by name."""
    clean = board[(board["condition"] == "clean") & (board["id_set"] == "id")]
    found: dict[str, Figure] = {}
    value = next((f"{s}_auroc" for s in _shifts(clean, "auroc")), "")
    if not value:
        return found
    if clean["id_accuracy"].notna().any():
        found["trade-off"] = trade_off(clean)
    if costs is not None and len(costs):
        found["cost"] = cost_quality(clean, costs, value=value)
    for (name, parameter), _ in swept(clean).items():
        # the board is sorted by what was found; the rows still stand in the suite's order, whose first method is what one compares with
        other = next((str(n) for n in trials["method"] if str(n).partition("(")[0] != name), None)
        found[f"sweep-{name}-{parameter}"] = sweep_curves(clean, name, parameter, scorers=scorers, baseline=other)
    if len({severity_of(str(c)) for c in board["condition"]} - {None}) > 1:
        found["severity"] = severity_curves(board, scorers=scorers)
    mine = trials[(trials["condition"] == "clean") & (trials["id_set"] == "id")]
    for of in ("method", "scorer"):
        table = stats.blocks(mine, value, of=of, within=[]).dropna(axis=1, how="all")
        if len(table.dropna()) > 1 and 1 < table.shape[1] <= 40:
            found[f"ranks-{of}s"] = cd_diagram(table, title=f"Ranks of {of}s by {label(value)}, {_where(clean)}")
    return found
