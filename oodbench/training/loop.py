"""From an untrained network to its weights: one loop, readable top to bottom. It knows neither suites nor disks."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.scorer import Batch, Geometry, Method, Network, Recipe, Samples, SpecLike, Task
from oodbench.data.samples import to_float
from oodbench.training.optimiser import Average, Randomness, learning_rate, make_optimizer, running_as, sharpen
from oodbench.training.processes import ALONE, Team, wanted

State = tuple[dict[str, Tensor], dict[str, Any]]
"""A training in progress: tensors by name, and JSON-able scalars."""
_Best = tuple[float, dict[str, Tensor]] | None
_HELD = 2 * 2**30
"""Sets of at most so many bytes are moved to the device once; larger ones are read batch by batch, one ahead."""
_LOOK = 64
"""Every so many batches the loss is looked at, which makes an accelerator wait: a training gone wrong ends there."""


def initialise(network: SpecLike, method: Method, task: Task, seed: int) -> Network:
    """The untrained network on the CPU, set up by the method, seeded; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built: Network = registry.build("network", network, task)
        method.setup(built)
    return built


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
    """Train `network` in place and return the history, a record per epoch, which `on_epoch` is given with the images per second.

    Within an epoch `on_look` is told now and then how far it is: `epoch` in parts of one, mean loss and images per second so far.
    Deterministic for a seed on one device: every epoch seeds its own shuffling, augmentation and dropout, so that a training
    resumed from what `save` was given last ends in the same weights, bit for bit. Raises UserError where the loss is not finite.
    """
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
    if history and not torch.isfinite(torch.stack([p.detach().abs().max().cpu() for p in network.parameters()])).all():
        raise UserError("training: some weights are not finite; lower the learning rate")
    if best is not None:
        network.load_state_dict(best[1])
    elif average is not None:
        network.load_state_dict(average.values)
    network.eval()
    return history


# ---------------------------------------------------------------- parts of the loop


def _refuse_nonsense(loss: Tensor, epoch: int, recipe: Recipe) -> None:
    if not math.isfinite(float(loss)):
        raise UserError(
            f"training: the loss is not finite in epoch {epoch}; lower the learning rate (lr {recipe.lr:g}) or warm up"
        )


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def _augmented(inputs: Tensor, augment: list[Any], rng: torch.Generator) -> Tensor:
    for transform in augment:
        inputs = transform(inputs, rng)
    return inputs


def _batches(n: int, size: int, processes: int = 1) -> int:
    """Batches in an epoch; a last one without two samples for each process is left out, since batch norm cannot learn from one."""
    return max(1, n // size + (n % size >= 2 * processes))


class Reader:
    """Batches of a set on the device, in a given order: held there whole where it is small, else read one batch ahead."""

    def __init__(self, samples: Samples, geometry: Geometry, device: str | torch.device) -> None:
        self.samples, self.geometry, self.device = samples, geometry, device
        self.labels = samples.labels.to(device)
        one = samples.read([0], geometry)
        self._held = (
            samples.read(range(len(samples)), geometry).to(device) if one.nbytes * len(samples) <= _HELD else None
        )

    def batches(self, order: Tensor, size: int, team: Team = ALONE) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of every batch, or this process's share of them."""
        parts = [team.share(part) for part in order.split(size)[: _batches(len(order), size, team.size)]]
        if self._held is not None:
            for index in parts:
                at = index.to(self.device)
                yield to_float(self._held[at]), self.labels[at]
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=1) as pool:
            reads = (pool.submit(self.samples.read, index, self.geometry) for index in parts)
            ahead = next(reads, None)
            for index in parts:
                assert ahead is not None
                images, ahead = ahead.result(), next(reads, None)
                yield to_float(images.to(self.device, non_blocking=True)), self.labels[index.to(self.device)]

    def sample(self, count: int, augment: list[Any], rng: torch.Generator) -> Tensor:
        """`count` images drawn with replacement, augmented."""
        index = torch.randint(0, len(self.samples), (count,), generator=rng, device=rng.device)
        images = (
            self._held[index]
            if self._held is not None
            else self.samples.read(index.cpu(), self.geometry).to(self.device)
        )
        return _augmented(to_float(images), augment, rng)


@torch.no_grad()
def accuracy(
    network: Network, samples: Samples, geometry: Geometry, device: str | torch.device = "cpu", size: int = 512
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


def _state(
    network: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average | None,
    history: list[dict[str, float]],
    best: _Best,
) -> State:
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
    if average is not None:
        tensors |= {f"average.{k}": v for k, v in average.values.items()}
    if best is not None:
        tensors |= {f"best.{k}": v for k, v in best[1].items()}
    return tensors, {"history": history, "best": None if best is None else best[0], "scaler": scaler.state_dict()}


def _restore(
    state: State,
    network: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average | None,
) -> tuple[list[dict[str, float]], _Best]:
    tensors, scalars = state
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "average": {}}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        if kind == "optimizer":
            number, key = rest.split(".", 1)
            slots.setdefault(int(number), {})[key] = tensor
        else:
            groups[kind][rest] = tensor
    network.load_state_dict(groups["network"])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    if scaler.is_enabled():
        scaler.load_state_dict(scalars["scaler"])
    if average is not None:
        for name, value in average.values.items():
            value.copy_(groups["average"][name])
    best = None if scalars["best"] is None else (float(scalars["best"]), groups["best"])
    return list(scalars["history"]), best
