"""From rows to a leaderboard. The hierarchy is fixed: OOD sets are averaged within near and within far, then
trials are averaged; ID sets never. A row that failed or was skipped is counted, never averaged over; a trial
that lacks a set has no mean over it.

A trial is split x seed. Trials of one split share classes and test samples, so they are not independent: a
cell's interval takes the splits as its sample (seeds are averaged within each), or, where there is only one
split, the seeds, and then it speaks of that split alone. `unit` says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation.large import firsts, group_ids, numbers, plain
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


class _Trials(NamedTuple):
    """Rows of scorers by cell and trial; both have numbers, in the order in which they appear."""

    cells: pd.DataFrame
    """CELL of each cell."""
    status: np.ndarray
    """(N,) of each row."""
    cell: np.ndarray
    """(N,) of each row."""
    table: pd.DataFrame
    """Each trial: its cell, split and seed, and its values."""


def _trials(rows: pd.DataFrame, metrics: Sequence[str]) -> _Trials:
    """Names are compared as numbers, and of the numbers a few columns at a time are in memory: there may be
    millions of rows."""
    import pandas as pd

    at = np.flatnonzero((rows["scorer"] != "").to_numpy())  # the others describe a network alone
    keys = rows[[*CELL, "split", "seed", "ood", "shift", "status"]].iloc[at]
    cell = group_ids([keys[name] for name in CELL])
    trial = group_ids([cell, keys["split"], keys["seed"]])
    cells = plain(keys[list(CELL)][firsts([cell])]).reset_index(drop=True)
    of_trial = firsts([trial])
    trials = plain(keys.loc[of_trial, ["split", "seed"]]).reset_index(drop=True)
    trials.insert(0, "cell", cell[of_trial])
    board = group_ids([cells[name] for name in BOARD])[trials["cell"]]
    status, ood, shift = (keys[name] for name in ("status", "ood", "shift"))
    ok = np.flatnonzero((status == "ok").to_numpy())
    ok = ok[firsts([trial[ok], ood.iloc[ok]])]
    per_shift, per_trial = ([m for m in metrics if (m in ID_ONLY) == alone] for alone in (False, True))
    alone = ok[(ood.iloc[ok] == "").to_numpy()]
    frames = [pd.DataFrame({m: numbers(rows, m, at[alone]) for m in per_trial}, index=trial[alone])]
    for name in ("near", "far"):
        there = np.flatnonzero((shift == name).to_numpy())
        sets = pd.DataFrame({"board": board[trial[there]], "ood": group_ids([ood.iloc[there]])})
        expected = sets.drop_duplicates().groupby("board").size()
        mine = ok[(shift.iloc[ok] == name).to_numpy()]
        frames.append(_means(rows, per_shift, at[mine], trial[mine], expected, board).add_prefix(f"{name}_"))
    table = pd.concat(frames, axis=1)
    table = _apart({value: table[value] for value in values_for(metrics)})
    table = pd.concat([trials.loc[table.index], table], axis=1)
    return _Trials(cells, np.asarray(status), cell, table.sort_values("cell", kind="stable"))


def _means(
    rows: pd.DataFrame, metrics: Sequence[str], at: Any, trial: Any, expected: pd.Series[Any], board: Any
) -> pd.DataFrame:
    """The means of some metrics over the OOD sets of each trial, NaN where not all of its board are there.

    Args:
        rows: all.
        metrics: which.
        at: places of rows of one shift, each set of a trial once.
        trial: the number of their trial.
        expected: how many sets each board has.
        board: the board of each trial.
    """
    import pandas as pd

    found = [pd.DataFrame(index=pd.unique(trial))]
    for i in range(0, len(metrics), _TOGETHER):
        part = _apart({m: numbers(rows, m, at) for m in metrics[i : i + _TOGETHER]})
        grouped = part.groupby(trial, sort=False)
        means, present = grouped.mean(), grouped.count()
        wanted = expected.reindex(board[means.index]).to_numpy()
        found.append(means.where(present.to_numpy() == wanted[:, None]))
    return pd.concat(found, axis=1)


_TOGETHER = 6
"""Columns in memory at a time."""


def _apart(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A frame in which each column is an array of its own: pandas' sums depend in their last digit on how
    many columns lie side by side in memory."""
    import pandas as pd

    return pd.DataFrame(dict(columns), copy=False)


def trials(rows: pd.DataFrame, metrics: Sequence[str] = EVERY) -> pd.DataFrame:
    """One row per cell and trial: CELL, split, seed, then ``near_<metric>`` and ``far_<metric>``, the mean
    over the OOD sets of that shift, and the ID-only metrics. A mean that lacks one of its sets is NaN; which
    sets belong to a pair is what any of its rows names."""
    import pandas as pd

    found = _trials(rows, metrics)
    table = found.table.reset_index(drop=True)
    cells = found.cells.iloc[table.pop("cell")].reset_index(drop=True)
    return pd.concat([cells, table], axis=1)


def over_trials(rows: pd.DataFrame, metrics: Sequence[str] = EVERY, *, by: str | None = None) -> pd.DataFrame:
    """The ranked leaderboard of the rows of results.csv.

    Columns: ``rank`` (1 is best by the column `by`, within BOARD; default near_auroc, or far_auroc where a
    board has no near set), CELL, n_trials, n_splits, n_near, n_far (trials whose sets are complete),
    n_failed, n_skipped (rows), unit, and for each value X: ``X`` mean over trials, ``X_std`` over trials and
    ``X_split_std`` over the means of splits (ddof 1; empty for fewer than two), ``X_low`` and ``X_high`` the
    95 % t interval of the mean over units."""
    import pandas as pd
    from scipy.stats import t as student

    found = _trials(rows, metrics)
    values = list(values_for(metrics))
    index = found.cells.index
    by_cell = found.table.groupby("cell", sort=False)
    splits = found.table.groupby(["cell", "split"], sort=False)[values].mean().groupby("cell", sort=False)
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
    board = _counts(found, by_cell, n_seed)
    columns: dict[str, Any] = {}  # arrays: all are of one index, and aligning hundreds of series takes long
    of = [f.to_numpy(dtype=float) for f in (mean, std, split_std)]
    for i, name in enumerate(values):
        columns |= {
            f"{name}{suffix}": array[:, i]
            for suffix, array in zip(("", "_std", "_split_std"), of, strict=True)
        }
        columns |= {f"{name}_low": centre[:, i] - half[:, i], f"{name}_high": centre[:, i] + half[:, i]}
    return _ranked(pd.concat([found.cells, board, pd.DataFrame(columns, index=index)], axis=1), by)


def _counts(found: _Trials, by_cell: Any, n_seed: pd.DataFrame) -> pd.DataFrame:
    """How many trials, splits, sets, failed and skipped rows each cell has, and what its unit is."""
    import pandas as pd

    index = n_seed.index
    shifts = {
        f"n_{s}": n_seed[[c for c in n_seed if str(c).startswith(f"{s}_")]].max(axis=1)
        for s in ("near", "far")
    }
    shape = {
        "n_trials": by_cell.size().reindex(index, fill_value=0),
        "n_splits": by_cell["split"].nunique().reindex(index, fill_value=0),
        **{name: count.fillna(0).astype(int) for name, count in shifts.items()},
        **{
            f"n_{state}": np.bincount(found.cell[found.status == state], minlength=len(index))
            for state in ("failed", "skipped")
        },
    }
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
