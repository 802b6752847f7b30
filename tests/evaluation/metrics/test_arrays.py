"""Bad input is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench.evaluation import metrics


@pytest.mark.parametrize(
    ("inside", "outside", "message"),
    [
        ([0.0, float("nan")], [1.0], "ID scores: 1 of 2 are not finite"),
        ([0.0], [float("inf"), 1.0], "OOD scores: 1 of 2 are not finite"),
        ([[0.0]], [1.0], r"ID scores: should have the shape \(N,\), got \(1, 1\)"),
        ([0.0], [], "OOD scores: there are no samples"),
        (["a"], [1.0], "ID scores: should be numbers"),
    ],
)
def test_bad_scores_are_named(inside: list, outside: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.detection_metrics(np.array(inside), np.array(outside))


def test_bad_companions_are_named() -> None:
    with pytest.raises(ValueError, match="correct ID predictions: should have the shape"):
        metrics.row_metrics(id_scores=np.zeros(3), id_correct=np.ones(2, bool))
    with pytest.raises(ValueError, match=r"labels: should lie in 0\.\.2"):
        metrics.id_metrics(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="logits: some are not finite"):
        metrics.analysis(torch.tensor([[float("nan"), 0.0]]))
    with pytest.raises(ValueError, match="logits: they are probabilities; give log p or logits"):
        metrics.analysis(torch.full((8, 4), 0.25))
    with pytest.raises(ValueError, match="labels should be integers"):
        metrics.id_metrics(torch.zeros(2, 3), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="correct ID predictions: should be true or false"):
        metrics.row_metrics(id_scores=np.zeros(2), id_correct=[0.5, 1])
    with pytest.raises(ValueError, match="losses"):
        metrics.risk_coverage([1.0, 2.0], [1.0])


def test_scores_of_half_precision_are_scores() -> None:
    for kind in (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.uint16):
        assert metrics.scores_array(torch.tensor([1.0, 2.0]).to(kind)).tolist() == [1.0, 2.0]


def test_uint8_labels_are_no_mask() -> None:
    logits, labels = 5 * torch.eye(3), torch.tensor([1, 1, 1])
    assert metrics.id_metrics(logits, labels.to(torch.uint8)) == metrics.id_metrics(logits, labels)
    assert metrics.id_metrics(logits, labels)["id_accuracy"] == pytest.approx(1 / 3)
