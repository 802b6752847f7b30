"""Every metric against an independent implementation: scikit-learn, SciPy, brute force over pairs or
permutations, or a closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from sklearn import metrics as sk

from oodbench.evaluation import metrics
from oodbench.evaluation.rows import ROW_KEYS

RNG = np.random.default_rng(0)
DRAWS = {
    "continuous": (RNG.normal(size=301), RNG.normal(0.7, 1.2, size=157)),
    "ties": (RNG.normal(size=301).round(1), RNG.normal(0.7, 1.2, size=157).round(1)),
    "few values": (RNG.integers(0, 3, 200).astype(float), RNG.integers(0, 4, 90).astype(float)),
    "all tied": (np.zeros(40), np.zeros(20)),
    "separated": (np.arange(30.0), np.arange(100.0, 140.0)),
    "reversed": (np.arange(100.0, 140.0), np.arange(30.0)),
    "one each": (np.array([0.3]), np.array([0.2])),
    "tiny differences": (1 - RNG.random(200) * 1e-12, 1 - RNG.random(100) * 2e-12),
    "huge": (RNG.normal(size=50) * 1e300, RNG.normal(size=60) * 1e300),
}


def test_header_is_golden() -> None:
    # results.csv is a file format: columns may be added at the end, never renamed or moved
    assert metrics.METRICS[:11] == (
        "auroc", "aupr_in", "aupr_out", "fpr95_in", "fpr95_out", "oscr", "id_accuracy", "edited_accuracy",
        "n_id", "n_ood", "n_tied",
    )  # fmt: skip
    assert metrics.METRICS[11:] == (
        "aupr_in_trapezoid", "aupr_out_trapezoid", "tpr95_in_val", "fpr95_in_val", "autc", "overlap", "ks",
        "scod_aurc", "scod_augrc",
        "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier", "max_prob_id", "max_prob_ood",
        "max_logit_id", "max_logit_ood",
        "logit_norm_id", "logit_norm_ood", "non_max_std_id", "non_max_std_ood",
        "non_max_ratio_id", "non_max_ratio_ood", "val_accuracy", "val_nll",
    )  # fmt: skip
    assert not set(metrics.METRICS) & set(ROW_KEYS)
    for names in (metrics.COUNTS, metrics.LOWER_IS_BETTER, metrics.ANALYSIS, metrics.ID_ONLY):
        assert names <= set(metrics.METRICS)


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
    with pytest.raises(ValueError, match="losses"):
        metrics.risk_coverage([1.0, 2.0], [1.0])
