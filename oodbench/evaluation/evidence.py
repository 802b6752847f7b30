"""Two rows of a leaderboard on the same samples, and everything that can be said of their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from oodbench.evaluation import statistics
from oodbench.evaluation.comparison import Group, Match, Measured
from oodbench.evaluation.metrics.arrays import Array
from oodbench.evaluation.metrics.detection import detection_metrics

Trial = tuple[str, str]
"""Split and seed."""


class SampleTest(NamedTuple):
    """Two rows on the same samples of one trial and OOD set: DeLong's test of their AUROCs, its p
    Holm-adjusted within the match."""

    split: str
    seed: str
    ood: str
    shift: str
    test: statistics.DeLong
    p_holm: float


class Evidence(NamedTuple):
    """What the scores themselves say of one match: DeLong's tests, and for near and far the bootstrap
    interval of A - B over samples, trials held fixed. `lacks` is what was missing where there is nothing: a
    group's scores, a trial of both, samples of both."""

    tests: Sequence[SampleTest]
    intervals: Mapping[str, statistics.Interval]
    lacks: Literal["", "scores", "trials", "samples"] = ""


def on_samples(a: Group, b: Group, match: Match, *, replicates: int = 1000) -> Evidence:
    """Compare the AUROCs of one match on the samples themselves.

    Args:
        a: the first group, with its per-sample scores.
        b: the second.
        match: a row of each.
        replicates: of the bootstrap.
    """
    if a.samples is None or b.samples is None:
        return Evidence([], {}, "scores")
    mine, theirs = a.samples(match.a), b.samples(match.b)
    shared = [trial for trial in mine if trial in theirs]
    if not shared:
        return Evidence([], {}, "trials")
    common = {trial: sets for trial in shared if (sets := _common(mine[trial], theirs[trial]))}
    tests = [
        _tested(trial, ood, mine[trial], theirs[trial]) for trial, sets in common.items() for ood in sets
    ]
    if not tests:
        return Evidence([], {}, "samples")
    adjusted = statistics.holm([t.test.p for t in tests])
    tests = [t._replace(p_holm=float(p)) for t, p in zip(tests, adjusted, strict=True)]
    intervals = {}
    for shift in ("near", "far"):
        of_a, of_b = (_by_split(scored, common, shift) for scored in (mine, theirs))
        if of_a and all(t.keys() == split[0].keys() for split in of_a for t in split):
            # the same seed draws the same samples for both
            drawn, other = (statistics.bootstrap_mean(of, n=replicates) for of in (of_a, of_b))
            intervals[shift] = statistics.percentile_interval(_mean(of_a) - _mean(of_b), drawn - other)
    return Evidence(tests, intervals)


def _common(mine: Mapping[str, Measured], theirs: Mapping[str, Measured]) -> list[str]:
    """The OOD sets whose samples both scored; none where their ID samples differ."""
    same = [s for s in mine if s in theirs and mine[s].digest == theirs[s].digest]
    return [s for s in same if s] if "" in same else []


def _tested(
    trial: Trial, ood: str, mine: Mapping[str, Measured], theirs: Mapping[str, Measured]
) -> SampleTest:
    test = statistics.delong(mine[""].values, mine[ood].values, theirs[""].values, theirs[ood].values)
    return SampleTest(*trial, ood, mine[ood].shift, test, test.p)


def _by_split(
    scored: Mapping[Trial, Mapping[str, Measured]], common: Mapping[Trial, Sequence[str]], shift: str
) -> list[list[dict[str, Array]]]:
    """For each split its trials, each {set: scores} of the sets of one shift, the ID test set under ""."""
    splits: dict[str, list[dict[str, Array]]] = {}
    for trial, oods in common.items():
        sets = [s for s in oods if scored[trial][s].shift == shift]
        if sets:
            splits.setdefault(trial[0], []).append({s: scored[trial][s].values for s in ("", *sets)})
    return list(splits.values())


def _mean(splits: Sequence[Sequence[Mapping[str, Array]]]) -> float:
    """AUROC: mean over splits of the mean over seeds and OOD sets."""
    return float(np.mean([np.mean([_auroc(t, s) for t in split for s in t if s]) for split in splits]))


def _auroc(trial: Mapping[str, Array], ood: str) -> float:
    return detection_metrics(trial[""], trial[ood])["auroc"]
