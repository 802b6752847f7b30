"""What a recipe asks of one step: optimiser, sharpness-aware gradient, moving average, precision and
layout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from oodbench.core.network import Network
from oodbench.training.randomness import Randomness
from oodbench.training.recipe import Recipe


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


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a network's parameters and buffers: a <- d a + (1 - d) w after each step,
    integers copied. It begins with the network as it is.

    d = min(decay, (1 + t) / (10 + t)) at step t, so that the untrained weights are soon forgotten
    (TensorFlow's ExponentialMovingAverage with num_updates); torch's get_ema_multi_avg_fn has one decay for
    all steps."""

    def blend(averaged: Sequence[Tensor], current: Sequence[Tensor], _: Tensor | int) -> None:
        # the model's own counter lies on the CPU: to read it, no accelerator is waited for
        step = int(average.n_averaged) - 1
        share = 1 - min(decay, (1 + step) / (10 + step))
        for mine, theirs in zip(averaged, current, strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, share)
            else:
                mine.copy_(theirs)

    average = AveragedModel(network, multi_avg_fn=blend, use_buffers=True)
    average.n_averaged += 1  # the untrained weights count, else the first step would replace them
    return average


@contextlib.contextmanager
def averaged(network: nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """Inside, the network has the average's values, where there is one, in place of its own."""
    if average is None:
        yield
        return
    weights = copied(network)
    network.load_state_dict(average.module.state_dict())
    try:
        yield
    finally:
        network.load_state_dict(weights)


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's weights and buffers."""
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


COMPILER = "inductor"
"""What torch.compile translates a network with."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextlib.contextmanager
def running_as(recipe: Recipe, network: Network, device: torch.device) -> Iterator[None]:
    """While inside, the network's body runs in the recipe's precision and memory layout, compiled if it says
    so, see `body_as`. cuDNN is held to algorithms that give the same numbers each time."""
    deterministic, torch.backends.cudnn.deterministic = torch.backends.cudnn.deterministic, True
    try:
        with body_as(network, device, recipe.precision, recipe.channels_last, recipe.compile):
            yield
    finally:
        torch.backends.cudnn.deterministic = deterministic


@contextlib.contextmanager
def body_as(
    network: Network, device: torch.device, precision: str, channels_last: bool, compiled: bool = False
) -> Iterator[None]:
    """While inside, the network's body runs in that precision (``fp32``, ``bf16``, ``fp16``) and memory
    layout, compiled or not; its features come out as float32, so that head and loss are computed as ever."""
    body, plain = network.body, network.body.forward

    def forward(x: Tensor) -> Tensor:
        if channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if precision == "fp32":
            return plain(x)
        with torch.autocast(device.type, _DTYPES[precision]):
            return plain(x).float()

    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        body.forward = torch.compile(forward, backend=COMPILER)  # type: ignore[method-assign]
    elif channels_last or precision != "fp32":
        body.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        body.__dict__.pop("forward", None)
        if channels_last:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
