"""What changes while a network learns, and the step that changes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.training.optimiser import make_optimizer, moving_average, sharpen
from oodbench.training.processes import Team
from oodbench.training.randomness import Randomness
from oodbench.training.recipe import Recipe
from oodbench.training.schedule import Place


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
        loss = self.method.loss(self.network, batch)
        self.scaler.scale(loss if share == 1 else loss * share).backward()
        if place.last:
            self.team.add_gradients(self.network)
            if before is not None:
                again = lambda: self.method.loss(self.network, batch) * share  # noqa: E731
                sharpen(self.network, again, self.recipe.rho, before)
                self.team.add_gradients(self.network)
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

    def _change_weights(self) -> None:
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.team.follow(list(self.network.buffers()))
        if self.average is not None:
            self.average.update_parameters(self.network)
