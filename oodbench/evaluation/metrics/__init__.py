"""Every number of a row: detection, classification, calibration."""

from oodbench.evaluation.metrics.arrays import Array, ArrayLike, scores_array
from oodbench.evaluation.metrics.classifier import analysis, id_metrics
from oodbench.evaluation.metrics.columns import (
    COLUMNS,
    COUNTS,
    EVERY,
    FRACTIONS,
    ID_ONLY,
    METRICS,
    MORE_PER_SHIFT,
    MORE_PER_TRIAL,
    PER_SHIFT,
    PER_TRIAL,
    VALUES,
    Column,
    in_percent,
    label,
    lower_is_better,
)
from oodbench.evaluation.metrics.detection import Counts, counts, detection_metrics
from oodbench.evaluation.metrics.risk import oscr, risk_coverage
from oodbench.evaluation.metrics.row import row_metrics

__all__ = [
    "COLUMNS",
    "COUNTS",
    "EVERY",
    "FRACTIONS",
    "ID_ONLY",
    "METRICS",
    "MORE_PER_SHIFT",
    "MORE_PER_TRIAL",
    "PER_SHIFT",
    "PER_TRIAL",
    "VALUES",
    "Array",
    "ArrayLike",
    "Column",
    "Counts",
    "analysis",
    "counts",
    "detection_metrics",
    "id_metrics",
    "in_percent",
    "label",
    "lower_is_better",
    "oscr",
    "risk_coverage",
    "row_metrics",
    "scores_array",
]
