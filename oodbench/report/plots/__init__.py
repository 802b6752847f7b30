"""Plots of results. Each function takes frames and returns a matplotlib Figure."""

from oodbench.report.plots.drawing import draw, draw_all, representative
from oodbench.report.plots.heat_maps import heat_map, rank_heat_map
from oodbench.report.plots.scores import known_unknown, roc_curves, score_histograms
from oodbench.report.plots.style import (
    COLOURS,
    KIND,
    MARKERS,
    STYLE,
    first,
    grid,
    headline,
    ink,
    legend,
    one_of_each,
    room,
    save,
    short,
    square_root,
    styled,
    table_of_numbers,
    where,
    wrapped,
)
from oodbench.report.plots.sweeps import severity_curves, severity_of, sweep_curves, swept
from oodbench.report.plots.trade_offs import cd_diagram, cost_quality, pareto, trade_off

__all__ = [
    "COLOURS",
    "KIND",
    "MARKERS",
    "STYLE",
    "cd_diagram",
    "cost_quality",
    "draw",
    "draw_all",
    "first",
    "grid",
    "headline",
    "heat_map",
    "ink",
    "known_unknown",
    "legend",
    "one_of_each",
    "pareto",
    "rank_heat_map",
    "representative",
    "roc_curves",
    "room",
    "save",
    "score_histograms",
    "severity_curves",
    "severity_of",
    "short",
    "square_root",
    "styled",
    "sweep_curves",
    "swept",
    "table_of_numbers",
    "trade_off",
    "where",
    "wrapped",
]
