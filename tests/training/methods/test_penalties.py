"""Penalties on logits, against slow loops in plain Python."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.method import Batch, Method
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

CASES: list[tuple[Any, Loop]] = [
    ("maxsup", lambda z, y: ce(z, y) + 0.1 * (max(z) - mean(z))),
    (
        {"mbls": {"margin": 1.0, "alpha": 0.7}},
        lambda z, y: ce(z, y) + 0.7 * mean([max(0.0, max(z) - v - 1.0) for v in z]),
    ),
    (
        {"confidence-penalty": {"beta": 0.4}},
        lambda z, y: ce(z, y) + 0.4 * sum(p * math.log(p) for p in softmax(z)),
    ),
    ("focal", lambda z, y: (1 - softmax(z)[y]) ** 2 * ce(z, y)),
    ({"focal": {"gamma": 0.5}}, lambda z, y: math.sqrt(1 - softmax(z)[y]) * ce(z, y)),
    ({"poly-1": {"epsilon": 2.0}}, lambda z, y: ce(z, y) + 2 * (1 - softmax(z)[y])),
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


def test_maxsup_grows_with_progress() -> None:
    method: Method = registry.build("method", {"maxsup": {"alpha": 0.5, "alpha_end": 1.5}})
    net = set_up(method).eval()
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    logits = net(x)
    for progress, alpha in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5)):
        expected = (
            torch.nn.functional.cross_entropy(logits, y) + alpha * (logits.amax(1) - logits.mean(1)).mean()
        )
        torch.testing.assert_close(method.loss(net, Batch(x, y, progress=progress)), expected)
