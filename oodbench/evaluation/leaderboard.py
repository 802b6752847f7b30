"""From rows to a leaderboard. The hierarchy is fixed: OOD sets are averaged within near and within far, then
trials are averaged; ID sets never. A row that failed or was skipped is counted, never averaged over; a trial
that lacks a set has no mean over it.

A trial is split x seed. Trials of one split share classes and test samples, so they are not independent: a
cell's interval takes the splits as its sample (seeds are averaged within each), or, where there is only one
split, the seeds, and then it speaks of that split alone. `unit` says which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation.metrics.columns import EVERY, ID_ONLY, lower_is_better, values_for

if TYPE_CHECKING:
    import pandas as pd

CELL = (
    "suite", "pair", "pair_params", "network", "method", "method_params", "scorer", "scorer_params", "tune",
    "condition", "id_set",
)  # fmt: skip
"""What one row of a leaderboard is: everything declared. Splits, seeds and OOD sets are averaged over."""

BOARD = ("suite", "pair", "pair_params", "tune", "condition", "id_set")
"""Cells that agree in these are ranked against one another."""


def _of_scorers(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the rows that describe a network alone; those have no scorer and are no cell of a
    leaderboard."""
    return rows[rows["scorer"] != ""].copy()


def trials(rows: pd.DataFrame, metrics: Sequence[str] = EVERY) -> pd.DataFrame:
    """One row per cell and trial: CELL, split, seed, then ``near_<metric>`` and ``far_<metric>``, the mean
    over the OOD sets of that shift, and the ID-only metrics. A mean that lacks one of its sets is NaN; which
    sets belong to a pair is what any of its rows names."""
    import pandas as pd

    per_shift, per_trial = ([m for m in metrics if (m in ID_ONLY) == alone] for alone in (False, True))
    rows = _of_scorers(rows)
    rows["cell"] = rows.groupby(list(CELL), sort=False, dropna=False).ngroup()
    rows["board"] = rows.groupby(list(BOARD), sort=False, dropna=False).ngroup()
    keys = rows.drop_duplicates("cell").set_index("cell")[[*CELL, "board"]]
    trial = ["cell", "split", "seed"]
    ok = rows[rows["status"] == "ok"].drop_duplicates([*trial, "ood"]).astype(dict.fromkeys(metrics, float))
    frames = [ok[ok["ood"] == ""].set_index(trial)[per_trial]]
    for shift in ("near", "far"):
        expected = rows[rows["shift"] == shift].groupby("board")["ood"].nunique()
        grouped = ok[ok["shift"] == shift].groupby(trial, sort=False)[per_shift]
        means, present = grouped.mean(), grouped.count()
        wanted = expected.reindex(keys.loc[means.index.get_level_values("cell"), "board"]).to_numpy()
        frames.append(means.where(present.to_numpy() == wanted[:, None]).add_prefix(f"{shift}_"))
    table = pd.concat(frames, axis=1).reset_index()
    table = table.reindex(columns=[*trial, *values_for(metrics)])
    return (
        keys.drop(columns="board")
        .merge(table, left_index=True, right_on="cell")
        .drop(columns="cell")
        .reset_index(drop=True)
    )


def over_trials(rows: pd.DataFrame, metrics: Sequence[str] = EVERY, *, by: str | None = None) -> pd.DataFrame:
    """The ranked leaderboard of the rows of results.csv.

    Columns: ``rank`` (1 is best by the column `by`, within BOARD; default near_auroc, or far_auroc where a
    board has no near set), CELL, n_trials, n_splits, n_near, n_far (trials whose sets are complete),
    n_failed, n_skipped (rows), unit, and for each value X: ``X`` mean over trials, ``X_std`` over trials and
    ``X_split_std`` over the means of splits (ddof 1; empty for fewer than two), ``X_low`` and ``X_high`` the
    95 % t interval of the mean over units."""
    import pandas as pd
    from scipy.stats import t as student

    rows = _of_scorers(rows)
    per_trial = trials(rows, metrics)
    values = list(values_for(metrics))
    cell = list(CELL)
    order = rows[cell].drop_duplicates()
    index = pd.MultiIndex.from_frame(order)
    by_cell = per_trial.groupby(cell, sort=False)
    splits = per_trial.groupby([*cell, "split"], sort=False)[values].mean().groupby(cell, sort=False)
    mean, std = by_cell[values].mean().reindex(index), by_cell[values].std(ddof=1).reindex(index)
    split_mean, split_std, n_split = (
        getattr(splits[values], f)().reindex(index) for f in ("mean", "std", "count")
    )
    n_seed = by_cell[values].count().reindex(index).fillna(0)
    by_split = (n_split.fillna(0) > 1).to_numpy()
    n = np.where(by_split, n_split.fillna(0), n_seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = student.ppf(0.975, n - 1) * np.where(by_split, split_std, std) / np.sqrt(n)
    centre = np.where(by_split, split_mean, mean)
    board = _counts(rows, by_cell, n_seed)
    columns: dict[str, Any] = {}  # arrays: all are of one index, and aligning hundreds of series takes long
    of = [f.to_numpy(dtype=float) for f in (mean, std, split_std)]
    for i, name in enumerate(values):
        columns |= {
            f"{name}{suffix}": array[:, i]
            for suffix, array in zip(("", "_std", "_split_std"), of, strict=True)
        }
        columns |= {f"{name}_low": centre[:, i] - half[:, i], f"{name}_high": centre[:, i] + half[:, i]}
    board = pd.concat([board, pd.DataFrame(columns, index=index)], axis=1).reset_index()
    return _ranked(board, by)


def _counts(rows: pd.DataFrame, by_cell: Any, n_seed: pd.DataFrame) -> pd.DataFrame:
    """How many trials, splits, sets, failed and skipped rows each cell has, and what its unit is."""
    import pandas as pd

    cell, index = list(CELL), n_seed.index
    counted = (
        rows.groupby(cell, sort=False)["status"]
        .value_counts()
        .unstack(fill_value=0)
        .reindex(index, fill_value=0)
    )
    zero = pd.Series(0, index=index)
    shifts = {
        f"n_{s}": n_seed[[c for c in n_seed if str(c).startswith(f"{s}_")]].max(axis=1)
        for s in ("near", "far")
    }
    shape = {
        "n_trials": by_cell.size().reindex(index, fill_value=0),
        "n_splits": by_cell["split"].nunique().reindex(index, fill_value=0),
        **{name: count.fillna(0).astype(int) for name, count in shifts.items()},
        "n_failed": counted.get("failed", zero), "n_skipped": counted.get("skipped", zero),
    }  # fmt: skip
    board = pd.DataFrame(shape, index=index)
    board["unit"] = np.where(board["n_splits"] > 1, "split", np.where(board["n_trials"] > 1, "seed", ""))
    return board


def _ranked(board: pd.DataFrame, by: str | None) -> pd.DataFrame:
    scope = list(BOARD)
    if by is None:
        has_near = board.groupby(scope, sort=False)["near_auroc"].transform("count") > 0
        value = board["near_auroc"].where(has_near, board["far_auroc"])
    elif by in board:
        value = -board[by] if lower_is_better(by) else board[by]
    else:
        raise UserError(f"cannot rank by {by!r}; allowed: {', '.join(values_of(board))}")
    ranks = value.groupby([board[name] for name in scope], sort=False).rank(ascending=False, method="min")
    board.insert(0, "rank", ranks.astype("Int64"))
    boards = board.groupby(scope, sort=False).ngroup()
    return (
        board.assign(_board=boards)
        .sort_values(["_board", "rank"], kind="stable")
        .drop(columns="_board")
        .reset_index(drop=True)
    )


def values_of(board: pd.DataFrame) -> list[str]:
    """The value columns of a leaderboard, without their std and interval columns."""
    return [str(name)[:-4] for name in board.columns if str(name).endswith("_low")]


def values_of_trials(per_trial: pd.DataFrame) -> list[str]:
    """The value columns of `trials` that hold anything."""
    return [
        str(c) for c in per_trial.columns if c not in (*CELL, "split", "seed") and per_trial[c].notna().any()
    ]
