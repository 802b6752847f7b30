"""Scores from distances and angles to class statistics of the features."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed


class _Gaussians:
    """Class means under one covariance, whitened: squared Mahalanobis distances are plain ones after a
    product with W."""

    def __init__(self, means: Tensor, covariance: Tensor, floor: float) -> None:
        self.whiten = functional.whitening(covariance, floor=floor)
        self.origin = means.mean(dim=0)  # near the data, so that the squares below do not cancel
        self.means, self.shift = (means - self.origin) @ self.whiten, -(self.origin @ self.whiten)

    def distances(self, features: Tensor) -> Tensor:
        """Squared distances (N, C')."""
        x = torch.addmm(self.shift, features.double(), self.whiten)
        square = x.square().sum(dim=1, keepdim=True) + self.means.square().sum(dim=1)
        return torch.addmm(square, x, self.means.T, alpha=-2).clamp_(min=0)

    def nearest(self, outputs: Outputs) -> Tensor:
        """Squared distance (N,) to the nearest class, computed once for all scorers that hold these
        Gaussians."""
        return outputs.memo(("nearest", self), lambda: self.distances(outputs.features).amin(dim=1))


def _tied(train: Outputs, unit: bool = False) -> _Gaussians:
    """The one tied Gaussians of these training outputs."""

    def make() -> _Gaussians:
        m = functional.moments(train, unit)
        return _Gaussians(m.means[m.counts > 0], m.within, m.floor)

    return train.memo(("tied Gaussians", unit), make)


@scorer("mds", source="Lee et al., NeurIPS 2018; OpenOOD v1.5 mds_postprocessor", version=2)
class MDS(Scorer):
    """Mahalanobis distance: min_c (f - mu_c)^T S^-1 (f - mu_c), (N,), >= 0; S is the tied covariance of the
    training features.

    Fitted in float64, streamed; a singular covariance is inverted on its range.
    """

    needs = frozenset({"train", "features"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        self.gaussians = _tied(train)

    def score(self, outputs: Outputs) -> Tensor:
        return self.gaussians.nearest(outputs)


@scorer(
    "mds++",
    source=(
        "Mueller and Hein, ICML 2025; OpenOOD/openood/postprocessors/mdsn_postprocessor.py of"
        " mueller-mp/maha-norm"
    ),
)
class MDSPlusPlus(Scorer):
    """Mahalanobis++: min_c (f' - mu_c)^T S^-1 (f' - mu_c), (N,), >= 0; as mds, on unit-norm features f' = f /
    ||f||_2."""

    needs = frozenset({"train", "features"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        self.gaussians = _tied(train, unit=True)

    def score(self, outputs: Outputs) -> Tensor:
        return self.gaussians.distances(functional.unit_features(outputs)).amin(dim=1)


@scorer("rmds", source="Ren et al., ICML workshop 2021; OpenOOD v1.5 rmds_postprocessor", version=2)
class RMDS(Scorer):
    """Relative Mahalanobis distance: min_c d_c^2 - d_0^2, (N,); d_0 is the distance to one Gaussian of all
    training features."""

    needs = frozenset({"train", "features"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        m = functional.moments(train)
        self.classes = _tied(train)
        self.whole = _Gaussians(m.mean.unsqueeze(0), m.total, m.floor)

    def score(self, outputs: Outputs) -> Tensor:
        return self.classes.nearest(outputs) - self.whole.distances(outputs.features)[:, 0]


@scorer("she", source="Zhang et al., ICLR 2023 (inner product); OpenOOD v1.5 she_postprocessor")
class SHE(Scorer):
    """Simplified Hopfield energy: -f . m_y, (N,); m_y is the mean feature of the correctly classified
    training samples of the predicted class y. A class that nobody is classified correctly in falls back to
    the mean of all its samples, one without samples to the mean of all training features."""

    needs = frozenset({"train", "features"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        m = functional.moments(train)
        correct = train.logits.argmax(dim=1) == train.labels
        means, counts = functional.class_means(
            train.features, torch.where(correct, train.labels, -1), train.classes
        )
        every = torch.where(m.counts.unsqueeze(1) > 0, m.means, m.mean)
        self.means = torch.where(counts.unsqueeze(1) > 0, means, every).float()

    def score(self, outputs: Outputs) -> Tensor:
        return -(functional.wide(outputs.features) * self.means[outputs.predictions]).sum(dim=1)


@scorer("ctm", source="Ngoc-Hieu et al., 2023 (arXiv 2306.14920), the authors' CTMDetector")
class CTM(Scorer):
    """Class typical matching: -max_c cos(f, mu_c), (N,), in [-1, 1]; mu_c is the mean training feature of
    class c.

    A zero feature scores 0.
    """

    needs = frozenset({"train", "features"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        m = functional.moments(train)
        if not bool((m.counts > 0).any()):
            raise ValueError("no training sample has a known class")
        self.means = torch.nn.functional.normalize(m.means[m.counts > 0], dim=1).float()

    def score(self, outputs: Outputs) -> Tensor:
        return -(functional.unit_features(outputs) @ self.means.to(outputs.features.device).T).amax(dim=1)


@scorer(
    "fdbd", source="Liu and Qin, ICML 2024; OpenOOD v1.5 fdbd_postprocessor; pytorch-ood 0.4 detector/fdbd.py"
)
class FDBD(Scorer):
    """Distance to the decision boundaries: -sum_c |z_c - z_y| / ||w_c - w_y||_2 / n, (N,), <= 0; y is the
    predicted class.

    n is the distance to the mean training feature, ||f - mu||_2, or ||f||_2. The sum is OpenOOD's; the
    paper's mean over the other classes is it over C - 1. Classes of equal weight have no boundary between
    them and are left out."""

    needs = frozenset({"train", "head", "features"})
    search = {"normaliser": ("distance", "norm")}

    def __init__(self, *, normaliser: Literal["distance", "norm"] = "distance") -> None:
        self.normaliser = normaliser

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        weight = train.required_head.weight.double()
        gaps = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
        if not bool((gaps > 0).any()):
            raise ValueError("all classes have the same weight in the head: there is no decision boundary")
        self.inverse_gaps = torch.where(gaps > 0, 1 / gaps, torch.zeros_like(gaps)).float()
        self.mean = (
            functional.moments(train).mean if self.normaliser == "distance" else torch.zeros_like(weight[0])
        )

    def score(self, outputs: Outputs) -> Tensor:
        z = functional.wide(outputs.logits)
        boundaries = ((z.amax(dim=1, keepdim=True) - z) * self.inverse_gaps[outputs.predictions]).sum(dim=1)
        return -boundaries / (outputs.features.double() - self.mean).norm(dim=1).clamp(min=1e-12)


@scorer(
    "nci", source="Liu and Qin, CVPR 2025; OpenOOD v1.5 nci_postprocessor; pytorch-ood 0.4 detector/nci.py"
)
class NCI(Scorer):
    """Neural-collapse inspired: -(w_y . (f - mu) / ||f - mu||_2 + alpha ||f||_1), (N,); y is the predicted
    class.

    mu is the mean training feature. Default alpha = 0.0001, OpenOOD's. A feature that is the mean has no
    direction: its first term is 0."""

    needs = frozenset({"train", "head", "features"})
    search = {"alpha": (0.0, 0.0001, 0.001, 0.01, 0.1)}

    def __init__(self, *, alpha: NonNegativeFloat = 0.0001) -> None:
        self.alpha = alpha

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        self.mean = functional.moments(train).mean

    def score(self, outputs: Outputs) -> Tensor:
        weight = outputs.required_head.weight.double()
        f = outputs.features.double()
        towards = torch.nn.functional.normalize(f - self.mean, dim=1)
        proximity = (towards * weight[outputs.predictions]).sum(dim=1)
        return -(proximity + self.alpha * f.abs().sum(dim=1))
