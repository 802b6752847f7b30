"""Statistics over trials, within one trial, and over ranks."""

from oodbench.evaluation.statistics.ranking import Ranking, blocks, rank_blocks, win_tie_loss
from oodbench.evaluation.statistics.trials import (
    NAN,
    Interval,
    Paired,
    Welch,
    against,
    holm,
    paired_differences,
    paired_trials,
    sign_test,
    t_interval,
    welch,
)
from oodbench.evaluation.statistics.within_trial import (
    DeLong,
    bootstrap,
    bootstrap_mean,
    delong,
    percentile_interval,
    resampling_weights,
)

__all__ = [
    "NAN",
    "DeLong",
    "Interval",
    "Paired",
    "Ranking",
    "Welch",
    "against",
    "blocks",
    "bootstrap",
    "bootstrap_mean",
    "delong",
    "holm",
    "paired_differences",
    "paired_trials",
    "percentile_interval",
    "rank_blocks",
    "resampling_weights",
    "sign_test",
    "t_interval",
    "welch",
    "win_tie_loss",
]
