"""Angles and norms learnt apart: against a slow reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodbench.core import registry
from oodbench.core.outputs import Outputs
from tests.training.methods.common import (
    CLASSES,
    ce,
    data,
    dot,
    gradcheck,
    made,
    mean,
    norm,
    rows,
    unit,
    value,
)


def test_decoupled_by_hand() -> None:
    network, method = made({"decoupled": {"gamma": 1.5, "scale": 7.0, "centre": 0.4, "start": 0.5}})
    network.eval()
    w, v, centres = (
        rows(t)
        for t in (network.head.weight, network.decoupled_classifier.weight, network.decoupled_state.centres)
    )
    w, v = ([unit(r) for r in t] for t in (w, v))
    for progress, a in ((0.49, 0.0), (0.5, 0.08), (0.6, 0.4)):
        batch = data(progress=progress)
        focal, plain, distance = [], [], []
        for f, y in zip(rows(network.features(batch.inputs)), batch.labels.tolist(), strict=True):
            one, two = f[: len(f) // 2], f[len(f) // 2 :]
            angle = ce([7 * dot(unit(one), r) for r in w], y)
            focal.append((1 - math.exp(-angle)) ** 1.5 * angle)
            plain.append(ce([dot(two, r) for r in v], y))
            distance.append(sum((x - m) ** 2 for x, m in zip(two, centres[y], strict=True)))
        assert value(method.loss(network, batch)) == pytest.approx(
            mean(focal) + mean(plain) + a * mean(distance)
        )
    with torch.no_grad():
        factor = (1 - torch.exp(-cross_entropy(network(batch.inputs), batch.labels, reduction="none"))) ** 1.5
    still = network.decoupled_state.centres[batch.labels]

    def frozen() -> Tensor:  # the factor of the focal loss carries no gradient
        known = cross_entropy(network(batch.inputs), batch.labels, reduction="none")
        second = network.features(batch.inputs).chunk(2, dim=1)[1]
        plain = cross_entropy(network.decoupled_classifier(second), batch.labels)
        return (factor * known).mean() + plain + 0.4 * (second - still).square().sum(1).mean()

    gradcheck(network, frozen, 1e-8)
    learning = list(network.parameters())
    for one, other in zip(
        *(torch.autograd.grad(f, learning) for f in (frozen(), method.loss(network, batch))), strict=True
    ):
        torch.testing.assert_close(one, other)
    outputs = Outputs(
        network(batch.inputs).detach(),
        extras={"decoupled": network.heads["decoupled"](network.features(batch.inputs)).detach()},
    )
    scorer = registry.build("scorer", "decoupled")
    scorer.fit(None, outputs)
    top = outputs.logits.amax(1) / outputs.logits.amax(1).mean()
    length = torch.tensor(
        [norm(f[len(f) // 2 :]) for f in rows(network.features(batch.inputs))], dtype=torch.float64
    )
    torch.testing.assert_close(scorer.score(outputs), -(top + length / length.mean()))


def test_decoupled_centres_follow_their_class_late_in_training() -> None:
    network, method = made({"decoupled": {"start": 0.5}})
    network.body.eval()
    network.training = True
    before = network.decoupled_state.centres.clone()
    method.loss(network, data(progress=0.4))
    assert torch.equal(network.decoupled_state.centres, before)
    batch = data(6, progress=0.5)._replace(labels=torch.tensor([0, 0, 1, 0, 1, 3]))
    second = network.features(batch.inputs).detach().chunk(2, dim=1)[1]
    method.loss(network, batch)
    for c in range(CLASSES):
        own = second[batch.labels == c]
        torch.testing.assert_close(
            network.decoupled_state.centres[c], before[c] + (own - before[c]).sum(0) / 6
        )


def test_decoupled_bodies_share_nothing() -> None:
    """Each body and its classifier have the gradient of their own term."""
    network, method = made("decoupled")
    network.eval()
    method.loss(network, data(progress=0.0)).backward()
    given = {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    batch = data()
    second = network.body.norm((batch.inputs - network.mean) / network.std)
    cross_entropy(network.decoupled_classifier(second), batch.labels).backward()
    alone = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
    assert {k.split(".")[1] for k in alone if k.startswith("body")} == {"norm"}
    for key, gradient in alone.items():
        torch.testing.assert_close(given[key], gradient)
    assert network.stages == ("body.cosine.0", "body.cosine.2", "body.cosine.4")
