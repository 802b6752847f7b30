"""Pictures of scores, drawn with matplotlib in one colour-blind safe style. Every function takes frames and returns a Figure.

`samples` is the per-sample frame: one row per run, scorer and set, with columns pair, split, network, method, seed, scorer, ood (empty
for ID test), shift (id | near | far) and `value`, a float array (N,). The scorers ``max_probability`` and ``max_logit`` stand for what
label smoothing changes. `rows` are those of results.csv.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from oodbench.evaluation.metrics.detection import Array, counts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without the yellow that is lost on white."""
KIND = {"id": ("known (ID)", "#0072B2", "-"), "near": ("near-OOD", "#D55E00", "--"), "far": ("far-OOD", "#009E73", ":")}
QUANTITY = {"max_probability": "maximal probability", "max_logit": "maximal logit"}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e5e5e5", "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.edgecolor": "#555555",
    "xtick.color": "#333333", "ytick.color": "#333333", "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.4,
    "figure.facecolor": "white", "svg.fonttype": "none", "svg.hashsalt": "oodbench", "text.parse_math": False, "savefig.dpi": 140,
}  # fmt: skip


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in our style, whatever the user's matplotlib settings are."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib

        with matplotlib.rc_context(), matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def grid(rows: int, columns: int, *, width: float, height: float, **share: Any) -> tuple[Figure, Any]:
    """A figure of panels, `width` x `height` inches each; no pyplot, so nothing global and no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width * columns + 0.6, 4.2), height * rows + 0.9), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def save(figure: Figure, path: Path) -> list[Path]:
    """Write `path`.png and `path`.svg; the same figure gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(STYLE):
        engine = figure.get_layout_engine()
        if engine is not None:  # laid out here, once: each of the two formats would do it again
            FigureCanvasAgg(figure)
            engine.execute(figure)
            figure.set_layout_engine(None)
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
            file = path.with_name(path.name + suffix)
            figure.savefig(file, metadata=metadata)
            written.append(file)
    return written


def wrapped(name: str, width: int = 22) -> str:
    """A name over at most three lines, so that a long one takes no more room than its panel has."""
    lines = [name] if len(name) <= width else textwrap.wrap(name.replace("(", " ("), width)
    return "\n".join(lines if len(lines) <= 3 else [*lines[:2], short(" ".join(lines[2:]), width)])


def short(name: str, most: int) -> str:
    """A name on one line, what is too much left out of its middle: variants of one name differ at its end."""
    return name if len(name) <= most else f"{name[: most - most // 2 - 1]}…{name[len(name) - most // 2 :]}"


def headline(figure: Figure, text: str) -> None:
    """The title of a figure, broken where the figure ends."""
    figure.suptitle(textwrap.fill(text, max(24, int(11 * figure.get_figwidth())), break_on_hyphens=False))


def room(names: Iterable[str], width: int = 22) -> float:
    """Inches that the longest of some wrapped names takes."""
    return 0.075 * max((len(line) for name in names for line in wrapped(name, width).split("\n")), default=0)


def ink(colour: Sequence[float] | Array) -> str:
    """Black or white, whichever stands out more on a colour (r, g, b, ...) in [0, 1], by WCAG's relative luminance."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "white"


def square_root(axis: Axes) -> None:
    """Heights on a square-root scale: nearly all known samples may fall into one bin."""
    axis.set_yscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), np.square))
    axis.set_ylim(bottom=0)


def first(names: Iterable[str], most: int) -> list[str]:
    """At most `most` distinct names, in the order they come."""
    return list(dict.fromkeys(names))[:most]


def one_of_each(names: Iterable[str], most: int) -> list[str]:
    """At most `most` distinct names, variants of one method after the other methods: the one with default parameters (or the first) stands
    for it. In the order they come."""
    every = list(dict.fromkeys(names))
    families: dict[str, str] = {}
    for name in every:
        family = name.split("(")[0]
        families[family] = name if name == family else families.get(family, name)
    chosen = [*families.values(), *(n for n in every if n not in families.values())][:most]
    return [n for n in every if n in chosen]


def _note(shown: int, of: int, what: str) -> str:
    return "" if shown == of else f" · {shown} of {of} {what} shown"


def _trial(samples: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The first trial alone, and what to call it: scores of two trials have different scales."""
    split, seed = str(samples["split"].iloc[0]), str(samples["seed"].iloc[0])
    chosen = samples[(samples["split"].astype(str) == split) & (samples["seed"].astype(str) == seed)]
    return chosen, f"split {split}, seed {seed}" if split else f"seed {seed}"


def pooled(samples: pd.DataFrame, shift: str) -> Array:
    """All values of one shift, every set and trial in `samples`, as one array (maybe empty)."""
    arrays = [np.asarray(v, dtype=float) for s, v in zip(samples["shift"], samples["value"], strict=True) if s == shift]
    return np.concatenate(arrays) if arrays else np.empty(0)


def _densities(axis: Axes, samples: pd.DataFrame, edges: Array) -> None:
    for shift, (label, colour, line) in KIND.items():
        values = pooled(samples, shift)
        if len(values):
            share = np.histogram(values, edges)[0] / len(values)
            axis.stairs(share, edges, fill=True, color=colour, alpha=0.18, linewidth=0)
            axis.stairs(share, edges, color=colour, linestyle=line, label=label, linewidth=1.2)


def bin_edges(values: Array, bins: int, trim: float = 0.005) -> Array:
    """Bin edges over the bulk of the values, the outermost left out: scores with one wild outlier would otherwise fill one bin."""
    low, high = (float(np.quantile(values, q)) for q in (trim, 1 - trim)) if len(values) else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def quantity_edges(quantity: str, values: Array, bins: int) -> Array:
    """Bin edges for maximal probability (up to 1) or maximal logit."""
    return np.linspace(min(values.min(), 1.0 - 1e-6), 1, bins + 1) if quantity == "max_probability" else bin_edges(values, bins, 0.0005)


# ---------------------------------------------------------------- from per-sample scores


@styled
def score_histograms(samples: pd.DataFrame, *, scorers: Sequence[str] | None = None, bins: int = 40) -> Figure:
    """Distributions of OOD scores on ID, near- and far-OOD samples: methods down, scorers across. Takes one pair and network."""
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
                axis.text(0.5, 0.5, "no scores", ha="center", va="center", color="#777777", transform=axis.transAxes)
            else:
                _densities(axis, mine, bin_edges(values, bins))
                square_root(axis)
                axis.locator_params(axis="x", nbins=4)
            axis.set_yticks([])
            axis.set_title(wrapped(scorer) if i == 0 else "")
        axes[i, 0].set_ylabel(wrapped(method, 18))
    legend(figure, axes, columns=3)
    shown = _note(len(scorers), len(every), "scorers") + _note(len(methods), len(all_methods), "methods")
    headline(figure, f"OOD scores (higher = more OOD; square-root heights), {_where(samples)}, {trial}{shown}")
    return figure


@styled
def roc_curves(samples: pd.DataFrame, *, scorers: Sequence[str] | None = None) -> Figure:
    """ROC curves, OOD positive: methods across, near-OOD above far-OOD, one line per scorer, averaged vertically over trials and sets."""
    every = [s for s in dict.fromkeys(samples["scorer"]) if s not in QUANTITY]
    scorers = first(every if scorers is None else scorers, len(COLOURS))
    all_methods = list(dict.fromkeys(samples["method"]))
    methods = all_methods[:6]
    shifts = [s for s in ("near", "far") if (samples["shift"] == s).any()]
    figure, axes = grid(max(len(shifts), 1), len(methods), width=2.5, height=2.4, sharex=True, sharey=True)
    at = np.linspace(0, 1, 201)
    curves = {key: rocs(mine, at) for key, mine in samples.groupby(["method", "scorer"], sort=False)}
    for i, shift in enumerate(shifts):
        for j, method in enumerate(methods):
            axis = axes[i, j]
            axis.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
            for k, scorer in enumerate(scorers):
                mine = [one for (s, _), each in curves.get((method, scorer), {}).items() if s == shift for one in each]
                if mine:
                    tprs, area = np.mean([t for t, _ in mine], axis=0), float(np.mean([a for _, a in mine]))
                    dash: Any = "-" if k < 4 else (0, (4, 1.5))
                    axis.plot(at, tprs, color=COLOURS[k], linestyle=dash, label=f"{short(scorer, 22)} {100 * area:.1f}")
            if len(axis.lines) > 1:
                axis.legend(loc="lower right", title="AUROC %", title_fontsize=7, fontsize=7, handlelength=1.4, labelspacing=0.25)
            else:
                axis.text(0.5, 0.3, "no scores", ha="center", va="center", color="#777777")
            axis.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
            if i == 0:
                axis.set_title(wrapped(method))
            if i == len(shifts) - 1:
                axis.set_xlabel("ID rejected (FPR)")
        axes[i, 0].set_ylabel(f"{KIND[shift][0]} rejected (TPR)")
    trials = samples[["split", "seed"]].drop_duplicates().shape[0]
    shown = _note(len(scorers), len(every), "scorers") + _note(len(methods), len(all_methods), "methods")
    headline(figure, f"ROC, {_where(samples)}, mean of {trials} trial{'s' * (trials > 1)}{shown}")
    return figure


def roc_curve(inside: Array, outside: Array) -> tuple[Array, Array]:
    """False and true positive rates (OOD positive) at every distinct score, from (0, 0) to (1, 1)."""
    c = counts(inside, outside)
    rejected_id, rejected_ood = 1 - c.id[::-1] / c.id[-1], 1 - c.ood[::-1] / c.ood[-1]
    return np.append(rejected_id, 1.0), np.append(rejected_ood, 1.0)


def rocs(samples: pd.DataFrame, at: Array) -> dict[tuple[str, str], list[tuple[Array, float]]]:
    """Of one method and scorer: {(shift, set): [(true positive rates at the false positive rates `at`, exact area) of each trial]}."""
    columns = [samples[c] for c in ("split", "seed", "shift", "ood", "value")]
    inside = {(split, seed): np.asarray(v, dtype=float) for split, seed, shift, _, v in zip(*columns, strict=True) if shift == "id"}
    found: dict[tuple[str, str], list[tuple[Array, float]]] = {}
    for split, seed, shift, ood, value in zip(*columns, strict=True):
        known = inside.get((split, seed))
        if shift == "id" or known is None or not len(known) or not len(value):
            continue
        fpr, tpr = roc_curve(known, np.asarray(value, dtype=float))
        area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
        found.setdefault((str(shift), str(ood)), []).append((np.interp(at, fpr, tpr), area))
    return found


@styled
def known_unknown(samples: pd.DataFrame, *, bins: int = 40) -> Figure:
    """The picture of the label-smoothing argument: maximal probability and maximal logit of known and unknown samples, method by method.

    All trials pooled; the axes of a row are shared, so that scales can be compared. Dots mark the means. Shares stand on a
    square-root scale, since nearly all known samples may fall into one bin.
    """
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
                    dot: Any = {"marker": "o", "color": colour, "markersize": 5, "markeredgecolor": "white", "clip_on": False, "zorder": 5}
                    axis.plot(found.mean(), 0, **dot)
            axis.set_xlim(edges[0], edges[-1])
            axis.set_xlabel(QUANTITY[quantity])
            if i == 0:
                axis.set_title(wrapped(method))
        for axis in axes[i]:  # now that all is drawn, for the panels of a row share their heights
            square_root(axis)
        axes[i, 0].set_ylabel("share (square-root scale)")
    legend(figure, axes, columns=3)
    headline(figure, f"Known against unknown, {_where(samples)}, all trials; dots: means{_note(len(methods), len(all_methods), 'methods')}")
    return figure


def legend(figure: Figure, axes: Array, columns: int = 4) -> None:
    """One legend below all panels, of what any of them draws; none where nothing has a name."""
    found: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if found:
        names = [short(name, 60 // columns + 10) for name in found]
        figure.legend(list(found.values()), names, loc="outside lower center", ncols=columns)


def _where(frame: pd.DataFrame) -> str:
    network = str(frame["network"].iloc[0])
    return str(frame["pair"].iloc[0]) + (f", {network}" if network else "")


# ---------------------------------------------------------------- from rows


@styled
def heat_map(board: pd.DataFrame, *, metric: str = "auroc") -> Figure:
    """Method x scorer, the mean of a metric over trials, near- and far-OOD side by side. Takes the leaderboard of one pair and network."""
    shifts = [s for s in ("near", "far") if f"{s}_{metric}" in board and board[f"{s}_{metric}"].notna().any()] or ["near"]
    tables = [100 * board.pivot_table(index="scorer", columns="method", values=f"{s}_{metric}", sort=False, dropna=False) for s in shifts]
    first_table = tables[0]
    order = first_table.mean(axis=1).sort_values(ascending=False, kind="stable").index
    across = first_table.mean(axis=0).sort_values(ascending=False, kind="stable").index
    width, height = 0.9 * len(across) + 0.9 + room(order) / len(shifts), 0.27 * len(order) + 0.4 + 0.45 * room(across)
    figure, axes = grid(1, len(shifts), width=max(width, 2.2), height=height, sharey=True)
    for axis, shift, table in zip(axes[0], shifts, tables, strict=True):
        values = table.loc[order, across].to_numpy()
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
        table_of_numbers(axis, values, list(order), list(across), vmin=low, vmax=max(high, low + 1e-9), cmap="cividis")
        axis.set_title(KIND[shift][0])
    name = {"auroc": "AUROC"}.get(metric, metric)
    headline(figure, f"{name} in percent, {_where(board)}")
    return figure


def table_of_numbers(axis: Axes, values: Array, down: Sequence[str], across: Sequence[str], **colours: Any) -> None:
    """Numbers (rows, columns) written into coloured fields, a dash where there is none, with the names of rows and columns."""
    picture = axis.imshow(values, aspect="auto", **colours)
    for (i, j), value in np.ndenumerate(values):
        there = bool(np.isfinite(value))
        colour = ink(picture.to_rgba(np.array([value]))[0]) if there else "black"
        axis.text(j, i, f"{value:.1f}" if there else "–", ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(across)), [wrapped(n) for n in across], rotation=20, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(down)), [wrapped(n) for n in down])
    axis.grid(False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


# ---------------------------------------------------------------- all of a run


def compact(samples: pd.DataFrame) -> pd.DataFrame:
    """One row per run, scorer and set with an array as its `value` (and `index`), from that or from one row per sample; keys as text."""
    keys = [c for c in ("pair", "split", "network", "method", "seed", "scorer", "ood", "shift") if c in samples]
    if samples.empty:
        return samples
    table = samples
    if np.ndim(samples["value"].iloc[0]) == 0:
        groups = samples.groupby(keys, sort=False, dropna=False)
        arrays: Any = {c: [values.to_numpy() for _, values in groups[c]] for c in ("value", "index") if c in samples}
        table = samples.loc[~samples.duplicated(keys), keys].reset_index(drop=True)
        for name, values in arrays.items():
            table[name] = values
    text = {c: table[c].astype(object).where(table[c].notna(), "").map(str) for c in keys}
    return table.assign(**text)


def representative(board: pd.DataFrame, most: int) -> list[str]:
    """The scorers to show where not all fit: msp, the field's baseline, then the best by their mean near (else far) AUROC over methods."""
    value = board["near_auroc"] if board["near_auroc"].notna().any() else board["far_auroc"]
    best = value.groupby(board["scorer"], sort=False).mean().sort_values(ascending=False, kind="stable").index
    return first([*(["msp"] if "msp" in set(best) else []), *best], most)


def draw_all(rows: pd.DataFrame, samples: pd.DataFrame, folder: Path, timing: pd.DataFrame | None = None) -> list[Path]:
    """The pictures of a run, a file per kind, pair and network, each as PNG and SVG; returns the files written."""
    from oodbench.evaluation.costs import costs
    from oodbench.evaluation.leaderboard import leaderboard, trials
    from oodbench.report.plots import trade_offs as boardplots

    samples, whole = compact(samples), leaderboard(rows)
    each = trials(rows)
    spent = costs(rows, timing) if timing is not None and len(timing) else None
    written: list[Path] = []
    board = whole[(whole["condition"] == "clean") & (whole["id_set"] == "id")]
    for (pair, network), cells in board.groupby(["pair", "network"], sort=False):
        name = _file_name(f"{pair}-{network}" if network else str(pair))
        if cells[["near_auroc", "far_auroc"]].notna().any(axis=None):
            written += save(heat_map(cells), folder / f"heatmap-{name}")
        mine = samples[(samples["pair"] == pair) & (samples["network"] == network)] if len(samples) else samples
        if len(mine):
            written += save(score_histograms(mine, scorers=representative(cells, 5)), folder / f"scores-{name}")
            written += save(roc_curves(mine, scorers=representative(cells, 6)), folder / f"roc-{name}")
            if mine["scorer"].isin(list(QUANTITY)).any():
                written += save(known_unknown(mine), folder / f"known-unknown-{name}")
        here, ours = ((f["pair"] == pair) & (f["network"] == network) for f in (whole, each))
        for kind, figure in boardplots.draw(whole[here], each[ours], spent, scorers=representative(cells, 5)).items():
            written += save(figure, folder / f"{_file_name(kind)}-{name}")
    if board.groupby(["pair", "network"]).ngroups > 1 and board["near_auroc"].notna().any():
        written += save(boardplots.rank_heat_map(board), folder / "ranks-by-pair")
    return written


def _file_name(text: str) -> str:
    return "".join(ch if ch.isalnum() or ch in "-_.=," else "-" for ch in text).strip("-.") or "plot"
