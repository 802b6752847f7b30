"""The table of rows: read, joined, chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation import leaderboard
from oodbench.evaluation.rows import combine, read_rows, results_file, to_csv, where
from tests.evaluation.folders import folder
from tests.evaluation.frames import make_rows


def test_read_rows_gives_back_what_was_written_and_refuses_other_files(tmp_path: Path) -> None:
    rows = make_rows()
    rows.loc[0, "reason"] = 'NA, "quoted", nan'
    rows.to_csv(tmp_path / "results.csv", index=False)
    again = read_rows(tmp_path / "results.csv")
    assert list(again["reason"]) == list(rows["reason"])
    pd.testing.assert_frame_equal(leaderboard.over_trials(again), leaderboard.over_trials(rows))
    with pytest.raises(UserError, match="no such file"):
        read_rows(tmp_path / "none.csv")
    rows.drop(columns="auroc").to_csv(tmp_path / "old.csv", index=False)
    with pytest.raises(UserError, match=r"lacks the column 'auroc'"):
        read_rows(tmp_path / "old.csv")
    (tmp_path / "text.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"text\.csv: is no text in UTF-8"):
        read_rows(tmp_path / "text.csv")


def test_a_folder_without_results_says_what_is_in_it(tmp_path: Path) -> None:
    folder(tmp_path / "r" / "digits", make_rows())
    with pytest.raises(UserError, match="holds the results of digits: name one of these folders"):
        results_file(tmp_path / "r")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="`oodbench run` writes it"):
        results_file(tmp_path / "empty")


def test_where_selects_with_wildcards_and_refuses_nonsense() -> None:
    rows = make_rows()
    assert set(where(rows, ["method=a*", "scorer!=knn"])["method"]) == {"als"}
    assert set(where(rows, ["scorer!=knn"])["scorer"]) == {"", "msp"}
    for wrong, why in (
        ("method", "should be KEY=VALUE"),
        ("aurc=1", "KEY one of suite, pair"),
        ("method=cee", "nothing has that method"),
    ):
        with pytest.raises(UserError, match=why):
            where(rows, [wrong])


def test_of_two_rows_the_better_status_is_kept_and_rows_keep_their_order() -> None:
    rows = make_rows()
    at = (rows["scorer"] == "knn") & (rows["ood"] == "noise")
    failed, skipped = rows.copy(), rows.copy()
    failed.loc[at, ["status", "auroc"]] = ["failed", np.nan]
    skipped.loc[at, ["status", "auroc"]] = ["skipped", np.nan]
    for first, second, kept in ((failed, rows, "ok"), (rows, failed, "ok"), (skipped, failed, "failed")):
        found = combine([first, second], ["a", "b"])
        assert len(found) == len(rows)
        assert set(found.loc[found["scorer"].eq("knn") & found["ood"].eq("noise"), "status"]) == {kept}
    pd.testing.assert_frame_equal(combine([rows, rows], ["a", "b"]), rows)


def test_a_table_is_written_alike_everywhere(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1 / 3, np.nan], "b": ["x", ""]})
    assert to_csv(frame) == "a,b\n0.3333333333,x\n,\n"
