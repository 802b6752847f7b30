"""Scores from the nearest training samples in feature space: all read one product of cosine similarities per
chunk."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed


def _enough(k: int, there: int, of: int) -> None:
    """Refuse more neighbours than a bank has, `there` `of` the training samples: fewer would be another score
    than the one asked for."""
    if k <= there:
        return
    bank = f"{there} of {of}" if there < of else str(of)
    larger = f"fraction to at least {math.ceil(1e4 * k / of) / 1e4:g}, or " if there < k <= of else ""
    raise ValueError(
        f"k is {k}, and there are {bank} training samples to be near to; set {larger}k to at most {there}"
    )


@scorer(
    "knn",
    source="Sun et al., ICML 2022; OpenOOD v1.5 knn_postprocessor (which squares the distance)",
    version=3,
)
class KNN(Scorer):
    """Distance to the k-th nearest training sample, between unit-norm features: ||f' - f'_(k)||_2, (N,), in
    [0, 2].

    Default k = 50, OpenOOD's for CIFAR. Fewer than k training samples are refused. Neighbours are found by
    float32 similarity; the distance to the k-th is then taken from the two vectors, so that it does not
    cancel where features collapse."""

    needs = frozenset({"train", "features"})
    search = {"k": (1, 5, 10, 20, 50, 100, 200, 500, 1000)}

    def __init__(self, *, k: PositiveInt = 50) -> None:
        self.k = k

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        _enough(self.k, len(train), len(train))
        self.bank = functional.bank(train)

    def score(self, outputs: Outputs) -> Tensor:
        near = functional.similarities(outputs, self.bank).topk(self.k, dim=1, sorted=False)
        kth = near.indices.gather(1, near.values.argmin(dim=1, keepdim=True)).squeeze(1)
        return (functional.unit_features(outputs) - self.bank.rows(kth)).norm(dim=1)


@scorer(
    "nnguide",
    source="Park et al., ICCV 2023; OpenOOD v1.5 nnguide_postprocessor; pytorch-ood 0.4 detector/nnguide.py",
    version=2,
)
class NNGuide(Scorer):
    """Nearest-neighbour guidance: -E(z) * mean of the k largest E(z_j) cos(f, f_j), (N,); E = logsumexp of
    the logits, j in the bank.

    The bank is a random `fraction` of the training set, drawn with `seed` (the paper takes 1 % of ImageNet,
    OpenOOD the first 1 % of an unshuffled list, in whole batches); default all of it. Default k = 100,
    OpenOOD's. A bank of fewer than k samples is refused: the score would be a mean over all of it."""

    needs = frozenset({"train", "features"})
    search = {"k": (1, 5, 10, 20, 50, 100, 200), "fraction": (0.01, 0.1, 1.0)}

    def __init__(
        self,
        *,
        k: PositiveInt = 100,
        fraction: Annotated[float, Field(gt=0, le=1)] = 1.0,
        seed: NonNegativeInt = 0,
    ) -> None:
        self.k, self.fraction, self.seed = k, fraction, seed

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        count = max(1, round(self.fraction * len(train)))
        _enough(self.k, count, len(train))
        self.bank = functional.bank(train)
        self.energy = torch.cat([-functional.energy(z) for z in functional.blocks(train.logits)])
        self.drawn: Tensor | None = None
        if self.fraction < 1:
            drawn = (
                torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))[:count]
                .sort()
                .values
            )
            self.drawn = drawn.to(self.energy.device)
            self.energy = self.energy[self.drawn]

    def score(self, outputs: Outputs) -> Tensor:
        near = functional.similarities(outputs, self.bank)
        near = near if self.drawn is None else near[:, self.drawn]
        # rows at a time: a temporary as large as `near` would cost more to allocate than to compute
        guidance = [
            (rows * self.energy).topk(self.k, dim=1, sorted=False).values.mean(dim=1)
            for rows in near.split(64)
        ]
        return functional.energy(outputs.logits) * torch.cat(guidance)


@scorer("relation", source="Kim et al., NeurIPS 2023; OpenOOD v1.5 relation_postprocessor")
class Relation(Scorer):
    """Neural relation graph: -sum_j [k_j > threshold] k_j^power, (N,), <= 0; k_j = max(0, cos(f, f_j)) * (p .
    p_j) over the training set.

    p is the softmax. Defaults power = 1, threshold = 0.03 are OpenOOD's.
    """

    needs = frozenset({"train", "features"})
    search = {"power": (1.0, 2.0, 4.0, 6.0, 8.0)}

    HOLD = 256 * 2**20
    """Bytes of training probabilities that are held; more are made again from the logits for each chunk."""
    COLUMNS = 4096

    def __init__(self, *, power: PositiveFloat = 1.0, threshold: NonNegativeFloat = 0.03) -> None:
        self.power, self.threshold = power, threshold

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        self.bank, self.train_logits = functional.bank(train), train.logits
        held = 4 * train.logits.numel() <= self.HOLD
        self.train_probabilities = torch.softmax(train.logits.float(), dim=1) if held else None

    def score(self, outputs: Outputs) -> Tensor:
        cosine = functional.similarities(outputs, self.bank)
        p = torch.softmax(functional.wide(outputs.logits), dim=1)
        total = torch.zeros(len(outputs), dtype=torch.float64, device=p.device)
        for start in range(0, len(self.bank), self.COLUMNS):  # columns at a time stay in the cache
            columns = slice(start, start + self.COLUMNS)
            others = (
                torch.softmax(self.train_logits[columns].float(), dim=1)
                if self.train_probabilities is None
                else self.train_probabilities[columns]
            )
            relation = torch.nn.functional.threshold((p @ others.T) * cosine[:, columns], self.threshold, 0.0)
            total = total + (relation if self.power == 1 else relation.pow(self.power)).sum(dim=1)
        return -total
