"""What a run owes, what it is called, and what its keys are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.run import ArrayRun, Run, TrainedRun
from tests.suite.written import FAMILY

FOUR = {"digits": {"classes": [0, 1, 2, 3]}}
SHIFTED = {
    "name": "three", "id": FOUR, "near": [{"digits": {"classes": [6, 7]}}], "far": ["photo-patches"],
    "shifted": {"again": FOUR},
}  # fmt: skip
"""A pair with a covariate-shifted set (the same images, which is all that a plan looks at)."""


def runs_of(**changes: Any) -> list[Run]:
    return list(make_plan(parse_suite(FAMILY | changes)).runs)


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, Any]:
    """A suite of outputs that were computed elsewhere."""
    rng = np.random.default_rng(0)
    for name in ("test", "near"):
        np.savez(tmp_path / f"{name}.npz", logits=rng.normal(size=(8, 3)), labels=rng.integers(0, 3, 8))
    return {"pairs": [{"arrays": {"near": ["near"]}}], "methods": [{"outputs": {"folder": str(tmp_path)}}]}


def test_the_clean_set_each_shifted_set_and_all_together_are_asked_for() -> None:
    (run,) = runs_of(pairs=[SHIFTED], scorers=["msp", "mls"])
    asked = list(run.asked())
    groups = list(dict.fromkeys((a.condition, a.id_set, a.id_names) for a in asked))
    assert groups == [
        ("clean", "id", ("test",)), ("again", "id", ("again",)), ("clean", "full", ("test", "again")),
    ]  # fmt: skip
    each = 1 + 2 * (1 + 2)  # the network alone; each scorer on ID alone and against two sets
    assert len(asked) == 3 * each
    first = asked[:each]
    assert [(a.scorer.label if a.scorer else "", a.shift) for a in first] == [
        ("", "none"), ("msp", "none"), ("msp", "near"), ("msp", "far"),
        ("mls", "none"), ("mls", "near"), ("mls", "far"),
    ]  # fmt: skip


def test_rows_of_an_attack_stand_under_the_scorer_that_it_attacks() -> None:
    (run,) = runs_of(scorers=["msp", {"msp": {}, "as": "mine"}], attacks=[{"fgsm": {"eps": 0.1}}])
    attacked = [a for a in run.asked() if a.attack is not None]
    named = [(a.condition, a.scorer.declared.label if a.scorer else "", bool(a.ood)) for a in attacked]
    sides = [f"fgsm(eps=0.1) on {side}" for side in ("OOD", "ID")]
    assert named == [(side, s, ood) for s in ("msp", "mine") for side in sides for ood in (False, True)]
    assert run.sets_of(attacked[0].attack) == ["digits(classes=[6,7])"]  # type: ignore[arg-type]
    assert "test" in run.sets_of(attacked[2].attack)  # type: ignore[arg-type]


def test_a_set_that_is_not_here_is_asked_for_with_its_reason() -> None:
    pair = SHIFTED | {"far": {"gone": {"cifar10": {}}}}
    plan = make_plan(parse_suite(FAMILY | {"pairs": [pair]}), skip_missing=True)
    missing = [a for a in plan.runs[0].asked() if a.missing]
    assert {(a.ood, a.shift) for a in missing} == {("gone", "far")}
    assert all("\n" not in a.reason and a.reason for a in missing)
    assert {a.condition for a in missing} == {"clean", "again"}


def test_names_and_place_of_both_kinds(arrays: dict[str, Any]) -> None:
    (trained,), (given,) = runs_of(seeds=[3]), runs_of(**arrays)
    assert isinstance(trained, TrainedRun)
    assert trained.place == {
        "pair": "two", "split": "", "network": "mlp(hidden=[8])", "method": "cross-entropy", "seed": 3,
    }  # fmt: skip
    assert trained.title == "two / mlp(hidden=[8]) / cross-entropy / seed 3"
    assert trained.sources == trained.lineage == (trained,)
    assert isinstance(given, ArrayRun)
    assert given.place["network"] == ""
    assert given.sources == given.lineage == ()
    assert given.extractions(given.wanted()) == []
    assert "/ mlp" not in given.title


def test_a_run_comes_after_what_it_starts_from_and_is_made_of() -> None:
    first, second = runs_of(methods=["cross-entropy", {"als": {}, "start": "cross-entropy"}])
    assert isinstance(second, TrainedRun)
    assert [r.key for r in second.lineage] == [first.key, second.key]
    (whole,) = runs_of(methods=[{"ensemble": {"of": "cross-entropy", "members": 3}}])
    assert isinstance(whole, TrainedRun)
    assert len({r.key for r in whole.lineage}) == 3
    assert whole not in whole.lineage, "an ensemble has no weights of its own"
    plain = [("test", None)]
    assert [source.key for source, *_ in whole.extractions(plain)] == [m.key for m in whole.members]


def test_keys_name_exactly_what_they_depend_on(arrays: dict[str, Any]) -> None:
    (run,) = runs_of()
    other = {
        "seed": runs_of(seeds=[1])[0], "recipe": runs_of(recipe={"epochs": 2, "lr": 0.05})[0],
        "network": runs_of(networks=[{"mlp": {"hidden": [9]}}])[0],
    }  # fmt: skip
    assert len({run.key, *(r.key for r in other.values())}) == 4
    more_ood = runs_of(pairs=[SHIFTED | {"shifted": []}])[0]
    assert more_ood.key == run.key, "OOD sets are no part of what is trained"
    assert run.outputs_key("test") != other["seed"].outputs_key("test")
    scorers = {s.label: s for s in runs_of(scorers=["msp", "knn", "odin"])[0].scorers}
    keys = {run.scores_key(s, "test") for s in scorers.values()}
    assert len(keys) == 3
    renamed = runs_of(scorers=[{"msp": {}, "as": "mine"}])[0]
    assert renamed.scores_key(renamed.scorers[0], "test") == run.scores_key(scorers["msp"], "test")
    view = scorers["odin"].view
    assert run.outputs_key("test", view) != run.outputs_key("test")
    (given,) = runs_of(**arrays)
    assert given.outputs_key("test") == runs_of(**arrays, seeds=[5])[0].outputs_key("test")


def test_a_view_is_part_of_the_key_of_scores_that_read_it() -> None:
    (run,) = runs_of(scorers=["odin"])
    (odin,) = run.scorers
    assert odin.view is not None
    assert run.scores_key(odin, "test") != run.scores_key(odin._replace(view=None), "test")


def test_outliers_are_part_of_the_key_only_of_methods_that_train_with_them() -> None:
    pairs = [
        [FAMILY["pairs"][0] | {"outliers": {"digits": {"classes": [c]}}}] for c in (8, 9)
    ]  # fmt: skip
    keys = {
        m: {runs_of(pairs=p, methods=[m])[0].key for p in pairs}
        for m in ("cross-entropy", "outlier-exposure")
    }
    assert len(keys["cross-entropy"]) == 1
    assert len(keys["outlier-exposure"]) == 2
