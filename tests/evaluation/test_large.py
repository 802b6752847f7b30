"""Tables in little memory: the same as plain ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation import comparison, large, leaderboard, rows, verdicts
from oodbench.evaluation.claims import Claim, Side
from oodbench.evaluation.csv_text import to_csv, write_csv
from oodbench.evaluation.large import Columns, Names, chosen, firsts, group_ids, plain, released
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.report import ranks, text
from oodbench.report.page import page
from tests.evaluation.frames import make_rows, make_samples


@pytest.fixture
def two() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same rows, some of which failed or are missing, as read from a small file and from a large one."""
    made = make_rows()
    rng = np.random.default_rng(0)
    state = np.where(
        rng.random(len(made)) < 0.1, "failed", np.where(rng.random(len(made)) < 0.05, "skipped", "ok")
    )
    made = made.assign(status=state, reason=np.where(state == "ok", "", "why"))
    made = rows.as_written(made.sample(frac=0.95, random_state=0).reset_index(drop=True))
    return made, large.compacted(made, METRICS)


def test_the_form_changes_nothing(two: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    small, big = two
    assert isinstance(big["pair"].dtype, pd.CategoricalDtype)
    assert to_csv(big) == to_csv(small)
    pd.testing.assert_frame_equal(plain(big), small, check_dtype=False, check_exact=True)
    for made in (leaderboard.trials, leaderboard.over_trials):
        pd.testing.assert_frame_equal(made(big), made(small), check_exact=True)


def test_what_is_said_of_rows_is_the_same(
    two: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page, ranks, verdicts, selections and comparisons."""
    small, big = two
    board = leaderboard.over_trials(small)
    samples = make_samples(small)
    assert page.render(big, leaderboard.over_trials(big), samples) == page.render(small, board, samples)
    monkeypatch.setattr(large, "LARGE", 1)
    monkeypatch.setattr(rows, "LARGE", 1)
    for of in ("method", "scorer"):
        assert ranks.to_text(big, of, "far_auroc") == ranks.to_text(small, of, "far_auroc")
    method = str(small["method"].iloc[0])
    stated = [
        Claim(
            id="c",
            says="A differs from B.",
            compare=(Side(method="als"), Side(method="ce")),
            scorers=("msp", "knn"),
            shift="far",
            expect="higher",
        )
    ]
    families = {"als": "als", "ce": "ce"}
    verdict = verdicts.judge(small, stated, families)
    assert len(verdict) > 1
    assert to_csv(verdicts.judge(big, stated, families)) == to_csv(verdict)
    for conditions in ([f"method={method}"], ["scorer!=msp", "shift=n*"], []):
        assert to_csv(rows.where(big, conditions)) == to_csv(rows.where(small, conditions))
    with pytest.raises(UserError, match="nothing has that pair; there is"):
        rows.where(big, ["pair=gone"])
    assert text.to_text(leaderboard.over_trials(big)) == text.to_text(board)
    write_csv(big, tmp_path / "results.csv")
    loaded = comparison.load(tmp_path)
    pd.testing.assert_frame_equal(loaded.board, board, check_exact=True)


def test_rows_are_rounded_as_their_file_is(
    two: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, _ = two
    raw = small.assign(
        auroc=small["auroc"] / 3, reason="=1+1", nll=np.where(small["nll"] > 0.5, 1e-9 / 7, np.nan)
    )
    wanted = rows.as_written(raw)
    monkeypatch.setattr(rows, "LARGE", 1)
    found = rows.as_written(raw)
    assert not isinstance(wanted["pair"].dtype, pd.CategoricalDtype)
    assert isinstance(found["pair"].dtype, pd.CategoricalDtype)
    pd.testing.assert_frame_equal(plain(found), wanted, check_dtype=False, check_exact=True)


def test_one_large_table_is_combined_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_rows()
    big = large.compacted(made, METRICS)
    monkeypatch.setattr(rows, "LARGE", 1)
    assert rows.combine([big], ["a"]) is big
    double = large.compacted(pd.concat([made, made.iloc[:5]], ignore_index=True), METRICS)
    assert to_csv(rows.combine([double], ["a"])) == to_csv(made), "a row that stands twice is kept once"


def test_groups_are_those_of_pandas() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{i}": rng.choice(list("abcdefgh"), 500) for i in range(30)})
    frame.iloc[250:] = frame.iloc[:250].to_numpy()  # 8**30 groups are more than an integer counts
    frame.loc[::17, "c3"] = None
    wanted = frame.groupby(list(frame), sort=False, dropna=False).ngroup().to_numpy()
    np.testing.assert_array_equal(group_ids([frame[c] for c in frame]), wanted)
    kinds = frame.astype("category")
    np.testing.assert_array_equal(group_ids([kinds[c] for c in kinds]), wanted)
    assert group_ids([frame["c0"].iloc[:0]]).shape == (0,)
    np.testing.assert_array_equal(firsts([kinds[c] for c in kinds]), ~frame.duplicated())


def test_columns_are_written_in_any_order_and_leave_no_file(tmp_path: Path) -> None:
    columns = Columns(["a", "b"], 5, tmp_path)
    columns.write("b", 2, [3.0, 4.0, 5.0])
    columns.write("b", 0, np.array([1, 2]))
    columns.write("a", 0, np.full(5, np.nan))
    frame = columns.frame({"k": list("vwxyz")}, ["b", "k", "a"])
    assert list(frame) == ["b", "k", "a"]
    released(frame["b"].to_numpy())
    assert frame["b"].tolist() == [1, 2, 3, 4, 5]
    assert frame["a"].isna().all()
    assert not list(tmp_path.iterdir())
    assert Columns(["a"], 0).frame({"k": []}, ["k", "a"]).shape == (0, 2)


def test_a_column_of_names_grows_word_by_word() -> None:
    names = Names()
    names.add([0, 1, -1], ["a", "b", ""])
    names.add(np.array([1, 0, 1]), ["c", "a", "never"])
    names.add(np.arange(40_000), [f"w{i}" for i in range(40_000)])
    found = names.column()
    assert list(found[:6]) == ["a", "b", "", "a", "c", "a"]
    assert list(found[6:]) == [f"w{i}" for i in range(40_000)]
    assert "never" not in found.categories


def test_rows_are_chosen_in_their_own_form(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_rows()
    big = large.compacted(made, METRICS)
    monkeypatch.setattr(large, "LARGE", 1)
    mask = (made["shift"] == "near").to_numpy()
    assert to_csv(chosen(big, mask)) == to_csv(made[mask])
    assert chosen(big, np.ones(len(big), dtype=bool)) is big
    assert len(chosen(big, np.zeros(len(big), dtype=bool))) == 0
