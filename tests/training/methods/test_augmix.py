"""The consistency loss of AugMix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import softmax

from oodbench.core import registry
from oodbench.core.method import Method
from tests.training.methods.common import pictures, rng, watched


def test_augmix_asks_for_agreement() -> None:
    method: Any = registry.build("method", {"augmix": {"weight": 3.0, "of": {"als": {"lam": 2}}}})
    network, batch = watched(), pictures()
    loss = method.loss(network, batch)
    (versions,) = network.inputs
    clean, one, two = versions.chunk(3)
    assert torch.equal(clean, batch.inputs)
    assert not torch.equal(one, two)
    p = [softmax(network(x), dim=1) for x in (clean, one, two)]
    mixture = (p[0] + p[1] + p[2]) / 3
    agreement = sum((q * (q / mixture).log()).sum(1).mean() for q in p) / 3
    als: Method = registry.build("method", {"als": {"lam": 2}})
    expected = als.criterion(network(clean), batch.labels).mean() + 3 * agreement
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_divergence_gradient_is_the_finite_difference() -> None:
    from oodbench.training.methods.augmix import divergence

    logits = [torch.randn(4, 5, dtype=torch.float64, generator=rng(s)).requires_grad_() for s in range(3)]
    assert torch.autograd.gradcheck(divergence, logits)
    far = [
        torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True),
        torch.tensor([[-1e4, 0.0, 1e4]], requires_grad=True),
    ]
    value = divergence(*far)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(0.6931, abs=1e-3)
    assert all(torch.isfinite(z.grad).all() for z in far if z.grad is not None)
