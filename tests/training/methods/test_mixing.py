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
from oodbench.core.network import Network, Task
from oodbench.training.initialise import fresh_weights

TASK = Task("image", (1, 8, 8), 4, (0.3,), (0.3,))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int = 16) -> Batch:
    return Batch(
        torch.rand(count, 1, 8, 8, generator=rng(3)), torch.arange(count) % 4, progress=0.25, rng=rng(5)
    )


class Seen(Network):
    """Remembers its inputs; logits are a fixed linear map of the pixels."""

    def __init__(self) -> None:
        super().__init__(TASK, torch.nn.Flatten(), torch.nn.Linear(64, 4))
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.detach())
        return super().forward(x)


def seen() -> Seen:
    torch.manual_seed(0)
    return Seen()


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
    network, batch = seen(), data()
    method: Method = registry.build("method", {"mixup": {"alpha": 5}})
    loss = method.loss(network, batch)
    (mixed,) = network.inputs
    share, partner = shares(mixed, batch.inputs)
    one_hot = torch.eye(4)[batch.labels]
    expected = soft(network(mixed), share * one_hot + (1 - share) * one_hot[partner])
    assert 0.05 < share < 0.95
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)


def test_mixup_of_als_mixes_the_losses() -> None:
    network, batch = seen(), data()
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


def test_mixup_shares_are_beta_distributed() -> None:
    from scipy.stats import beta, kstest

    from oodbench.training.methods.shared import beta as draw

    batch = data(1)
    for a, b in ((0.2, 0.2), (1.0, 1.0), (20.0, 20.0), (0.1, 1.0)):
        values = [float(draw(a, b, batch)) for _ in range(2000)]
        assert kstest(values, beta(a, b).cdf).pvalue > 0.001


def test_regmixup_is_the_mean_of_both_losses() -> None:
    network, batch = seen(), data()
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
        network = seen()
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
        network, batch = seen(), data()._replace(rng=rng(seed))
        method.loss(network, batch)
        changed += int(not torch.equal(network.inputs[0], batch.inputs))
    assert 70 < changed < 130


def test_a_method_with_its_own_loss_is_mixed_by_two_passes() -> None:
    network, batch = seen(), data()
    method: Method = registry.build("method", {"mixup": {"of": {"maxsup": {"alpha": 0.0, "alpha_end": 4.0}}}})
    loss = method.loss(network, batch)
    first, second = network.inputs
    assert torch.equal(first, second)
    logits = network(first)
    extra = (logits.amax(1) - logits.mean(1)).mean()  # alpha at progress 0.25 is 1
    plain = registry.build("method", "mixup").loss(network, batch._replace(rng=rng(5)))
    torch.testing.assert_close(loss, plain + extra)


def test_adversarial_moves_inputs_up_the_loss_within_the_box() -> None:
    batch = data()
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
    network, batch = seen(), data()._replace(labels=torch.zeros(16, dtype=torch.int64))
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


def test_augmix_asks_for_agreement() -> None:
    method: Any = registry.build("method", {"augmix": {"weight": 3.0, "of": {"als": {"lam": 2}}}})
    network, batch = seen(), data()
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
