"""Every metric against an independent implementation: scikit-learn, SciPy, brute force over pairs or
permutations, or a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from sklearn import metrics as sk

from oodbench.evaluation import metrics
from tests.evaluation.metrics.draws import DRAWS


@pytest.mark.parametrize("name", DRAWS)
def test_detection_equals_scikit_learn(name: str) -> None:
    inside, outside = DRAWS[name]
    got = metrics.detection_metrics(torch.from_numpy(inside), outside)
    scores, is_ood = np.concatenate([inside, outside]), np.repeat([0, 1], [len(inside), len(outside)])
    expected = {
        "auroc": sk.roc_auc_score(is_ood, scores),
        "aupr_in": sk.average_precision_score(1 - is_ood, -scores),
        "aupr_out": sk.average_precision_score(is_ood, scores),
        "ks": scipy_stats.ks_2samp(inside, outside).statistic,
    }  # fmt: skip
    positives = (
        (1 - is_ood, -1, "fpr95_in", "aupr_in_trapezoid"),
        (is_ood, 1, "fpr95_out", "aupr_out_trapezoid"),
    )
    for positive, sign, column, curve in positives:
        fpr, tpr, _ = sk.roc_curve(positive, sign * scores, drop_intermediate=False)
        expected[column] = fpr[np.argmax(tpr >= 0.95)]
        precision, recall, _ = sk.precision_recall_curve(positive, sign * scores)
        expected[curve] = sk.auc(recall, precision)
    for column, value in expected.items():
        assert got[column] == pytest.approx(value, abs=1e-12), column
    _, times = np.unique(scores, return_counts=True)
    assert (got["n_id"], got["n_ood"], got["n_tied"]) == (len(inside), len(outside), times[times > 1].sum())


def test_autc_is_the_area_under_both_error_curves() -> None:
    inside, outside = DRAWS["ties"]
    low, high = min(inside.min(), outside.min()), max(inside.max(), outside.max())
    thresholds = (np.arange(20000) + 0.5) / 20000  # midpoint rule, no sample lies on a midpoint
    i, o = (inside - low) / (high - low), (outside - low) / (high - low)
    fpr, fnr = (i[:, None] > thresholds).mean(), (o[:, None] <= thresholds).mean()
    assert metrics.detection_metrics(inside, outside)["autc"] == pytest.approx((fpr + fnr) / 2, abs=1e-4)
    assert "autc" not in metrics.detection_metrics(*DRAWS["all tied"])  # undefined where all scores are one


def test_overlap_is_a_share_and_does_not_change_under_monotone_transforms() -> None:
    r = np.random.default_rng(1)
    inside, outside = r.normal(size=20000), r.normal(1, 1, size=20000)
    overlap = metrics.detection_metrics(inside, outside)["overlap"]
    assert overlap == pytest.approx(
        2 * scipy_stats.norm.cdf(-0.5), abs=0.02
    )  # closed form for two unit normals one apart
    assert metrics.detection_metrics(np.exp(inside), np.exp(outside))["overlap"] == overlap
    assert metrics.detection_metrics(*DRAWS["separated"])["overlap"] == 0
    assert metrics.detection_metrics(*DRAWS["all tied"])["overlap"] == 1
