"""Every number of a row: detection, classification, calibration."""

from oodbench.evaluation.metrics.arrays import Array, ArrayLike, scores_array
from oodbench.evaluation.metrics.classifier import analysis, id_metrics
from oodbench.evaluation.metrics.columns import (
    ANALYSIS,
    COUNTS,
    EVERY,
    FRACTIONS,
    ID_ONLY,
    LABELS,
    LOWER_IS_BETTER,
    METRICS,
    MORE_PER_SHIFT,
    MORE_PER_TRIAL,
    NO_PERCENT,
    OF_NETWORK,
    PER_SHIFT,
    PER_TRIAL,
    VALUES,
    label,
    lower_is_better,
)
from oodbench.evaluation.metrics.detection import Counts, counts, detection_metrics
from oodbench.evaluation.metrics.risk import oscr, risk_coverage
from oodbench.evaluation.metrics.row import row_metrics

__all__ = [
    "ANALYSIS",
    "COUNTS",
    "EVERY",
    "FRACTIONS",
    "ID_ONLY",
    "LABELS",
    "LOWER_IS_BETTER",
    "METRICS",
    "MORE_PER_SHIFT",
    "MORE_PER_TRIAL",
    "NO_PERCENT",
    "OF_NETWORK",
    "PER_SHIFT",
    "PER_TRIAL",
    "VALUES",
    "Array",
    "ArrayLike",
    "Counts",
    "analysis",
    "counts",
    "detection_metrics",
    "id_metrics",
    "label",
    "lower_is_better",
    "oscr",
    "risk_coverage",
    "row_metrics",
    "scores_array",
]
