"""The one table of what is known of each metric: its column of results.csv, its label, its unit, which way is
better. A metric is added by a line at its end; whatever computes, averages, checks or shows it reads this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple


class Column(NamedTuple):
    """One metric column of results.csv."""

    name: str
    label: str
    """What people read."""
    unit: Literal["%", "samples", ""] = "%"
    """%: a fraction in [0, 1], shown in percent. samples: a count. Empty: a number of its own scale."""
    lower_is_better: bool | None = False
    """None: neither direction is better."""
    of: Literal["shift", "trial", "network", "sets"] = "shift"
    """What it belongs to. shift: an OOD set, averaged within near and within far. trial: a scorer on ID
    alone. network: the network alone, the same for every scorer. sets: the sizes of the sets, never
    averaged."""
    published: int = 0
    """Its place among the values that people read first and papers print; 0: not among them."""


COLUMNS: tuple[Column, ...] = (
    Column("auroc", "AUROC", published=1),
    Column("aupr_in", "AUPR (ID)", published=4),
    Column("aupr_out", "AUPR (OOD)", published=5),
    Column("fpr95_in", "FPR95 (ID)", lower_is_better=True, published=2),
    Column("fpr95_out", "FPR95 (OOD)", lower_is_better=True, published=3),
    Column("oscr", "OSCR", published=6),
    Column("id_accuracy", "ID accuracy", of="network", published=7),
    Column("edited_accuracy", "accuracy, edited", of="trial", published=8),
    Column("n_id", "ID samples", "samples", None, of="sets"),
    Column("n_ood", "OOD samples", "samples", None, of="sets"),
    Column("n_tied", "tied scores", "samples", None),
    Column("aupr_in_trapezoid", "AUPR (ID), trapezoid"),
    Column("aupr_out_trapezoid", "AUPR (OOD), trapezoid"),
    Column("tpr95_in_val", "TPR at the validation threshold", of="trial"),
    Column("fpr95_in_val", "FPR at the validation threshold", lower_is_better=True),
    Column("autc", "AUTC", lower_is_better=True),
    Column("overlap", "overlap", lower_is_better=True),
    Column("ks", "KS distance"),
    Column("scod_aurc", "SCOD AURC", lower_is_better=True),
    Column("scod_augrc", "SCOD AUGRC", lower_is_better=True),
    Column("auroc_misclassified", "misclassification AUROC", of="trial", published=9),
    Column("aurc", "AURC", lower_is_better=True, of="trial", published=10),
    Column("augrc", "AUGRC", lower_is_better=True, of="trial", published=11),
    Column("ece", "ECE", lower_is_better=True, of="network", published=12),
    Column("nll", "NLL", "", lower_is_better=True, of="network", published=13),
    Column("brier", "Brier score", "", lower_is_better=True, of="network", published=14),
    Column("max_prob_id", "max. probability (ID)", "%", None, of="network"),
    Column("max_prob_ood", "max. probability (OOD)", "%", None),
    Column("max_logit_id", "max. logit (ID)", "", None, of="network"),
    Column("max_logit_ood", "max. logit (OOD)", "", None),
    Column("logit_norm_id", "logit norm (ID)", "", None, of="network"),
    Column("logit_norm_ood", "logit norm (OOD)", "", None),
    Column("non_max_std_id", "non-maximal std (ID)", "%", None, of="network"),
    Column("non_max_std_ood", "non-maximal std (OOD)", "%", None),
    Column("non_max_ratio_id", "non-maximal ratio (ID)", "%", None, of="network"),
    Column("non_max_ratio_ood", "non-maximal ratio (OOD)", "%", None),
    Column("val_accuracy", "validation accuracy", of="network"),
    Column("val_nll", "validation NLL", "", lower_is_better=True, of="network"),
)  # fmt: skip
"""In the order of results.csv, after `rows.ROW_KEYS`. A metric that is undefined for a row is left empty."""

_BY_NAME = {c.name: c for c in COLUMNS}
_READ_FIRST = sorted((c for c in COLUMNS if c.published), key=lambda c: c.published)

METRICS = tuple(_BY_NAME)
COUNTS = frozenset(c.name for c in COLUMNS if c.unit == "samples")
FRACTIONS = frozenset(c.name for c in COLUMNS if c.unit == "%")
ID_ONLY = frozenset(c.name for c in COLUMNS if c.of in ("trial", "network"))
"""Metrics that need no OOD set; they stand in the rows whose `ood` is empty (some are repeated beside each
OOD set)."""
PER_SHIFT = tuple(c.name for c in _READ_FIRST if c.of == "shift")
PER_TRIAL = tuple(c.name for c in _READ_FIRST if c.name in ID_ONLY)
"""The metrics that people read first; MORE_PER_SHIFT and MORE_PER_TRIAL are every other one."""
MORE_PER_SHIFT = tuple(c.name for c in COLUMNS if c.of == "shift" and not c.published)
MORE_PER_TRIAL = tuple(c.name for c in COLUMNS if c.name in ID_ONLY and not c.published)
EVERY = (*PER_SHIFT, *MORE_PER_SHIFT, *PER_TRIAL, *MORE_PER_TRIAL)
"""Every metric that is averaged over trials, in the order of a leaderboard."""


def values_for(metrics: Sequence[str]) -> tuple[str, ...]:
    """The value columns that a leaderboard has for some metrics: near and far of each, then those of ID."""
    of_shift = (f"{shift}_{m}" for m in metrics if m not in ID_ONLY for shift in ("near", "far"))
    return (*of_shift, *(m for m in metrics if m in ID_ONLY))


VALUES = values_for((*PER_SHIFT, *PER_TRIAL))
"""The values of a leaderboard that people read first, and that a published table may hold."""


def column_of(value: str) -> Column | None:
    """The column behind a value of a leaderboard (near_auroc, id_accuracy); None for what is no metric."""
    return _BY_NAME.get(value.removeprefix("near_").removeprefix("far_"))


def label(value: str) -> str:
    """What people read for a value of a leaderboard: near_auroc is ``near AUROC``."""
    column, shift = column_of(value), value.partition("_")[0]
    if column is None:
        return value
    return f"{shift} {column.label}" if shift in ("near", "far") else column.label


def lower_is_better(value: str) -> bool:
    """Whether a smaller value of a leaderboard column is better."""
    column = column_of(value)
    return column is not None and bool(column.lower_is_better)


def in_percent(value: str) -> bool:
    """Whether a value of a leaderboard is a fraction, which people read in percent."""
    column = column_of(value)
    return column is not None and column.unit == "%"


def of_network(value: str) -> bool:
    """Whether a value of a leaderboard belongs to the network alone, whatever the scorer."""
    column = column_of(value)
    return column is not None and column.of == "network"
