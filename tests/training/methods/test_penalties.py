"""Criteria of logits and labels against slow loops in plain Python, and their gradients against finite
differences in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.training.initialise import fresh_weights

Loop = Callable[[list[float], int], float]


def softmax(z: list[float]) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


def ce(z: list[float], y: int) -> float:
    return -math.log(softmax(z)[y])


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def als(lam: float, k: str, std: str, only_correct: bool) -> Loop:
    def loss(z: list[float], y: int) -> float:
        p = softmax(z)
        predicted = z.index(max(z))
        rest = [p[j] for j in range(len(p)) if j != (predicted if k == "argmax" else y)]
        m = mean(rest)
        variance = sum((r - m) ** 2 for r in rest) / (len(rest) - (std == "unbiased"))
        return ce(z, y) + lam * math.sqrt(variance) * (predicted == y or not only_correct)

    return loss


def smoothed(epsilon: float) -> Loop:
    def loss(z: list[float], y: int) -> float:
        p, n = softmax(z), len(z)
        return -sum(((1 - epsilon) * (c == y) + epsilon / n) * math.log(p[c]) for c in range(n))

    return loss


def normed(inner: Loop, tau: float) -> Loop:
    def loss(z: list[float], y: int) -> float:
        norm = math.sqrt(sum(v * v for v in z)) + 1e-7
        return inner([v / norm / tau for v in z], y)

    return loss


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
    ("cross-entropy", ce),
    ({"label-smoothing": {"epsilon": 0.3}}, smoothed(0.3)),
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
    ("logitnorm", normed(ce, 0.04)),
    ({"acls": {"margin": 1.0, "pos": 0.3, "neg": 2.0, "alpha": 0.7}}, acls(0.7, 0.3, 2.0, 1.0)),
    ({"zipf-label-smoothing": {"lam": 0.6}}, zipf(0.6)),
    (
        {"logitnorm": {"tau": 0.5, "of": {"als": {"lam": 3}}}},
        normed(als(3, "argmax", "unbiased", False), 0.5),
    ),
]
for k in ("argmax", "label"):
    for std in ("unbiased", "biased"):
        for only in (False, True):
            CASES.append(
                ({"als": {"lam": 2.5, "k": k, "std": std, "only_correct": only}}, als(2.5, k, std, only))
            )


def names(value: Any) -> str | None:
    return registry.resolve("method", value).label if isinstance(value, (str, dict)) else None


@pytest.mark.parametrize(("spec", "loop"), CASES, ids=names)
@pytest.mark.parametrize("classes", [3, 7])
def test_criterion_is_the_loop(spec: Any, loop: Loop, classes: int) -> None:
    method: Method = registry.build("method", spec)
    logits = 3 * torch.randn(40, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(40) % classes
    expected = [loop(z, y) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    torch.testing.assert_close(
        method.criterion(logits, labels), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(("spec", "loop"), CASES, ids=names)
def test_gradient_is_the_finite_difference(spec: Any, loop: Loop) -> None:
    if "acls" in spec:
        pytest.skip("its maximum is detached in one term; see below")
    method: Method = registry.build("method", spec)
    logits = 2 * torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(6) % 5
    assert torch.autograd.gradcheck(lambda z: method.criterion(z, labels), (logits.requires_grad_(),))


@pytest.mark.parametrize(("spec", "loop"), CASES, ids=names)
@pytest.mark.parametrize(
    "rows",
    [[[1e4, -1e4, 0.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]], [[50.0, 0.0, 0.0, 0.0]], [[-1e4, 1e4, -1e4, -1e4]]],
    ids=["wide", "equal", "sure", "sure and wrong"],
)
def test_extremes_are_finite(spec: Any, loop: Loop, rows: list[list[float]]) -> None:
    logits = torch.tensor(rows, requires_grad=True)
    value = registry.build("method", spec).criterion(logits, torch.tensor([0]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def network(method: Method, classes: int = 4) -> Network:
    return fresh_weights("small-cnn", method, Task("image", (1, 8, 8), classes, (0.3,), (0.3,)), 0)


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
        network(registry.build("method", "als"), classes=2)
    with pytest.raises(NotApplicable, match="at least 3 classes"):
        network(registry.build("method", {"logitnorm": {"of": "als"}}), classes=2)


def test_maxsup_grows_with_progress() -> None:
    method: Method = registry.build("method", {"maxsup": {"alpha": 0.5, "alpha_end": 1.5}})
    net = network(method).eval()
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    logits = net(x)
    for progress, alpha in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5)):
        expected = (
            torch.nn.functional.cross_entropy(logits, y) + alpha * (logits.amax(1) - logits.mean(1)).mean()
        )
        torch.testing.assert_close(method.loss(net, Batch(x, y, progress=progress)), expected)


def test_logitnorm_ignores_the_scale_of_logits() -> None:
    method: Method = registry.build("method", "logitnorm")
    logits, labels = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 5
    torch.testing.assert_close(
        method.criterion(logits, labels), method.criterion(1000 * logits, labels), rtol=1e-5, atol=1e-5
    )


def test_logitnorm_refuses_what_is_no_criterion() -> None:
    with pytest.raises(NotApplicable, match="of: maxsup is no criterion"):
        network(registry.build("method", {"logitnorm": {"of": "maxsup"}}))
