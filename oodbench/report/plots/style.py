"""How every plot looks: colours, fonts, sizes, and how it is saved."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from oodbench.core.files import replacing
from oodbench.evaluation.metrics.arrays import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def shifts_of(board: pd.DataFrame, metric: str) -> list[str]:
    """Of near and far those that the board has any value of the metric for."""
    return [s for s in ("near", "far") if f"{s}_{metric}" in board and board[f"{s}_{metric}"].notna().any()]


def rgb(colour: str) -> tuple[float, float, float]:
    """A colour written #rrggbb as three numbers in [0, 1]."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def plain_log(axis: Axes, at: Sequence[float] | None = None) -> None:
    """A logarithmic scale whose ticks are written out (a power of ten would be mathematics, which text here
    never is)."""
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


def bulk(axis: Axes, values: Sequence[float], lower: bool) -> None:
    """The y axis over the bulk of some values; a few far on the bad side (beyond three interquartile ranges)
    are counted at the edge, so that one broken scorer does not press all others into a line."""
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
    axis.set_title(
        f"{'↑' if lower else '↓'} {off.sum()} off the scale", loc="right", fontsize=7, color="#555555"
    )


P = ParamSpec("P")


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without the yellow that is lost on white."""


KIND = {
    "id": ("known (ID)", "#0072B2", "-"),
    "near": ("near-OOD", "#D55E00", "--"),
    "far": ("far-OOD", "#009E73", ":"),
}


STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9, "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e5e5e5", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "xtick.color": "#333333", "ytick.color": "#333333", "legend.frameon": False, "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white", "svg.fonttype": "none", "svg.hashsalt": "oodbench", "text.parse_math": False,
    "savefig.dpi": 140,
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


FORMATS = ("png", "svg")
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""No date and no version: the same figure gives the same bytes."""


def save(figure: Figure, path: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `path`.png, `path`.svg, or both; returns the files. The same figure gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(STYLE):
        engine = figure.get_layout_engine()
        if engine is not None:  # laid out here, once: each format would do it again
            FigureCanvasAgg(figure)
            engine.execute(figure)
            figure.set_layout_engine(None)
        for one in formats:
            file = path.with_name(f"{path.name}.{one}")
            with replacing(file) as draft:
                figure.savefig(draft, format=one, metadata=_METADATA[one])
                if one == "svg":
                    _keep_to_xml(draft)
            written.append(file)
    return written


def _keep_to_xml(file: Path) -> None:
    """Take out of an SVG what is not seen: a control character in a name ends it as XML."""
    text = file.read_text(encoding="utf-8")
    if not text.replace("\n", "").isprintable():
        seen = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
        file.write_text(seen, encoding="utf-8")


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
    """Black or white, whichever stands out more on a colour (r, g, b, ...) in [0, 1], by WCAG's relative
    luminance."""
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
    """At most `most` distinct names, variants of one method after the other methods: the one with default
    parameters (or the first) stands for it. In the order they come."""
    every = list(dict.fromkeys(names))
    families: dict[str, str] = {}
    for name in every:
        family = name.split("(")[0]
        families[family] = name if name == family else families.get(family, name)
    chosen = [*families.values(), *(n for n in every if n not in families.values())][:most]
    return [n for n in every if n in chosen]


def note(shown: int, of: int, what: str) -> str:
    """What to add to a headline where not all are shown."""
    return "" if shown == of else f" · {shown} of {of} {what} shown"


def legend(figure: Figure, axes: Array, columns: int = 4) -> None:
    """One legend below all panels, of what any of them draws; none where nothing has a name."""
    found: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if found:
        names = [short(name, 60 // columns + 10) for name in found]
        figure.legend(list(found.values()), names, loc="outside lower center", ncols=columns)


def where(board: pd.DataFrame) -> str:
    """The pairs and networks that a picture is of, for its headline; many are cut short."""
    names = [", ".join(dict.fromkeys(map(str, board[k]))) for k in ("pair", "network") if k in board]
    return ", ".join(n if len(n) < 60 else f"{n[:57]}..." for n in names if n)


def table_of_numbers(
    axis: Axes, values: Array, down: Sequence[str], across: Sequence[str], **colours: Any
) -> None:
    """Numbers (rows, columns) written into coloured fields, a dash where there is none, with the names of
    rows and columns."""
    picture = axis.imshow(values, aspect="auto", **colours)
    for (i, j), value in np.ndenumerate(values):
        there = bool(np.isfinite(value))
        colour = ink(picture.to_rgba(np.array([value]))[0]) if there else "black"
        axis.text(j, i, f"{value:.1f}" if there else "–", ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(
        range(len(across)), [wrapped(n) for n in across], rotation=20, ha="right", rotation_mode="anchor"
    )
    axis.set_yticks(range(len(down)), [wrapped(n) for n in down])
    axis.grid(False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def file_name(text: str) -> str:
    """The text with a dash for whatever a file name should not hold."""
    return "".join(ch if ch.isalnum() or ch in "-_.=," else "-" for ch in text).strip("-.") or "plot"
