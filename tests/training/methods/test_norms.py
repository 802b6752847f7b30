"""Losses with norms, distances and angles in them: against slow references on a whole network."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.data.contract import toy_images
from oodbench.training.contract import toy_network
from tests.training.methods.common import (
    CLASSES,
    EXTREMES,
    TASK,
    Loop,
    assert_criterion,
    assert_finite,
    assert_gradient,
    ce,
    data,
    dot,
    gradcheck,
    made,
    mean,
    names,
    norm,
    rng,
    rows,
    set_up,
    softmax,
)


def smoothed(z: list[float], y: int) -> float:
    """Cross-entropy against 0.7 of the label and 0.3 of the uniform distribution."""
    p = softmax(z)
    return -sum((0.7 * (c == y) + 0.3 / len(p)) * math.log(p[c]) for c in range(len(p)))


def normed(inner: Loop, tau: float) -> Loop:
    def loss(z: list[float], y: int) -> float:
        norm = math.sqrt(sum(v * v for v in z)) + 1e-7
        return inner([v / norm / tau for v in z], y)

    return loss


CASES: list[tuple[Any, Loop]] = [
    ("logitnorm", normed(ce, 0.04)),
    ({"logitnorm": {"tau": 0.5, "of": {"label-smoothing": {"epsilon": 0.3}}}}, normed(smoothed, 0.5)),
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


def test_logitnorm_ignores_the_scale_of_logits() -> None:
    method: Method = registry.build("method", "logitnorm")
    logits, labels = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 5
    torch.testing.assert_close(
        method.criterion(logits, labels), method.criterion(1000 * logits, labels), rtol=1e-5, atol=1e-5
    )


def test_logitnorm_refuses_what_is_no_criterion() -> None:
    with pytest.raises(NotApplicable, match="of: maxsup is no criterion"):
        set_up(registry.build("method", {"logitnorm": {"of": "maxsup"}}))


def test_elogitnorm_divides_by_the_mean_distance_to_the_boundaries() -> None:
    network, method = made("elogitnorm")
    batch = data()
    w = rows(network.head.weight)
    expected = []
    for f, z, y in zip(
        rows(network.features(batch.inputs)), rows(network(batch.inputs)), batch.labels.tolist(), strict=True
    ):
        k = z.index(max(z))
        distances = []
        for c in range(CLASSES):  # distance of the feature to the hyperplane where z_k = z_c
            if c != k:
                normal = [a - b for a, b in zip(w[k], w[c], strict=True)]
                bias = float((network.head.bias[k] - network.head.bias[c]).detach())
                distances.append(abs(dot(normal, f) + bias) / norm(normal))
        d = sum(distances) / CLASSES
        expected.append(ce([v / d for v in z], y))
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(expected), rel=1e-4)
    gradcheck(network.eval(), lambda: method.loss(network, batch))


def test_t2fnorm_forgets_the_norm_in_training_and_keeps_it_after() -> None:
    network, method = made({"t2fnorm": {"tau": 0.5}})
    batch = data()
    w, b = rows(network.head.linear.weight), network.head.linear.bias.tolist()
    network.body.eval()
    features = rows(network.features(batch.inputs))
    expected = mean(
        [
            ce([dot(row, f) / norm(f) / 0.5 + bias for row, bias in zip(w, b, strict=True)], y)
            for f, y in zip(features, batch.labels.tolist(), strict=True)
        ]
    )
    assert float(method.loss(network, batch).detach()) == pytest.approx(expected)
    gradcheck(network, lambda: method.loss(network, batch))
    network.eval()
    after = [[dot(row, f) / 0.5 + bias for row, bias in zip(w, b, strict=True)] for f in features]
    torch.testing.assert_close(network(batch.inputs), torch.tensor(after, dtype=torch.float64))
    assert network.linear_head() is None


def test_isomax_plus_is_cross_entropy_of_scaled_distances() -> None:
    network, method = made({"isomax+": {"scale": 7.0}})
    with torch.no_grad():
        network.head.scale.fill_(-1.5)  # its absolute value counts
    batch = data()
    network.eval()
    unit = [[v / norm(p) for v in p] for p in rows(network.head.prototypes)]
    expected = []
    for f, y in zip(rows(network.features(batch.inputs)), batch.labels.tolist(), strict=True):
        g = [v / norm(f) for v in f]
        expected.append(ce([-7 * 1.5 * norm([a - b for a, b in zip(g, p, strict=True)]) for p in unit], y))
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(expected))
    gradcheck(network, lambda: method.loss(network, batch))


@pytest.mark.parametrize("name", ["elogitnorm", "t2fnorm", "isomax+", "godin"])
def test_a_head_that_is_not_linear_is_refused(name: str) -> None:
    network = Network(TASK, nn.Flatten(), nn.Sequential(nn.Linear(64, CLASSES)))
    with pytest.raises(NotApplicable, match="linear head, got Sequential"):
        registry.build("method", name).setup(network)


def test_godin_divides_h_by_g() -> None:
    network, method = made("godin")
    network.eval()
    with torch.no_grad():  # statistics as after some training
        network.heads["godin"][1].running_mean.fill_(0.1)
        network.heads["godin"][1].running_var.fill_(2.0)
    batch = data()
    a, bias = rows(network.heads["godin"][0].weight)[0], float(network.heads["godin"][0].bias.detach())
    expected = []
    for f, y in zip(rows(network.features(batch.inputs)), batch.labels.tolist(), strict=True):
        g = 1 / (1 + math.exp(-(dot(a, f) + bias - 0.1) / math.sqrt(2 + 1e-5)))
        h = [dot(f, w) / (norm(f) + 1e-4) / (norm(w) + 1e-4) for w in rows(network.head.weight)]
        expected.append(ce([v / g for v in h], y))
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(expected))
    gradcheck(network, lambda: method.loss(network, batch))


def test_godin_scorer_reads_h_or_g() -> None:
    outputs = Outputs(torch.eye(3, 4), extras={"godin": torch.tensor([[0.2], [0.9], [0.5]])})
    assert registry.build("scorer", {"godin": {"part": "g"}}).score(outputs).tolist() == pytest.approx(
        [-0.2, -0.9, -0.5]
    )
    scorer = registry.build("scorer", {"godin": {"epsilon": 0.01}})
    network = toy_network("godin")
    x = toy_images(8).images
    moved = scorer.view()(network, x, rng())["score-perturbation.score"]
    plain = -network(x).amax(dim=1)
    assert bool((moved <= plain + 1e-6).all())
    assert float((plain - moved).mean()) > 0
