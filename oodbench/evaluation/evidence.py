"""Two rows of a leaderboard on the same samples, and everything that can be said of their difference, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from oodbench.evaluation.comparison import Match, Side
from oodbench.evaluation.leaderboard import label
from oodbench.evaluation.metrics.detection import Array, detection_metrics
from oodbench.evaluation.statistics import trials as stats
from oodbench.report.formats import p_text, signed


class SampleTest(NamedTuple):
    """Two rows on the same samples of one trial and OOD set: DeLong's test of their AUROCs, its p Holm-adjusted within the match."""

    split: str
    seed: str
    ood: str
    shift: str
    test: stats.DeLong
    p_holm: float


class Evidence(NamedTuple):
    """What the scores themselves say of one match: DeLong's tests, and the bootstrap interval of A - B over samples, trials held fixed."""

    tests: list[SampleTest]
    intervals: dict[str, stats.Interval]
    why: str


def on_samples(a: Side, b: Side, match: Match, *, replicates: int = 1000) -> Evidence:
    """Compare the AUROCs of one match on the samples themselves; `why` says why nothing could be, where that is so."""
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
            test = stats.delong(x[""].values, x[ood].values, y[""].values, y[ood].values)
            tests.append(SampleTest(*trial, ood, x[ood].shift, test, test.p))
    adjusted = stats.holm([t.test.p for t in tests])
    tests = [t._replace(p_holm=float(p)) for t, p in zip(tests, adjusted, strict=True)]
    if not tests:
        return Evidence([], {}, "the two sides did not score the same samples")
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
            drawn = stats.bootstrap_mean(sides[0], n=replicates) - stats.bootstrap_mean(sides[1], n=replicates)
            means = [float(np.mean([np.mean([_auroc(t, s) for t in split for s in t if s]) for split in side])) for side in sides]
            intervals[shift] = stats.percentile_interval(means[0] - means[1], drawn)
    return Evidence(tests, intervals, "")


def _auroc(trial: Mapping[str, Array], ood: str) -> float:
    return detection_metrics(trial[""], trial[ood])["auroc"]


def lines(match: Match, values: Sequence[str], evidence: Evidence) -> list[str]:
    """One match in words: every test over trials, then what the samples say."""
    found = [f"A: {_who(match.a)}", f"B: {_who(match.b)}"]
    for value in values:
        d = match.differences.get(value)
        if d is None or d.value != d.value:
            continue
        interval = "" if d.low != d.low else f", 95 % {signed(d.low)} to {signed(d.high)}"
        over = f", paired over {d.n} {d.unit}s" if d.unit and d.n > 1 else f", one {d.unit}: no interval" if d.unit else ""
        tests = [f"{test} p = {p_text(p)}" for test, p in (("t test", d.p), ("sign test", d.p_sign), ("Wilcoxon", d.p_wilcoxon)) if p == p]
        tests += [f"no Wilcoxon test below 6 {d.unit}s"] if d.unit and d.p_wilcoxon != d.p_wilcoxon else []
        counts = f"; A better in {d.wins}, equal in {d.ties}, worse in {d.losses}" if d.unit else ""
        found.append(f"{label(value)}: {signed(d.value)}{interval}{over}{counts}; " + ", ".join(tests))
    if evidence.why:
        return [*found, f"On samples: cannot be said here: {evidence.why}"]
    for shift, i in evidence.intervals.items():
        text = f"{signed(i.value)}, 95 % {signed(i.low)} to {signed(i.high)}"
        found.append(f"On samples, {shift} AUROC: {text} (bootstrap over samples, {i.n} replicates, these trials held fixed)")
    for t in evidence.tests:
        where_at = ", ".join(x for x in (f"split {t.split}" if t.split else "", f"seed {t.seed}") if x)
        text = f"{signed(t.test.difference)}, 95 % {signed(t.test.low)} to {signed(t.test.high)}, p (Holm) {p_text(t.p_holm)}"
        found.append(f"  DeLong, {t.ood}, {where_at}: {text}")
    return found


def _who(row: Mapping[str, Any]) -> str:
    return " / ".join(str(row[k]) for k in ("pair", "network", "method", "scorer") if str(row.get(k, "")))
