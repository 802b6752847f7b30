"""Adaptive label smoothing: against a slow loop, and what it does to the maximal logit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from tests.training.methods.common import (
    EXTREMES,
    Loop,
    assert_criterion,
    assert_finite,
    assert_gradient,
    ce,
    mean,
    names,
    set_up,
    softmax,
)


def als(lam: float, k: str, std: str, only_correct: bool) -> Loop:
    def loss(z: list[float], y: int) -> float:
        p = softmax(z)
        predicted = z.index(max(z))
        rest = [p[j] for j in range(len(p)) if j != (predicted if k == "argmax" else y)]
        m = mean(rest)
        variance = sum((r - m) ** 2 for r in rest) / (len(rest) - (std == "unbiased"))
        return ce(z, y) + lam * math.sqrt(variance) * (predicted == y or not only_correct)

    return loss


CASES: list[tuple[Any, Loop]] = [
    ({"als": {"lam": 2.5, "k": k, "std": std, "only_correct": only}}, als(2.5, k, std, only))
    for k in ("argmax", "label")
    for std in ("unbiased", "biased")
    for only in (False, True)
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


def test_als_raises_the_maximal_logit_where_label_smoothing_lowers_it() -> None:
    logits = torch.tensor([[6.0, 1.0, 0.0, -2.0]], requires_grad=True)
    labels = torch.tensor([0])
    gradient: dict[str, float] = {}
    for name in ("als", "label-smoothing", "cross-entropy"):
        (g,) = torch.autograd.grad(registry.build("method", name).criterion(logits, labels).sum(), logits)
        gradient[name] = float(g[0, 0])
    assert gradient["als"] < gradient["cross-entropy"] < gradient["label-smoothing"]


def test_als_has_no_gradient_beyond_cross_entropy_where_the_rest_is_equal() -> None:
    logits = torch.tensor([[3.0, 1.0, 1.0, 1.0]], requires_grad=True)
    grads = [
        torch.autograd.grad(registry.build("method", m).criterion(logits, torch.tensor([0])).sum(), logits)[0]
        for m in ("als", "cross-entropy")
    ]
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("k", ["argmax", "label"])
def test_als_has_a_finite_gradient_however_far_the_others_have_underflowed(k: str) -> None:
    """Probabilities between 1e-45 and 1e-37 once gave a standard deviation too small to divide by: the
    gradient was NaN."""
    gap = torch.arange(0.0, 240.0, 0.5).unsqueeze(1)
    logits = torch.cat(
        [gap, torch.tensor([0.0, -1.0, 0.5, -0.7, 0.2]).expand(len(gap), 5)], dim=1
    ).requires_grad_()
    method = registry.build("method", {"als": {"lam": 1000, "k": k}})
    loss = method.criterion(logits, torch.zeros(len(gap), dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


def test_als_refuses_two_classes() -> None:
    with pytest.raises(NotApplicable, match="at least 3 classes"):
        set_up(registry.build("method", "als"), classes=2)
    with pytest.raises(NotApplicable, match="at least 3 classes"):
        set_up(registry.build("method", {"logitnorm": {"of": "als"}}), classes=2)
