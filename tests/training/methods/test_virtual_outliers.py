"""Outliers drawn from Gaussians of the features: against a slow reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from tests.training.methods.common import ce, data, filled, gradcheck, mean, rng, rows, value

VOS = {"vos": {"size": 6, "draws": 40, "select": 2, "alpha": 0.4, "start": 0.5}}


def vos_energy(z: list[float], w: list[float]) -> float:
    return -math.log(sum(max(v, 0.0) * math.exp(a) for v, a in zip(w, z, strict=True)))


def test_vos_by_hand() -> None:
    batch = data(8, progress=0.5)
    network, method = filled(VOS, batch)
    with torch.no_grad():
        network.vos_energy.weight[1] = -0.3  # a negative weight counts as nothing
        # spread out, so that the loss shows which draws are taken: a small network's features lie close
        rows_held = network.vos_queues.rows
        rows_held.copy_(2 * torch.randn(rows_held.shape, generator=rng(7), dtype=torch.float64))
    known = network.vos_queues.features
    assert network.vos_queues.full
    generator = rng(5)
    centred = torch.cat([c - c.mean(0) for c in known])
    covariance = centred.T @ centred / len(centred) + 1e-4 * torch.eye(known.shape[2], dtype=torch.float64)
    chosen = []
    for c in known:
        gaussian = MultivariateNormal(c.mean(0), covariance)
        noise = torch.randn(40, known.shape[2], generator=generator, dtype=torch.float64)
        draws = c.mean(0) + noise @ gaussian.scale_tril.T
        chosen.append(draws[gaussian.log_prob(draws).argsort()[:2]])
    virtual = torch.cat(chosen)
    w, phi = network.vos_energy.weight.tolist(), network.vos_energy.logistic
    z, v = rows(network(batch.inputs)), rows(network.head(virtual))
    terms = []
    for logits, truth in [(a, 1) for a in z] + [(a, 0) for a in v]:
        e = vos_energy(logits, w)
        terms.append(
            ce(
                [
                    e * float(m) + float(b)
                    for m, b in zip(phi.weight.detach()[:, 0], phi.bias.detach(), strict=True)
                ],
                truth,
            )
        )
    plain = mean([ce(a, y) for a, y in zip(z, batch.labels.tolist(), strict=True)])
    assert value(method.loss(network, batch._replace(rng=rng(5)))) == pytest.approx(
        plain + 0.4 * mean(terms), rel=1e-5
    )
    early = value(method.loss(network, batch._replace(progress=0.49)))
    assert early == pytest.approx(plain)


def test_vos_regulariser_reaches_the_network() -> None:
    """The bug of OpenOOD v1.5: there the term's gradient is zero everywhere but in its own logistic
    regression."""
    batch = data(8, progress=0.9)
    network, method = filled(VOS, batch)
    with torch.no_grad():
        network.vos_energy.weight.copy_(torch.tensor([0.5, 1.5, 1.0, 2.0]))
        network.vos_energy.logistic.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    term = method.loss(network, batch._replace(rng=rng(5))) - method.loss(
        network, batch._replace(progress=0.0)
    )
    learning = dict(network.named_parameters())
    for name, g in zip(learning, torch.autograd.grad(term, list(learning.values())), strict=True):
        assert float(g.abs().max()) > 0, name
    gradcheck(network, lambda: method.loss(network, batch._replace(rng=rng(5))))
