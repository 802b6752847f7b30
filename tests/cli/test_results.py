"""The commands on results that are there already, on a real run's folder, through click as a user calls
them."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from oodbench.cli.results import COMMANDS
from oodbench.core.errors import UserError
from oodbench.evaluation.rows import read_rows
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite

SUITE = {
    "name": "two", "pairs": [{"digits": {"split": {"grid": [0, 1]}}}],
    "networks": [{"mlp": {"hidden": [16]}}],
    "methods": ["cross-entropy", "label-smoothing"], "scorers": ["msp", {"knn": {"k": 5}}], "seeds": [0],
    "recipe": {"epochs": 2, "batch_size": 128, "lr": 0.05},
}  # fmt: skip


def call(*args: object) -> Result:
    group = click.Group(commands={str(c.name): c for c in COMMANDS})
    return CliRunner().invoke(group, [str(a) for a in args])


def ok(*args: object) -> str:
    done = call(*args)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder that a run made; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("results")
    run(parse_suite(SUITE), results=root, device="cpu")
    return root / "two"


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made.parent, tmp_path / "r")
    return tmp_path / "r" / "two"


def test_leaderboard_selects_ranks_and_renders(made: Path) -> None:
    text = ok("leaderboard", made)
    assert len(text.splitlines()) == 2 + 4
    best = ok("leaderboard", made, "--by", "far_fpr95_in", "--where", "method=label-*", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(best)))
    assert {r["method"] for r in rows} == {"label-smoothing"}
    assert float(rows[0]["far_fpr95_in"]) <= float(rows[1]["far_fpr95_in"])
    assert "| AURC |" in ok("leaderboard", made, "--show", "aurc", "--format", "md").splitlines()[0]
    nll = read_rows(made / "results.csv").query(
        "method == 'label-smoothing' and scorer == 'msp' and ood == ''"
    )["nll"]
    assert f"{nll.mean():.3f} ± {nll.std():.3f}" in ok("leaderboard", made, "--show", "nll")  # no percentage
    assert ok("leaderboard", made, "--by", "near_oscr").splitlines()[0].split()[5] == "near_oscr"
    for wrong, why in ((["--by", "auroc"], "cannot rank by 'auroc'"),
    (["--where", "scorer=mps"], "nothing has that scorer"),
                       (["--show", "auroc"], "there is no column 'auroc'")):  # fmt: skip
        done = call("leaderboard", made, *wrong)
        assert isinstance(done.exception, UserError)
        assert why in str(done.exception)


def test_costs_stand_beside_the_values(made: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(ok("leaderboard", made, "--costs", "--format", "csv"))))
    timing = pd.read_csv(made / "timing.csv", keep_default_na=False)
    for row in rows:
        mine = timing[(timing["method"] == row["method"]) & (timing["scorer"] == row["scorer"])]
        scored = mine[mine["stage"] == "score"].astype({"n": float, "seconds": float}).groupby("run_key")
        per_run = [1000 * g["seconds"].sum() / g["n"].sum() for _, g in scored]
        assert float(row["score_seconds_per_1000"]) == pytest.approx(
            float(pd.Series(per_run).median()), rel=1e-4
        )
        assert row["reads"] == ("train" if row["scorer"] == "knn(k=5)" else "")
        assert float(row["passes"]) == 1
        size = timing[(timing["method"] == row["method"])].astype({"bytes": str})
        wanted = size[(size["stage"] == "train")]["bytes"].astype(float).median()
        if row["reads"]:
            wanted += (
                size[(size["stage"] == "extract") & (size["ood"] == "train")]["bytes"].astype(float).median()
            )
        assert float(row["bytes_stored"]) == pytest.approx(wanted, rel=1e-5)
    (tmp_path / "bare").mkdir()
    shutil.copy(made / "results.csv", tmp_path / "bare")
    assert "timing.csv" in str(call("leaderboard", tmp_path / "bare", "--costs").exception)


def test_ranks_over_blocks_and_what_cannot_be_ranked(made: Path) -> None:
    text = ok("ranks", made, "--value", "far_fpr95_in")
    far = read_rows(made / "results.csv").query("shift == 'far' and status == 'ok'")
    table = far.groupby(["split", "scorer"])["fpr95_in"].mean().unstack()
    for scorer, rank in table.rank(axis=1).mean().items():
        assert any(line.split()[1:3] == [scorer, f"{rank:.2f}"] for line in text.splitlines())
    assert "over 2 blocks (splits of 1 pair)" in text
    assert "Friedman chi2 = " in text
    assert "nothing to rank: 1 networks" in str(call("ranks", made, "--of", "network").exception)
    assert "--value: 'auroc' is no value" in str(call("ranks", made, "--value", "auroc").exception)


def test_merge_of_two_halves_is_the_whole(made: Path, tmp_path: Path) -> None:
    whole = read_rows(made / "results.csv")
    for split in ("0", "1"):
        shutil.copytree(made, tmp_path / split)
        whole[whole["split"] == split].to_csv(
            tmp_path / split / "results.csv", index=False, float_format="%.10g"
        )
    assert "2 folders" in ok("merge", tmp_path / "0", tmp_path / "1", "-o", tmp_path / "both")
    merged = gzip.decompress((tmp_path / "both" / "results.csv.gz").read_bytes()).decode()
    assert sorted(merged.splitlines()) == sorted((made / "results.csv").read_text().splitlines())
    ours, theirs = (pd.read_csv(f / "leaderboard.csv") for f in (tmp_path / "both", made))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-7)


def test_report_with_the_store_has_what_the_run_wrote_and_without_says_what_is_missing(
    copied: Path, tmp_path: Path
) -> None:
    out = ok("report", copied, "-o", tmp_path / "a.html")
    assert "MB" in out
    assert "per-sample" not in out
    with_store = (tmp_path / "a.html").read_text()
    assert '"hard":[{' in with_store
    shutil.rmtree(copied.parent / ".store")
    assert "no per-sample views: its store is not here" in ok("report", copied, "-o", tmp_path / "b.html")
    assert '"hard":[]' in (tmp_path / "b.html").read_text()


def test_report_draws_the_pictures_on_demand(copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "plots", ignore_errors=True)
    ok("report", copied, "-o", tmp_path / "a.html")
    assert not (copied / "plots").exists()
    ok("report", copied, "-o", tmp_path / "a.html", "--plots")
    drawn = {f.suffix for f in (copied / "plots").iterdir()}
    assert drawn == {".png", ".svg"}


def test_verify_exits_with_1_only_where_something_is_contradicted(copied: Path) -> None:
    assert call("verify", copied).exit_code == 0
    board = copied / "leaderboard.csv"
    lines = board.read_text().splitlines()
    board.write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",0.123"]) + "\n")
    done = call("verify", copied)
    assert done.exit_code == 1
    assert "contradicted: leaderboard.csv" in done.output
