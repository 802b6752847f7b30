"""What every registered training method keeps, found by looping over the registry: a new one is covered with no edit."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from oodbench import contracts, registry
from oodbench.base import Batch, Method, Network, Task
from oodbench.errors import NotApplicable
from oodbench.train import initialise

SHAPE = (1, 8, 8)


@functools.cache
def trained() -> list[str]:
    """Names of the methods that train with a loss, examples of their required parameters filled in."""
    found = []
    for name in registry.methods:
        spec = contracts.example("method", name)
        if spec is not None and registry.build("method", spec).provides == "loss":
            found.append(name)
    return found


def made(name: str, classes: int = 4, seed: int = 0) -> tuple[Network, Method]:
    method: Method = registry.build("method", contracts.example("method", name))
    task = Task("image", SHAPE, classes, (0.3,), (0.3,))
    return initialise("small-cnn", method, task, seed), method


def batch(method: Method, count: int = 12, classes: int = 4, seed: int = 0, progress: float = 0.5) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *SHAPE, generator=rng)
    labels = torch.arange(count) % classes
    outliers = torch.rand(count, *SHAPE, generator=rng) if "outliers" in method.needs else None
    return Batch(x, labels, outliers, tuple(x.flip(-1) for _ in range(method.views)), progress, rng)


def gradients(network: Network, method: Method, data: Batch, seed: int = 0) -> tuple[Tensor, dict[str, Tensor | None]]:
    network.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loss = method.loss(network, data)
        loss.backward()
    return loss.detach(), {k: p.grad for k, p in network.named_parameters() if p.requires_grad}


def test_the_loop_finds_methods() -> None:
    assert {"cross-entropy", "label-smoothing", "als", "maxsup", "logitnorm"} <= set(trained())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", trained())


def test_loss_is_a_finite_scalar_and_its_gradient_reaches_every_parameter(name: str) -> None:
    for progress in (0.0, 0.95):
        network, method = made(name)
        network.train()
        loss, grads = gradients(network, method, batch(method, progress=progress))
        assert loss.shape == ()
        assert torch.isfinite(loss)
        for parameter, grad in grads.items():
            assert grad is not None, f"no gradient reaches {parameter}"
            assert torch.isfinite(grad).all(), parameter
        weights = [g for k, g in grads.items() if k.startswith("body") and g is not None and g.dim() > 1]
        assert weights
        assert all(g.abs().max() > 0 for g in weights)


def test_seeds_decide(name: str) -> None:
    first, second = made(name), made(name)
    for network, _ in (first, second):
        network.train()
    one, two = gradients(*first, batch(first[1])), gradients(*second, batch(second[1]))
    assert torch.equal(one[0], two[0])
    for key, grad in one[1].items():
        other = two[1][key]
        assert grad is not None
        assert other is not None
        assert torch.equal(grad, other), key


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0, 0], [3, 3], [2]], ids=["one class", "two of one", "batch of one"])
def test_poor_batches_stay_finite(name: str, labels: list[int]) -> None:
    network, method = made(name)
    network.train(len(labels) > 1)  # batch norm cannot learn from one sample; the loop never gives it one
    data = batch(method, count=len(labels))._replace(labels=torch.tensor(labels))
    for _ in range(2):  # a second time, with what the first left in buffers
        loss, grads = gradients(network, method, data)
        assert torch.isfinite(loss)
        assert all(torch.isfinite(g).all() for g in grads.values() if g is not None)


@pytest.mark.parametrize("scale", [0.0, 1e5])
def test_saturated_and_zero_logits_stay_finite(name: str, scale: float) -> None:
    network, method = made(name)
    if network.linear_head() is None:
        pytest.skip("the head is not linear")
    network.train()
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(scale)
    loss, grads = gradients(network, method, batch(method))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in grads.values() if g is not None)


def test_dead_features_stay_finite(name: str) -> None:
    """Features that are all zero, as dead ReLUs leave them: norms and angles must not divide by them."""
    network, method = made(name)
    network.eval()
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.zero_()
    loss, grads = gradients(network, method, batch(method))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in grads.values() if g is not None)


def test_two_classes_work_or_are_refused(name: str) -> None:
    try:
        network, method = made(name, classes=2)
    except NotApplicable as refusal:
        message = str(refusal)
    else:
        message = ""
    if message:
        assert all(part in message for part in (name, "2"))
        return
    network.train()
    loss, grads = gradients(network, method, batch(method, classes=2))
    assert torch.isfinite(loss)
    assert all(g is not None and torch.isfinite(g).all() for g in grads.values())


def test_state_lives_on_the_network(name: str) -> None:
    """A second method object goes on where the first one stopped, given the network's state alone: nothing hides in the method."""
    network, method = made(name)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for seed in range(2):
        gradients(network, method, batch(method, seed=seed, progress=0.6), seed)
        optimizer.step()
    twin, fresh = made(name, seed=1)
    twin.train()
    twin.load_state_dict(network.state_dict())
    here, there = (
        gradients(n, m, batch(m, seed=5, progress=0.7), seed=5) for n, m in ((network, method), (twin, fresh))
    )
    assert torch.equal(here[0], there[0])


def test_known_classes_are_learnt(name: str) -> None:
    """Some steps on made images whose class is a bright quadrant, then new ones of them."""
    network, method = made(name)
    network.train()
    shown, fresh, others = (contracts.toy_images(64, seed=s, ood=o) for s, o in ((0, False), (7, False), (0, True)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(60):
        rng = torch.Generator().manual_seed(step)
        views = tuple(shown.images + 0.05 * torch.rand(shown.images.shape, generator=rng) for _ in range(method.views))
        data = Batch(shown.images, shown.labels, others.images if method.needs else None, views, step / 60, rng)
        gradients(network, method, data, step)
        optimizer.step()
    network.eval()
    with torch.no_grad():
        right = network(fresh.images).argmax(dim=1) == fresh.labels
    assert float(right.float().mean()) > 0.95
