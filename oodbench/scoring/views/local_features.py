"""What the patches of an image are like, for networks whose patches lie in the space of the head."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor

from oodbench.core.network import Network
from oodbench.core.registry import view
from oodbench.core.scorer import View
from oodbench.scoring import functional

_ROWS = 4096
"""Patches whose probabilities are computed at a time."""


@view(
    "local-features",
    source="Miyai et al., IJCV 2025; clip/model.py and detection_util.py of AtsuMiyai/GL-MCM",
)
class LocalFeatures(View):
    """How surely the best patch shows a class: log(1 - max_p max_c softmax_c(cos(v_p, w_c) / temperature)),
    ``local-features.mcm`` (N,).

    v_p are the network's local features (`network.body.local`, (B, P, D)): the values of the last block in
    place of its attention. w_c are the rows of the head. Default temperature 1, the paper's code."""

    def __init__(self, *, temperature: PositiveFloat = 1.0) -> None:
        self.temperature = temperature

    def objection(self, network: Network) -> str:
        if not callable(getattr(network.body, "local", None)):
            return (
                "the network has no features of single patches; `clip` with a ViT or ResNet like OpenAI's has"
                " them"
            )
        return "" if network.linear_head() is not None else "the network has no linear head"

    @torch.no_grad()
    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        head, body = network.linear_head(), network.body
        assert head is not None
        local = body.local((inputs - network.mean) / network.std)  # type: ignore[operator]
        concepts = functional.normalised(head.weight) / self.temperature
        found = [
            functional.log_one_minus_max_probability(functional.normalised(rows) @ concepts.T)
            for rows in local.flatten(0, 1).split(_ROWS)
        ]
        return {"local-features.mcm": torch.cat(found).view(len(inputs), -1).amin(dim=1)}
