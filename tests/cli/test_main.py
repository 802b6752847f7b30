from __future__ import annotations

import json
from pathlib import Path

import pytest

from oodbench.cli.main import main
from tests.conftest import TINY


def _call(*args: object) -> int:
    try:
        main([str(a) for a in args])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


SCORER = """
import oodbench
@oodbench.scorer("neg-max", source="mine")
class NegMax(oodbench.Scorer):
    "Negative maximal logit, in twelve lines."
    def score(self, outputs):
        return -outputs.logits.amax(dim=1)
"""


def test_run_prints_a_table_and_where_the_files_are(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call("run", tiny, "--results", tmp_path / "r", "--device", "cpu") == 0
    out = capsys.readouterr().out
    assert "knn(k=5)" in out
    assert str(tmp_path / "r" / "tiny") in out
    assert _call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "missing" not in out
    assert "stored   weights" in out


def test_a_dry_run_does_no_work(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call("run", tiny, "--results", tmp_path / "r", "--dry-run", "--seeds", "0,1") == 0
    out = capsys.readouterr().out
    assert out.count("missing  weights") == 2
    assert "2 runs, 0 of" in out
    assert not list((tmp_path / "r").glob(".store/*/*/*/manifest.json"))
    assert not (tmp_path / "r" / "tiny").exists()


def test_a_plugin_appears_in_the_list_in_the_run_and_in_the_leaderboard(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(SCORER)
    assert _call("list", "scorers", "--plugin", plugin) == 0
    assert "neg-max" in capsys.readouterr().out
    tiny.write_text(TINY.replace("[msp,", "[msp, neg-max,"))
    assert (
        _call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--plugin", plugin, "--quiet") == 0
    )
    assert "neg-max" in (tmp_path / "r" / "tiny" / "leaderboard.csv").read_text()


def test_a_failed_cell_exits_3(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(SCORER.replace("-outputs.logits.amax(dim=1)", "outputs.logits"))
    tiny.write_text(TINY.replace("[msp,", "[msp, neg-max,"))
    assert _call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--plugin", plugin) == 3
    assert "rows failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TINY.replace("msp", "mspp"), "did you mean 'msp'"),
        ("name: [", "not valid YAML"),
        (TINY.replace("name: tiny", "name: a/b"), "names a folder"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_1(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    tiny.write_text(text)
    assert _call("run", tiny, "--results", tmp_path / "r") == 1
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {tiny}")
    assert not (tmp_path / "r" / "tiny").exists()


def test_results_that_cannot_be_written(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert _call("run", tiny, "--results", tmp_path / "file") == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [["run"], ["run", "x.yaml", "--seeds", "a"], ["nothing"], ["list", "nothing"], ["run", "none.yaml"]],
)
def test_argument_errors_exit_1_with_a_message(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _call(*args) == 1
    assert capsys.readouterr().err.strip()


def test_an_absent_device_is_said(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call("run", tiny, "--device", "warp") == 1
    assert "--device warp: not available" in capsys.readouterr().err


def test_list_shows_parameters_needs_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert _call("list") == 0
    out = capsys.readouterr().out
    for word in (
        "datasets (",
        "pairs (",
        "networks (",
        "methods (",
        "scorers (",
        "digits",
        "als",
        "lam: float",
        "knn",
        "k: int",
        "needs:",
        "source:",
    ):
        assert word in out
    assert _call("list", "methods", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"als", "cross-entropy"} <= {m["name"] for m in found["methods"]}


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert _call("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "oodbench suite"


def test_check_runs_the_contract_on_an_outsiders_component(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(SCORER)
    assert _call("check", plugin) == 0
    assert "keeps the contract" in capsys.readouterr().out
    plugin.write_text(
        SCORER.replace("-outputs.logits.amax(dim=1)", "outputs.logits.amax(dim=1)").replace(
            "neg-max", "wrong-way"
        )
    )
    assert _call("check", plugin) == 1
    assert "breaks the contract" in capsys.readouterr().out
    empty = tmp_path / "empty.py"
    empty.write_text("")
    assert _call("check", empty) == 1
