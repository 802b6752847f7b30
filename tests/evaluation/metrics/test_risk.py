"""OSCR and risk over coverage against brute force and a closed form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from oodbench.evaluation import metrics
from tests.evaluation.metrics.draws import DRAWS


@pytest.mark.parametrize("name", DRAWS)
def test_oscr_is_the_share_of_right_pairs(name: str) -> None:
    inside, outside = DRAWS[name]
    correct = np.random.default_rng(2).random(len(inside)) < 0.8
    wins = (inside[:, None] < outside) + 0.5 * (inside[:, None] == outside)
    assert metrics.oscr(inside, outside, correct) == pytest.approx(
        (wins * correct[:, None]).mean(), abs=1e-12
    )
    auroc = metrics.detection_metrics(inside, outside)["auroc"]
    assert metrics.oscr(inside, outside, np.ones_like(correct)) == pytest.approx(auroc, abs=1e-12)


def _brute_risks(scores: list[float], losses: list[float]) -> tuple[float, float]:
    """AURC and AUGRC averaged over every order that sorts the scores."""
    aurc, augrc = [], []
    n = len(scores)
    for order in itertools.permutations(range(n)):
        if all(scores[a] <= scores[b] for a, b in itertools.pairwise(order)):
            total = np.cumsum([losses[i] for i in order])
            aurc.append(np.mean(total / np.arange(1, n + 1)))
            augrc.append(sum((a + b) / 2 for a, b in itertools.pairwise([0, *total])) / n**2)
    return float(np.mean(aurc)), float(np.mean(augrc))


@pytest.mark.parametrize(
    "scores", [[1, 2, 3, 4, 5, 6], [1, 1, 2, 2, 2, 3], [0, 0, 0, 0, 0, 0], [3, 1, 3, 1, 2, 3]]
)
@pytest.mark.parametrize("losses", [[0, 0, 1, 0, 1, 1], [0.5, 0, 0.5, 1, 0, 0]])
def test_risk_coverage_is_the_mean_over_the_orders_of_ties(scores: list[float], losses: list[float]) -> None:
    assert metrics.risk_coverage(scores, losses) == pytest.approx(_brute_risks(scores, losses), abs=1e-12)


@pytest.mark.parametrize("name", ["continuous", "ties", "few values"])
def test_augrc_equals_its_closed_form(name: str) -> None:
    # Traub et al., NeurIPS 2024: AUGRC = (1 - AUROC_f) acc (1 - acc) + (1 - acc)^2 / 2
    scores = DRAWS[name][0]
    wrong = np.random.default_rng(3).random(len(scores)) < 0.3
    accuracy = 1 - wrong.mean()
    area = sk.roc_auc_score(wrong, scores)
    closed = (1 - area) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert metrics.risk_coverage(scores, wrong.astype(float))[1] == pytest.approx(closed, abs=1e-12)
