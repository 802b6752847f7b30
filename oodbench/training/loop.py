"""From an untrained network to its weights: one loop, readable top to bottom. It knows neither suites nor
disks. Why no framework: docs/decisions/own-training-loop.md."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import UserError
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.spec import label_of
from oodbench.data.reading import batches
from oodbench.training.optimiser import averaged, copied, running_as
from oodbench.training.processes import wanted
from oodbench.training.reader import Feed, Material
from oodbench.training.recipe import Recipe
from oodbench.training.state import Progress, State, restore, state_of
from oodbench.training.stepper import Stepper


class Diverged(UserError):
    """The loss is not finite: where several processes train together, that of all of them."""


LOOK_EVERY = 64
"""Every so many batches the loss is looked at, which makes an accelerator wait: a training gone wrong ends
there."""


class Listener(NamedTuple):
    """Who is told how a training goes."""

    epoch: Callable[[Mapping[str, float]], None] | None = None
    """After each epoch: its record of the history, and `images_per_second`."""
    look: Callable[[Mapping[str, float]], None] | None = None
    """Now and then within an epoch: `epoch` in parts of one, mean `loss` and `images_per_second` so far."""
    save: Callable[[dict[str, Tensor], dict[str, Any]], None] | None = None
    """After each epoch but the last: the state from which the training can be resumed."""


def train(
    network: Network,
    method: Method,
    recipe: Recipe,
    data: Material,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    listener: Listener = Listener(),  # noqa: B008
    resume: State | None = None,
) -> list[dict[str, float]]:
    """Train `network` in place and return the history, a record per epoch: `epoch`, `loss`, `lr`, `acted` (in
    which share of its batches the method's own term took part) and, with validation samples, `val_accuracy`.

    Deterministic for a seed on one device: a training resumed from what `listener.save` was given last ends
    in the same weights, bit for bit. Raises UserError where the loss or the weights are not finite, or where
    fewer processes are here than the recipe asks for."""
    device, team = torch.device(device), wanted(recipe.world_size)
    stepper = Stepper(network, method, recipe, device, team)
    with team.parting():
        feed = Feed(data, method, recipe, seed, device, team)
    resume = team.told(resume)  # the others may not see the first one's store
    progress = Progress() if resume is None else restore(resume, stepper)
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices), running_as(recipe, network, device), stepper.together(),
        team.parting(Diverged),
    ):  # fmt: skip
        for epoch in range(len(progress.history), recipe.epochs):
            start = time.perf_counter()
            loss, acted = _epoch(stepper, feed, epoch, listener)
            seconds = time.perf_counter() - start
            record = {"epoch": float(epoch), "loss": loss, "lr": stepper.optimizer.param_groups[0]["lr"]}
            record["acted"] = acted
            _validate(stepper, data, record, progress)
            progress.history.append(record)
            if listener.save is not None and epoch + 1 < recipe.epochs:
                listener.save(*state_of(stepper, progress))
            if listener.epoch is not None:
                rate = feed.schedule.samples / max(seconds, 1e-9)
                listener.epoch(record | {"images_per_second": rate})
    _refuse_broken_weights(network)
    if progress.best is not None:
        network.load_state_dict(progress.best[1])
    elif stepper.average is not None:
        network.load_state_dict(stepper.average.module.state_dict())
    network.eval()
    return progress.history


def _epoch(stepper: Stepper, feed: Feed, epoch: int, listener: Listener) -> tuple[float, float]:
    """Train for one epoch; its mean loss, and the share of its batches in which the method's own term
    acted."""
    start, recipe = time.perf_counter(), stepper.recipe
    stepper.network.train()
    total, acted = torch.zeros((), device=feed.device), torch.zeros((), device=feed.device)
    for number, (batch, place) in enumerate(feed.epoch(epoch), start=1):
        total += stepper.step(batch, place) * len(batch.inputs)
        acted += stepper.acted
        if number % LOOK_EVERY == 0:
            so_far, seen = _finite(total, epoch, recipe), number * recipe.batch_size
            if listener.look is not None:
                rate = seen / max(time.perf_counter() - start, 1e-9)
                at = epoch + number / feed.schedule.batches
                listener.look({"epoch": at, "loss": float(so_far) / seen, "images_per_second": rate})
    # an accelerator may add in another order on each process
    stepper.team.follow([*stepper.network.buffers(), total])
    return float(_finite(total, epoch, recipe) / feed.schedule.samples), float(acted) / feed.schedule.batches


def _validate(stepper: Stepper, data: Material, record: dict[str, float], progress: Progress) -> None:
    """Add the accuracy on the validation samples to the record, and keep the weights if none were better and
    the recipe wants the best."""
    if data.val is None:
        return
    network = stepper.network
    with averaged(network, stepper.average):
        record["val_accuracy"] = accuracy(network, data.val, data.geometry, network.mean.device)
        if stepper.recipe.select == "best-val" and (
            progress.best is None or record["val_accuracy"] >= progress.best[0]
        ):
            progress.best = (record["val_accuracy"], copied(network))


def _finite(loss: Tensor, epoch: int, recipe: Recipe) -> Tensor:
    if not math.isfinite(float(loss)):
        raise Diverged(
            f"training: the loss is not finite in epoch {epoch}; lower the learning rate (lr {recipe.lr:g})"
            " or warm up"
        )
    return loss


def _refuse_broken_weights(network: Network) -> None:
    """The last step may break what no loss is computed from any more."""
    largest = torch.stack([p.detach().abs().max().cpu() for p in network.parameters()])
    if not torch.isfinite(largest).all():
        raise UserError("training: some weights are not finite; lower the learning rate")


def never_acted(method: Method, recipe: Recipe, history: Sequence[Mapping[str, float]]) -> str:
    """Why the weights of a training are not the method's: its own term had no part in them. Empty where it
    had. A record that does not tell, of a training begun by an older version, counts as acting."""
    kept = len(history) - 1
    if recipe.select == "best-val" and "val_accuracy" in history[-1]:
        kept = max(range(len(history)), key=lambda i: (history[i]["val_accuracy"], i))
    if any(record.get("acted", 1.0) > 0 for record in history[: kept + 1]):
        return ""
    until = f"up to epoch {kept}, the best on validation" if kept + 1 < len(history) else "in all epochs"
    hints = " and ".join(m.acts_once for m in method.nested() if m.acts_once)
    return (
        f"training: the own term of method {label_of(method)!r} never acted {until}, so these would be the"
        " weights of a training without it" + (f"; it acts once {hints}" if hints else "")
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
    predicted = torch.cat(
        [network(inputs).argmax(dim=1) for inputs in batches(samples, geometry, size, device)]
    )
    network.train(mode)
    return int((predicted.cpu() == samples.labels).sum()) / len(samples)
