"""``oodbench run``, on a suite of seconds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from oodbench.core import registry
from oodbench.data.sources.roots import trust
from oodbench.runs import stamps
from oodbench.suite.load import load_suite
from tests.cli.calls import SCORER, call
from tests.conftest import TINY
from tests.runs.packed import flip, places


def test_run_prints_a_table_and_where_the_files_are(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", tiny, "--results", tmp_path / "r", "--device", "cpu") == 0
    out = capsys.readouterr().out
    assert "knn(k=5)" in out
    assert str(tmp_path / "r" / "tiny") in out
    assert call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "missing" not in out
    assert "stored   weights" in out


def test_a_dry_run_does_no_work(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", tiny, "--results", tmp_path / "r", "--dry-run", "--seeds", "0,1") == 0
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
    assert call("list", "scorers", "--plugin", plugin) == 0
    assert "neg-max" in capsys.readouterr().out
    tiny.write_text(TINY.replace("[msp,", "[msp, neg-max,"))
    assert (
        call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--plugin", plugin, "--quiet") == 0
    )
    assert "neg-max" in (tmp_path / "r" / "tiny" / "leaderboard.csv").read_text()


def test_a_failed_cell_exits_3(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(SCORER.replace("-outputs.logits.amax(dim=1)", "outputs.logits"))
    tiny.write_text(TINY.replace("[msp,", "[msp, neg-max,"))
    assert call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--plugin", plugin) == 3
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
    assert call("run", tiny, "--results", tmp_path / "r") == 1
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {tiny}")
    assert not (tmp_path / "r" / "tiny").exists()


def test_results_that_cannot_be_written(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert call("run", tiny, "--results", tmp_path / "file") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_an_absent_device_is_said(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", tiny, "--device", "warp") == 1
    assert "--device warp: not available" in capsys.readouterr().err


def test_without_results_it_writes_to_runs_in_the_working_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("run", "tiny", "--device", "cpu", "--quiet") == 0
    assert {p.name for p in tmp_path.iterdir()} == {"tiny.yaml", "runs"}
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"tiny", ".store"}


def test_no_plots_draws_none_and_the_files_are_said(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "r" / "tiny"
    for more in (["--no-plots"], []):
        assert call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", *more) == 0
        said = capsys.readouterr().out.splitlines()[-1]
        assert all(f.name in said for f in folder.iterdir())
        assert bool(list(folder.glob("plots/*.png"))) == (not more)


def test_a_suite_of_the_package_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("run", "digits", "--dry-run", "--splits", "1", "--seeds", "5") == 0
    assert "digits: 3 runs, 0 of" in capsys.readouterr().out
    assert call("run", "digitz") == 1
    assert "did you mean 'digits'" in capsys.readouterr().err


def test_two_suites_of_one_name_are_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "again.yaml").write_text(TINY)
    assert call("run", tiny, tmp_path / "again.yaml", "--results", tmp_path / "r") == 1
    assert "two suites have the name 'tiny'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_paranoid_reads_what_is_believed_otherwise(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte of a large artefact that has changed while size and time have not."""
    monkeypatch.setattr(stamps, "ALWAYS_READ", 0)
    options = ["--results", tmp_path / "r", "--device", "cpu", "--no-plots"]
    assert call("run", tiny, *options) == 0
    (file,) = (tmp_path / "r/.store/packs").rglob("*.zip")
    flip(file, next(name for name in places(file) if name.endswith("outputs.safetensors")))
    capsys.readouterr()
    for more, made in (([], 0), (["--paranoid"], 1), (["--paranoid"], 0)):
        assert call("run", tiny, *options, *more) == 0
        said = capsys.readouterr()
        assert f" {made} outputs," in said.out
        assert ("damaged outputs" in said.err) == bool(made)
    assert trust() == "cache", "taken back afterwards"


@pytest.mark.parametrize("wrong", ["a", "0,a", "-1", "1,1", ""])
def test_seeds_are_different_natural_numbers(
    tiny: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", tiny, f"--seeds={wrong}") == 1
    assert "should be" in capsys.readouterr().err


METHOD = """
import oodbench
@oodbench.method("t-mine", source="t")
class Mine(oodbench.Method):
    "t"
    def criterion(self, logits, labels): return (logits.logsumexp(1) - logits[range(len(labels)), labels])
@oodbench.scorer("t-first", source="t")
class First(oodbench.Scorer):
    "t"
    def score(self, outputs): return -outputs.logits[:, 0]
@oodbench.scorer("t-second", source="t")
class Second(oodbench.Scorer):
    "t"
    def score(self, outputs): return -outputs.logits[:, 1]
"""


def test_a_plugin_puts_its_scorers_and_methods_beside_the_suites_own(tiny: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(METHOD)
    with registry.isolated():
        assert (
            call("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--plugin", own, "--quiet") == 0
        )
    rows = pd.read_csv(tmp_path / "r" / "tiny" / "results.csv", keep_default_na=False)
    ours = {s.label for s in load_suite(tiny).scorers}
    assert set(rows.scorer) == {"", *ours, "t-first", "t-second"}
    assert set(rows.method) == {"cross-entropy", "t-mine"}
    with registry.isolated():
        assert call("verify", tmp_path / "r" / "tiny", "--plugin", own) == 0


def test_scorers_and_methods_are_chosen_by_name(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.py"
    own.write_text(METHOD)
    chosen = ("--scorers", "t-second,knn(k=5),energy", "--methods", "als,cross-entropy")
    with registry.isolated():
        args = ("run", tiny, "--results", tmp_path / "r", "--device", "cpu", "--plugin", own, *chosen)
        assert call(*args, "--quiet", "--no-plots") == 0
    rows = pd.read_csv(tmp_path / "r" / "tiny" / "results.csv", keep_default_na=False)
    assert list(dict.fromkeys(rows.scorer)) == ["", "t-second", "knn(k=5)", "energy"]
    assert list(dict.fromkeys(rows.method)) == ["als", "cross-entropy"]
    capsys.readouterr()
    assert call("run", tiny, "--results", tmp_path / "x", "--scorers", "ennergy", "--dry-run") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: --scorers: unknown scorer 'ennergy'; did you mean 'energy'?")
    assert len(said.splitlines()) == 1
    assert call("run", tiny, "--results", tmp_path / "x", "--methods", " , ", "--dry-run") == 1
    assert "--methods: should name at least one method" in capsys.readouterr().err
