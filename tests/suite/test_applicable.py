"""Which scorers a run gets, and what is said of those that cannot score it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.run import Run
from tests.suite.written import FAMILY


def _run(**changes: Any) -> Run:
    """The first run of the small suite with other keys; what cannot be is kept with its reason."""
    return make_plan(parse_suite(FAMILY | {"inapplicable": "skip"} | changes)).runs[0]


def _reasons(**changes: Any) -> dict[str, str]:
    return {s.label: s.reason for s in _run(**changes).scorers}


def test_a_scorer_that_can_score_has_no_reason_and_says_what_it_needs() -> None:
    run = _run(scorers=["msp", "knn", "odin"])
    assert [(s.label, s.reason) for s in run.scorers] == [("msp", ""), ("knn", ""), ("odin", "")]
    assert [sorted(s.needs & {"train", "val"}) for s in run.scorers] == [[], ["train"], []]
    assert [s.view.name if s.view else "" for s in run.scorers] == ["", "", "perturbation"]


def test_a_head_that_the_network_does_not_have() -> None:
    reasons = _reasons(scorers=["msp", "rotation"])
    assert reasons["msp"] == ""
    assert reasons["rotation"].startswith("scorer 'rotation'")
    assert "'mlp(hidden=[8])' trained by 'cross-entropy'" in reasons["rotation"]


def test_an_ensemble_has_no_one_network_to_look_into() -> None:
    reasons = _reasons(methods=[{"ensemble": {"members": 2}}], scorers=["msp", "odin", "knn", "disagreement"])
    assert {name: bool(reason) for name, reason in reasons.items()} == {
        "msp": False, "odin": True, "knn": True, "disagreement": False,
    }  # fmt: skip
    assert "needs one network to look into" in reasons["odin"]
    assert "needs features" in reasons["knn"]
    assert _reasons(scorers=["disagreement"])["disagreement"].startswith(
        "scorer 'disagreement' reads the head"
    )


def test_the_suite_says_whether_a_scorer_that_cannot_score_is_an_error() -> None:
    raw = FAMILY | {"scorers": ["msp", "disagreement"]}
    with pytest.raises(UserError, match=r"'disagreement' .*; choose another, or write `inapplicable: skip`"):
        make_plan(parse_suite(raw))
    assert len(make_plan(parse_suite(raw | {"inapplicable": "skip"})).runs[0].scorers) == 2


def _arrays(folder: Path, *, train: bool) -> dict[str, Any]:
    """Ready outputs: logits alone, of a pair with one OOD set."""
    rng = np.random.default_rng(0)
    for name in ("test", "near", *(("train", "val") if train else ())):
        labels = {} if name == "near" else {"labels": np.arange(30) % 3}
        np.savez(folder / f"{name}.npz", logits=rng.normal(size=(30, 3)).astype(np.float32), **labels)
    return {
        "pairs": [{"arrays": {"near": ["near"]}}],
        "methods": [{"outputs": {"folder": str(folder)}}],
        "networks": None,
    }


def _of_arrays(folder: Path, *scorers: str, train: bool = True, **changes: Any) -> dict[str, str]:
    raw = FAMILY | _arrays(folder, train=train) | {"scorers": list(scorers), "inapplicable": "skip"} | changes
    del raw["networks"]
    (run,) = make_plan(parse_suite(raw)).runs
    return {s.label: s.reason for s in run.scorers}


def test_arrays_have_what_they_hold(tmp_path: Path) -> None:
    reasons = _of_arrays(tmp_path, "msp", "knn", "odin", "vim")
    assert reasons["msp"] == ""
    assert "needs features, and the arrays of 'outputs" in reasons["knn"]
    assert "needs a network to look into" in reasons["odin"]
    assert "needs a linear head" in reasons["vim"]


def test_arrays_of_every_set_that_is_read_count(tmp_path: Path) -> None:
    """Not those of test alone: train for what fits on it, OOD sets for all."""
    raw = FAMILY | _arrays(tmp_path, train=True) | {"scorers": ["msp", "klm", "knn"], "inapplicable": "skip"}
    del raw["networks"]
    rng = np.random.default_rng(1)
    for name in ("test", "near", "val"):
        with np.load(tmp_path / f"{name}.npz") as held:
            np.savez(tmp_path / f"{name}.npz", **held, features=rng.normal(size=(30, 4)))
    (run,) = make_plan(parse_suite(raw)).runs
    assert [bool(s.reason) for s in run.scorers] == [False, False, True]
    assert run.scorers[2].reason.endswith("hold only logits of 'train'")


def test_a_set_that_the_pair_does_not_have(tmp_path: Path) -> None:
    reasons = _of_arrays(tmp_path, "msp", "knn", train=False)
    assert reasons["knn"] == "scorer 'knn' needs the train set of pair 'arrays(near=[near])', which has none"
    tuned = _of_arrays(tmp_path, "msp", "gen", train=False, tune="id")
    said = "scorer 'gen' cannot be tuned: pair 'arrays(near=[near])' has no validation set"
    assert tuned == {"msp": "", "gen [id]": said}


def test_arrays_are_tuned_on_id_alone(tmp_path: Path) -> None:
    reasons = _of_arrays(tmp_path, "gen", tune=["id", "noise"])
    assert reasons["gen [id]"] == ""
    assert "tune: noise needs images and a network" in reasons["gen [noise]"]


def test_each_regime_is_a_row_of_its_own_and_what_has_nothing_to_tune_has_one() -> None:
    plans = _run(scorers=["msp", "knn"], tune=["none", "id"]).scorers
    assert [s.label for s in plans] == ["msp", "knn", "knn [id]"]
    assert [bool(s.candidates) for s in plans] == [False, False, True]
    assert [s.label for s in _run(scorers=["msp", "knn"], tune="id").scorers] == ["msp", "knn [id]"]
    assert "names no OOD validation set" in _reasons(scorers=["knn"], tune="ood-val")["knn [ood-val]"]


def test_attacks_in_both_directions_on_scorers_with_a_gradient() -> None:
    """ODIN reads another view, and a count has no gradient: neither is attacked."""

    @registry.scorer("t-count", source="a test")
    class Count(Scorer):
        """How many logits are above their mean."""

        needs = frozenset[str]()
        differentiable = False

        def score(self, outputs: Outputs) -> torch.Tensor:
            return (outputs.logits > outputs.logits.mean(1, keepdim=True)).sum(1).float()

    run = _run(scorers=["msp", "odin", "t-count"], attacks=[{"fgsm": {"eps": 0.1}, "as": "weak"}])
    attacked = [s for s in run.scorers if s.attack]
    assert {s.attack for s in attacked} == {"weak"}
    params = [s.spec.params for s in attacked]
    (ood,) = [s.name for s in run.sets.values() if s.role == "near"]
    assert [(p["of"].name if p["of"] else "", p["direction"]) for p in params] == [
        ("msp", "lower"), ("msp", "raise"), ("", "raise"),
    ]  # fmt: skip
    assert [s.sets for s in attacked] == [(ood,), ("test",), ("test",)]  # OOD made to look known, ID unknown


def test_an_ensemble_is_not_attacked() -> None:
    run = _run(methods=[{"ensemble": {"members": 2}}], attacks=["fgsm"])
    assert not [s for s in run.scorers if s.attack]
