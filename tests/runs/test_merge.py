"""Folders put together, and rows selected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.rows import IDENTITY, combine
from oodbench.runs import merge
from oodbench.runs.folder import HISTORY, ResultsFolder
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from tests.evaluation.frames import make_rows
from tests.runs.checked import all_hold, judged
from tests.runs.suites import ATTACKED


def folder(path: Path, rows: pd.DataFrame) -> Path:
    path.mkdir(parents=True)
    (path / "results.csv").write_text(to_csv(rows))
    return path


def test_an_ok_row_takes_the_place_of_a_failed_or_skipped_one(tmp_path: Path) -> None:
    whole = make_rows()
    broken = whole.copy()
    at = (broken["scorer"] == "knn") & (broken["ood"] == "noise")
    broken.loc[at, ["status", "reason", "auroc"]] = ["failed", "out of memory", float("nan")]
    for order in (("a", "b"), ("b", "a")):
        parts = {"a": broken, "b": whole}
        found = combine([parts[o] for o in order], list(order))
        assert len(found) == len(whole)
        assert set(found["status"]) == {"ok"}
    assert (combine([broken, broken], ["a", "b"])["status"] == "failed").sum() == at.sum()
    folders = [folder(tmp_path / "a", broken), folder(tmp_path / "b", whole)]
    for f, epochs, acted in zip(folders, ((0, 1), (1, 2)), (float("nan"), 1.0), strict=True):
        history = pd.DataFrame(
            {"run_key": "k", "epoch": epochs, "loss": 0.5, "acted": acted}, columns=list(HISTORY)
        )
        (f / "history.csv").write_text(to_csv(history))
    written = merge.folders(folders, tmp_path / "both")
    assert len(written) == len(whole)
    trained = pd.read_csv(tmp_path / "both" / "history.csv.gz")
    assert trained.epoch.tolist() == [0, 1, 2]
    assert trained.acted.fillna(-1).tolist() == [-1, 1, 1], "epoch 1 is the fuller row's"
    assert {f.name for f in (tmp_path / "both").iterdir()} >= {
        "results.csv.gz",
        "leaderboard.csv",
        "report.html",
        "environment.json",
    }


def test_results_that_disagree_are_refused_by_name(tmp_path: Path) -> None:
    a, b = make_rows(), make_rows()
    at = b.index[(b["scorer"] == "knn") & (b["ood"] == "noise")][0]
    b.loc[at, "auroc"] += 1e-3
    with pytest.raises(
        UserError, match=r"a and b disagree on auroc of p / 0 / mlp / ce / 0 / knn / noise: 0\.\d+ and 0\.\d+"
    ):
        combine([a, b], ["a", "b"])
    b.loc[at, "auroc"] = a.loc[at, "auroc"] + 1e-12  # another machine's last digit
    assert len(combine([a, b], ["a", "b"])) == len(a)
    with pytest.raises(UserError, match="different suites: s, other"):
        merge.folders(
            [folder(tmp_path / "a", a), folder(tmp_path / "o", a.assign(suite="other"))], tmp_path / "x"
        )
    with pytest.raises(UserError, match=r"holds a results\.csv already"):
        merge.folders([tmp_path / "a"], tmp_path / "a")


def test_other_suites_files_are_refused_and_the_same_ones_kept(tmp_path: Path) -> None:
    rows = make_rows(splits=2)
    parts = [folder(tmp_path / str(i), rows[rows["split"] == str(i)]) for i in range(2)]
    plain: dict[str, Any] = {
        "name": "s", "networks": ["mlp"], "methods": ["cross-entropy"], "scorers": ["msp"],
    }  # fmt: skip
    for i, at in enumerate(parts):
        asked = plain | {"pairs": [{"digits": {"split": i}}], "seeds": [i, 7]}
        (at / "suite.yaml").write_text(parse_suite(asked).dump())
    merge.folders(parts, tmp_path / "both")
    suite = yaml.safe_load((tmp_path / "both" / "suite.yaml").read_text())
    assert [p["digits"]["split"] for p in suite["pairs"]] == [0, 1]
    assert suite["seeds"] == [0, 1, 7]
    other = plain | {"pairs": ["digits"], "methods": ["als"]}
    (parts[1] / "suite.yaml").write_text(parse_suite(other).dump())
    with pytest.raises(
        UserError,
        match=r"suite\.yaml: methods differs from the other folders' suites; only seeds and pairs may",
    ):
        merge.folders(parts, tmp_path / "again")
    assert not (tmp_path / "again").exists(), "a mistake leaves nothing behind"


def test_parts_of_a_run_become_the_whole_claims_and_environment_included(
    attacked_run: Path, tmp_path: Path
) -> None:
    """Seed by seed, as two machines would, with one store; then what the whole run says."""
    for seed in (0, 1):
        one = parse_suite(ATTACKED).restricted(seeds=[seed])
        run(
            one, results=tmp_path / str(seed), store=attacked_run.parent / ".store", device="cpu", plots=False
        )
    parts = [tmp_path / "0" / "attacked", tmp_path / "1" / "attacked"]
    merge.folders(parts, tmp_path / "both")
    whole, both = ResultsFolder(attacked_run), ResultsFolder(tmp_path / "both")
    keys = list(IDENTITY)
    pd.testing.assert_frame_equal(
        both.rows().sort_values(keys, ignore_index=True), whole.rows().sort_values(keys, ignore_index=True)
    )
    pd.testing.assert_frame_equal(*(pd.read_csv(f.path / "claims.csv") for f in (both, whole)), rtol=1e-7)
    assert judged((both.path / "report.html").read_text()) == ["Label smoothing detects better."]
    assert (both.path / "suite.yaml").read_text() == (whole.path / "suite.yaml").read_text()
    environment = both.environment()
    assert environment["merged from"] == "0/attacked, 1/attacked"
    assert environment["torch"] == whole.environment()["torch"]
    assert all_hold(both.path, store=attacked_run.parent / ".store")


def test_what_machines_say_of_themselves_is_kept_apart(tmp_path: Path) -> None:
    """Folders of one suite have one name: the path says which is which."""
    rows = make_rows(splits=2)
    parts = [
        folder(tmp_path / m / "s", rows[rows["split"] == str(i)]) for i, m in enumerate(("box", "cloud"))
    ]
    for part, threads in zip(parts, (1, 8), strict=True):
        (part / "environment.json").write_text(json.dumps({"torch": "2", "threads": threads}))
    merge.folders(parts, tmp_path / "both")
    assert ResultsFolder(tmp_path / "both").environment() == {
        "merged from": "box/s, cloud/s", "torch": "2", "threads (box/s)": 1, "threads (cloud/s)": 8,
    }  # fmt: skip


def test_one_folder_becomes_a_light_one(attacked_run: Path, tmp_path: Path) -> None:
    merge.folders([attacked_run], tmp_path / "light")
    assert {f.name for f in (tmp_path / "light").iterdir()} == {
        "results.csv.gz", "timing.csv.gz", "history.csv.gz", "leaderboard.csv", "claims.csv", "suite.yaml",
        "environment.json", "report.html",
    }  # fmt: skip
    light = ResultsFolder(tmp_path / "light")
    assert light.environment() == ResultsFolder(attacked_run).environment()
    for name in ("leaderboard.csv", "claims.csv"):  # from ten digits of each metric instead of all
        pd.testing.assert_frame_equal(*(pd.read_csv(f / name) for f in (light.path, attacked_run)), rtol=1e-7)
    page = (light.path / "report.html").read_text()
    assert page == (attacked_run / "report.html").read_text(), "per-sample views too: the store is here"
    again = tmp_path / "again"
    merge.folders([light.path], again)
    assert (again / "results.csv.gz").read_bytes() == (light.path / "results.csv.gz").read_bytes()


def test_a_merge_that_fails_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(splits=2)
    parts = [folder(tmp_path / "in" / str(i), rows[rows["split"] == str(i)]) for i in range(2)]
    (parts[1] / "history.csv").write_text("damaged")
    into = tmp_path / "out" / "both"
    with pytest.raises(UserError, match=r"1/history\.csv: is cut short"):
        merge.folders(parts, into)
    assert not (tmp_path / "out").exists()
    (parts[1] / "history.csv").unlink()

    def full(self: ResultsFolder, contents: object) -> None:
        (self.path / "results.csv").write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(ResultsFolder, "write", full)
        with pytest.raises(OSError, match="No space left"):
            merge.folders(parts, into)
    assert list((tmp_path / "out").iterdir()) == []
    into.mkdir()  # an empty one may be there
    merge.folders(parts, into)
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["both"]
    assert len(ResultsFolder(into).rows()) == len(rows)


def test_a_merge_takes_no_place_where_anything_is(tmp_path: Path) -> None:
    part = folder(tmp_path / "part", make_rows())
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match=r"notes: is not empty, it holds mine\.txt; choose an empty or a new"):
        merge.folders([part], tmp_path / "notes")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file: is no folder"):
        merge.folders([part], tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot be written .*; choose another folder with --into"):
        merge.folders([part], tmp_path / "file" / "below")
    (tmp_path / "link").symlink_to("real")
    merge.folders([part], tmp_path / "link")
    assert (tmp_path / "real" / "results.csv.gz").is_file()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: s\nseeds: 3\npairs: [digits]\n", "seeds should be a list, got 3"),
        ("name: s\nseeds: [0]\n", "pairs should be a list, got None"),
        ("[1]\n", r"should hold a suite, got \[1\]"), ("", "should hold a suite, got nothing"),
    ],
)  # fmt: skip
def test_a_damaged_suite_of_a_part_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    part = folder(tmp_path / "part", make_rows())
    (part / "suite.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        merge.folders([part], tmp_path / "into")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "into").exists()
