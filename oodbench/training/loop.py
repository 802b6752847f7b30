"""From an untrained network to its weights: one loop, readable top to bottom. It knows neither suites nor
disks."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import UserError
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.data.images import to_float
from oodbench.training.optimiser import (
    Average,
    Randomness,
    learning_rate,
    make_optimizer,
    running_as,
    sharpen,
)
from oodbench.training.processes import wanted
from oodbench.training.reader import Reader, _augmented, _batches
from oodbench.training.recipe import Recipe
from oodbench.training.state import State, _Best, _copied, _restore, _state

_LOOK = 64
"""Every so many batches the loss is looked at, which makes an accelerator wait: a training gone wrong ends
there."""


class Step(nn.Module):
    """The training loss of a batch as one module, which is all that compilation and data parallelism see."""

    def __init__(self, network: Network, method: Method) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, batch: Batch) -> Tensor:
        return self.method.loss(self.network, batch)


def train(
    network: Network,
    method: Method,
    recipe: Recipe,
    train: Samples,
    val: Samples | None,
    *,
    geometry: Geometry,
    seed: int,
    device: str | torch.device = "cpu",
    outliers: Samples | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
    on_look: Callable[[Mapping[str, float]], None] | None = None,
    resume: State | None = None,
    save: Callable[[dict[str, Tensor], dict[str, Any]], None] | None = None,
) -> list[dict[str, float]]:
    """Train `network` in place and return the history, a record per epoch, which `on_epoch` is given with the
    images per second.

    Within an epoch `on_look` is told now and then how far it is: `epoch` in parts of one, mean loss and
    images per second so far. Deterministic for a seed on one device: every epoch seeds its own shuffling,
    augmentation and dropout, so that a training resumed from what `save` was given last ends in the same
    weights, bit for bit. Raises UserError where the loss is not finite."""
    device = torch.device(device)
    team = wanted(recipe.world_size)
    network = network.to(device)
    team.follow([*network.parameters(), *network.buffers()])
    step = Step(network, method)
    optimizer = make_optimizer(network, recipe)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    average = Average(network, recipe.ema) if recipe.ema else None
    augment = [registry.build("augmentation", a) for a in recipe.augment]
    data = Reader(train, geometry, device)
    extra = Reader(outliers, geometry, device) if "outliers" in method.needs and outliers else None
    batches = _batches(len(train), recipe.batch_size, team.size)
    used = min(len(train), batches * recipe.batch_size)
    steps, together = -(-batches // recipe.accumulate), recipe.batch_size * recipe.accumulate
    history: list[dict[str, float]] = []
    best: _Best = None
    first = 0
    if resume is not None:
        history, best = _restore(resume, network, optimizer, scaler, average)
        first = len(history)

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), running_as(recipe, network, device):
        for epoch in range(first, recipe.epochs):
            start = time.perf_counter()
            # dropout and whatever a method draws without the batch's generator
            start_from = seed * 1_000_003 + epoch
            torch.manual_seed(start_from + team.rank * 2**40)
            rng = torch.Generator(device=device).manual_seed(start_from + team.rank * 2**40)
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(start_from))
            loss_sum = torch.zeros((), device=device)
            network.train()
            for number, (inputs, labels) in enumerate(data.batches(order, recipe.batch_size, team)):
                group, place = divmod(number, recipe.accumulate)
                done = epoch * steps + group
                if place == 0:
                    optimizer.zero_grad(set_to_none=True)
                    for parameters in optimizer.param_groups:
                        parameters["lr"] = learning_rate(recipe, done, steps)
                views = tuple(_augmented(inputs, augment, rng) for _ in range(method.views))
                others = extra.sample(len(inputs), augment, rng) if extra is not None else None
                inputs = _augmented(inputs, augment, rng)
                progress = (epoch * batches + number) / (recipe.epochs * batches)
                batch = Batch(inputs, labels, others, views, progress, rng)
                before = Randomness(rng) if recipe.optimizer == "sam" else None
                loss = step(batch)
                share = len(inputs) / min(together, used - group * together)
                scaler.scale(loss if share == 1 else loss * share).backward()
                loss_sum += loss.detach() * len(inputs)
                if number % _LOOK == _LOOK - 1:
                    so_far, seen = team.sum(loss_sum), (number + 1) * recipe.batch_size
                    _refuse_nonsense(so_far, epoch, recipe)
                    if on_look is not None:
                        rate = seen / max(time.perf_counter() - start, 1e-9)
                        at = epoch + (number + 1) / batches
                        on_look({"epoch": at, "loss": float(so_far) / seen, "images_per_second": rate})
                if place < recipe.accumulate - 1 and number < batches - 1:
                    continue
                team.add_gradients(network)
                if before is not None:
                    sharpen(network, lambda b=batch, s=share: step(b) * s, recipe.rho, before)  # type: ignore[misc]
                    team.add_gradients(network)
                if recipe.clip:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
                scaler.step(optimizer)
                scaler.update()
                team.follow(list(network.buffers()))
                if average is not None:
                    average.update(network, done)
            _refuse_nonsense(team.sum(loss_sum), epoch, recipe)
            seconds = time.perf_counter() - start
            record = {
                "epoch": float(epoch),
                "loss": float(team.sum(loss_sum) / used),
                "lr": optimizer.param_groups[0]["lr"],
            }
            with average.inside(network) if average is not None else contextlib.nullcontext():
                if val is not None:
                    record["val_accuracy"] = accuracy(network, val, geometry, device)
                if (
                    recipe.select == "best-val"
                    and val is not None
                    and (best is None or record["val_accuracy"] >= best[0])
                ):
                    best = (record["val_accuracy"], _copied(network))
            history.append(record)
            if save is not None and epoch + 1 < recipe.epochs:
                save(*_state(network, optimizer, scaler, average, history, best))
            if on_epoch is not None:
                on_epoch(record | {"images_per_second": used / max(seconds, 1e-9)})
    if (
        history
        and not torch.isfinite(
            torch.stack([p.detach().abs().max().cpu() for p in network.parameters()])
        ).all()
    ):
        raise UserError("training: some weights are not finite; lower the learning rate")
    if best is not None:
        network.load_state_dict(best[1])
    elif average is not None:
        network.load_state_dict(average.values)
    network.eval()
    return history


def _refuse_nonsense(loss: Tensor, epoch: int, recipe: Recipe) -> None:
    if not math.isfinite(float(loss)):
        raise UserError(
            f"training: the loss is not finite in epoch {epoch}; lower the learning rate (lr {recipe.lr:g})"
            " or warm up"
        )


@torch.no_grad()
def accuracy(
    network: Network,
    samples: Samples,
    geometry: Geometry,
    device: str | torch.device = "cpu",
    size: int = 512,
) -> float:
    """Share of samples that the network classifies correctly, in evaluation mode; the mode is restored."""
    mode = network.training
    network.eval()
    hits = 0
    for start in range(0, len(samples), size):
        index = range(start, min(start + size, len(samples)))
        predicted = network(to_float(samples.read(index, geometry).to(device))).argmax(dim=1).cpu()
        hits += int((predicted == samples.labels[start : start + size]).sum())
    network.train(mode)
    return hits / len(samples)
