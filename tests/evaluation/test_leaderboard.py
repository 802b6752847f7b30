"""The leaderboard against the hierarchy worked out by hand, and on what is missing, failed or alone."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from oodbench.core.errors import UserError
from oodbench.evaluation import leaderboard
from tests.evaluation.frames import make_rows


def cell(board: pd.DataFrame, method: str, scorer: str) -> pd.Series:
    (found,) = (row for _, row in board[(board["method"] == method) & (board["scorer"] == scorer)].iterrows())
    return found


def value(rows: pd.DataFrame, **where: str) -> float:
    for name, wanted in where.items():
        rows = rows[rows[name] == wanted]
    return float(rows["auroc"].iloc[0])


def test_hierarchy_sets_then_trials_then_splits() -> None:
    rows = make_rows()
    board = leaderboard.over_trials(rows)
    assert len(board) == 4
    for method, scorer in itertools.product(("ce", "als"), ("msp", "knn")):
        got = cell(board, method, scorer)
        near = np.array([
            [np.mean([value(rows, method=method, scorer=scorer, split=str(s), seed=str(i),
            ood=o) for o in ("unknown", "cousins")])
             for i in range(2)] for s in range(3)
        ])  # fmt: skip
        assert got["near_auroc"] == pytest.approx(near.mean())
        assert got["near_auroc_std"] == pytest.approx(near.std(ddof=1))
        assert got["near_auroc_split_std"] == pytest.approx(near.mean(1).std(ddof=1))
        low, high = stats.t.interval(0.95, 2, near.mean(), stats.sem(near.mean(1)))
        assert (got["near_auroc_low"], got["near_auroc_high"]) == pytest.approx((low, high))
        assert (got["n_trials"], got["n_splits"], got["n_near"], got["n_far"], got["unit"]) == (
            6,
            3,
            6,
            6,
            "split",
        )
        own = rows[(rows["method"] == method) & (rows["scorer"] == scorer) & (rows["ood"] == "")]
        assert got["id_accuracy"] == pytest.approx(own["id_accuracy"].mean())
    assert list(board["rank"]) == [1, 2, 3, 4]
    assert list(board["near_auroc"]) == sorted(board["near_auroc"], reverse=True)


def test_rank_by_a_value_where_less_is_better() -> None:
    board = leaderboard.over_trials(make_rows(), by="far_fpr95_in")
    assert list(board["far_fpr95_in"]) == sorted(board["far_fpr95_in"])
    with pytest.raises(UserError, match=r"cannot rank by 'nearauroc'; allowed: .*near_auroc"):
        leaderboard.over_trials(make_rows(), by="nearauroc")


def test_ties_share_a_rank_and_boards_are_ranked_apart() -> None:
    rows = make_rows()
    rows.loc[rows["ood"] != "", "auroc"] = 0.5
    other = make_rows(pair="q")
    board = leaderboard.over_trials(pd.concat([rows, other]))
    assert list(board.loc[board["pair"] == "p", "rank"]) == [1, 1, 1, 1]
    assert list(board.loc[board["pair"] == "q", "rank"]) == [1, 2, 3, 4]


def test_one_trial_has_no_spread_and_one_split_takes_seeds() -> None:
    board = leaderboard.over_trials(make_rows(splits=1, seeds=1))
    for name in ("near_auroc_std", "near_auroc_split_std", "near_auroc_low", "id_accuracy_std"):
        assert board[name].isna().all()
    assert set(board["unit"]) == {""}
    rows = make_rows(splits=1, seeds=4)
    got = cell(leaderboard.over_trials(rows), "ce", "msp")
    far = [value(rows, method="ce", scorer="msp", seed=str(i), ood="noise") for i in range(4)]
    assert got["unit"] == "seed"
    assert (got["far_auroc_low"], got["far_auroc_high"]) == pytest.approx(
        stats.t.interval(0.95, 3, np.mean(far), stats.sem(far))
    )
    assert np.isnan(got["far_auroc_split_std"])


def test_failed_and_skipped_rows_are_counted_and_never_averaged() -> None:
    rows = make_rows()
    at = (
        (rows["method"] == "ce")
        & (rows["scorer"] == "msp")
        & (rows["ood"] == "cousins")
        & (rows["split"] == "1")
    )
    rows.loc[at, ["status", "reason", "auroc"]] = ["failed", "msp: 3 of 5 are not finite", 0.0]
    got = cell(leaderboard.over_trials(rows), "ce", "msp")
    assert (got["n_failed"], got["n_near"], got["n_far"], got["n_trials"]) == (2, 4, 6, 6)
    kept = [
        np.mean(
            [value(rows, method="ce", scorer="msp", split=s, seed=i, ood=o) for o in ("unknown", "cousins")]
        )
        for s, i in itertools.product("02", "01")
    ]
    assert got["near_auroc"] == pytest.approx(np.mean(kept))


def test_a_set_missing_everywhere_leaves_its_means_empty() -> None:
    rows = make_rows()
    rows.loc[rows["ood"] == "cousins", ["status", "auroc"]] = ["skipped", np.nan]
    board = leaderboard.over_trials(rows)
    assert board["near_auroc"].isna().all()
    assert board["far_auroc"].notna().all()
    assert set(board["n_skipped"]) == {6}
    assert list(board["rank"]) == [1, 2, 3, 4]  # by far AUROC, where no near mean exists
    assert list(board["far_auroc"]) == sorted(board["far_auroc"], reverse=True)


def test_a_cell_without_any_ok_row_stays_on_the_board() -> None:
    rows = make_rows()
    rows.loc[(rows["scorer"] == "knn") & (rows["method"] == "als"), "status"] = "failed"
    board = leaderboard.over_trials(rows)
    got = cell(board, "als", "knn")
    assert (got["n_trials"], got["n_failed"]) == (0, 24)
    assert pd.isna(got["rank"])
    assert len(board) == 4
    everything = rows.assign(status="failed")
    assert leaderboard.over_trials(everything)["near_auroc"].isna().all()


def test_duplicate_rows_of_a_trial_count_once() -> None:
    rows = make_rows()
    doubled = pd.concat([rows, rows])
    pd.testing.assert_frame_equal(
        leaderboard.over_trials(rows).drop(columns=["n_failed"]),
        leaderboard.over_trials(doubled).drop(columns=["n_failed"]),
    )
