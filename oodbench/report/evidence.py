"""One match of a comparison in words: every test that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oodbench.evaluation.comparison import Group, Match
from oodbench.evaluation.evidence import Evidence
from oodbench.evaluation.metrics.columns import label
from oodbench.report.formats import p_text, signed

_LACKS = {
    "scores": "per-sample scores are not here",
    "trials": "no trial of both has its scores in the store",
    "samples": "the two groups did not score the same samples",
}


def lines(a: Group, b: Group, match: Match, values: Sequence[str], evidence: Evidence) -> list[str]:
    """One match in words: every test over trials, then what the samples say."""
    found = [f"A: {_who(match.a)}", f"B: {_who(match.b)}"]
    for value in values:
        d = match.differences.get(value)
        if d is None or d.value != d.value:
            continue
        interval = "" if d.low != d.low else f", 95 % {signed(d.low)} to {signed(d.high)}"
        over = (
            f", paired over {d.n} {d.unit}s"
            if d.unit and d.n > 1
            else f", one {d.unit}: no interval"
            if d.unit
            else ""
        )
        tests = [
            f"{test} p = {p_text(p)}"
            for test, p in (("t test", d.p), ("sign test", d.p_sign), ("Wilcoxon", d.p_wilcoxon))
            if p == p
        ]
        tests += [f"no Wilcoxon test below 6 {d.unit}s"] if d.unit and d.p_wilcoxon != d.p_wilcoxon else []
        counts = f"; A better in {d.wins}, equal in {d.ties}, worse in {d.losses}" if d.unit else ""
        found.append(f"{label(value)}: {signed(d.value)}{interval}{over}{counts}; " + ", ".join(tests))
    if evidence.lacks:
        why = (evidence.lacks != "samples" and (a.why or b.why)) or _LACKS[evidence.lacks]
        return [*found, f"On samples: cannot be said here: {why}"]
    for shift, i in evidence.intervals.items():
        text = f"{signed(i.value)}, 95 % {signed(i.low)} to {signed(i.high)}"
        found.append(
            f"On samples, {shift} AUROC: {text} (bootstrap over samples, {i.n} replicates, these trials held"
            " fixed)"
        )
    for t in evidence.tests:
        where_at = ", ".join(x for x in (f"split {t.split}" if t.split else "", f"seed {t.seed}") if x)
        text = (
            f"{signed(t.test.difference)}, 95 % {signed(t.test.low)} to {signed(t.test.high)}, p (Holm)"
            f" {p_text(t.p_holm)}"
        )
        found.append(f"  DeLong, {t.ood}, {where_at}: {text}")
    return found


def _who(row: Mapping[str, Any]) -> str:
    return " / ".join(str(row[k]) for k in ("pair", "network", "method", "scorer") if str(row.get(k, "")))
