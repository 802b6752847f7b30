"""What was made before is read again: ensembles through their members, runs that start from another's
weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from oodbench.core.outputs import Outputs
from oodbench.runs.held import ensemble_outputs
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.suite.written import FAMILY


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
        FAMILY
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
    suite = parse_suite(FAMILY | {"methods": methods})
    done = run(suite, results=tmp_path, device="cpu")
    assert done.made["weights"] == 3
    nll = done.rows[done.rows.scorer == ""].set_index("method").nll
    assert nll["als from cross-entropy"] == pytest.approx(nll["cross-entropy"], rel=1e-5)
    assert nll["label-smoothing"] != pytest.approx(nll["cross-entropy"], rel=1e-2)
