"""Verification of a real run's folder against its suite and its store: it holds, and one changed byte, metric
or key is said clearly."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.evaluation.rows import read_rows
from oodbench.runs import verify
from oodbench.runs.findings import HOLDS, UNCHECKED
from tests.cli.calls import call
from tests.runs.checked import all_hold, findings, rewrite, states

FILES = {"results.csv", "leaderboard.csv", "report.html", "suite", "keys"}
STORE = {"checksums", "metrics", "timing.csv", "history.csv"}


def test_what_a_run_left_behind_holds(tiny_run: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in tiny_run.parent.rglob("*")}
    assert set(states(tiny_run)) == {*FILES, *STORE, "plots"}
    assert all_hold(tiny_run)
    assert {f: f.stat().st_mtime_ns for f in tiny_run.parent.rglob("*")} == before


def test_what_is_made_again_is_asked_for_and_said_where_it_is_not(bare: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in bare.parent.rglob("*")}
    found = findings(bare)
    assert found["scores"].state == found["outputs"].state == UNCHECKED
    assert "--scores does" in found["scores"].why
    assert "--outputs does" in found["outputs"].why
    found = findings(bare, remake=["scores"])
    assert (found["scores"].state, found["outputs"].state) == (HOLDS, UNCHECKED)
    found = findings(bare, remake=["outputs"])
    assert found["scores"].state == found["outputs"].state == HOLDS
    assert "were not trained again" in found["outputs"].why
    assert {f: f.stat().st_mtime_ns for f in bare.parent.rglob("*")} == before, "the store is only read"


@pytest.mark.parametrize("run_of", ["attacked_run", "rich_run"])
def test_so_does_a_run_with_attacks_tuning_or_an_ensemble(
    run_of: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(run_of)
    assert all_hold(folder)
    found = findings(folder, remake=["outputs"])
    assert found["scores"].state == found["outputs"].state == HOLDS, found
    rows = read_rows(folder / "results.csv")
    ok = (rows["status"] == "ok").sum()
    assert found["metrics"].why.startswith(f"{ok} rows "), "every row with numbers is checked"


def test_without_the_store_the_files_alone_are_checked(bare: Path) -> None:
    shutil.rmtree(bare.parent / ".store")
    found = states(bare)
    assert {what for what, s in found.items() if s == HOLDS} == FILES - {"report.html"}
    assert {what for what, s in found.items() if s == UNCHECKED} == {*STORE, "report.html"}
    page = [f for f in verify.folder(bare) if f.what == "report.html"]
    assert [f.state for f in page] == [HOLDS, UNCHECKED]
    assert page[1].why.startswith("its views of single samples: the store is not here")


def test_the_store_may_lie_elsewhere(bare: Path, tmp_path: Path) -> None:
    (bare.parent / ".store").rename(tmp_path / "elsewhere")
    assert states(bare)["metrics"] == UNCHECKED
    with pytest.raises(UserError, match=r"store .*nowhere: holds no artefacts"):
        verify.folder(bare, store=tmp_path / "nowhere")
    assert states(bare, store=tmp_path / "elsewhere")["metrics"] == HOLDS


def test_compressed_tables_are_verified_too(bare: Path) -> None:
    for name in ("results", "timing", "history"):
        file = bare / f"{name}.csv"
        (bare / f"{name}.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert all_hold(bare)


def test_the_command_says_each_finding_and_exits_with_1_where_one_is_contradicted(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("verify", bare) == 0
    assert "holds: metrics: " in capsys.readouterr().out
    assert call("verify", bare, "--scores") == 0
    assert "holds: scores: " in capsys.readouterr().out
    rewrite(bare, "msp", "ks", -0.001)
    assert call("verify", bare) == 1
    assert "contradicted: metrics: ks of digits" in capsys.readouterr().out
