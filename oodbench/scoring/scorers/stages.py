"""Scores that look at a network's inner stages, through a view."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import build, scorer
from oodbench.core.scorer import Scorer, View
from oodbench.scoring import functional
from oodbench.scoring.given import needed


def _layers(outputs: Outputs, prefix: str) -> dict[str, Tensor]:
    return {name: t for name, t in sorted(outputs.extras.items()) if name.startswith(prefix)}


class _Layer:
    """Class means of one stage's pooled outputs under one tied covariance, whitened."""

    def __init__(self, rows: Tensor, train: Outputs) -> None:
        m = functional.Moments(Outputs(train.logits, rows, train.labels), unit=False)
        self.whiten = functional.whitening(m.within, floor=m.floor)
        self.origin, self.means = m.mean, (m.means[m.counts > 0] - m.mean) @ self.whiten

    def distances(self, rows: Tensor) -> Tensor:
        x = (rows.double() - self.origin) @ self.whiten
        squared = x.square().sum(dim=1, keepdim=True) - 2 * x @ self.means.T + self.means.square().sum(dim=1)
        return squared.clamp(min=0).amin(dim=1)


@scorer(
    "mds-layers",
    source=(
        "Lee et al., NeurIPS 2018; pytorch-ood 0.4 detector/mmahalanobis.py; OpenOOD v1.5"
        " mds_ensemble_postprocessor"
    ),
)
class MDSLayers(Scorer):
    """Mahalanobis distance over stages: sum_l w_l min_c (h_l - mu_lc)^T S_l^-1 (h_l - mu_lc), (N,); h_l is
    stage l's output, mean over positions, means and tied covariance from train.

    `combine` standard: each stage's distance is standardised by its mean and deviation on ID validation
    before the sum; sum: w_l = 1. The paper learns w_l from OOD samples; here only ID data have a say.
    Default: all stages of the network."""

    needs = frozenset({"train", "val"})

    def __init__(self, *, combine: Literal["standard", "sum"] = "standard", stages: list[str] = []) -> None:  # noqa: B006
        self.combine, self.stages = combine, stages

    def view(self) -> View:
        return build("view", {"stages": {"stages": self.stages}})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        val = needed(val, "val", self)
        self.layers = {name: _Layer(rows, train) for name, rows in _layers(train, "stages.").items()}
        self.scale: dict[str, tuple[float, float]] = {}
        for name in self.layers:
            known = self.layers[name].distances(val.extras[name])
            spread = float(known.std()) if len(known) > 1 else 0.0
            self.scale[name] = (
                (float(known.mean()), spread or 1.0) if self.combine == "standard" else (0.0, 1.0)
            )

    def score(self, outputs: Outputs) -> Tensor:
        total = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
        for name, (mean, spread) in self.scale.items():
            total = total + (self.layers[name].distances(outputs.extras[name]) - mean) / spread
        return total


@scorer(
    "gram",
    source=(
        "Sastry and Oore, ICML 2020, the notebooks of VectorInstitute/gram-ood-detection; pytorch-ood 0.4"
        " detector/gram.py; OpenOOD v1.5 gram_postprocessor"
    ),
)
class Gram(Scorer):
    """Gram matrices: sum_l delta_l / n_l / max_c p_c, (N,), >= 0; delta_l sums over rows and powers how far
    the row sums of stage l's Gram matrices leave the range [min, max] of the training samples that were
    predicted as the same class (as the authors'; the other two take those of that label), relative to that
    bound.

    n_l is the mean of delta_l on ID validation. A class that no training sample is predicted as has the range
    of all. Powers 1 to `powers`; default: OpenOOD's 5, all stages."""

    needs = frozenset({"train", "val"})
    search = {"powers": (3, 5, 10)}

    def __init__(self, *, powers: PositiveInt = 5, stages: list[str] = []) -> None:  # noqa: B006 - a signature is a schema
        self.powers, self.stages = powers, stages

    def view(self) -> View:
        return build("view", {"gram": {"powers": self.powers, "stages": self.stages}})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        val = needed(val, "val", self)
        self.bounds: dict[str, tuple[Tensor, Tensor]] = {}
        for name, rows in _layers(train, "gram.").items():
            low = torch.full((train.classes, rows.shape[1]), torch.inf, device=rows.device)
            high = -low
            for block, z in zip(functional.blocks(rows), functional.blocks(train.logits), strict=True):
                index = z.argmax(dim=1, keepdim=True).expand_as(block)
                low.scatter_reduce_(0, index, block, "amin")
                high.scatter_reduce_(0, index, block, "amax")
            low, high = low.where(low <= high, low.amin(dim=0)), high.where(low <= high, high.amax(dim=0))
            self.bounds[name] = low, high
        self.expected = {name: float(self._deviation(val, name).mean()) or 1.0 for name in self.bounds}

    def _deviation(self, outputs: Outputs, name: str) -> Tensor:
        low, high = (b[outputs.predictions] for b in self.bounds[name])
        g = outputs.extras[name].float()
        below, above = (
            (low - g).clamp(min=0) / (low + 1e-6).abs(),
            (g - high).clamp(min=0) / (high + 1e-6).abs(),
        )
        return (below.double() + above.double()).sum(dim=1)

    def score(self, outputs: Outputs) -> Tensor:
        total = sum(self._deviation(outputs, name) / expected for name, expected in self.expected.items())
        return torch.as_tensor(total) / torch.softmax(functional.wide(outputs.logits), dim=1).amax(dim=1)


@scorer(
    "rankfeat",
    source=(
        "OpenOOD v1.5 rankfeat_postprocessor; pytorch-ood 0.4 detector/rankfeat.py (Song et al., NeurIPS"
        " 2022)"
    ),
)
class RankFeat(Scorer):
    """RankFeat: -T logsumexp(z' / T), (N,); z' are the logits after the leading singular component of a
    stage's maps is removed, mean over the last `blocks` stages. Defaults 2 (the paper's blocks 3 and 4) and T
    = 1."""

    search = {"blocks": (1, 2)}

    def __init__(self, *, blocks: PositiveInt = 2, temperature: PositiveFloat = 1.0) -> None:
        self.blocks, self.temperature = blocks, temperature

    def view(self) -> View:
        return build("view", {"rankfeat": {"blocks": self.blocks}})

    def logits(self, outputs: Outputs) -> Tensor:
        return outputs.extras["rankfeat.logits"]

    def score(self, outputs: Outputs) -> Tensor:
        return functional.energy(self.logits(outputs).float(), self.temperature)
