"""What changes while a network learns, and the step that changes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.training.optimiser import make_optimizer, moving_average, sharpen
from oodbench.training.processes import Team
from oodbench.training.randomness import Randomness
from oodbench.training.recipe import Recipe
from oodbench.training.schedule import Place
from oodbench.training.sharing import shared


class Step(nn.Module):
    """A module whose forward is the loss of a batch: what data parallelism wraps."""

    def __init__(self, network: Network, method: Method) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, batch: Batch) -> Tensor:
        return self.method.loss(self.network, batch)


class Stepper:
    """A network in training with its optimiser, loss scaling and moving average. Where several processes
    train together, all of them hold the same weights after every step."""

    def __init__(self, network: Network, method: Method, recipe: Recipe, device: torch.device, team: Team):
        self.network, self.method, self.recipe, self.team = network.to(device), method, recipe, team
        team.follow([*network.parameters(), *network.buffers()])
        self.optimizer = make_optimizer(network, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.average = moving_average(network, recipe.ema) if recipe.ema else None
        self._nested = list(method.nested())
        self._loss: nn.Module = Step(network, method)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """While inside, a team shares the network's body, and the gradients of all its processes are averaged
        while they are computed. Alone nothing happens.

        Parameters that a batch does not use are looked for in each: a method's term may begin late, and a
        static graph would not allow it. One that no process uses stays without a gradient, as it does
        alone."""
        if self.team.size == 1:
            yield
            return
        alone = self._loss
        with shared(self.network, self.team, self.recipe.sync_batchnorm):
            self._loss = DistributedDataParallel(alone, find_unused_parameters=True)
            self._loss.broadcast_buffers = False  # queues are large, and alike everywhere without it
            try:
                yield
            finally:
                self._loss = alone

    def step(self, batch: Batch, place: Place) -> Tensor:
        """The batch's mean loss, whose gradients are added to those of the batches before it; the weights
        change after the last batch of a step."""
        if place.first:
            self.optimizer.zero_grad(set_to_none=True)
            for group in self.optimizer.param_groups:
                group["lr"] = place.lr
        sam = self.recipe.optimizer == "sam"
        before = Randomness(batch.rng) if sam and batch.rng is not None else None
        share = len(batch.inputs) / place.samples
        with self._exchange(place.last):
            loss = self._loss(batch)
            self.scaler.scale(loss if share == 1 else loss * share).backward()
        if place.last:
            if before is not None:
                again = lambda: self._loss(batch) * share  # noqa: E731
                sharpen(self.network, again, self.recipe.rho, before)
            self._change_weights()
        return loss.detach()

    @property
    def acted(self) -> bool | Tensor:
        """Whether the method's own term took part in the last loss, and those of the methods that it
        wraps."""
        found: bool | Tensor = True
        for method in self._nested:
            found = found & method.acted
        return found

    def _exchange(self, now: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients of the processes are averaged in the pass of the last batch of a step, with those of the
        batches before it."""
        if now or not isinstance(self._loss, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._loss.no_sync()

    def _change_weights(self) -> None:
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # batch norm's statistics are of each process's share; what else there is, all have computed alike
        self.team.follow(list(self.network.body.buffers()))
        if self.average is not None:
            self.average.update_parameters(self.network)
