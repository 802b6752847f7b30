"""All numbers of one row together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from oodbench.evaluation import metrics


def test_row_of_an_ood_set_and_of_id_alone() -> None:
    r = np.random.default_rng(4)
    inside, outside, val = r.normal(size=200), r.normal(1, 1, 100), r.normal(size=400)
    correct = r.random(200) < 0.9
    logits, labels = torch.randn(200, 4), torch.randint(0, 4, (200,))
    given = {
        "id_scores": inside, "id_correct": correct, "val_scores": val, "edited_correct": correct,
        "id_quality": metrics.id_metrics(logits, labels) | {"val_accuracy": 0.5, "val_nll": 0.5},
        "id_analysis": metrics.analysis(logits),
    }  # fmt: skip
    row = metrics.row_metrics(**given, ood_scores=outside, ood_analysis=metrics.analysis(logits))
    only = metrics.row_metrics(**given)
    # together the two kinds of rows fill every column, in the order of the header
    assert [m for m in metrics.METRICS if m in row or m in only] == list(metrics.METRICS)
    assert list(row) == [m for m in metrics.METRICS if m in row]
    kept = np.sort(val)[379]  # the 380th of 400 keeps 95 %
    assert row["tpr95_in_val"] == only["tpr95_in_val"] == (inside <= kept).mean()
    assert row["fpr95_in_val"] == (outside <= kept).mean()
    assert row["oscr"] <= row["id_accuracy"] == row["edited_accuracy"] == correct.mean()
    assert only["auroc_misclassified"] == pytest.approx(sk.roc_auc_score(~correct, inside))
    assert (only["n_id"], only["n_ood"], row["n_ood"]) == (200, 0, 100)
    losses = np.concatenate([~correct * 0.5, np.full(100, 0.5)])
    order = np.argsort(np.concatenate([inside, outside]))
    assert row["scod_aurc"] == pytest.approx(np.mean(np.cumsum(losses[order]) / np.arange(1, 301)))
    assert "auroc_misclassified" not in metrics.row_metrics(id_scores=inside, id_correct=np.ones(200, bool))
    assert set(metrics.row_metrics(id_scores=inside)) == {"n_id", "n_ood", "n_tied"}
