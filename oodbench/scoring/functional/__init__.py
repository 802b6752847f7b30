"""Functions that several scores share: streamed, in blocks, the same on every device."""

from oodbench.scoring.functional.covariance import Moments, class_means, moments, whitening
from oodbench.scoring.functional.logits import (
    energy,
    log_odds,
    log_one_minus_max_probability,
    log_upper_gamma,
    ratio,
    top_share,
    wide,
)
from oodbench.scoring.functional.neighbours import Bank, bank, normalised, similarities, unit_features
from oodbench.scoring.functional.stages import stage_objection, stage_outputs, with_stage
from oodbench.scoring.functional.streams import (
    BLOCK,
    blocks,
    column_percentiles,
    evenly_spaced,
    order_statistics,
    percentile,
)

__all__ = [
    "BLOCK",
    "Bank",
    "Moments",
    "bank",
    "blocks",
    "class_means",
    "column_percentiles",
    "energy",
    "evenly_spaced",
    "log_odds",
    "log_one_minus_max_probability",
    "log_upper_gamma",
    "moments",
    "normalised",
    "order_statistics",
    "percentile",
    "ratio",
    "similarities",
    "stage_objection",
    "stage_outputs",
    "top_share",
    "unit_features",
    "whitening",
    "wide",
    "with_stage",
]
