"""The table of columns: the header of results.csv is a file format."""

from __future__ import annotations

from oodbench.evaluation import metrics
from oodbench.evaluation.rows import ROW_KEYS


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
