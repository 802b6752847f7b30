"""What a network's stages hand on: pooled, as Gram matrices, or with their leading direction removed."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from oodbench.core.network import Network
from oodbench.core.registry import view
from oodbench.core.scorer import View
from oodbench.scoring import functional


@view(
    "stages",
    source="Lee et al., NeurIPS 2018 (mean over positions); pytorch-ood 0.4 detector/mmahalanobis.py",
)
class Stages(View):
    """The output of each stage, its mean over all positions: ``stages.<name>`` (N, channels). Default: all
    stages of the network."""

    def __init__(self, *, stages: list[str] = []) -> None:  # noqa: B006 - a signature is a schema
        self.stages = stages

    def objection(self, network: Network) -> str:
        return functional.stage_objection(network, self.stages)

    @torch.no_grad()
    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        _, found = functional.stage_outputs(network, inputs, self.stages or network.stages)
        return {
            f"stages.{name}": out.flatten(2).mean(dim=2) if out.dim() > 2 else out
            for name, out in found.items()
        }


@view(
    "gram",
    source="pytorch-ood 0.4 detector/gram.py; OpenOOD v1.5 gram_postprocessor (Sastry and Oore, ICML 2020)",
)
class Gram(View):
    """Row sums of the Gram matrix of each stage's channels, (F^p (F^p)^T)^(1/p), for p = 1 ... `powers`:
    ``gram.<name>`` (N, powers x channels). The signed root is taken after the sum over the row. Default: all
    stages, powers 1 to 5 (OpenOOD's; the paper's code: 10)."""

    def __init__(self, *, powers: PositiveInt = 5, stages: list[str] = []) -> None:  # noqa: B006 - a signature is a schema
        self.powers, self.stages = powers, stages

    def objection(self, network: Network) -> str:
        return functional.stage_objection(network, self.stages)

    @torch.no_grad()
    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        _, found = functional.stage_outputs(network, inputs, self.stages or network.stages)
        return {
            f"gram.{name}": self.rows(out.float().reshape(*out.shape[:2], -1)) for name, out in found.items()
        }

    def rows(self, maps: Tensor) -> Tensor:
        # (F / m)^p never overflows, and the p-th root gives back m^2; F^p (sum over channels of F^p) is the
        # row sum without the matrix
        largest = maps.abs().amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
        sums = []
        for p in range(1, self.powers + 1):
            f = (maps / largest) ** p
            row = (f * f.sum(dim=1, keepdim=True)).sum(dim=2)
            sums.append(row.sign() * row.abs() ** (1 / p) * largest.squeeze(2).square())
        return torch.cat(sums, dim=1)


@view(
    "rankfeat",
    source=(
        "OpenOOD v1.5 rankfeat_postprocessor; pytorch-ood 0.4 detector/rankfeat.py (Song et al., NeurIPS"
        " 2022)"
    ),
)
class RankFeat(View):
    """Logits of the network whose stage hands on its maps (channels x positions) without their leading
    singular component, mean over the last `blocks` stages, one edited at a time: ``rankfeat.logits`` (N, C).
    Default 2, the paper's blocks 3 and 4."""

    def __init__(self, *, blocks: PositiveInt = 2) -> None:
        self.blocks = blocks

    def objection(self, network: Network) -> str:
        if network.stages and len(network.stages) < self.blocks:
            return (
                f"{self.blocks} blocks are to be edited, and the network names {len(network.stages)} stages"
            )
        return functional.stage_objection(network, network.stages[-self.blocks :], dims=3)

    @torch.no_grad()
    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        logits = [
            functional.with_stage(network, inputs, name, without_rank_one)
            for name in network.stages[-self.blocks :]
        ]
        return {"rankfeat.logits": torch.stack(logits).mean(dim=0)}


def without_rank_one(maps: Tensor) -> Tensor:
    """Maps (B, C, ...) minus sigma_1 u_1 v_1^T of each sample's matrix (C, positions), found from the smaller
    of its two Gram matrices."""
    matrix = maps.reshape(*maps.shape[:2], -1).double()
    wide = matrix.shape[2] >= matrix.shape[1]
    gram = matrix @ matrix.transpose(1, 2) if wide else matrix.transpose(1, 2) @ matrix
    leading = torch.linalg.eigh(gram).eigenvectors[:, :, -1:]
    part = (
        leading @ (leading.transpose(1, 2) @ matrix) if wide else (matrix @ leading) @ leading.transpose(1, 2)
    )
    return (matrix - part).to(maps.dtype).reshape(maps.shape)
