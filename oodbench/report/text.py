"""Tables of results as text: leaderboard and claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError
from oodbench.core.names import visible
from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.leaderboard import CELL, values_of
from oodbench.evaluation.metrics.columns import in_percent, label

if TYPE_CHECKING:
    import pandas as pd


def claims_to_text(verdicts: pd.DataFrame) -> str:
    """The verdicts for people: each claim, its overall verdict, and its cells."""
    lines: list[str] = []
    for claim, mine in verdicts.groupby("claim", sort=False):
        overall = mine[mine["level"] == "overall"].iloc[0]
        lines += [f"{claim}: {overall['verdict'].upper()}"]
        lines += [f"  {visible(str(overall[k]))}" for k in ("says", "note")]
        for c in mine[mine["level"] == "cell"].to_dict("records"):
            where = " ".join(str(c[k]) for k in ("pair", "network", "shift", "scorer") if c[k])
            numbers = (
                f"A - B = {c['difference']:+.4f} [{c['low']:+.4f}, {c['high']:+.4f}], n = {c['n']}"
                f" {c['unit']}s"
            )
            more = "" if c["needed"] is None or math.isnan(c["needed"]) else f", {int(c['needed'])} needed"
            lines.append(f"    {where}: {numbers}, p = {c['p_adjusted']:.3g}: {c['verdict']}{more}")
    return "\n".join(lines)


SHOWN = ("near_auroc", "far_auroc", "near_fpr95_in", "far_fpr95_in", "id_accuracy")


def shown_by(by: str | None) -> tuple[str, ...]:
    """The value columns to show, with the one that is ranked by among them."""
    return SHOWN if by is None or by in SHOWN else (by, *SHOWN)


def to_text(board: pd.DataFrame, style: str = "table", shown: Sequence[str] = SHOWN) -> str:
    """A leaderboard for people, in one of `formats.FORMATS`: values in percent with their std over trials
    (CSV: fractions, every column).

    `shown` may also name columns that were joined to the board, such as those of `costs.of_rows`; they are
    shown as they are."""
    from oodbench.report import formats

    if style == "csv":
        return to_csv(board, digits=6).rstrip("\n")
    unknown = [c for c in shown if c not in board]
    if unknown:
        raise UserError(f"there is no column {unknown[0]!r}; allowed: {', '.join(values_of(board))}")
    names = ["network", "method", "scorer"]
    names = [
        c
        for c in CELL
        if c in names or (c not in ("method_params", "scorer_params") and board[c].nunique() > 1)
    ]
    shown = [c for c in shown if board[c].notna().any()]
    body = []
    for row in board.astype({"rank": object}).where(lambda b: b.notna(), float("nan")).to_dict("records"):
        rank = row["rank"]
        line = [
            "" if rank is None or rank != rank else str(rank),
            *(str(row[c]) for c in names),
            str(row["n_trials"]),
        ]
        body.append([*line, *(_shown(row, c) for c in shown)])
    heads = (
        shown if style == "table" else [label(c) for c in shown]
    )  # in a terminal the names that options take
    return formats.render(["rank", *names, "n", *heads], body, style, left=1 + len(names))


def _shown(row: Mapping[Any, Any], column: str) -> str:
    from oodbench.report import formats

    value = row[column]
    if isinstance(value, str):
        return value
    if f"{column}_std" not in row:
        return formats.digits(float(value))
    if in_percent(column):
        return formats.percent(value, row[f"{column}_std"])
    spread = row[f"{column}_std"]
    return "" if value != value else f"{value:.3f}" + ("" if spread != spread else f" ± {spread:.3f}")
