"""WeiPer: scores under random perturbations of the classification head."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed
from oodbench.scoring.scorers.shaping import linear_head


@scorer(
    "weiper",
    source=(
        "authors' github.com/mgranz/weiper_icml postprocessors/weiper_kldiv and README (Granz et al., NeurIPS"
        " 2024)"
    ),
)
class WeiPer(Scorer):
    """WeiPer+KLD: KL(f) + lambda1 KL(H f) - lambda2 mean_r max_c softmax(H_r f)_c, (N,); H_r = W + `distance`
    ||w_c|| u, u random units.

    KL(v) is the symmetric Kullback-Leibler divergence between the histogram of the sample's entries v (`bins`
    between train's extremes, smoothed by a moving average of `smooth` or `smooth_perturbed` bins) and train's
    mean histogram, 0.01 (features) or 0.025 (perturbed logits) added to each bin. Defaults are the authors'
    for CIFAR-10. Train's histograms come from at most `samples` evenly spaced rows."""

    needs = frozenset({"train", "head", "features"})
    search = {
        "distance": (1.8, 2.0, 2.4),
        "lambda1": (0.1, 1.0, 2.5),
        "lambda2": (0.1, 0.25, 1.0),
        "smooth": (4, 40),
    }

    def __init__(
        self, *, repeats: PositiveInt = 100, distance: PositiveFloat = 1.8, bins: PositiveInt = 100,
        lambda1: NonNegativeFloat = 2.5,
        lambda2: NonNegativeFloat = 0.1, smooth: PositiveInt = 4, smooth_perturbed: PositiveInt = 15,
        samples: PositiveInt = 10_000,
        seed: NonNegativeInt = 0,
    ) -> None:  # fmt: skip
        self.repeats, self.distance, self.bins, self.lambda1, self.lambda2 = (
            repeats,
            distance,
            bins,
            lambda1,
            lambda2,
        )
        self.smooth, self.smooth_perturbed, self.samples, self.seed = smooth, smooth_perturbed, samples, seed

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        weight, bias = linear_head(train)
        rng = torch.Generator().manual_seed(self.seed)  # on the CPU, so that every device draws the same
        perturbed = torch.empty(self.repeats, *weight.shape, device=weight.device)
        for one in perturbed:  # one at a time: all of them are the largest thing that is held
            noise = torch.nn.functional.normalize(
                torch.randn(weight.shape, generator=rng).to(weight.device), dim=1
            )
            torch.addcmul(weight, noise, self.distance * weight.norm(dim=1, keepdim=True), out=one)
        self.head = Head(perturbed.flatten(0, 1), bias.repeat(self.repeats))
        self.rows = max(
            1, min(256, (1 << 22) // len(self.head.bias))
        )  # samples whose perturbed logits are held at a time
        rows = functional.evenly_spaced(train.features, self.samples)
        self.ranges = [self._extremes(rows, of_logits) for of_logits in (False, True)]
        sums = [torch.zeros(self.bins, dtype=torch.float64, device=weight.device) for _ in range(2)]
        for f in functional.blocks(rows, self.rows):
            for which, total in enumerate(sums):
                total += self._histogram(self.head(f) if which else f, self.ranges[which]).double().sum(dim=0)
        self.means = [(total / len(rows)).float() for total in sums]

    def _extremes(self, rows: Tensor, of_logits: bool) -> tuple[float, float]:
        ends = [(self.head(f) if of_logits else f).aminmax() for f in functional.blocks(rows, self.rows)]
        return min(float(e.min) for e in ends), max(float(e.max) for e in ends)

    def _histogram(self, values: Tensor, extremes: tuple[float, float]) -> Tensor:
        """Share of each row's values (B, V) in each bin, (B, bins); values outside train's extremes are in
        none."""
        low, high = extremes
        index = ((values - low) * (self.bins / max(high - low + 1e-8, 1e-8))).floor()
        inside = (index >= 0) & (values <= high)
        index = (
            index.clamp(0, self.bins - 1)
            + torch.arange(len(values), device=values.device).unsqueeze(1) * self.bins
        )
        counts = torch.bincount(
            index.long().flatten(), inside.float().flatten(), minlength=len(values) * self.bins
        )
        return counts.view(len(values), self.bins) / values.shape[1]

    def _divergence(self, values: Tensor, perturbed: bool) -> Tensor:
        size, epsilon = (self.smooth_perturbed, 0.025) if perturbed else (self.smooth, 0.01)
        q = self._histogram(values, self.ranges[perturbed]).unsqueeze(1)
        left = (size - 1) // 2
        q = torch.nn.functional.pad(q, (left, size - 1 - left), mode="replicate")
        q = torch.nn.functional.avg_pool1d(q, size, stride=1).squeeze(1) + epsilon
        p = self.means[perturbed] + epsilon
        p, q = p / p.sum(), q / q.sum(dim=1, keepdim=True)
        return ((p - q) * (p.log() - q.log())).sum(dim=1)

    def score(self, outputs: Outputs) -> Tensor:
        found: list[Tensor] = []
        for f in outputs.features.float().split(self.rows):
            z = self.head(f)
            confidence = torch.softmax(z.view(len(f), self.repeats, -1), dim=2).amax(dim=2).mean(dim=1)
            found.append(
                self._divergence(f, False)
                + self.lambda1 * self._divergence(z, True)
                - self.lambda2 * confidence
            )
        return torch.cat(found)
