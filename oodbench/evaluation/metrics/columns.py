"""What is known of each column of a table: its label, its unit, which way is better."""

from __future__ import annotations

METRICS: tuple[str, ...] = (
    "auroc", "aupr_in", "aupr_out", "fpr95_in", "fpr95_out", "oscr", "id_accuracy", "edited_accuracy", "n_id",
    "n_ood", "n_tied",
    "aupr_in_trapezoid", "aupr_out_trapezoid", "tpr95_in_val", "fpr95_in_val", "autc", "overlap", "ks",
    "scod_aurc", "scod_augrc",
    "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier",
    "max_prob_id", "max_prob_ood", "max_logit_id", "max_logit_ood", "logit_norm_id", "logit_norm_ood",
    "non_max_std_id", "non_max_std_ood", "non_max_ratio_id", "non_max_ratio_ood", "val_accuracy", "val_nll",
)  # fmt: skip
"""The metric columns of results.csv, after `base.ROW_KEYS`. A metric that is undefined for a row is left
empty."""
COUNTS = frozenset({"n_id", "n_ood", "n_tied"})
"""Metrics that count samples: integers, never averaged."""
LOWER_IS_BETTER = frozenset({
    "fpr95_in", "fpr95_out", "fpr95_in_val", "autc", "overlap", "scod_aurc", "scod_augrc", "aurc", "augrc",
    "ece", "nll", "brier",
    "val_nll",
})  # fmt: skip
ANALYSIS = frozenset(
    name for name in METRICS if name.startswith(("max_prob", "max_logit", "logit_norm", "non_max"))
)
"""Metrics that describe the network and rank nothing: neither direction is better."""
ID_ONLY = frozenset({
    "id_accuracy", "edited_accuracy", "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier",
    "tpr95_in_val",
    "max_prob_id", "max_logit_id", "logit_norm_id", "non_max_std_id", "non_max_ratio_id", "val_accuracy",
    "val_nll",
})  # fmt: skip
"""Metrics that need no OOD set; they stand in the rows whose `ood` is empty (some are repeated beside each
OOD set)."""
PER_SHIFT = ("auroc", "fpr95_in", "fpr95_out", "aupr_in", "aupr_out", "oscr")
"""The detection metrics that people read first; MORE_PER_SHIFT is every other one."""
PER_TRIAL = ("id_accuracy", "edited_accuracy", "auroc_misclassified", "aurc", "augrc", "ece", "nll", "brier")
MORE_PER_SHIFT = tuple(m for m in METRICS if m not in ID_ONLY | {"n_id", "n_ood"} and m not in PER_SHIFT)
MORE_PER_TRIAL = tuple(m for m in METRICS if m in ID_ONLY and m not in PER_TRIAL)
EVERY = (*PER_SHIFT, *MORE_PER_SHIFT, *PER_TRIAL, *MORE_PER_TRIAL)
VALUES = (*(f"{shift}_{m}" for m in PER_SHIFT for shift in ("near", "far")), *PER_TRIAL)
OF_NETWORK = ("id_accuracy", "ece", "nll", "brier", "val_accuracy", "val_nll")
"""Values of the network alone, the same for every scorer."""
LABELS = {
    "auroc": "AUROC", "fpr95_in": "FPR95 (ID)", "fpr95_out": "FPR95 (OOD)", "aupr_in": "AUPR (ID)",
    "aupr_out": "AUPR (OOD)",
    "oscr": "OSCR", "id_accuracy": "ID accuracy", "edited_accuracy": "accuracy, edited",
    "auroc_misclassified": "misclassification AUROC",
    "aurc": "AURC", "augrc": "AUGRC", "ece": "ECE", "nll": "NLL", "brier": "Brier score",
    "aupr_in_trapezoid": "AUPR (ID), trapezoid", "aupr_out_trapezoid": "AUPR (OOD), trapezoid",
    "tpr95_in_val": "TPR at the validation threshold", "fpr95_in_val": "FPR at the validation threshold",
    "autc": "AUTC",
    "overlap": "overlap", "ks": "KS distance", "scod_aurc": "SCOD AURC", "scod_augrc": "SCOD AUGRC",
    "max_prob_id": "max. probability (ID)", "max_prob_ood": "max. probability (OOD)",
    "max_logit_id": "max. logit (ID)",
    "max_logit_ood": "max. logit (OOD)", "logit_norm_id": "logit norm (ID)",
    "logit_norm_ood": "logit norm (OOD)",
    "non_max_std_id": "non-maximal std (ID)", "non_max_std_ood": "non-maximal std (OOD)",
    "non_max_ratio_id": "non-maximal ratio (ID)",
    "non_max_ratio_ood": "non-maximal ratio (OOD)", "val_accuracy": "validation accuracy",
    "val_nll": "validation NLL",
    "n_tied": "tied scores",
}  # fmt: skip
"""What people read for a metric."""
NO_PERCENT = frozenset(
    {"nll", "brier", "val_nll", "n_tied", *(m for m in ANALYSIS if m.startswith(("max_logit", "logit_norm")))}
)
"""Metrics that are no fraction: people read them as they are."""
FRACTIONS = (
    frozenset(METRICS)
    - COUNTS
    - {"nll", "brier", "val_nll"}
    - {m for m in METRICS if m.startswith(("max_logit", "logit_norm"))}
)


def label(value: str) -> str:
    """What people read for a column of a leaderboard: near_auroc is ``near AUROC``."""
    shift, _, metric = value.partition("_")
    return f"{shift} {LABELS.get(metric, metric)}" if shift in ("near", "far") else LABELS.get(value, value)


def lower_is_better(value: str) -> bool:
    """Whether a smaller value of a leaderboard column is better."""
    return value.removeprefix("near_").removeprefix("far_") in LOWER_IS_BETTER
