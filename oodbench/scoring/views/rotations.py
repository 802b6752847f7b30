"""What a rotation head says of an image turned by quarters."""

from __future__ import annotations

import torch
from torch import Tensor

from oodbench.core.network import Network
from oodbench.core.registry import view
from oodbench.core.scorer import View


@view("rotations", source="Hendrycks et al., NeurIPS 2019, by way of OpenOOD v1.5 rotpred_postprocessor.py")
class Rotations(View):
    """Logits of the head ``rotation`` for the image turned by 0, 1, 2 and 3 quarters: ``rotations.logits``
    (N, 4, 4), turns first."""

    def objection(self, network: Network) -> str:
        return (
            ""
            if "rotation" in network.heads
            else "the network has no head 'rotation'; method `rotation` attaches it"
        )

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            turned = torch.cat([inputs.rot90(turns, (2, 3)) for turns in range(4)])
            logits = network.heads["rotation"](network.features(turned))
        return {"rotations.logits": logits.view(4, len(inputs), 4).transpose(0, 1)}
