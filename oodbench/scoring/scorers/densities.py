"""Scores from densities of the training features: a Gaussian for each class, or counts of neuron states."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed

MEMORY = 400 * 2**20
"""Bytes that the covariances of all classes may take."""
_ROWS = 4096
"""Rows read at a time: they take several wide float64 copies beside the covariances."""


class _Reduced:
    """Features about the training mean in float64, standardised where `standard`, in `dim` principal
    directions where that is less."""

    def __init__(
        self, train: Outputs, dim: int | None, *, unit: bool = False, standard: bool = False
    ) -> None:
        self.unit = unit
        m = functional.moments(train, unit)
        varies = m.total.diagonal() > m.floor
        one = torch.ones_like(m.mean)
        self.mean, self.scale = (
            m.mean,
            torch.where(varies, m.total.diagonal().clamp(min=0), one).sqrt() if standard else one,
        )
        self.directions = None
        if dim is not None and dim < len(m.mean):
            self.directions = torch.linalg.eigh(m.total / self.scale / self.scale.unsqueeze(1))[1][:, -dim:]
        self.width = min(dim or len(m.mean), len(m.mean))

    def __call__(self, features: Tensor) -> Tensor:
        x = ((functional.normalised(features) if self.unit else features).double() - self.mean) / self.scale
        return x if self.directions is None else x @ self.directions


def _directions(train: Outputs, classes: int, dim: int | None) -> int:
    """`dim`, or as many dimensions as there are and as the covariances of that many classes leave room
    for."""
    return dim or min(train.features.shape[1], math.isqrt(MEMORY // (8 * max(classes, 1))))


def _groups(train: Outputs, reduce: _Reduced, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (C',) of the classes that have samples, their means (C', R) and covariances (C', R, R), from one
    streamed pass."""
    known = (train.labels >= 0) & (train.labels < train.classes)
    counts = torch.bincount(train.labels[known], minlength=train.classes)
    present = counts.nonzero().squeeze(1)
    if not len(present):
        raise ValueError("no training sample has a known class")
    size = 8 * len(present) * reduce.width**2
    if size > MEMORY:
        raise ValueError(
            f"the covariances of {len(present)} classes in {reduce.width} dimensions take {size / 2**30:.2f}"
            f" GiB; set {name}'s dim to at most {math.isqrt(MEMORY // (8 * len(present)))}"
        )
    row = torch.full((train.classes + 1,), -1, device=train.labels.device)
    row[present] = torch.arange(len(present), device=row.device)
    where = row[torch.where(known, train.labels, train.classes)]
    sums = torch.zeros(len(present), reduce.width, dtype=torch.float64, device=train.features.device)
    squares = torch.zeros(len(present), reduce.width, reduce.width, dtype=torch.float64, device=sums.device)
    for f, y in zip(functional.blocks(train.features, _ROWS), where.split(_ROWS), strict=True):
        x = reduce(f)
        for c in y[y >= 0].unique().tolist():
            own = x[y == c]
            sums[c] += own.sum(dim=0)
            squares[c] += own.T @ own
    n = counts[present].double()
    means = sums / n.unsqueeze(1)
    for square, mean, count in zip(squares, means, n, strict=True):  # in place: they may be many
        square.div_(count).sub_(mean.outer(mean))
    return n, means, squares


def _in_place_of(covariance: Tensor, whiten: Tensor) -> Tensor:
    """W (R, R') in the memory of the covariance (R, R) that it was computed from: for many classes there is
    no room for both."""
    return covariance[:, : whiten.shape[1]].copy_(whiten)


@scorer(
    "ssd",
    source="Sehwag et al., ICLR 2021; eval_ssd.py of inspire-group/SSD",
)
class SSD(Scorer):
    """Self-supervised outlier detection's score, clusters = classes: min_c (x - mu_c)^T S_c^+ (x - mu_c),
    (N,), >= 0.

    x is the unit-norm feature, each of its dimensions standardised on train; S_c is the covariance of class c
    alone, inverted on its range. `clusters` one: a single mean and covariance, as the paper has it without
    labels. `dim`: principal directions kept before; default all, or as many as C covariances take 400 MiB
    (724 for 100 classes, 228 for 1,000)."""

    needs = frozenset({"train", "features"})
    search = {"clusters": ("classes", "one")}

    def __init__(
        self, *, clusters: Literal["classes", "one"] = "classes", dim: PositiveInt | None = None
    ) -> None:
        self.clusters, self.dim = clusters, dim

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        classes = 1 if self.clusters == "one" else train.classes
        self.reduce = _Reduced(train, _directions(train, classes, self.dim), unit=True, standard=True)
        if self.clusters == "one":
            source = Outputs(train.logits, train.features, torch.zeros_like(train.labels))
        else:
            source = train
        _, means, covariances = _groups(source, self.reduce, "ssd")
        self.centres, self.whiten = [], []
        for mean, covariance in zip(means, covariances, strict=True):
            try:
                whiten = functional.whitening(covariance, floor=1e-12)
            except ValueError:
                continue  # the samples of this class are all the same: it has no covariance to measure by
            self.whiten.append(_in_place_of(covariance, whiten))
            self.centres.append(mean @ whiten)
        if not self.whiten:
            raise ValueError(
                "the training features do not vary within any class: no covariance to measure distances by"
            )

    def score(self, outputs: Outputs) -> Tensor:
        x = self.reduce(outputs.features)
        distances = [(x @ w - c).square().sum(dim=1) for w, c in zip(self.whiten, self.centres, strict=True)]
        return torch.stack(distances).amin(dim=0)


@scorer("gmm", source="pytorch-ood 0.4 detector/gmm.py")
class GMM(Scorer):
    """Class-conditional Gaussians: -log sum_c pi_c N(f; mu_c, S_c), (N,); pi_c is the share of training
    samples, S_c = cov_c + reg I.

    `covariance`: full (one for each class), diagonal, or tied. Default reg = 1e-6, pytorch-ood's. `dim`: as
    in ssd."""

    needs = frozenset({"train", "features"})
    search = {"covariance": ("full", "diagonal", "tied"), "reg": (1e-6, 1e-4, 1e-2)}

    def __init__(
        self,
        *,
        covariance: Literal["full", "diagonal", "tied"] = "full",
        reg: PositiveFloat = 1e-6,
        dim: PositiveInt | None = None,
    ) -> None:
        self.covariance, self.reg, self.dim = covariance, reg, dim

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        self.reduce = _Reduced(train, _directions(train, train.classes, self.dim))
        counts, means, covariances = _groups(train, self.reduce, "gmm")
        share = counts / counts.sum()
        if self.covariance == "tied":
            whitened = [self._whiten(torch.einsum("c,cij->ij", share, covariances))] * len(means)
        else:
            whitened = [self._whiten(covariance) for covariance in covariances]
        self.precision = [whiten for whiten, _ in whitened]
        self.centres = [mean @ whiten for mean, whiten in zip(means, self.precision, strict=True)]
        self.constant = [pi.log() - 0.5 * volume for pi, (_, volume) in zip(share, whitened, strict=True)]

    def _whiten(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """W with W W^T = (S + reg I)^-1, and log det(2 pi (S + reg I))."""
        if self.covariance == "diagonal":
            values, vectors = (
                covariance.diagonal().clone(),
                torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device),
            )
        else:
            values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp(min=0) + self.reg
        return _in_place_of(covariance, vectors / values.sqrt()), (values * (2 * math.pi)).log().sum()

    def score(self, outputs: Outputs) -> Tensor:
        x = self.reduce(outputs.features)
        log_likelihood = [
            constant - 0.5 * (x @ w - c).square().sum(dim=1)
            for w, c, constant in zip(self.precision, self.centres, self.constant, strict=True)
        ]
        return -torch.logsumexp(torch.stack(log_likelihood), dim=0)


@scorer(
    "nac",
    source=(
        "Liu et al., ICLR 2024; openood/postprocessors/nac/coverage.py and nac_cifar10.yml of"
        " BierOne/ood_coverage; pytorch-ood 0.4 detector/nac.py"
    ),
)
class NAC(Scorer):
    """Neuron activation coverage of the penultimate layer: -mean_i min(n_i(s_i) / fill, 1), (N,), in [-1, 0].

    s_i = sigmoid(slope * f_i * g_i), g = W^T (p - 1/C) the gradient of KL(uniform || p); n_i counts the
    training states of neuron i in the same of `bins` intervals. They are logarithmic, `dense` around 1/2 (the
    authors') or at the ends 0 and 1 (pytorch-ood's). Defaults are the authors' for ResNet-18's last layer on
    CIFAR-10: slope 100, 50 thresholds, fill 50, from 1,000 training samples (evenly spaced here); `samples`
    null: all."""

    needs = frozenset({"train", "head", "features"})
    differentiable = False  # counts
    search = {"slope": (1.0, 10.0, 100.0, 1000.0, 3000.0), "bins": (50, 500), "fill": (5, 10, 50, 100, 500)}

    def __init__(
        self,
        *,
        slope: PositiveFloat = 100.0,
        bins: Annotated[int, Field(ge=4)] = 50,
        fill: PositiveInt = 50,
        samples: PositiveInt | None = 1000,
        dense: Literal["middle", "ends"] = "middle",
    ) -> None:
        self.slope, self.bins, self.fill, self.samples, self.dense = slope, bins, fill, samples, dense

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        self.edges = self._edges().to(train.features.device)
        step = 1 if self.samples is None else -(-len(train) // self.samples)
        width, bins = train.features.shape[1], len(self.edges) - 1
        counts = torch.zeros(width * bins, dtype=torch.int64, device=self.edges.device)
        self.offsets = torch.arange(width, device=counts.device) * bins
        for part in train[::step].chunks(functional.BLOCK):
            counts += torch.bincount(self._cells(part).flatten(), minlength=len(counts))
        self.coverage = (counts.float() / self.fill).clamp(max=1)

    def _edges(self) -> Tensor:
        """Ascending thresholds of the states' intervals."""
        half = self.bins // 2
        if self.dense == "middle":
            rising = torch.linspace(1, math.sqrt(1000), half).log() / math.log(1000)
            return torch.cat([rising[:-1], (1 - rising).flip(0)[:-1], torch.tensor([1.01, 1.2])])
        left = torch.logspace(-6, math.log10(0.5), half + 1)
        return torch.cat([left, (1 - left.flip(0))[1:]])

    def _cells(self, outputs: Outputs) -> Tensor:
        """Index into the flattened (D, bins) of each neuron's state, (N, D)."""
        weight = outputs.required_head.weight
        p = torch.softmax(functional.wide(outputs.logits), dim=1)
        gradient = (p - 1 / outputs.classes) @ weight.to(p.dtype)
        state = torch.sigmoid(self.slope * functional.wide(outputs.features) * gradient).to(self.edges.dtype)
        found = torch.bucketize(state, self.edges, right=self.dense == "middle") - 1
        return found.clamp(0, len(self.edges) - 2) + self.offsets

    def score(self, outputs: Outputs) -> Tensor:
        return -self.coverage[self._cells(outputs)].mean(dim=1)
