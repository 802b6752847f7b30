"""Smoothing that looks at the logits or at the samples before: against slow references."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.method import Method
from tests.training.methods.common import (
    CLASSES,
    EXTREMES,
    Loop,
    assert_criterion,
    assert_finite,
    assert_gradient,
    ce,
    data,
    dot,
    made,
    mean,
    names,
    rows,
    softmax,
)


def acls(alpha: float, pos: float, neg: float, margin: float) -> Loop:
    def loss(z: list[float], y: int) -> float:
        top = max(z)
        others = [v for v in z if v != top]
        push = mean([max(0.0, top - v - margin) ** 2 for v in others])
        return ce(z, y) + alpha * (pos * max(0.0, top - margin) ** 2 + neg * push)

    return loss


def zipf(lam: float) -> Loop:
    def loss(z: list[float], y: int) -> float:
        rest = [v for c, v in enumerate(z) if c != y]
        r = softmax(rest)
        total = sum(1 / k for k in range(1, len(rest) + 1))
        q = [1 / (1 + sum(w > v for w in rest)) / total for v in rest]
        return ce(z, y) + lam * sum(a * math.log(a / b) for a, b in zip(q, r, strict=True))

    return loss


CASES: list[tuple[Any, Loop]] = [
    ({"acls": {"margin": 1.0, "pos": 0.3, "neg": 2.0, "alpha": 0.7}}, acls(0.7, 0.3, 2.0, 1.0)),
    ({"zipf-label-smoothing": {"lam": 0.6}}, zipf(0.6)),
]


@pytest.mark.parametrize(("spec", "loop"), CASES, ids=names)
@pytest.mark.parametrize("classes", [3, 7])
def test_criterion_is_the_loop(spec: Any, loop: Loop, classes: int) -> None:
    assert_criterion(spec, loop, classes)


@pytest.mark.parametrize("spec", [spec for spec, _ in CASES[1:]], ids=names)
def test_gradient_is_the_finite_difference(spec: Any) -> None:
    """Of all but acls, whose maximum is detached in one term: see below."""
    assert_gradient(spec)


@pytest.mark.parametrize("spec", [spec for spec, _ in CASES], ids=names)
@pytest.mark.parametrize("logits", EXTREMES.values(), ids=EXTREMES)
def test_extremes_are_finite(spec: Any, logits: list[float]) -> None:
    assert_finite(spec, logits)


def test_acls_gradient_is_that_of_a_frozen_maximum() -> None:
    method: Method = registry.build("method", {"acls": {"margin": 0.5, "pos": 0.0, "neg": 2.0, "alpha": 0.7}})
    logits = 3 * torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(6) % 5
    top = logits.amax(1, keepdim=True)

    def frozen(z: torch.Tensor) -> torch.Tensor:
        push = (top - z - 0.5).relu().square() * (z.detach() != top)
        return torch.nn.functional.cross_entropy(z, labels, reduction="none") + 0.7 * 2 * push.sum(1) / 4

    z = logits.requires_grad_()
    assert torch.autograd.gradcheck(frozen, (z,))
    one = torch.autograd.grad(method.criterion(z, labels).sum(), z)[0]
    torch.testing.assert_close(one, torch.autograd.grad(frozen(z).sum(), z)[0])


def test_online_label_smoothing_learns_last_periods_mean_of_correct_samples() -> None:
    network, method = made({"online-label-smoothing": {"alpha": 0.3, "updates": 4}})
    state = network.online_label_smoothing
    network.body.eval()
    network.head.eval()
    network.training = True  # gathers, while batch norm stands still
    batch = data(20)
    with torch.no_grad():
        p = torch.softmax(network(batch.inputs), dim=1)
    hard = mean([-math.log(q[y]) for q, y in zip(rows(p), batch.labels.tolist(), strict=True)])

    def soft(targets: list[list[float]]) -> float:
        return mean(
            [
                -dot(targets[y], [math.log(v) for v in q])
                for q, y in zip(rows(p), batch.labels.tolist(), strict=True)
            ]
        )

    uniform = [[1 / CLASSES] * CLASSES for _ in range(CLASSES)]
    for progress in (0.0, 0.1, 0.2):
        loss = float(method.loss(network, batch._replace(progress=progress)).detach())
        assert loss == pytest.approx(0.3 * hard + 0.7 * soft(uniform))
    learnt = copy.deepcopy(uniform)
    for y in range(CLASSES):
        right = [
            q
            for q, label in zip(rows(p), batch.labels.tolist(), strict=True)
            if label == y and q.index(max(q)) == y
        ]
        if right:
            learnt[y] = [mean([q[c] for q in right]) for c in range(CLASSES)]
    assert learnt != uniform
    loss = float(method.loss(network, batch._replace(progress=0.25)).detach())
    assert loss == pytest.approx(0.3 * hard + 0.7 * soft(learnt), rel=1e-5)
    assert state.counts.sum() == sum(
        int(q.index(max(q)) == y) for q, y in zip(rows(p), batch.labels.tolist(), strict=True)
    )
    before = state.sums.clone()
    network.training = False
    method.loss(network, batch._replace(progress=0.3))
    assert torch.equal(before, state.sums)
