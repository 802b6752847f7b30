"""Quality of the classifier against scikit-learn and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from oodbench.evaluation import metrics


def test_id_metrics_against_scikit_learn_and_a_loop() -> None:
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(500, 7, generator=g) * 3, torch.randint(0, 7, (500,), generator=g)
    got = metrics.id_metrics(logits, labels, chunk=128)
    p = torch.softmax(logits.double(), 1).numpy()
    y = labels.numpy()
    assert got["id_accuracy"] == (p.argmax(1) == y).mean()
    assert got["nll"] == pytest.approx(sk.log_loss(y, p, labels=range(7)), abs=1e-12)
    assert got["brier"] == pytest.approx(((p - np.eye(7)[y]) ** 2).sum(1).mean(), abs=1e-12)
    ece = 0.0
    for k in range(15):
        inside = (p.max(1) > k / 15) & (p.max(1) <= (k + 1) / 15)
        if inside.any():
            ece += inside.mean() * abs((p.argmax(1) == y)[inside].mean() - p.max(1)[inside].mean())
    assert got["ece"] == pytest.approx(ece, abs=1e-12)


def test_analysis_is_the_term_that_als_penalises() -> None:
    logits = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) * 2
    got = metrics.analysis(logits, chunk=33)
    p = torch.softmax(logits.double(), 1).numpy()
    assert got["max_prob"] == pytest.approx(p.max(1).mean())
    assert got["max_logit"] == pytest.approx(float(logits.max(1).values.double().mean()))
    assert got["logit_norm"] == pytest.approx(np.linalg.norm(logits.double().numpy(), axis=1).mean())
    assert got["non_max_std"] == pytest.approx(np.mean([np.delete(q, q.argmax()).std(ddof=1) for q in p]))
    rest = [np.delete(q, q.argmax()) for q in p]
    assert got["non_max_ratio"] == pytest.approx(np.mean([(r / r.sum()).std(ddof=1) for r in rest]))
    assert not {"non_max_std", "non_max_ratio"} & set(metrics.analysis(logits[:, :2]))


def test_saturated_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]])
    got = metrics.id_metrics(logits, torch.tensor([1, 1])) | metrics.analysis(logits)
    assert all(math.isfinite(v) for v in got.values())
    assert got["nll"] == pytest.approx(5e3)


@pytest.mark.parametrize(("classes", "bins"), [(2, 2), (4, 4), (3, 15), (5, 15)])
def test_a_confidence_on_the_edge_of_a_bin_belongs_below_it(classes: int, bins: int) -> None:
    """Guo et al., ICML 2017: bin m is ((m - 1) / M, m / M]. One sample lies on an edge, one just above it, in
    the next bin; they err in opposite directions, so that ECE would be far less with both in one bin."""
    edge = 1 / classes
    assert (edge * bins).is_integer()
    above = torch.zeros(classes, dtype=torch.float64)
    above[0] = 1e-3
    logits = torch.stack([torch.zeros(classes, dtype=torch.float64), above])
    confidence = float(torch.softmax(above, 0).max())
    assert edge < confidence < edge + 1 / bins
    got = metrics.id_metrics(logits, torch.tensor([0, 1]), bins=bins)["ece"]
    assert got == pytest.approx(((1 - edge) + confidence) / 2, abs=1e-12)
