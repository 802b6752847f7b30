"""What the samples say of a comparison, on a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oodbench.evaluation import comparison, evidence
from oodbench.evaluation.comparison import Group, Match, Measured
from oodbench.evaluation.leaderboard import over_trials
from oodbench.report.evidence import lines
from tests.cli.test_results import made, ok
from tests.evaluation.frames import make_rows

__all__ = ["made"]


def test_samples_of_a_real_run_give_delong_and_bootstrap(made: Path) -> None:
    text = ok(
        "compare",
        made,
        "--where",
        "scorer=knn*",
        "--where-b",
        "scorer=msp",
        "--tests",
        "--values",
        "near_auroc",
    )
    assert text.count("  DeLong, unknown-digits, split ") == 4
    assert "On samples, near AUROC: " in text
    a, b = comparison.groups(
        made, None, ["scorer=knn*", "method=cross-entropy"], ["scorer=msp", "method=cross-entropy"]
    )
    from oodbench.runs import reopen

    whole = reopen.with_samples(a, made), reopen.with_samples(b, made)
    (match,) = comparison.between(*whole, ["near_auroc"], by=())
    found = evidence.on_samples(*whole, match, replicates=200)
    assert match.differences["near_auroc"].value == pytest.approx(found.intervals["near"].value, abs=1e-9)
    near = [t.test.difference for t in found.tests if t.shift == "near"]
    assert match.differences["near_auroc"].value == pytest.approx(float(np.mean(near)), abs=1e-9)
    assert all(t.p_holm >= t.test.p for t in found.tests)
    assert found.intervals["near"].low < found.intervals["near"].value < found.intervals["near"].high
    assert "A: digits / mlp(hidden=[16]) / cross-entropy / knn(k=5)" in lines(
        *whole, match, ["near_auroc"], found
    )


@pytest.mark.parametrize(
    ("theirs", "lacks"),
    [(None, "scores"), ({}, "trials"), ({("0", "0"): {"": ("other", "id"), "x": ("x", "near")}}, "samples")],
)
def test_what_was_missing_is_told(theirs: Any, lacks: str) -> None:
    def scores(trials: Any) -> Any:
        values = np.linspace(0, 1, 5)
        return {at: {s: Measured(*of, values) for s, of in sets.items()} for at, sets in trials.items()}

    board = over_trials(make_rows(methods=("a",)))
    mine = {("0", "0"): {"": ("same", "id"), "x": ("x", "near")}}
    a = Group("a", board, None, lambda _: scores(mine))
    b = Group("b", board, None, None if theirs is None else lambda _: scores(theirs))
    found = evidence.on_samples(a, b, Match({}, {}, {}))
    assert (list(found.tests), dict(found.intervals), found.lacks) == ([], {}, lacks)
