"""What a network, a method and an augmentation must do, with toys to check them on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.description import SpecLike
from oodbench.core.errors import MissingData, NotApplicable
from oodbench.core.identity import fingerprint
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.core.spec import Spec
from oodbench.data.contract import CLASSES, shape_text, toy_images
from oodbench.data.samples import TensorSamples
from oodbench.training.initialise import fresh_weights

SMALL: SpecLike = {"small-cnn": {"width": 8}}
"""The network on which methods, views and scorers of networks are tried."""


_SHAPES = ((1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 224, 224))
"""Input shapes offered to a network, in order, until one suits it."""


_STEPS = 25


def toy_network(method: SpecLike = "cross-entropy", network: SpecLike = SMALL) -> Network:
    """A small network trained by `method` on the toy images until it knows their classes."""
    specs = [registry.resolve("method", method), registry.resolve("network", network)]
    place = fingerprint([s.identity for s in specs])
    if place not in _toys:
        built: Method = registry.build("method", specs[0])
        images = toy_images(64)
        toy = fresh_weights(specs[1], built, toy_task((1, 8, 8), images), seed=0)
        _fit(toy, built, [_batch(images, built)], _STEPS)
        _toys[place] = toy.eval()
    return _toys[place]


_toys: dict[str, Network] = {}


def toy_task(shape: tuple[int, int, int], images: TensorSamples, classes: int = CLASSES) -> Task:
    """The task that toy images of that shape are."""
    x = images.images
    return Task("image", shape, classes, tuple(x.mean((0, 2, 3)).tolist()), tuple(x.std((0, 2, 3)).tolist()))


def _batch(images: TensorSamples, method: Method, seed: int = 0) -> Batch:
    x, rng = images.images, torch.Generator().manual_seed(seed)
    outliers = toy_images(len(x), x.shape[1:], ood=True).images if "outliers" in method.needs else None
    return Batch(x, images.labels, outliers, tuple(x.flip(-1) for _ in range(method.views)), 0.5, rng)


def _fit(network: Network, method: Method, batches: Sequence[Batch], steps: int) -> list[float]:
    """Losses of a few steps, the global random state seeded and restored."""
    losses = []
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
        for step in range(steps):
            batch = batches[step % len(batches)]._replace(
                rng=torch.Generator().manual_seed(step), progress=step / steps
            )
            optimizer.zero_grad(set_to_none=True)
            loss = method.loss(network, batch)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


def of_method(spec: Spec) -> Iterator[str]:
    """What is wrong with a training method, one line each."""
    method: Method = registry.build("method", spec)
    if method.provides != "loss":
        return
    images = toy_images(16)

    def fresh() -> Network:
        return fresh_weights(SMALL, method, toy_task((1, 8, 8), images), seed=0)

    network, batch = fresh().train(), _batch(images, method)
    loss = method.loss(network, batch)
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        yield f"loss returned {shape_text(loss)}; a scalar is due"
        return
    if not torch.isfinite(loss):
        yield "loss is not finite on an ordinary batch"
        return
    if not isinstance(method.acted, bool) and shape_text(method.acted) != "()":
        yield f"acted is {shape_text(method.acted)}; a bool or a tensor without dimensions is due"
    loss.backward()
    yield from _untouched(network)
    for name in network.heads:
        if network.heads[name](network.features(batch.inputs)).shape[0] != len(batch.inputs):
            yield f"head {name!r} does not give one row for each sample"
    yield from _unlearnt(*(_fit(fresh(), method, [batch], _STEPS) for _ in range(2)))
    if not torch.isfinite(method.loss(network.eval(), _batch(toy_images(1), method))):
        yield "loss is not finite on a batch of one"


def _untouched(network: Network) -> Iterator[str]:
    for name, p in network.named_parameters():
        if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all()):
            yield f"no finite gradient reaches {name}"


def _unlearnt(losses: Sequence[float], again: Sequence[float]) -> Iterator[str]:
    """Two trainings of the same seed."""
    if losses != again:
        yield (
            "gives other losses with the same seed; draw randomness from batch.rng or torch's global"
            " generator"
        )
    if not all(map(math.isfinite, losses)) or sum(losses[-5:]) >= sum(losses[:5]):
        yield f"{_STEPS} steps on one batch do not lower the loss ({losses[0]:.3g} to {losses[-1]:.3g})"


def of_network(spec: Spec) -> Iterator[str]:
    """What is wrong with a network, one line each; nothing where it suits no shape that is offered."""
    network = _that_suits(spec)
    if network is None:
        return
    x = toy_images(4, network.task.shape).images
    logits, features = network(x), network.features(x)
    if tuple(logits.shape) != (4, CLASSES):
        yield f"logits have the shape {tuple(logits.shape)}; (4, {CLASSES}) is due, one for each known class"
    if features.dim() != 2 or len(features) != 4:
        yield f"features have the shape {tuple(features.shape)}; (B, D) is due"
        return
    if not torch.allclose(network.head(features), logits, atol=1e-5):
        yield "logits are not head(features)"
    modules = dict(network.named_modules())
    yield from (f"names a stage {s!r} that is no submodule" for s in network.stages if s not in modules)
    if not torch.equal(network(x), logits):
        yield "gives other logits the second time in evaluation mode"
    other = fresh_weights(spec, Method(), network.task, seed=1).eval()
    other.load_state_dict(network.state_dict())
    if not torch.equal(other(x), logits):
        yield "does not come back from its state dict"
    torch.logsumexp(network.train()(x), dim=1).sum().backward()
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    yield from (f"no gradient reaches {name}" for name, p in learning.items() if p.grad is None)


def _that_suits(spec: Spec) -> Network | None:
    """The network for the first shape that it accepts, in evaluation mode."""
    for shape in _SHAPES:
        try:
            return fresh_weights(spec, Method(), toy_task(shape, toy_images(4, shape)), seed=0).eval()
        except (NotApplicable, MissingData):
            continue
    return None


def of_augmentation(spec: Spec) -> Iterator[str]:
    """What is wrong with an augmentation, one line each."""
    augment = registry.build("augmentation", spec)
    for shape in ((1, 28, 28), (3, 32, 32)):
        x = toy_images(6, shape).images
        copy = x.clone()
        out = augment(x, torch.Generator().manual_seed(0))
        if tuple(out.shape) != tuple(x.shape) or out.dtype != x.dtype:
            yield f"returns {shape_text(out)} {out.dtype} for {shape_text(x)} {x.dtype}"
            return
        if not torch.isfinite(out).all() or float(out.min()) < 0 or float(out.max()) > 1:
            yield "leaves [0, 1]"
        if not torch.equal(x, copy):
            yield "changes its inputs"
        if not torch.equal(augment(x, torch.Generator().manual_seed(0)), out):
            yield "differs with the same generator"
