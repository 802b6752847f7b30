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


def test_the_values_of_a_leaderboard_are_golden() -> None:
    shifts = ("auroc", "fpr95_in", "fpr95_out", "aupr_in", "aupr_out", "oscr")
    alone = (
        "id_accuracy", "edited_accuracy", "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier",
    )  # fmt: skip
    assert (*(f"{kind}_{m}" for m in shifts for kind in ("near", "far")), *alone) == metrics.VALUES
    assert metrics.EVERY[:6] == shifts
    assert set(metrics.METRICS) - set(metrics.EVERY) == {"n_id", "n_ood"}


def test_what_a_value_means_is_read_from_its_column() -> None:
    assert metrics.label("near_auroc") == "near AUROC"
    assert metrics.label("id_accuracy") == "ID accuracy"
    assert metrics.label("fit_seconds") == "fit_seconds"  # no metric
    assert metrics.lower_is_better("far_fpr95_in")
    assert metrics.lower_is_better("val_nll")
    assert not metrics.lower_is_better("near_auroc")
    assert not metrics.lower_is_better("max_logit_id")  # neither direction is better
    assert metrics.in_percent("near_auroc")
    assert not metrics.in_percent("nll")
    assert not metrics.in_percent("near_n_tied")
    assert {"ece", "val_accuracy"} <= metrics.FRACTIONS
    assert not metrics.FRACTIONS & (metrics.COUNTS | {"brier", "nll", "logit_norm_id"})
    assert {c.name for c in metrics.COLUMNS if c.of == "sets"} == {"n_id", "n_ood"}
    places = [c.published for c in metrics.COLUMNS if c.published]
    assert sorted(places) == list(range(1, len(places) + 1))
