"""Inputs moved along a gradient, and what the network says of them then."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.core.registry import view
from oodbench.core.scorer import Scorer, View


@view(
    "perturbation",
    source=("Liang et al., ICLR 2018, calData.py of facebookresearch/odin; OpenOOD v1.5 odin_postprocessor"),
    version=2,
)
class Perturbation(View):
    """Logits of x' = x - epsilon * sign(grad_x CE(z(x) / T, argmax z)): ``perturbation.logits`` (N, C).

    x is in [0, 1], and so every channel moves by epsilon there: by epsilon / std in normalised inputs, as in
    the code read. x' is not clamped."""

    def __init__(self, *, temperature: PositiveFloat = 1000.0, epsilon: NonNegativeFloat = 0.0014) -> None:
        self.temperature, self.epsilon = temperature, epsilon

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        x = inputs.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            z = network(x) / self.temperature
            loss = torch.nn.functional.cross_entropy(z, z.detach().argmax(dim=1), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
        with torch.no_grad():
            return {"perturbation.logits": network(inputs - self.epsilon * gradient.sign())}


@view(
    "score-perturbation",
    source=(
        "Lee et al., NeurIPS 2018, lib_generation.py of pokaxpoka/deep_Mahalanobis_detector;"
        " OpenOOD v1.5 godin_postprocessor and mds_ensemble_postprocessor (noise)"
    ),
    version=2,
)
class ScorePerturbation(View):
    """Score of the scorer `of` on x' = x - epsilon * sign(grad_x score(x)), which looks more in-distribution:
    ``score-perturbation.score`` (N,).

    The scorer is fitted on the plain outputs. x is in [0, 1], and so every channel moves by epsilon there. x'
    is not clamped."""

    def __init__(self, *, of: Scorer = cast(Scorer, "mds"), epsilon: NonNegativeFloat = 0.0014) -> None:
        self.of, self.epsilon = of, epsilon

    def prepare(self, network: Network, train: Outputs | None, val: Outputs | None) -> None:
        for role, outputs in (("train", train), ("val", val)):
            if role in self.of.needs and outputs is None:
                raise UserError(
                    f"view 'score-perturbation': its scorer is fitted on the {role} set, and there is none"
                )
        place = next(network.parameters()).device
        self.of.fit(*(o.to(place) if o is not None and o.device != place else o for o in (train, val)))

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        x = inputs.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self._score(network, x).sum(), x)
        with torch.no_grad():
            return {"score-perturbation.score": self._score(network, inputs - self.epsilon * gradient.sign())}

    def _score(self, network: Network, x: Tensor) -> Tensor:
        features = network.features(x)
        return self.of.score(Outputs(network.head(features), features, head=network.linear_head()))


@view("weak-pixels", source="OpenOOD v1.5 adascale_postprocessor (Regmi, 2025)", version=2)
class WeakPixels(View):
    """Features of x' = x + step * std * sign(grad_x max z) on the `share` of input values whose gradient is
    smallest, x elsewhere: ``weak-pixels.features`` (N, D).

    As in the code read, both the gradients that are compared and the step belong to normalised inputs: a
    gradient in [0, 1] counts times std, and a channel moves by step * std there. Defaults are AdaSCALE's:
    step 0.5, share 5 %. x' is not clamped."""

    def __init__(
        self, *, share: Annotated[float, Field(gt=0, le=1)] = 0.05, step: NonNegativeFloat = 0.5
    ) -> None:
        self.share, self.step = share, step

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        x = inputs.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(network(x).amax(dim=1).sum(), x)
        with torch.no_grad():
            flat = (gradient * network.std).abs().flatten(1)
            weakest = flat.topk(max(1, int(flat.shape[1] * self.share)), dim=1, largest=False).indices
            mask = torch.zeros_like(flat).scatter_(1, weakest, 1.0).view_as(inputs)
            return {
                "weak-pixels.features": network.features(
                    inputs + self.step * network.std * gradient.sign() * mask
                )
            }
