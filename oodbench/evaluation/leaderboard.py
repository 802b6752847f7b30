"""From rows to a leaderboard. The hierarchy is fixed: OOD sets are averaged within near and within far, then trials are averaged;
ID sets never. A row that failed or was skipped is counted, never averaged over; a trial that lacks a set has no mean over it.

A trial is split x seed. Trials of one split share classes and test samples, so they are not independent: a cell's interval takes the
splits as its sample (seeds are averaged within each), or, where there is only one split, the seeds, and then it speaks of that
split alone. `unit` says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.core.errors import UserError
from oodbench.core.scorer import ROW_KEYS
from oodbench.evaluation.metrics.detection import ANALYSIS, ID_ONLY, LOWER_IS_BETTER, METRICS

if TYPE_CHECKING:
    import pandas as pd

CELL = (
    "suite", "pair", "pair_params", "network", "method", "method_params", "scorer", "scorer_params", "tune", "condition", "id_set",
)  # fmt: skip
"""What one row of a leaderboard is: everything declared. Splits, seeds and OOD sets are averaged over."""

BOARD = ("suite", "pair", "pair_params", "tune", "condition", "id_set")
"""Cells that agree in these are ranked against one another."""

PER_SHIFT = ("auroc", "fpr95_in", "fpr95_out", "aupr_in", "aupr_out", "oscr")
"""The detection metrics that people read first; MORE_PER_SHIFT is every other one."""
PER_TRIAL = ("id_accuracy", "edited_accuracy", "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier")
MORE_PER_SHIFT = tuple(m for m in METRICS if m not in ID_ONLY | {"n_id", "n_ood"} and m not in PER_SHIFT)
MORE_PER_TRIAL = tuple(m for m in METRICS if m in ID_ONLY and m not in PER_TRIAL)
EVERY = (*PER_SHIFT, *MORE_PER_SHIFT, *PER_TRIAL, *MORE_PER_TRIAL)


LABELS = {
    "auroc": "AUROC", "fpr95_in": "FPR95 (ID)", "fpr95_out": "FPR95 (OOD)", "aupr_in": "AUPR (ID)", "aupr_out": "AUPR (OOD)",
    "oscr": "OSCR", "id_accuracy": "ID accuracy", "edited_accuracy": "accuracy, edited", "auroc_misclassified": "misclassification AUROC",
    "aurc": "AURC", "augrc": "AUGRC", "ece": "ECE", "nll": "NLL", "brier": "Brier score",
    "aupr_in_trapezoid": "AUPR (ID), trapezoid", "aupr_out_trapezoid": "AUPR (OOD), trapezoid",
    "tpr95_in_val": "TPR at the validation threshold", "fpr95_in_val": "FPR at the validation threshold", "autc": "AUTC",
    "overlap": "overlap", "ks": "KS distance", "scod_aurc": "SCOD AURC", "scod_augrc": "SCOD AUGRC",
    "max_prob_id": "max. probability (ID)", "max_prob_ood": "max. probability (OOD)", "max_logit_id": "max. logit (ID)",
    "max_logit_ood": "max. logit (OOD)", "logit_norm_id": "logit norm (ID)", "logit_norm_ood": "logit norm (OOD)",
    "non_max_std_id": "non-maximal std (ID)", "non_max_std_ood": "non-maximal std (OOD)", "non_max_ratio_id": "non-maximal ratio (ID)",
    "non_max_ratio_ood": "non-maximal ratio (OOD)", "val_accuracy": "validation accuracy", "val_nll": "validation NLL",
    "n_tied": "tied scores",
}  # fmt: skip
"""What people read for a metric."""


NO_PERCENT = frozenset({"nll", "brier", "val_nll", "n_tied", *(m for m in ANALYSIS if m.startswith(("max_logit", "logit_norm")))})
"""Metrics that are no fraction: people read them as they are."""


def label(value: str) -> str:
    """What people read for a column of a leaderboard: near_auroc is ``near AUROC``."""
    shift, _, metric = value.partition("_")
    return f"{shift} {LABELS.get(metric, metric)}" if shift in ("near", "far") else LABELS.get(value, value)


def read_rows(path: Path) -> pd.DataFrame:
    """The rows of a results.csv: keys as text (empty is empty, never NaN), metrics as numbers (empty is NaN)."""
    import pandas as pd

    try:
        rows = pd.read_csv(path, dtype=dict.fromkeys(ROW_KEYS, str), keep_default_na=False, na_values={m: [""] for m in METRICS})
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `oodbench run` writes it") from None
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a results.csv ({str(error).strip()})") from None
    missing = [name for name in (*ROW_KEYS, *METRICS) if name not in rows]
    if missing:
        raise UserError(f"{path}: not a results.csv of this version, it lacks the column {missing[0]!r}")
    return rows


def _of_scorers(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the rows that describe a network alone; those have no scorer and are no cell of a leaderboard."""
    return rows[rows["scorer"] != ""].copy()


def _metrics_of(names: Sequence[str]) -> tuple[list[str], list[str]]:
    return [m for m in names if m not in ID_ONLY], [m for m in names if m in ID_ONLY]


def trials(rows: pd.DataFrame, metrics: Sequence[str] = EVERY) -> pd.DataFrame:
    """One row per cell and trial: CELL, split, seed, then ``near_<metric>`` and ``far_<metric>``, the mean over the OOD sets of that
    shift, and the ID-only metrics. A mean that lacks one of its sets is NaN; which sets belong to a pair is what any of its rows names.
    """
    import pandas as pd

    per_shift, per_trial = _metrics_of(metrics)
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
    table = table.reindex(columns=[*trial, *(f"{s}_{m}" for m in per_shift for s in ("near", "far")), *per_trial])
    return keys.drop(columns="board").merge(table, left_index=True, right_on="cell").drop(columns="cell").reset_index(drop=True)


def leaderboard(rows: pd.DataFrame, metrics: Sequence[str] = EVERY, *, by: str | None = None) -> pd.DataFrame:
    """The ranked leaderboard of the rows of results.csv.

    Columns: ``rank`` (1 is best by the column `by`, within BOARD; default near_auroc, or far_auroc where a board has no near set), CELL,
    n_trials, n_splits, n_near, n_far (trials whose sets are complete), n_failed, n_skipped (rows), unit, and for each value X:
    ``X`` mean over trials, ``X_std`` over trials and ``X_split_std`` over the means of splits (ddof 1; empty for fewer than two), ``X_low``
    and ``X_high`` the 95 % t interval of the mean over units.
    """
    import pandas as pd
    from scipy.stats import t as student

    rows = _of_scorers(rows)
    per_trial = trials(rows, metrics)
    per_shift, per_id = _metrics_of(metrics)
    values = [f"{shift}_{m}" for m in per_shift for shift in ("near", "far")] + per_id
    cell = list(CELL)
    order = rows[cell].drop_duplicates()
    index = pd.MultiIndex.from_frame(order)
    by_cell = per_trial.groupby(cell, sort=False)
    splits = per_trial.groupby([*cell, "split"], sort=False)[values].mean().groupby(cell, sort=False)
    mean, std = by_cell[values].mean().reindex(index), by_cell[values].std(ddof=1).reindex(index)
    split_mean, split_std, n_split = (getattr(splits[values], f)().reindex(index) for f in ("mean", "std", "count"))
    n_seed = by_cell[values].count().reindex(index).fillna(0)
    by_split = (n_split.fillna(0) > 1).to_numpy()
    n = np.where(by_split, n_split.fillna(0), n_seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = student.ppf(0.975, n - 1) * np.where(by_split, split_std, std) / np.sqrt(n)
    centre = np.where(by_split, split_mean, mean)
    counted = rows.groupby(cell, sort=False)["status"].value_counts().unstack(fill_value=0).reindex(index, fill_value=0)
    zero = pd.Series(0, index=index)
    shifts = {f"n_{s}": n_seed[[c for c in values if str(c).startswith(f"{s}_")]].max(axis=1) for s in ("near", "far")}
    shape = {
        "n_trials": by_cell.size().reindex(index, fill_value=0),
        "n_splits": by_cell["split"].nunique().reindex(index, fill_value=0),
        **{name: count.fillna(0).astype(int) for name, count in shifts.items()},
        "n_failed": counted.get("failed", zero), "n_skipped": counted.get("skipped", zero),
    }  # fmt: skip
    board = pd.DataFrame(shape, index=index)
    board["unit"] = np.where(board["n_splits"] > 1, "split", np.where(board["n_trials"] > 1, "seed", ""))
    columns: dict[str, Any] = {}
    for i, name in enumerate(values):
        columns |= {
            str(name): mean[name], f"{name}_std": std[name], f"{name}_split_std": split_std[name],
            f"{name}_low": centre[:, i] - half[:, i], f"{name}_high": centre[:, i] + half[:, i],
        }  # fmt: skip
    board = board.join(pd.DataFrame(columns, index=index)).reset_index()
    return _ranked(board, by)


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
    return board.assign(_board=boards).sort_values(["_board", "rank"], kind="stable").drop(columns="_board").reset_index(drop=True)


def values_of(board: pd.DataFrame) -> list[str]:
    """The value columns of a leaderboard, without their std and interval columns."""
    return [str(name)[:-4] for name in board.columns if str(name).endswith("_low")]


def values_of_trials(per_trial: pd.DataFrame) -> list[str]:
    """The value columns of `trials` that hold anything."""
    return [str(c) for c in per_trial.columns if c not in (*CELL, "split", "seed") and per_trial[c].notna().any()]


def lower_is_better(value: str) -> bool:
    """Whether a smaller value of a leaderboard column is better."""
    return value.removeprefix("near_").removeprefix("far_") in LOWER_IS_BETTER


SHOWN = ("near_auroc", "far_auroc", "near_fpr95_in", "far_fpr95_in", "id_accuracy")


def shown_by(by: str | None) -> tuple[str, ...]:
    """The value columns to show, with the one that is ranked by among them."""
    return SHOWN if by is None or by in SHOWN else (by, *SHOWN)


def to_text(board: pd.DataFrame, style: str = "table", shown: Sequence[str] = SHOWN) -> str:
    """A leaderboard for people, in one of `tables.FORMATS`: values in percent with their std over trials (CSV: fractions, every column).

    `shown` may also name columns that were joined to the board, such as those of `costs.costs`; they are shown as they are.
    """
    from oodbench.report import formats as tables

    if style == "csv":
        return board.to_csv(index=False, float_format="%.6g", lineterminator="\n").rstrip("\n")
    unknown = [c for c in shown if c not in board]
    if unknown:
        raise UserError(f"there is no column {unknown[0]!r}; allowed: {', '.join(values_of(board))}")
    names = ["network", "method", "scorer"]
    names = [c for c in CELL if c in names or (c not in ("method_params", "scorer_params") and board[c].nunique() > 1)]
    shown = [c for c in shown if board[c].notna().any()]
    body = []
    for row in board.astype({"rank": object}).where(lambda b: b.notna(), float("nan")).to_dict("records"):
        rank = row["rank"]
        line = ["" if rank is None or rank != rank else str(rank), *(str(row[c]) for c in names), str(row["n_trials"])]
        body.append([*line, *(_shown(row, c) for c in shown)])
    heads = shown if style == "table" else [label(c) for c in shown]  # in a terminal the names that options take
    return tables.render(["rank", *names, "n", *heads], body, style, left=1 + len(names))


def _shown(row: Mapping[Any, Any], column: str) -> str:
    from oodbench.report import formats as tables

    value = row[column]
    if isinstance(value, str):
        return value
    if f"{column}_std" not in row:
        return tables.digits(float(value))
    if column.removeprefix("near_").removeprefix("far_") not in NO_PERCENT:
        return tables.percent(value, row[f"{column}_std"])
    spread = row[f"{column}_std"]
    return "" if value != value else f"{value:.3f}" + ("" if spread != spread else f" ± {spread:.3f}")
