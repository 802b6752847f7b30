"""Two rows of a leaderboard on the same samples, and everything that can be said of their difference, in
words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from oodbench.evaluation import statistics
from oodbench.evaluation.comparison import Group, Match
from oodbench.evaluation.metrics.arrays import Array
from oodbench.evaluation.metrics.detection import detection_metrics


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
    """What the scores themselves say of one match: DeLong's tests, and the bootstrap interval of A - B over
    samples, trials held fixed."""

    tests: list[SampleTest]
    intervals: dict[str, statistics.Interval]
    why: str


def on_samples(a: Group, b: Group, match: Match, *, replicates: int = 1000) -> Evidence:
    """Compare the AUROCs of one match on the samples themselves; `why` says why nothing could be, where that
    is so."""
    if a.samples is None or b.samples is None:
        return Evidence([], {}, a.why or b.why or "per-sample scores are not here")
    mine, theirs = a.samples(match.a), b.samples(match.b)
    shared = [t for t in mine if t in theirs]
    if not shared:
        return Evidence([], {}, a.why or b.why or "no trial of both has its scores in the store")
    tests = []
    common: dict[tuple[str, str], list[str]] = {}
    for trial in shared:
        x, y = mine[trial], theirs[trial]
        same = [s for s in x if s in y and x[s].digest == y[s].digest]
        if "" not in same:
            continue
        common[trial] = [s for s in same if s]
        for ood in common[trial]:
            test = statistics.delong(x[""].values, x[ood].values, y[""].values, y[ood].values)
            tests.append(SampleTest(*trial, ood, x[ood].shift, test, test.p))
    adjusted = statistics.holm([t.test.p for t in tests])
    tests = [t._replace(p_holm=float(p)) for t, p in zip(tests, adjusted, strict=True)]
    if not tests:
        return Evidence([], {}, "the two groups did not score the same samples")
    intervals = {}
    for shift in ("near", "far"):
        sides = []
        for scored in (mine, theirs):
            splits: dict[str, list[dict[str, Array]]] = {}
            for trial, oods in common.items():
                sets = [s for s in oods if scored[trial][s].shift == shift]
                if sets:
                    splits.setdefault(trial[0], []).append({s: scored[trial][s].values for s in ("", *sets)})
            sides.append(list(splits.values()))
        if sides[0] and all(t.keys() == split[0].keys() for split in sides[0] for t in split):
            # the same seed draws the same samples for both sides
            drawn = statistics.bootstrap_mean(sides[0], n=replicates) - statistics.bootstrap_mean(
                sides[1], n=replicates
            )
            means = [
                float(np.mean([np.mean([_auroc(t, s) for t in split for s in t if s]) for split in side]))
                for side in sides
            ]
            intervals[shift] = statistics.percentile_interval(means[0] - means[1], drawn)
    return Evidence(tests, intervals, "")


def _auroc(trial: Mapping[str, Array], ood: str) -> float:
    return detection_metrics(trial[""], trial[ood])["auroc"]
