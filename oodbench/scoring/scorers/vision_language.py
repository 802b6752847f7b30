"""Scores of models of images and texts. Logits are scaled cosines there; these scores take the cosines
themselves, so that the scale of the network does not matter."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import build, scorer
from oodbench.core.scorer import Scorer, View
from oodbench.scoring import functional


def _cosines(outputs: Outputs) -> Tensor:
    """Cosines (N, C) of features and rows of the head; 0 for a zero feature."""
    return outputs.memo(
        "cosines",
        lambda: functional.unit_features(outputs) @ functional.normalised(outputs.required_head.weight).T,
    )


@scorer(
    "mcm",
    source=(
        "Ming et al., NeurIPS 2022; detection_util.py of deeplearning-wisc/MCM; pytorch-ood 0.4"
        " detector/mcm.py; OpenOOD mcm_postprocessor"
    ),
)
class MCM(Scorer):
    """Maximum concept matching: log(1 - max_c p_c), (N,), p = softmax(cos(f, w) / temperature); w_c are the
    rows of the head.

    Default temperature 1, that of the paper and its code. It divides cosines, not the logits of the network
    (which are 100 times as large for OpenAI's CLIP: that is `msp`). The code gives -max_c p_c, which ranks
    the same."""

    needs = frozenset({"head", "features"})

    def __init__(self, *, temperature: PositiveFloat = 1.0) -> None:
        self.temperature = temperature

    def score(self, outputs: Outputs) -> Tensor:
        return functional.log_one_minus_max_probability(_cosines(outputs) / self.temperature)


@scorer("gl-mcm", source="Miyai et al., IJCV 2025; detection_util.py and clip/model.py of AtsuMiyai/GL-MCM")
class GLMCM(Scorer):
    """Global and local MCM: 1 - max_c p_c(image) + weight * (1 - max over patches and classes of p_c(patch)),
    (N,), p = softmax(cos / temperature).

    Default temperature 1 and weight 1, those of the code; its script for ImageNet has weight 0.5. Patches as
    of the view `local-features`. The code gives the same minus (1 + weight)."""

    needs = frozenset({"head", "features"})

    def __init__(self, *, temperature: PositiveFloat = 1.0, weight: NonNegativeFloat = 1.0) -> None:
        self.temperature, self.weight = temperature, weight

    def view(self) -> View:
        return build("view", {"local-features": {"temperature": self.temperature}})

    def score(self, outputs: Outputs) -> Tensor:
        whole = functional.log_one_minus_max_probability(_cosines(outputs) / self.temperature)
        return whole.exp() + self.weight * outputs.extras["local-features.mcm"].double().exp()


@scorer(
    "neglabel", source="Jiang et al., ICLR 2024; clip_ood.py of XueJiang16/NegLabel (the same in CSP's code)"
)
class NegLabel(Scorer):
    """Share of negative labels: mean over groups of sum_neg e^(cos / T) / (sum_pos e^(cos / T) + sum_neg
    e^(cos / T)), (N,), in [0, 1].

    Positive cosines are those of features and rows of the head, negative ones those of the head `negatives`
    that network `clip` attaches. The M negative labels are shuffled once and dealt into `groups` of equal
    size; the last M mod groups are left out. Defaults T = 0.01 (100 * cos, as the code) and 100 groups. The
    code gives 1 minus this, and shuffles on a GPU, whose order a CPU cannot draw."""

    needs = frozenset({"head", "features"})
    extras = frozenset({"negatives"})

    def __init__(
        self, *, temperature: PositiveFloat = 0.01, groups: PositiveInt = 100,
        seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    ) -> None:  # fmt: skip
        self.temperature, self.groups, self.seed = temperature, groups, seed

    def score(self, outputs: Outputs) -> Tensor:
        negative = outputs.extras["negatives"]
        groups = min(self.groups, negative.shape[1])
        count = negative.shape[1] - negative.shape[1] % groups
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        dealt = negative[:, order.to(negative.device)].double().view(len(negative), groups, -1)
        known = torch.logsumexp(_cosines(outputs).double() / self.temperature, dim=1, keepdim=True)
        return (torch.logsumexp(dealt / self.temperature, dim=2) - known).sigmoid().mean(dim=1)
