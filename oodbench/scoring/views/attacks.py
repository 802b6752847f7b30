"""Adversarial inputs: what the network, or a score, says of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, PositiveInt
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.core.registry import view
from oodbench.core.scorer import Scorer, View


def _fraction(value: Any) -> Any:
    """8/255, as the literature writes it."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = value.split("/")
        try:
            return float(above) / float(below)
        except (ValueError, ZeroDivisionError):
            raise ValueError("should be a number or a fraction such as 8/255") from None
    return value


Radius = Annotated[float, BeforeValidator(_fraction), Field(gt=0, le=1)]


class Attack(View):
    """Inputs x' with max |x' - x| <= eps, in [0, 1], at which a score is higher (direction raise) or lower
    than at x.

    With the scorer `of`: its score there, ``attack.score`` (N,), fitted on the plain outputs. Without: the
    loss of the class predicted at x is raised, and the logits there are ``attack.logits`` (N, C)."""

    def __init__(
        self, of: Scorer | None, direction: Literal["raise", "lower"], eps: float, step: float, steps: int,
        random_start: bool
    ) -> None:  # fmt: skip
        self.of, self.sign = of, 1.0 if direction == "raise" else -1.0
        self.eps, self.step, self.steps, self.random_start = eps, step, steps, random_start

    def prepare(self, network: Network, train: Outputs | None, val: Outputs | None) -> None:
        if self.of is None:
            return
        for role, outputs in (("train", train), ("val", val)):
            if role in self.of.needs and outputs is None:
                raise UserError(f"attack: its scorer is fitted on the {role} set, and there is none")
        place = next(network.parameters()).device
        with torch.no_grad():
            self.of.fit(*(None if o is None else o.to(place) for o in (train, val)))

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            predicted = network(inputs).argmax(dim=1)
        x = inputs.clone()
        if self.random_start:
            x = x + self.eps * (2 * torch.rand(x.shape, generator=rng, device=x.device) - 1)
        x = x.clamp(0, 1)
        for _ in range(self.steps):
            x.requires_grad_(True)
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(self._objective(network, x, predicted).sum(), x)
            moved = x.detach() + self.sign * self.step * gradient.sign()
            x = moved.clamp(inputs - self.eps, inputs + self.eps).clamp(0, 1)
        with torch.no_grad():
            if self.of is None:
                return {"attack.logits": network(x)}
            return {"attack.score": self._objective(network, x, predicted)}

    def _objective(self, network: Network, x: Tensor, predicted: Tensor) -> Tensor:
        features = network.features(x)
        logits = network.head(features)
        if self.of is None:
            return torch.nn.functional.cross_entropy(logits, predicted, reduction="none")
        return self.of.score(Outputs(logits, features, head=network.linear_head()))


@view("pgd", source="Madry et al., ICLR 2018; CIFAR10/train_pgd.py of locuslab/fast_adversarial")
class PGD(Attack):
    """Projected gradient in the maximum norm: `steps` times x' = clip(x' +- step * sign(grad)), from a random
    place within eps.

    eps and step are in [0, 1] and may be written 8/255; default step 2.5 eps / steps.
    """

    def __init__(
        self, *, of: Scorer | None = None, direction: Literal["raise", "lower"] = "raise",
        eps: Radius = 8 / 255,
        steps: PositiveInt = 20, step: Radius | None = None, random_start: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            of, direction, eps, min(1.0, 2.5 * eps / steps) if step is None else step, steps, random_start
        )


@view(
    "fgsm",
    source="Goodfellow et al., ICLR 2015; CIFAR10/train_pgd.py of locuslab/fast_adversarial (one step)",
)
class FGSM(Attack):
    """Fast gradient sign: x' = clip(x +- eps * sign(grad)), one step; eps is in [0, 1] and may be written
    8/255."""

    def __init__(
        self,
        *,
        of: Scorer | None = None,
        direction: Literal["raise", "lower"] = "raise",
        eps: Radius = 8 / 255,
    ) -> None:
        super().__init__(of, direction, eps, eps, 1, False)
