"""Cross-entropy and label smoothing, against slow loops in plain Python."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.training.methods.common import (
    EXTREMES,
    Loop,
    assert_criterion,
    assert_finite,
    assert_gradient,
    ce,
    names,
    softmax,
)


def smoothed(epsilon: float) -> Loop:
    def loss(z: list[float], y: int) -> float:
        p, n = softmax(z), len(z)
        return -sum(((1 - epsilon) * (c == y) + epsilon / n) * math.log(p[c]) for c in range(n))

    return loss


CASES: list[tuple[Any, Loop]] = [
    ("cross-entropy", ce),
    ({"label-smoothing": {"epsilon": 0.3}}, smoothed(0.3)),
]


@pytest.mark.parametrize(("spec", "loop"), CASES, ids=names)
@pytest.mark.parametrize("classes", [3, 7])
def test_criterion_is_the_loop(spec: Any, loop: Loop, classes: int) -> None:
    assert_criterion(spec, loop, classes)


@pytest.mark.parametrize("spec", [spec for spec, _ in CASES], ids=names)
def test_gradient_is_the_finite_difference(spec: Any) -> None:
    assert_gradient(spec)


@pytest.mark.parametrize("spec", [spec for spec, _ in CASES], ids=names)
@pytest.mark.parametrize("logits", EXTREMES.values(), ids=EXTREMES)
def test_extremes_are_finite(spec: Any, logits: list[float]) -> None:
    assert_finite(spec, logits)
