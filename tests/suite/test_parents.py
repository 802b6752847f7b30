"""Runs that start from another's weights, and runs that are made of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.runs.held import ensemble_outputs
from oodbench.runs.runner import run
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import artefacts, make_plan

SUITE: dict[str, Any] = {
    "name": "family", "networks": [{"mlp": {"hidden": [8]}}], "scorers": ["msp"],
    "recipe": {"epochs": 1, "lr": 0.05},
    "pairs": [{"name": "two", "id": {"digits": {"classes": [0, 1, 2, 3]}},
    "near": [{"digits": {"classes": [6, 7]}}]}],
    "methods": ["cross-entropy"],
}  # fmt: skip


def test_logits_of_an_ensemble_are_the_log_of_its_mean_probability() -> None:
    logits = [torch.randn(20, 5) * 3 for _ in range(3)]
    made = ensemble_outputs([Outputs(z, labels=torch.arange(20)) for z in logits])
    mean = torch.stack([torch.softmax(z, dim=1) for z in logits]).mean(dim=0)
    torch.testing.assert_close(made.probabilities, mean)
    torch.testing.assert_close(made.logits.exp(), mean)
    assert made.extras["members.logits"].shape == (20, 3, 5)
    assert not made.has_features


def test_members_are_shared_with_single_runs_of_their_seeds(tmp_path: Path) -> None:
    scorers = ["msp", "mutual-information", "disagreement", "knn"]
    suite = parse_suite(
        SUITE
        | {
            "methods": [{"ensemble": {"members": 3}}, "cross-entropy"],
            "scorers": scorers,
            "seeds": [0, 1],
            "inapplicable": "skip",
        }
    )
    done = run(suite, results=tmp_path, device="cpu")
    assert done.made["weights"] == 6  # seeds 0..2 and 3..5; the single runs are two of them
    rows = done.rows[done.rows.ood != ""]
    status = {(m, s): set(g.status) for (m, s), g in rows.groupby(["method", "scorer"])}
    assert status["ensemble(members=3)", "mutual-information"] == {"ok"}
    assert status["ensemble(members=3)", "knn"] == {"skipped"}
    assert status["cross-entropy", "disagreement"] == {"skipped"}
    plan = make_plan(suite)
    assert plan.runs[0].members[1].key == plan.runs[3].key
    again = run(suite, results=tmp_path, device="cpu")
    assert set(again.made.values()) == {0}


def test_training_goes_on_from_another_methods_weights(tmp_path: Path) -> None:
    """With a learning rate of (nearly) nothing the run that starts from another ends where that one ended."""
    still = {"recipe": {"lr": 1e-12, "weight_decay": 0, "epochs": 1}}
    methods = [
        {"als": {}, "start": "cross-entropy", **still},
        {"label-smoothing": {}, **still},
        "cross-entropy",
    ]
    suite = parse_suite(SUITE | {"methods": methods})
    done = run(suite, results=tmp_path, device="cpu")
    assert done.made["weights"] == 3
    nll = done.rows[done.rows.scorer == ""].set_index("method").nll
    assert nll["als from cross-entropy"] == pytest.approx(nll["cross-entropy"], rel=1e-5)
    assert nll["label-smoothing"] != pytest.approx(nll["cross-entropy"], rel=1e-2)


def test_the_parents_recipe_is_part_of_the_key(tmp_path: Path) -> None:
    def key(**recipe: Any) -> str:
        parent = {"cross-entropy": {}, "recipe": recipe} if recipe else "cross-entropy"
        plan = make_plan(parse_suite(SUITE | {"methods": [{"als": {}, "start": "cross-entropy"}, parent]}))
        return plan.runs[0].key

    assert key() == key(epochs=1)
    assert key() != key(epochs=2)


def test_a_resolved_suite_keeps_the_start(tmp_path: Path) -> None:
    suite = parse_suite(SUITE | {"methods": [{"als": {"lam": {"grid": [1, 2]}}, "start": "cross-entropy"}]})
    file = tmp_path / "family.yaml"
    file.write_text(suite.dump())
    assert [m.label for m in load_suite(file).methods] == [
        "als from cross-entropy",
        "als(lam=2) from cross-entropy",
    ]
    assert [k for _, k, _ in artefacts(make_plan(load_suite(file)))] == [
        k for _, k, _ in artefacts(make_plan(suite))
    ]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"methods\[0\]\.start: unknown method 'cross'"):
        parse_suite(SUITE | {"methods": [{"als": {}, "start": "cross"}]})
    with pytest.raises(UserError, match="members"):
        parse_suite(SUITE | {"methods": [{"ensemble": {"members": 1}}]})
