"""What a cell of the page shows when it is opened: its OOD sets, its trials, and the best of its board beside
it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation import statistics
from oodbench.evaluation.large import group_ids, numbers, plain
from oodbench.evaluation.leaderboard import BOARD, CELL
from oodbench.report.formats import signed
from oodbench.report.page.numbers import shortened, tuples

if TYPE_CHECKING:
    import pandas as pd


def rows_of(rows: pd.DataFrame, board: pd.DataFrame) -> pd.DataFrame:
    """The rows of some cells, and of them what opened cells show."""
    cell = group_ids([rows[name] for name in CELL])
    first = np.unique(cell, return_index=True)[1]
    there = plain(rows[list(CELL)].iloc[first]).merge(board[list(CELL)].assign(_drawn=True), how="left")
    at = np.flatnonzero((there["_drawn"] == True).to_numpy()[cell])  # noqa: E712 (missing is not drawn)
    names = [*CELL, "split", "seed", "ood", "shift", "status", "run_key"]
    found = plain(rows[names].iloc[at]).reset_index(drop=True)
    return found.assign(**{name: numbers(rows, name, at) for name in ("auroc", "fpr95_in")})


def details_of(rows: pd.DataFrame, board: pd.DataFrame, per_trial: pd.DataFrame) -> list[dict[str, Any]]:
    """What the opened cell shows besides: values by OOD set, trials, and the comparison with the best of its
    board."""
    ok = rows[(rows["status"] == "ok") & rows["shift"].isin(("near", "far")) & (rows["scorer"] != "")]
    by_set = ok.groupby([*CELL, "ood", "shift"], sort=False)[["auroc", "fpr95_in"]].mean().reset_index()
    sets: dict[Any, list[Any]] = {}
    means = shortened(by_set[["auroc", "fpr95_in"]])
    for key, place, pair in zip(tuples(by_set, CELL), tuples(by_set, ("ood", "shift")), means, strict=True):
        sets.setdefault(key, []).append([*place, *pair])
    keyed = rows[rows["scorer"] != ""].drop_duplicates([*CELL, "split", "seed"])[
        [*CELL, "split", "seed", "run_key"]
    ]
    three = ["near_auroc", "far_auroc", "id_accuracy"]
    merged = per_trial[[*CELL, "split", "seed", *three]].merge(keyed, on=[*CELL, "split", "seed"], how="left")
    each: dict[Any, list[Any]] = {}
    places = tuples(merged, ("split", "seed", "run_key"))
    for key, (split, seed, run), of_trial in zip(
        tuples(merged, CELL), places, shortened(merged[three]), strict=True
    ):
        each.setdefault(key, []).append([str(split), str(seed), *of_trial, str(run)[:12]])
    versus = _versus(board, per_trial)
    return [
        {"sets": sets.get(key, []), "t": each.get(key, []), "vs": versus.get(key)}
        for key in tuples(board, CELL)
    ]


def _versus(board: pd.DataFrame, per_trial: pd.DataFrame) -> dict[Any, list[str]]:
    """Each cell against the best of its board, on the trials both have: Holm's family is the board."""
    cell = list(CELL)
    found: dict[Any, list[str]] = {}
    narrow = per_trial[[*cell, "split", "seed", "near_auroc", "far_auroc"]]
    of_board = dict(list(narrow.groupby(list(BOARD), sort=False)))
    for key, group in board.groupby(list(BOARD), sort=False):
        best, mine = group[group["rank"] == 1], of_board.get(key)
        if best.empty or mine is None:
            continue
        value = "near_auroc" if mine["near_auroc"].notna().any() else "far_auroc"
        unit = "split" if mine["split"].nunique() > 1 else "seed"
        mine = mine.assign(_id=mine.groupby(cell, sort=False).ngroup())
        names = tuples(mine.drop_duplicates("_id"), cell)
        # only seeds that both have in a split are averaged: a missing trial must not shift the comparison
        table = mine.pivot_table(index="_id", columns=["split", "seed"], values=value, sort=False)
        reference: Any = names.index(tuples(best.head(1), cell)[0])
        if reference not in table.index:
            continue
        paired = (table - table.loc[reference]).T.groupby(level=unit, sort=False).mean().T
        result = statistics.against(paired, reference)
        rival = f"{best.iloc[0]['method']} + {best.iloc[0]['scorer']}"
        numbers_of = result[["difference", "low", "high", "p_holm", "n"]].to_numpy(dtype=float).tolist()
        for i, (d, low, high, p, n) in zip(result.index, numbers_of, strict=True):
            if i != reference and n:
                line = signed(d)
                if n > 1:
                    line += (
                        f" (95 % {signed(low)} to {signed(high)}; paired over {n:.0f} {unit}s, p = {p:.2g},"
                        " Holm)"
                    )
                found[names[i]] = [rival, line]
    return found
