"""What OpenOOD searches, and how it goes through it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from oodbench.core import registry
from oodbench.core.spec import Spec
from oodbench.scoring.openood_search import POINTS
from oodbench.scoring.tuning import candidates, choose
from tests.conftest import ROOT
from tests.scoring.outputs import blobs

THEIRS = """\
ash: {percentile: [65, 70, 75, 80, 85, 90, 95]}
fdbd: {normaliser: [distance, norm]}
gen: {gamma: [0.01, 0.1, 0.5, 1, 2, 5, 10], top: [10, 50, 100, 200, 500, 1000]}
knn: {k: [50, 100, 200, 500, 1000]}
nci: {alpha: [0.0001, 0.001, 0.01, 0.1]}
odin: {temperature: [1, 10, 100, 1000], epsilon: [0.0014, 0.0028]}
react: {percentile: [85, 90, 95, 99]}
relation: {power: [1, 2, 4, 6, 8]}
scale: {percentile: [65, 70, 75, 80, 85, 90, 95]}
vim: {dim: [256, 1000]}
vra: {high: [85, 90, 95, 99], low: [1, 5, 10, 15]}
"""
"""postprocessor_sweep of its files with more than one point, in their order, under our names."""


def _points(name: str, **fixed: Any) -> tuple[Spec, ...]:
    spec = registry.resolve("scorer", {name: fixed})
    return candidates(spec, registry.build("scorer", spec), space="openood")


def _in_their_order(sweep: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Their recursion in words: every value of the last parameter, for each all points of those before it."""
    made: list[dict[str, Any]] = [{}]
    for name, values in sweep.items():
        made = [{**before, name: v} for v in values for before in made]
    return made


@pytest.mark.parametrize("name", yaml.safe_load(THEIRS))
def test_the_points_are_theirs_in_their_order_and_no_other(name: str) -> None:
    sweep = yaml.safe_load(THEIRS)[name]
    found = [{k: p.params[k] for k in sweep} for p in _points(name)]
    assert found == _in_their_order(sweep)


def test_pairs_of_percentiles_are_theirs_in_their_order() -> None:
    low, high = [60, 65, 70, 75, 80, 85, 90, 95], [65, 70, 75, 80, 85, 90, 95, 99]
    due = [(a, b) for a in low for b in high if a < b]
    found = [(p.params["low"], p.params["high"]) for p in _points("adascale")]
    assert len(due) == 36
    assert found == due


def test_every_scorer_that_is_searched_is_tested() -> None:
    assert POINTS.keys() == yaml.safe_load(THEIRS).keys() | {"adascale"}


def test_what_they_do_not_search_keeps_its_parameters() -> None:
    for name in ("msp", "mls", "energy", "klm", "mds", "rmds", "she", "dice", "gram", "openmax", "gradnorm"):
        assert _points(name) == (), name


def test_a_parameter_that_was_set_is_kept() -> None:
    assert _points("vim", dim=64) == ()
    assert [p.params["temperature"] for p in _points("odin", epsilon=0.01)] == [1, 10, 100, 1000]


def test_the_declared_parameters_are_tried_only_where_the_grid_holds_them() -> None:
    assert registry.resolve("scorer", "vra").params["low"] == 60
    assert all(p.params["low"] < 60 for p in _points("vra"))


def test_the_first_of_equal_ones_is_taken() -> None:
    """GEN of ten classes is the same for every number of probabilities from ten up."""
    points = _points("gen", gamma=0.3)
    val, ood = blobs(40, seed=2), blobs(40, seed=3, ood=True)
    choice = choose(points, [None] * len(points), [val] * len(points), [ood] * len(points))
    assert len(points) == 6
    assert len(set(choice.auroc)) == 1
    assert points[choice.place].params["top"] == 10


@pytest.mark.parametrize("name", yaml.safe_load(THEIRS))
def test_the_documentation_has_their_points(name: str) -> None:
    table = (ROOT / "docs" / "scorers.md").read_text().split("### As OpenOOD has them")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.count("|") == 5]
    (found,) = [row for row in rows if row[1].rstrip(" *") == name]
    spec = registry.resolve("scorer", yaml.safe_load(found[2].strip("`")))
    assert spec.name == name
    due = "; ".join(f"{k}: {', '.join(map(str, v))}" for k, v in yaml.safe_load(THEIRS)[name].items())
    assert found[3] == ("" if name == "vim" else due)
    assert candidates(spec, registry.build("scorer", spec), space="openood") or name == "vim"
