"""Mixing and adversarial training: what reaches the inner method, written out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.training.initialise import fresh_weights
from tests.training.methods.common import TASK, pictures, rng, watched


def soft(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against a distribution, as mixup is usually written."""
    return -(target * torch.log(softmax(logits, dim=1))).sum(dim=1).mean()


def shares(mixed: Tensor, x: Tensor) -> tuple[float, Tensor]:
    """The share and the permutation that made `mixed` of x, found by trying every partner."""
    best: tuple[float, float, list[int]] = (1e9, 0.0, [])
    n = len(x)
    difference = (mixed.unsqueeze(1) - x.unsqueeze(0)).flatten(2)  # (i, j)
    base = (x.unsqueeze(1) - x.unsqueeze(0)).flatten(2)
    for share in torch.linspace(0, 1, 2001).tolist():
        # mixed_i - x_j = share (x_i - x_j)
        error = (difference - share * base).norm(dim=2)
        error[torch.arange(n), torch.arange(n)] += (
            1e-3  # a partner other than itself, where it explains as well
        )
        values, partner = error.min(dim=1)
        if float(values.sum()) < best[0]:
            best = (float(values.sum()), share, partner.tolist())
    return best[1], torch.tensor(best[2])


def test_mixup_is_soft_cross_entropy_at_mixed_inputs() -> None:
    network, batch = watched(), pictures()
    method: Method = registry.build("method", {"mixup": {"alpha": 5}})
    loss = method.loss(network, batch)
    (mixed,) = network.inputs
    share, partner = shares(mixed, batch.inputs)
    one_hot = torch.eye(4)[batch.labels]
    expected = soft(network(mixed), share * one_hot + (1 - share) * one_hot[partner])
    assert 0.05 < share < 0.95
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)


def test_mixup_of_als_mixes_the_losses() -> None:
    network, batch = watched(), pictures()
    als: Method = registry.build("method", {"als": {"lam": 3}})
    method: Method = registry.build("method", {"mixup": {"alpha": 5, "of": {"als": {"lam": 3}}}})
    loss = method.loss(network, batch)
    (mixed,) = network.inputs
    share, partner = shares(mixed, batch.inputs)
    logits = network(mixed)
    expected = (
        share * als.criterion(logits, batch.labels)
        + (1 - share) * als.criterion(logits, batch.labels[partner])
    ).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)


def test_regmixup_is_the_mean_of_both_losses() -> None:
    network, batch = watched(), pictures()
    loss = registry.build("method", "regmixup").loss(network, batch)
    (both,) = network.inputs
    clean, mixed = both.split(16)
    assert torch.equal(clean, batch.inputs)
    share, partner = shares(mixed, batch.inputs)
    one_hot = torch.eye(4)[batch.labels]
    expected = (
        cross_entropy(network(clean), batch.labels)
        + soft(network(mixed), share * one_hot + (1 - share) * one_hot[partner])
    ) / 2
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)


def test_cutmix_pastes_one_rectangle_and_weighs_by_its_area() -> None:
    method: Method = registry.build("method", {"cutmix": {"p": 1.0}})
    x = (
        torch.arange(16.0).view(16, 1, 1, 1).expand(16, 1, 8, 8) / 16
    )  # each image is one shade: its partner shows
    areas = []
    for seed in range(60):
        network = watched()
        batch = Batch(x.contiguous(), torch.arange(16) % 4, rng=rng(seed))
        loss = method.loss(network, batch)
        (mixed,) = network.inputs
        pasted = (mixed != x)[:, 0]
        area = pasted.any(0)
        rows, columns = area.any(1).nonzero().flatten(), area.any(0).nonzero().flatten()
        if len(rows):
            assert bool(area[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all())
        share = 1 - area.float().mean()
        partner = torch.tensor(
            [round(float(m[0][area].mean()) * 16) if area.any() else i for i, m in enumerate(mixed)]
        )
        logits = network(mixed)
        expected = share * cross_entropy(logits, batch.labels) + (1 - share) * cross_entropy(
            logits, batch.labels[partner]
        )
        torch.testing.assert_close(loss, expected)
        areas.append(float(area.float().mean()))
    assert max(areas) > 0.5
    assert min(areas) < 0.1


def test_cutmix_leaves_a_batch_alone_with_probability() -> None:
    method: Method = registry.build("method", {"cutmix": {"p": 0.5, "beta": 20}})
    changed = 0
    for seed in range(200):
        network, batch = watched(), pictures()._replace(rng=rng(seed))
        method.loss(network, batch)
        changed += int(not torch.equal(network.inputs[0], batch.inputs))
    assert 70 < changed < 130


def test_a_method_with_its_own_loss_is_mixed_by_two_passes() -> None:
    network, batch = watched(), pictures()
    method: Method = registry.build("method", {"mixup": {"of": {"maxsup": {"alpha": 0.0, "alpha_end": 4.0}}}})
    loss = method.loss(network, batch)
    first, second = network.inputs
    assert torch.equal(first, second)
    logits = network(first)
    extra = (logits.amax(1) - logits.mean(1)).mean()  # alpha at progress 0.25 is 1
    plain = registry.build("method", "mixup").loss(network, batch._replace(rng=rng(5)))
    torch.testing.assert_close(loss, plain + extra)


def test_adversarial_moves_inputs_up_the_loss_within_the_box() -> None:
    batch = pictures()
    method: Any = registry.build("method", {"adversarial": {"epsilon": 0.1, "step": 0.03}})
    network = fresh_weights("small-cnn", method, TASK, 0).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    moved = method.attacked(network, batch)
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert float((moved - batch.inputs).abs().max()) <= 0.1 + 1e-6
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    network.eval()
    noise = (batch.inputs + 0.1 * torch.randn_like(batch.inputs).sign()).clamp(0, 1)
    assert cross_entropy(network(moved), batch.labels) > cross_entropy(network(noise), batch.labels)


def test_adversarial_reaches_the_corner_of_a_linear_network() -> None:
    """The worst point of a two-class linear model in a box is known: every pixel moves against the weights'
    difference."""
    network, batch = watched(), pictures()._replace(labels=torch.zeros(16, dtype=torch.int64))
    with torch.no_grad():
        network.head.weight[2:] = 0
        network.head.bias[2:] = -1e3
    method: Any = registry.build("method", {"adversarial": {"epsilon": 0.05, "step": 0.02, "steps": 20}})
    moved = method.attacked(network, batch)
    direction = (network.head.weight[1] - network.head.weight[0]).view(1, 8, 8).sign()
    corner = (batch.inputs + 0.05 * direction).clamp(0, 1)
    torch.testing.assert_close(moved, corner)
    inner = registry.build("method", "cross-entropy").loss(network, batch._replace(inputs=corner))
    torch.testing.assert_close(method.loss(network, batch), inner)


@pytest.mark.parametrize("name", ["mixup", "cutmix", "regmixup", "adversarial", "logitnorm"])
def test_nesting_writes_its_defaults_out_and_passes_refusals_on(name: str) -> None:
    spec = registry.resolve("method", name)
    assert spec.label == name
    assert spec.identity == registry.resolve("method", {name: {"of": "cross-entropy"}}).identity
    assert registry.resolve("method", {name: {"of": {"als": {"lam": 3}}}}).label == f"{name}(of=als(lam=3))"
    with pytest.raises(NotApplicable, match="'als' needs at least 3 classes"):
        registry.build("method", {name: {"of": "als"}}).setup(
            Network(TASK._replace(classes=2), torch.nn.Flatten(), torch.nn.Linear(64, 2))
        )
