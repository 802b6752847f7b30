"""What every registered training method keeps, found by looping over the registry: a new one is covered with
no edit."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.core.spec import Spec
from oodbench.data.contract import toy_images
from oodbench.data.images import to_float
from oodbench.scoring import contract
from oodbench.training.initialise import fresh_weights
from oodbench.training.loop import Listener, train
from oodbench.training.reader import Material
from oodbench.training.recipe import Recipe
from tests.training.methods.common import gradcheck

SHAPE = (1, 8, 8)
GEOMETRY = Geometry(SHAPE)
SMALL: dict[str, dict[str, Any]] = {
    "npos": {"size": 8, "k": 3, "border": 4, "draws": 20, "kept": 5},
    "vos": {"size": 8, "draws": 40},
}
"""Queues that a few batches fill, so that made-up outliers take part."""


@functools.cache
def trained() -> list[str]:
    """Names of the methods that train with a loss, examples of their required parameters filled in."""
    found = []
    for name in registry.methods:
        spec = contract.example("method", name)
        if spec is not None and registry.build("method", spec).provides == "loss":
            found.append(name)
    return found


def spec_of(name: str) -> Spec:
    found = (
        registry.resolve("method", {name: SMALL[name]}) if name in SMALL else contract.example("method", name)
    )
    assert found is not None
    return found


def made(name: str, classes: int = 4, seed: int = 0) -> tuple[Network, Method]:
    method: Method = registry.build("method", spec_of(name))
    task = Task("image", SHAPE, classes, (0.3,), (0.3,))
    return fresh_weights("small-cnn", method, task, seed), method


def batch(method: Method, count: int = 12, classes: int = 4, seed: int = 0, progress: float = 0.5) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *SHAPE, generator=rng)
    labels = torch.arange(count) % classes
    outliers = torch.rand(count, *SHAPE, generator=rng) if "outliers" in method.needs else None
    return Batch(x, labels, outliers, tuple(x.flip(-1) for _ in range(method.views)), progress, rng)


def gradients(
    network: Network, method: Method, data: Batch, seed: int = 0
) -> tuple[Tensor, dict[str, Tensor | None]]:
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


def test_loss_is_a_finite_scalar_and_its_gradient_reaches_what_learns_and_nothing_else(name: str) -> None:
    for progress in (0.0, 0.95):
        network, method = made(name)
        network.train()
        data = batch(method, progress=progress)
        for _ in range(4 if progress else 1):  # late in training, queues are full
            loss, grads = gradients(network, method, data)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        for parameter, grad in grads.items():
            assert grad is not None, f"no gradient reaches {parameter}"
            assert torch.isfinite(grad).all(), parameter
            if progress or parameter.startswith(("body", "head.")):
                assert grad.abs().max() > 0, f"the gradient of {parameter} is zero"
        assert not any(b.requires_grad for b in network.buffers())
        assert all(t.grad is None for t in (data.inputs, data.outliers, *data.views) if t is not None)


FROZEN = {
    "acls": "test_acls_gradient_is_that_of_a_frozen_maximum", "decoupled": "test_decoupled_by_hand",
    "supcon": "test_supcon_by_hand", "cider": "test_cider_terms_have_the_gradient_of_fixed_prototypes",
    "npos": "test_npos_outliers_reach_the_body",
}  # fmt: skip
"""Methods whose loss holds something that gets no gradient by design, and the test that knows what."""


def test_gradient_is_the_finite_difference(name: str) -> None:
    if name in FROZEN:
        pytest.skip(FROZEN[name])
    network, method = made(name)
    for block in (network.body.get_submodule(f"{i}") for i in (0, 2, 4)):
        block[2] = torch.nn.Softplus()  # type: ignore[index]  # a step of any size meets kinks of a ReLU
    network.double().eval()
    data = batch(method, progress=0.95)
    double = [t.double() for t in (data.inputs, *data.views)]
    data = data._replace(inputs=double[0], views=tuple(double[1:]))
    data = data._replace(outliers=None if data.outliers is None else data.outliers.double())

    def loss() -> Tensor:
        with torch.enable_grad():  # an attack needs it
            return method.loss(network, data._replace(rng=torch.Generator().manual_seed(5)))

    gradcheck(network, loss, 1e-7)


OF_THE_DTYPE = {"adversarial", "vos", "npos"}
"""Methods whose random numbers are others in float64, so that the two gradients are not of one loss."""


@pytest.mark.parametrize("larger", [1, 6])
def test_gradient_in_float32_is_that_of_float64(name: str, larger: int) -> None:
    """At fresh weights and at heads as large as training makes them: what cancels in float32 shows here, and
    no test in float64 can see it."""
    if name in OF_THE_DTYPE:
        pytest.skip("draws depend on the dtype")
    network, method = made(name, classes=10)
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(larger)
    network.eval()
    data = batch(method, count=64, classes=10, progress=0.95)
    found = {}
    for dtype in (torch.float32, torch.float64):
        network.to(dtype)
        made_of = {"inputs": data.inputs.to(dtype), "views": tuple(v.to(dtype) for v in data.views)}
        outliers = None if data.outliers is None else data.outliers.to(dtype)
        rng = torch.Generator().manual_seed(5)
        _, grads = gradients(network, method, data._replace(**made_of, outliers=outliers, rng=rng))
        found[dtype] = torch.cat([g.double().flatten() for g in grads.values() if g is not None])
    exact = found[torch.float64]
    assert float((found[torch.float32] - exact).norm() / exact.norm()) < 1e-2


class Kept(list[Any]):
    """The states that a training was given to save."""

    def __call__(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        state = (
            {k: v.detach().clone() for k, v in tensors.items()},
            {**scalars, "history": list(scalars["history"])},
        )
        self.append(state)


def test_a_killed_training_ends_in_the_same_weights_and_so_does_another_of_the_same_seed(name: str) -> None:
    recipe = Recipe(epochs=2, batch_size=12, lr=0.01, augment=("flip",))
    shown, others = toy_images(36, seed=1), toy_images(20, ood=True)
    states = Kept()

    def weights(seed: int = 0, **more: Any) -> dict[str, Tensor]:
        network, method = made(name, seed=seed)
        train(network, method, recipe, Material(shown, None, GEOMETRY, others), seed=3, **more)
        return network.state_dict()

    whole = weights(listener=Listener(save=states))
    for other in (weights(), weights(seed=7, resume=states[0])):
        assert set(other) == set(whole)
        assert all(torch.equal(v, other[k]) for k, v in whole.items())


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


@pytest.mark.parametrize(
    "labels", [[0, 0, 0, 0, 0, 0], [3, 3], [2]], ids=["one class", "two of one", "batch of one"]
)
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
    """A second method object goes on where the first one stopped, given the network's state alone: nothing
    hides in the method."""
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


@functools.cache
def digits() -> tuple[Samples, Samples]:
    known = registry.build("dataset", {"digits": {"classes": [2, 4, 5, 9, 8, 3]}})
    return known["train"], known["test"]


def fitted(network: Network, method: Method, steps: int = 90) -> None:
    """Some steps of Adam on handwritten digits, at a rate that falls to zero."""
    samples, _ = digits()
    images = to_float(samples.read(range(len(samples)), GEOMETRY))
    optimizer = torch.optim.Adam(network.parameters())
    network.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * step / steps)) / 2
        rng = torch.Generator().manual_seed(step)
        index = torch.randint(0, len(images), (64,), generator=rng)
        x = images[index]
        views = tuple((x + 0.1 * torch.rand(x.shape, generator=rng)).clamp(0, 1) for _ in range(method.views))
        noise = torch.randint(0, 2, x.shape, generator=rng).float() if method.needs else None
        gradients(network, method, Batch(x, samples.labels[index], noise, views, step / steps, rng), step)
        optimizer.step()


def test_digits_are_learnt(name: str) -> None:
    """More than 95 % of the test digits right after 90 small batches."""
    _, test = digits()
    method: Method = registry.build("method", spec_of(name))
    network = fresh_weights({"small-cnn": {"width": 8}}, method, Task("image", SHAPE, 6, (0.3,), (0.4,)), 0)
    if name == "energy-bounded":  # published for fine-tuning a classifier
        fitted(network, registry.build("method", "cross-entropy"))
    fitted(network, method)
    network.eval()
    with torch.no_grad():
        right = network(to_float(test.read(range(len(test)), GEOMETRY))).argmax(dim=1) == test.labels
    assert float(right.float().mean()) > 0.95
