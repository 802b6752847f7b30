"""The files of a results folder: which there are, in which form, and what they say."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.rows import read_rows
from oodbench.report.page import cells
from oodbench.runs.folder import HISTORY, TIMING, Contents, ResultsFolder, costs_of, joined, specs_of
from oodbench.runs.reopen import suite_of
from oodbench.suite.parse import parse_suite
from tests.evaluation.frames import make_rows
from tests.runs.checked import judged
from tests.runs.suites import ATTACKED

TABLES = ("results", "timing", "history")


def contents(**more: Any) -> Contents:
    """Rows that nobody measured, with something in each table."""
    timing = pd.DataFrame([{"run_key": "k", "stage": "train", "seconds": 1.5}], columns=list(TIMING))
    history = pd.DataFrame([{"run_key": "k", "epoch": 0, "loss": 0.5}], columns=list(HISTORY))
    return Contents(make_rows(), timing=timing, history=history, environment={"torch": "2"}, **more)


def forms(folder: Path) -> dict[str, list[str]]:
    return {name: sorted(f.name for f in folder.glob(f"{name}.*")) for name in TABLES}


def test_plain_and_compressed_tables_never_stand_side_by_side(tmp_path: Path) -> None:
    folder = ResultsFolder.writable(tmp_path, "s")
    for compressed, ending in ((False, ".csv"), (True, ".csv.gz"), (False, ".csv")):
        folder.write(contents(compressed=compressed))
        assert forms(folder.path) == {name: [f"{name}{ending}"] for name in TABLES}
        assert len(folder.rows()) == len(make_rows())
        for name in ("timing", "history"):
            frame = folder.frame(name)
            assert frame is not None
            assert frame["run_key"].tolist() == ["k"]
    assert folder.frame("nothing") is None


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    """No time stamp in what is compressed: a repository of results has no changes that are none."""
    for name in "ab":
        ResultsFolder.writable(tmp_path, name).write(contents(compressed=True))
    one, other = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "ab")
    assert one == other
    assert set(one) == {
        *(f"{t}.csv.gz" for t in TABLES),
        "leaderboard.csv",
        "environment.json",
        "report.html",
    }
    assert one["results.csv.gz"][4:8] == bytes(4), "the time in the header of gzip"
    plain = ResultsFolder.writable(tmp_path, "c")
    plain.write(contents())
    assert gzip.decompress(one["results.csv.gz"]) == (plain.path / "results.csv").read_bytes()


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    folder = ResultsFolder.writable(tmp_path, "s")
    assert list(folder.path.iterdir()) == [], "the probe is gone"
    folder.write(contents())
    assert not [f for f in folder.path.iterdir() if f.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .* choose another with --results") as caught:
        ResultsFolder.writable(tmp_path / "file", "s")
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path / "file" / "s") in str(caught.value)


def test_the_page_shows_rows_and_claims(attacked_run: Path) -> None:
    text = (attacked_run / "report.html").read_text()
    board = pd.read_csv(attacked_run / "leaderboard.csv", keep_default_na=False)
    assert len(cells.cells_of(text)) == len(board)
    assert judged(text) == ["Label smoothing detects better."]
    claims = pd.read_csv(attacked_run / "claims.csv", keep_default_na=False)
    assert set(claims["claim"]) == {"smoothing"}
    assert set(claims["verdict"]) <= {"supported", "contradicted", "undecided", "untested"}


def test_a_suite_that_states_no_claims_any_more_leaves_none_behind(attacked: Path) -> None:
    folder = ResultsFolder(attacked)
    suite = parse_suite({k: v for k, v in ATTACKED.items() if k != "claims"})
    assert (attacked / "claims.csv").is_file()
    folder.write(Contents(folder.rows(), suite))
    assert not (attacked / "claims.csv").exists()
    assert not judged((attacked / "report.html").read_text())
    assert "claims" not in (attacked / "suite.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "is not valid JSON"),
        (b"[1, 2]", "should hold a mapping, got "),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
    ],
)
def test_a_damaged_environment_is_one_line(tmp_path: Path, text: bytes, said: str) -> None:
    folder = ResultsFolder.writable(tmp_path, "s")
    assert folder.environment() == {}
    (folder.path / "environment.json").write_bytes(text)
    with pytest.raises(UserError, match=said) as caught:
        folder.environment()
    assert str(folder.path / "environment.json") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_is_named_by_its_file_too(attacked_run: Path, tmp_path: Path) -> None:
    assert ResultsFolder.of(attacked_run / "results.csv") == ResultsFolder.of(attacked_run)
    with pytest.raises(UserError, match="holds the results of attacked: name one of these folders"):
        ResultsFolder.of(attacked_run.parent)
    with pytest.raises(UserError, match=r"holds no results\.csv; `oodbench run` writes it"):
        ResultsFolder.of(tmp_path)


def test_costs_need_a_timing(attacked_run: Path) -> None:
    rows, suite = read_rows(attacked_run / "results.csv"), suite_of(attacked_run)
    assert costs_of([Contents(rows, suite)], rows) is None
    found = costs_of([Contents(rows, suite, timing=ResultsFolder(attacked_run).frame("timing"))], rows)
    assert found is not None
    assert len(found)
    assert ("scorer", "free-energy") in specs_of([suite]), "by the labels that rows have"
    assert ("method", "label-smoothing") in specs_of([suite])


def test_tables_are_joined_where_there_are_any() -> None:
    assert joined([None, None]) is None
    frame = pd.DataFrame({"a": [1]})
    found = joined([frame, None, frame])
    assert found is not None
    assert found["a"].tolist() == [1, 1]


def pictures(folder: ResultsFolder) -> set[str]:
    return {f.name for f in (folder.path / "plots").glob("*")}


def with_pictures(tmp_path: Path) -> ResultsFolder:
    """Results with pictures of an earlier run, and a user's own files among them."""
    folder = ResultsFolder.writable(tmp_path, "s")
    folder.write(contents(formats=("png",)))
    for name in ("mine.png", "heatmap-of-mine.png", "heatmap-p-mlp.txt", "scores-p-mlp.svg"):
        (folder.path / "plots" / name).write_text("x")
    return folder


OWN = {"mine.png", "heatmap-of-mine.png", "heatmap-p-mlp.txt"}


def test_pictures_of_other_rows_do_not_stay(tmp_path: Path) -> None:
    folder = with_pictures(tmp_path)
    assert pictures(folder) > OWN
    other = contents()
    other.rows["auroc"] /= 2
    folder.write(other)
    assert pictures(folder) == OWN, "what oodbench drew is gone, what it did not draw is left alone"


def test_pictures_of_the_same_rows_stay(tmp_path: Path) -> None:
    folder = with_pictures(tmp_path)
    before = pictures(folder)
    folder.write(contents())
    assert pictures(folder) == before


def test_pictures_that_are_not_drawn_again_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    folder = with_pictures(tmp_path)
    drawn = pictures(folder) - OWN - {"scores-p-mlp.svg"}
    other = contents(formats=("png",))
    other.rows = other.rows.assign(pair="q")
    folder.write(other)
    assert pictures(folder) == OWN | {name.replace("-p-", "-q-") for name in drawn}


def test_a_folder_of_pictures_that_is_left_empty_goes(tmp_path: Path) -> None:
    folder = ResultsFolder.writable(tmp_path, "s")
    folder.write(contents(formats=("png",)))
    other = contents()
    other.rows["auroc"] /= 2
    folder.write(other)
    assert not (folder.path / "plots").exists()


def test_what_is_made_of_rows_is_made_of_those_that_are_written(tmp_path: Path) -> None:
    """Else a tie in sixteen digits and one in ten would be ranked differently."""
    folder = ResultsFolder.writable(tmp_path, "s")
    written = folder.write(contents())
    pd.testing.assert_frame_equal(written.leaderboard, over_trials(folder.rows()))


@pytest.mark.parametrize("name", ["timing", "history"])
def test_tables_are_checked_when_they_are_read(tmp_path: Path, name: str) -> None:
    folder = ResultsFolder.writable(tmp_path, "s")
    folder.write(contents())
    file = folder.path / f"{name}.csv"
    text = file.read_text()
    for bad, said in ((text[:-1], "is cut short"), (text + "x\n", "line 3 has 1 cells"), ("", "is empty")):
        file.write_text(bad)
        with pytest.raises(UserError, match=said):
            folder.frame(name)


def test_a_history_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    folder = ResultsFolder.writable(tmp_path, "s")
    old = pd.DataFrame([{"run_key": "k", "epoch": 0}], columns=[c for c in HISTORY if c != "acted"])
    (folder.path / "history.csv").write_text(to_csv(old))
    found = folder.frame("history")
    assert found is not None
    assert found["acted"].isna().all()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is a large one."""
    for module in (
        "evaluation.rows",
        "evaluation.large",
        "evaluation.csv_text",
        "runs.folder",
        "runs.gathered",
    ):
        monkeypatch.setattr(f"oodbench.{module}.LARGE", 1)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_large_table_gives_the_files_of_a_small_one(
    tmp_path: Path, compressed: bool, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("pyarrow")
    small, big = (ResultsFolder.writable(tmp_path, name) for name in ("small", "big"))
    small.write(contents(compressed=compressed))
    request.getfixturevalue("large")
    big.write(contents(compressed=compressed))
    found = {f.name: f.read_bytes() for f in big.path.iterdir()}
    assert found.pop("results.parquet")
    wanted = {f.name: f.read_bytes() for f in small.path.iterdir()}
    assert {n: gzip.decompress(d) if n.endswith(".gz") else d for n, d in found.items()} == {
        n: gzip.decompress(d) if n.endswith(".gz") else d for n, d in wanted.items()
    }
    assert isinstance(big.rows()["pair"].dtype, pd.CategoricalDtype), "read from the columns beside"
    assert to_csv(big.rows()) == to_csv(small.rows())


@pytest.mark.usefixtures("large")
def test_the_columns_beside_go_with_a_table_that_is_small_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    folder = ResultsFolder.writable(tmp_path, "s")
    folder.write(contents())
    assert (folder.path / "results.parquet").exists()
    folder.write(contents(compressed=True))  # belongs to the packed one now
    assert isinstance(folder.rows()["pair"].dtype, pd.CategoricalDtype)
    monkeypatch.setattr("oodbench.runs.folder.LARGE", 10**6)
    folder.write(contents())
    assert not (folder.path / "results.parquet").exists()


@pytest.mark.usefixtures("large")
def test_a_large_table_is_written_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("evaluation.csv_text", "evaluation.parquet", "runs.folder"):
        monkeypatch.setattr(f"oodbench.{module}.HAS_PYARROW", False)
    folder = ResultsFolder.writable(tmp_path, "s")
    folder.write(contents())
    assert not (folder.path / "results.parquet").exists()
    assert to_csv(folder.rows()) == to_csv(make_rows())
