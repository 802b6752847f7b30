"""Scores that read how the members of an ensemble differ."""

from __future__ import annotations

import torch
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer


@scorer(
    "mutual-information",
    source="Lakshminarayanan et al., NeurIPS 2017; torch-uncertainty 0.13 MutualInformation",
)
class MutualInformation(Scorer):
    """Mutual information of the prediction and the member: H(mean_m p_m) - mean_m H(p_m), (N,), in [0, log
    C]."""

    extras = frozenset({"members.logits"})

    def score(self, outputs: Outputs) -> Tensor:
        log_p = torch.log_softmax(outputs.extras["members.logits"].double(), dim=2)
        p = log_p.exp()
        mean = p.mean(dim=1)
        within = -(p * log_p).sum(dim=2).mean(dim=1)
        return (torch.special.entr(mean).sum(dim=1) - within).clamp(min=0)


@scorer("disagreement", source="torch-uncertainty 0.13 Disagreement")
class Disagreement(Scorer):
    """Share of the pairs of members that predict different classes, (N,), in [0, 1]; with few members many
    samples tie."""

    extras = frozenset({"members.logits"})
    differentiable = False

    def score(self, outputs: Outputs) -> Tensor:
        predicted = outputs.extras["members.logits"].argmax(dim=2)
        same = (predicted.unsqueeze(1) == predicted.unsqueeze(2)).double().sum(dim=(1, 2))
        members = predicted.shape[1]
        return 1 - (same - members) / (members * (members - 1))
