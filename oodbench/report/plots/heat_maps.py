"""Tables as colours: a metric per method and scorer, ranks per pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from oodbench.evaluation.leaderboard import BOARD
from oodbench.evaluation.metrics.columns import label, lower_is_better
from oodbench.report.plots.style import KIND, grid, headline, room, styled, table_of_numbers, where

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@styled
def rank_heat_map(
    board: pd.DataFrame, *, of: str = "scorer", value: str = "near_auroc", most: int = 40
) -> Figure:
    """Average rank of each name (down; 1 is best) within each board and network (across), over everything
    else; best names first."""
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


@styled
def heat_map(board: pd.DataFrame, *, metric: str = "auroc") -> Figure:
    """Method x scorer, the mean of a metric over trials, near- and far-OOD side by side. Takes the
    leaderboard of one pair and network."""
    shifts = [
        s for s in ("near", "far") if f"{s}_{metric}" in board and board[f"{s}_{metric}"].notna().any()
    ] or ["near"]
    tables = [
        100
        * board.pivot_table(
            index="scorer", columns="method", values=f"{s}_{metric}", sort=False, dropna=False
        )
        for s in shifts
    ]
    first_table = tables[0]
    order = first_table.mean(axis=1).sort_values(ascending=False, kind="stable").index
    across = first_table.mean(axis=0).sort_values(ascending=False, kind="stable").index
    width, height = (
        0.9 * len(across) + 0.9 + room(order) / len(shifts),
        0.27 * len(order) + 0.4 + 0.45 * room(across),
    )
    figure, axes = grid(1, len(shifts), width=max(width, 2.2), height=height, sharey=True)
    for axis, shift, table in zip(axes[0], shifts, tables, strict=True):
        values = table.loc[order, across].to_numpy()
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
        table_of_numbers(
            axis, values, list(order), list(across), vmin=low, vmax=max(high, low + 1e-9), cmap="cividis"
        )
        axis.set_title(KIND[shift][0])
    headline(figure, f"{label(metric)} in percent, {where(board)}")
    return figure
