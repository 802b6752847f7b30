"""What a recipe asks of one step: learning rate, optimiser, sharpness-aware gradient, moving average,
precision and layout."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from oodbench.core.network import Network
from oodbench.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one step. Warm-up is linear from zero; the schedule then runs over what is left of
    training.

    Cosine: lr_min + (lr - lr_min) (1 + cos(pi t)) / 2, t in [0, 1). Restarts: the same in `restarts` + 1
    cycles of equal length that begin with training, the warm-up inside the first (torch's
    CosineAnnealingWarmRestarts; Vaze et al., ICLR 2022, utils/schedulers.py). Step: lr gamma^k after k
    milestones."""
    total, warmup = recipe.epochs * steps_per_epoch, recipe.warmup_epochs * steps_per_epoch
    if recipe.schedule == "restarts":
        rate = _cosine(recipe, max(step, warmup) * (recipe.restarts + 1) / total % 1)
        return rate * (step + 1) / warmup if step < warmup else rate
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    at = (step - warmup) / max(total - warmup, 1)
    if recipe.schedule == "cosine":
        return _cosine(recipe, at)
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(at >= milestone for milestone in recipe.milestones)
    return recipe.lr


def _cosine(recipe: Recipe, at: float) -> float:
    return recipe.lr_min + (recipe.lr - recipe.lr_min) * 0.5 * (1 + math.cos(math.pi * at))


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over every parameter that learns. For `sam` it is the SGD that takes the
    step."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=nesterov,
        weight_decay=recipe.weight_decay,
    )


class Randomness:
    """The state of everything a loss may draw from, so that the same batch can be looked at twice."""

    def __init__(self, rng: torch.Generator) -> None:
        self.rng, self.of_batch, self.of_cpu = rng, rng.get_state(), torch.get_rng_state()
        self.of_device = torch.cuda.get_rng_state(rng.device) if rng.device.type == "cuda" else None

    def restore(self) -> None:
        self.rng.set_state(self.of_batch)
        torch.set_rng_state(self.of_cpu)
        if self.of_device is not None:
            torch.cuda.set_rng_state(self.of_device, self.rng.device)


def sharpen(network: nn.Module, loss: Callable[[], Tensor], rho: float, before: Randomness) -> None:
    """Replace the gradient g at the weights w by the gradient at w + rho g / ||g||, of the same loss with the
    same randomness.

    Weights and buffers (batch-norm statistics, a method's state) are as before; only gradients change.
    Source: Foret et al., ICLR 2021, by way of davda54/sam (sam.py), which leaves the buffers to the caller.
    """
    with torch.no_grad():
        parameters = [p for p in network.parameters() if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        weights = [p.clone() for p in parameters]
        buffers = [(b, b.clone()) for b in network.buffers()]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        for p, g in zip(parameters, gradients, strict=True):
            p.add_(g * (rho / (norm + 1e-12)))
            p.grad = None
    before.restore()
    loss().backward()
    with torch.no_grad():
        for p, w in zip(parameters, weights, strict=True):
            p.copy_(w)
        for b, old in buffers:
            b.copy_(old)


class Average:
    """Exponential moving average of a network's parameters and buffers: a <- d a + (1 - d) w after each step,
    integers copied.

    d = min(decay, (1 + t) / (10 + t)) at step t, so that the untrained weights are soon forgotten
    (TensorFlow's ExponentialMovingAverage with num_updates)."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            mine = self.values[name]
            if mine.is_floating_point():
                mine.lerp_(value, share)
            else:
                mine.copy_(value)

    @contextlib.contextmanager
    def inside(self, network: nn.Module) -> Iterator[None]:
        """The network with the average in place of its weights, which come back afterwards."""
        weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
        network.load_state_dict(self.values)
        try:
            yield
        finally:
            network.load_state_dict(weights)


_COMPILER = "inductor"
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextlib.contextmanager
def running_as(recipe: Recipe, network: Network, device: torch.device) -> Iterator[None]:
    """While inside, the network's body runs in the recipe's precision and memory layout, compiled if it says
    so; its features come out as float32, so that head and loss are computed as ever. cuDNN is held to
    algorithms that give the same numbers each time."""
    body, plain = network.body, network.body.forward

    def forward(x: Tensor) -> Tensor:
        if recipe.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if recipe.precision == "fp32":
            return plain(x)
        with torch.autocast(device.type, _DTYPES[recipe.precision]):
            return plain(x).float()

    deterministic, torch.backends.cudnn.deterministic = torch.backends.cudnn.deterministic, True
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe.channels_last or recipe.precision != "fp32":
        body.forward = forward  # type: ignore[method-assign]
    if recipe.compile:
        body.compile(backend=_COMPILER)
    try:
        yield
    finally:
        body.__dict__.pop("forward", None)
        body._compiled_call_impl = None
        if recipe.channels_last:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        torch.backends.cudnn.deterministic = deterministic
