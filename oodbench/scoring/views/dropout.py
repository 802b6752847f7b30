"""Several passes through a network some of whose units are dropped at random."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from oodbench.core.network import Network
from oodbench.core.registry import view
from oodbench.core.scorer import View


@view(
    "mc-dropout",
    source=(
        "pytorch-ood 0.4 detector/mcd.py; OpenOOD v1.5 dropout_postprocessor (Gal and Ghahramani, ICML 2016)"
    ),
)
class MCDropout(View):
    """Over `passes` with dropout on: the mean softmax, ``mc-dropout.probabilities`` (N, C), and the mean of
    the softmax's entropies, ``mc-dropout.entropy`` (N,).

    The network's own dropout layers are switched on and nothing else. Where it has none, its penultimate
    features are dropped with probability `p` (OpenOOD's 0.5) before the head. Default 30 passes,
    pytorch-ood's."""

    def __init__(self, *, passes: PositiveInt = 30, p: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> None:
        self.passes, self.p = passes, p

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        mean, entropy = torch.zeros((), device=inputs.device), torch.zeros((), device=inputs.device)
        for z in self._passes(network, inputs, rng):
            log_p = torch.log_softmax(z.double(), dim=1)
            mean = mean + log_p.exp() / self.passes
            entropy = entropy - (log_p.exp() * log_p).sum(dim=1) / self.passes
        return {"mc-dropout.probabilities": mean, "mc-dropout.entropy": entropy}

    @torch.no_grad()
    def _passes(self, network: Network, inputs: Tensor, rng: torch.Generator) -> list[Tensor]:
        own = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
        if not own:
            features = network.features(inputs)
            masks = (
                torch.rand(features.shape, generator=rng, device=features.device) >= self.p
                for _ in range(self.passes)
            )
            return [network.head(features * mask / (1 - self.p)) for mask in masks]
        was = [m.training for m in own]
        seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
        try:
            for m in own:
                m.train()
            with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
                torch.manual_seed(seed)  # layers draw from the global generator
                return [network(inputs) for _ in range(self.passes)]
        finally:
            for m, training in zip(own, was, strict=True):
                m.train(training)
