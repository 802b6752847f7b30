"""The table of rows: read, joined, chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation import leaderboard
from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.rows import as_written, combine, read_rows, results_file, where
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


def test_a_number_that_a_metric_cannot_have_is_refused_by_its_line(tmp_path: Path) -> None:
    file, rows = tmp_path / "results.csv", make_rows().astype({"auroc": object, "nll": object})
    at = rows.index[rows["ood"] != ""][3]
    for metric, value in (("auroc", 1.5), ("auroc", -0.1), ("auroc", "abc"), ("nll", -1), ("nll", "inf")):
        bad = rows.copy()
        bad.loc[at, metric] = value
        file.write_text(to_csv(bad))
        with pytest.raises(UserError, match=rf"results\.csv: line {at + 2}: {metric} is ") as caught:
            read_rows(file)
        assert len(str(caught.value).splitlines()) == 1
    rows.loc[at, "max_logit_id"] = -3.5
    file.write_text(to_csv(rows))
    assert read_rows(file).loc[at, "max_logit_id"] == -3.5


def test_a_status_that_is_none_and_a_table_without_rows_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text(to_csv(make_rows().assign(status="fine")))
    with pytest.raises(UserError, match=r"line 2: status is 'fine', should be ok, failed, skipped"):
        read_rows(file)
    file.write_text(to_csv(make_rows().iloc[:0]))
    with pytest.raises(UserError, match="holds no row"):
        read_rows(file)


def test_two_rows_that_disagree_are_told_apart_where_one_has_no_number(tmp_path: Path) -> None:
    """Also within one folder, and whichever comes first."""
    a, b = make_rows(), make_rows()
    at = b.index[(b["scorer"] == "knn") & (b["ood"] == "noise")][0]
    b.loc[at, "auroc"] = np.nan
    value = f"{a.loc[at, 'auroc']:g}"
    for frames, said in (
        (([a, b], ["a", "b"]), f"a and b disagree on auroc of .*: {value} and empty"),
        (([b, a], ["b", "a"]), f"b and a disagree on auroc of .*: empty and {value}"),
        (([pd.concat([b, a])], ["a"]), f"two rows of a disagree on auroc of .*: empty and {value}"),
    ):
        with pytest.raises(UserError, match=said):
            combine(*frames)


def test_no_cell_is_a_formula_and_a_number_stays_one() -> None:
    frame = pd.DataFrame({"reason": ["=1+1", "@x", "-1+2", "fine", None], "v": [-0.5, 1.0, 2.0, 3.0, 4.0]})
    assert to_csv(frame) == "reason,v\n'=1+1,-0.5\n'@x,1\n'-1+2,2\nfine,3\n,4\n"


def test_rows_as_they_are_written_are_what_a_reader_has(tmp_path: Path) -> None:
    rows = make_rows()
    rows.loc[0, "reason"] = "=odd"
    (tmp_path / "results.csv").write_text(to_csv(rows))
    pd.testing.assert_frame_equal(as_written(rows), read_rows(tmp_path / "results.csv"))
    assert not as_written(rows)["auroc"].equals(rows["auroc"]), "ten digits of sixteen"
    pd.testing.assert_frame_equal(as_written(as_written(rows)), as_written(rows))
