"""Scores that compare a sample's softmax with the mean one of each class: KL matching, Igeood."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed


@scorer(
    "klm",
    source="Hendrycks et al., ICML 2022 (KL matching); OpenOOD v1.5 kl_matching_postprocessor",
    version=2,
)
class KLM(Scorer):
    """KL matching: min_c KL(p || m_c), (N,), in [0, inf). m_c is the mean softmax of the samples predicted as
    class c.

    A class that nobody is predicted as has the one-hot distribution, from which every sample is infinitely
    far away. `fit_on`: the split the means come from (OpenOOD: val)."""

    def __init__(self, *, fit_on: Literal["train", "val"] = "val") -> None:
        self.fit_on = fit_on
        self.needs = frozenset({fit_on})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        reference = needed(train if self.fit_on == "train" else val, self.fit_on, self)
        classes = reference.classes
        sums = torch.zeros(classes, classes, dtype=torch.float64, device=reference.device)
        counts = torch.zeros(classes, dtype=torch.float64, device=reference.device)
        for z in functional.blocks(reference.logits, 4096):
            p = torch.softmax(z.double(), dim=1)
            predicted = z.argmax(dim=1)
            sums.index_add_(0, predicted, p)
            counts += torch.bincount(predicted, minlength=classes)
        seen = counts > 0
        means = sums[seen] / counts[seen].unsqueeze(1)
        self.log_means = means.clamp(min=torch.finfo(torch.float32).tiny).log()

    def score(self, outputs: Outputs) -> Tensor:
        z = outputs.logits.double()
        log_p = torch.log_softmax(z, dim=1)
        p = log_p.exp()
        # KL(p || m_c) = sum_k p_k log p_k - sum_k p_k log m_ck: one product, no (N, C, C) temporary
        return ((p * log_p).sum(dim=1, keepdim=True) - p @ self.log_means.T).amin(dim=1)


@scorer(
    "igeood",
    source=(
        "Gomes et al., ICLR 2022; src/measures.py of igeood/Igeood; detectors library"
        " methods/igeood_logits.py"
    ),
)
class Igeood(Scorer):
    """Igeood on logits: -sum_c d(p, q_c), (N,); d(p, q) = 2 arccos(sum_k sqrt(p_k q_k)), the Fisher-Rao
    distance of categoricals.

    p is the softmax of z / T, q_c that of the mean training logits of class c, also over T. An ID sample is
    far from all classes but its own; one between the classes is nearer to the sum of them, so small sums are
    OOD. Default T = 1 (the paper tunes it)."""

    needs = frozenset({"train"})
    search = {"temperature": (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1000.0)}

    def __init__(self, *, temperature: PositiveFloat = 1.0) -> None:
        self.temperature = temperature

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        means, counts = functional.class_means(train.logits, train.labels, train.classes)
        if not bool((counts > 0).any()):
            raise ValueError("no training sample has a known class")
        self.half_log_centres = torch.log_softmax(means[counts > 0] / self.temperature, dim=1) / 2

    def score(self, outputs: Outputs) -> Tensor:
        half = torch.log_softmax(outputs.logits.double() / self.temperature, dim=1) / 2
        overlap = half.exp() @ self.half_log_centres.exp().T
        return -2 * torch.arccos(overlap.clamp(max=1 - 1e-12)).sum(dim=1)
