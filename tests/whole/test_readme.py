"""What README shows works as written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from oodbench.cli.main import main
from oodbench.core import registry
from oodbench.scoring import contract
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [("norm.py", "scorer", "feature-norm"), ("confident.py", "method", "confidence-bonus")],
)
def test_the_example_components_keep_the_contract(file: str, kind: str, name: str, tmp_path: Path) -> None:
    (block,) = [b for b in _blocks("python") if b.startswith(f"# {file}")]
    (tmp_path / file).write_text(block)
    registry.load_plugin(tmp_path / file)
    assert contract.check(kind, name) == []


def test_the_example_suite_plans() -> None:
    (block,) = [b for b in _blocks("yaml") if b.startswith("name: mine")]
    plan = make_plan(parse_suite(yaml.safe_load(block)))
    assert {r.method.label for r in plan.runs} == {
        "cross-entropy",
        "als",
        "als(lam=0.1)",
        "als(lam=10)",
        "ls-long",
    }
    assert {(r.pair.label, r.pair.split) for r in plan.runs} == {
        ("digits", 0),
        ("digits", 1),
        ("digits", 2),
        ("two-against-rest", None),
    }


def test_files_and_commands_that_it_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    for suite in re.findall(r"suites/[\w./+-]+\.yaml", README):
        load_suite(ROOT / suite)
    named = set(re.findall(r"oodbench run ([\w/+-]+)(?![\w.])", README)) - {"SUITE"}
    assert "digits" in named
    for suite in named:
        load_suite(suite)


def test_its_table_is_the_committed_one(capsys: pytest.CaptureFixture[str]) -> None:
    main(["leaderboard", str(ROOT / "results" / "digits"), "--format", "md"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")][:12]
    assert "\n".join(table) in README, (
        "README's table should be the first ten rows of `oodbench leaderboard results/digits --format md`"
    )


def test_ci_runs_the_two_commands_as_they_stand() -> None:
    shown = [block.strip() for block in _blocks("")][:2]
    done = subprocess.run(
        ["bash", str(ROOT / ".ci/run"), "commands"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == shown
    install, test = shown
    assert install.startswith("pip install ")
    assert "oodbench run " in install
    assert test.endswith("&& pytest")


def test_the_suites_of_everything_name_everything() -> None:
    scores = {s.name for s in load_suite(ROOT / "suites" / "digits-all-scores.yaml").scorers}
    assert scores == set(registry.scorers) - {"attacked"}, (
        "a new score belongs into suites/digits-all-scores.yaml"
    )
    given = {"checkpoint", "outputs", "pretrained"}  # what these start from is a user's
    for name in ("digits-all-methods", "fashion-mnist-methods", "fashion-mnist-methods-small"):
        suite = load_suite(ROOT / "suites" / f"{name}.yaml")
        methods = {m.spec.name for m in suite.methods}
        assert methods == set(registry.methods) - given, f"a new method belongs into suites/{name}.yaml"
        pair = suite.pairs[0].pair
        assert pair.outliers is not None
        tested = [registry.resolve("dataset", s).identity for s in (*pair.near.values(), *pair.far.values())]
        assert registry.resolve("dataset", pair.outliers).identity not in tested


def test_the_reduced_suite_of_every_method_is_the_whole_one_but_for_its_size() -> None:
    whole, small = (load_suite(ROOT / "suites" / f"fashion-mnist-methods{s}.yaml") for s in ("", "-small"))
    assert [m.spec.name for m in whole.methods] == [m.spec.name for m in small.methods]
    assert [s.identity for s in whole.scorers] == [s.identity for s in small.scorers]
    assert set(whole.pairs[0].pair.far) == set(small.pairs[0].pair.far)
    assert small.networks[0].plain == {"small-cnn": {"width": 16}}
    assert small.recipe_of(small.pairs[0], small.methods[0]).epochs == 3
