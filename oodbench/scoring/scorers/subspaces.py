"""Scores from what a subspace of the features keeps or leaves out."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer
from oodbench.scoring import functional
from oodbench.scoring.given import needed


def _origin(train: Outputs) -> Tensor:
    """u = -W^+ b (D,): where all logits are nearest to zero.

    Singular values of W below max(C, D) * 2^-23 of the largest are rounding of its float32 entries, and count
    as zero. Where the rows of W sum to zero, as those of logistic regression do, one of them is such."""
    head = train.required_head
    rounding = max(head.weight.shape) * torch.finfo(torch.float32).eps
    return -torch.linalg.pinv(head.weight.double(), rtol=rounding) @ head.bias.double()


def _residual_space(source: Outputs, origin: Tensor, dim: int | None) -> Tensor:
    """What the `dim` principal directions about `origin` leave out, (D, D - dim): eigenvectors, smallest
    eigenvalues first."""
    width = len(origin)
    dim = dim or (1000 if width >= 2048 else 512 if width >= 768 else width // 2)
    vectors = source.memo(
        ("principal", tuple(origin.tolist())),
        lambda: torch.linalg.eigh(functional.moments(source).about(origin))[1],
    )
    return vectors[:, : max(1, width - dim)]


@scorer("vim", source="Wang et al., CVPR 2022; OpenOOD v1.5 vim_postprocessor", version=3)
class ViM(Scorer):
    """Virtual-logit matching: alpha * ||R^T (f - u)||_2 - logsumexp(z), (N,); u = -W^+ b, R spans what the
    `dim` principal directions of the training features about u leave out, alpha = mean max logit / mean
    residual on train.

    `dim`: default by the paper's rule, 1000 for D >= 2048, 512 for D >= 768, else D / 2; one of at least D is
    capped at D - 1. `origin`: u as above, from the head, or the mean of the training features (oodeel's)."""

    needs = frozenset({"train", "head", "features"})
    search = {"dim": (64, 256, 512, 1000)}

    def __init__(self, *, dim: PositiveInt | None = None, origin: Literal["head", "mean"] = "head") -> None:
        self.dim, self.about = dim, origin

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        self.origin = _origin(train) if self.about == "head" else functional.moments(train).mean.double()
        self.residual_space = _residual_space(train, self.origin, self.dim)
        origin, space = self.origin.float(), self.residual_space.float()  # enough for a mean over all samples
        total = sum(
            float(((f.float() - origin) @ space).norm(dim=1).sum())
            for f in functional.blocks(train.features, 4096)
        )
        largest = sum(float(z.amax(dim=1).double().sum()) for z in functional.blocks(train.logits))
        self.alpha = largest / max(total, 1e-12)

    def _residual(self, features: Tensor) -> Tensor:
        return ((features.double() - self.origin) @ self.residual_space).norm(dim=1)

    def score(self, outputs: Outputs) -> Tensor:
        return self.alpha * self._residual(outputs.features) - torch.logsumexp(outputs.logits.double(), dim=1)


@scorer("residual", source="Wang et al., CVPR 2022; OpenOOD v1.5 residual_postprocessor", version=2)
class Residual(Scorer):
    """Residual norm: ||R^T (f - u)||_2, (N,), >= 0; u and R as in vim.

    `fit_on`: the split whose principal directions are taken (paper: train; OpenOOD: val). `dim`: as in vim;
    OpenOOD's is 512."""

    search = {"dim": (64, 256, 512, 1000)}

    def __init__(self, *, dim: PositiveInt | None = None, fit_on: Literal["train", "val"] = "train") -> None:
        self.dim, self.fit_on = dim, fit_on
        self.needs = frozenset({fit_on, "head", "features"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        source = needed(train if self.fit_on == "train" else val, self.fit_on, self)
        self.origin = _origin(source)
        self.residual_space = _residual_space(source, self.origin, self.dim)

    def score(self, outputs: Outputs) -> Tensor:
        return ((outputs.features.double() - self.origin) @ self.residual_space).norm(dim=1)


@scorer(
    "neco",
    source=(
        "Ben Ammar et al., ICLR 2024, the authors' neco();"
        " OpenOOD/openood/postprocessors/neco_postprocessor.py of mueller-mp/maha-norm"
    ),
)
class NECO(Scorer):
    """Neural-collapse ratio: -max_c z_c * ||P^T (x - m)||_2 / ||x||_2, (N,); x are the standardised features,
    P their `dim` principal directions on train, m their mean there (0 when standardised).

    `standardise`: each feature over its training standard deviation, about its mean (the authors leave it off
    where classes are well separated). `max_logit`: the factor max_c z_c (the authors leave it off for
    ResNets). Default dim = 100, the authors'; capped at D - 1, where the ratio would be 1 for all."""

    needs = frozenset({"train", "features"})
    search = {"dim": (10, 20, 50, 100, 200, 500), "max_logit": (True, False)}

    def __init__(self, *, dim: PositiveInt = 100, standardise: bool = True, max_logit: bool = True) -> None:
        self.dim, self.standardise, self.max_logit = dim, standardise, max_logit

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        m = functional.moments(train)
        variance = m.total.diagonal()
        if not bool((variance > m.floor).any()):
            raise ValueError("the training features do not vary: they have no principal directions")
        one, zero = torch.ones_like(variance), torch.zeros_like(variance)
        # a feature that never varies is centred and left as it is, as scikit-learn's StandardScaler does
        self.scale = (
            torch.where(variance > m.floor, variance.clamp(min=0), one).sqrt() if self.standardise else one
        )
        self.offset, self.mean = (m.mean, zero) if self.standardise else (zero, m.mean)
        _, vectors = torch.linalg.eigh(m.total / self.scale / self.scale.unsqueeze(1))
        self.principal = vectors[:, -min(self.dim, max(1, len(variance) - 1)) :]

    def score(self, outputs: Outputs) -> Tensor:
        x = (outputs.features.double() - self.offset) / self.scale
        kept = ((x - self.mean) @ self.principal).norm(dim=1)
        ratio = kept / x.norm(dim=1).clamp(min=1e-12)
        return -ratio * (outputs.logits.double().amax(dim=1) if self.max_logit else 1.0)


@scorer(
    "kpca",
    source=(
        "Fang et al., NeurIPS 2024, CoP_CoRP_c10.py and run_detection.sh of fanghenshaometeor/ood-kernel-pca;"
        " extension 2025, main.py and main.sh of fanghenshaometeor/ood-kpca-extension"
    ),
)
class KPCA(Scorer):
    """Kernel PCA: ||(I - U U^T) (phi(f') - mean)||_2, (N,), >= 0; f' = f / ||f||_2, U the fewest principal
    directions of phi on train that explain the share `variance`.

    `kernel`: cosine (CoP), phi(f') = f'; fourier (CoRP), phi = sqrt(2 / M) cos(w f' + b) with M = `features`
    random Fourier features of exp(-gamma ||.||^2); nystroem, phi = K^(-1/2) k(f') with M landmarks, the
    training samples of lowest energy score logsumexp(z). Defaults are those of CoRP for CIFAR (gamma 2, M
    2048, variance 0.8); for cosine the authors take variance 0.85."""

    needs = frozenset({"train", "features"})
    search = {
        "kernel": ("cosine", "fourier"),
        "gamma": (0.5, 1.0, 2.0, 3.0),
        "variance": (0.5, 0.7, 0.8, 0.9, 0.99),
    }

    def __init__(
        self,
        *,
        kernel: Literal["cosine", "fourier", "nystroem"] = "fourier",
        gamma: PositiveFloat = 2.0,
        features: PositiveInt = 2048,
        variance: Annotated[float, Field(gt=0, lt=1)] = 0.8,
        seed: NonNegativeInt = 0,
    ) -> None:
        self.kernel, self.gamma, self.features, self.variance, self.seed = (
            kernel,
            gamma,
            features,
            variance,
            seed,
        )

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        width = train.features.shape[1]
        if self.kernel == "cosine":
            m = functional.moments(train, unit=True)
            values, vectors = torch.linalg.eigh(m.total)
            self.mean, floor = m.mean, m.floor
        else:
            self._map_to(train, width)
            values, vectors = self._principal(train)
            floor = 1e-10  # phi is computed in float32 and of about unit norm
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        if float(values[0]) <= floor:
            raise ValueError("the training features do not vary: they have no principal directions")
        share = values.cumsum(0) / values.sum()
        kept = min(int((share < self.variance).sum()) + 1, max(1, len(vectors) - 1))
        self.directions = vectors[:, :kept]

    def _map_to(self, train: Outputs, width: int) -> None:
        if self.kernel == "fourier":
            rng = torch.Generator().manual_seed(self.seed)
            place = train.features.device  # drawn on the CPU, so that every device draws the same
            self.weight = (math.sqrt(2 * self.gamma) * torch.randn(width, self.features, generator=rng)).to(
                place
            )
            self.phase = (2 * math.pi * torch.rand(self.features, generator=rng)).to(place)
            return
        confidence = torch.cat([-functional.energy(z) for z in functional.blocks(train.logits)])
        landmarks = confidence.argsort(stable=True)[: self.features]
        self.landmarks = functional.normalised(train.features[landmarks]).double()
        values, vectors = torch.linalg.eigh(self._gaussian(self.landmarks))
        keep = values > 1e-10 * values[-1]
        self.weight = (vectors[:, keep] / values[keep].sqrt()) @ vectors[:, keep].T

    def _gaussian(self, unit: Tensor) -> Tensor:
        square = (
            unit.square().sum(dim=1, keepdim=True)
            + self.landmarks.square().sum(dim=1)
            - 2 * unit @ self.landmarks.T
        )
        return (-self.gamma * square.clamp(min=0)).exp()

    def feature_map(self, unit: Tensor) -> Tensor:
        if self.kernel == "cosine":
            return unit.double()
        if self.kernel == "fourier":
            return math.sqrt(2 / self.features) * torch.cos(
                functional.wide(unit) @ self.weight.to(unit.dtype) + self.phase
            )
        return self._gaussian(unit.double()) @ self.weight

    def _principal(self, train: Outputs) -> tuple[Tensor, Tensor]:
        """Variances (ascending) and directions of the principal components of phi on train; sets its mean."""
        step = functional.BLOCK // 4
        first = self.feature_map(functional.normalised(train.features[:step]))
        if len(train) <= min(step, first.shape[1]):  # fewer samples than dimensions: their singular vectors
            self.mean = first.double().mean(dim=0)
            _, singular, directions = torch.linalg.svd(first.double() - self.mean, full_matrices=False)
            return singular.square().flip(0) / len(train), directions.T.flip(1)
        shift = first.mean(dim=0)
        total = torch.zeros(len(shift), dtype=torch.float64, device=shift.device)
        square = torch.zeros(len(shift), len(shift), dtype=torch.float64, device=shift.device)
        for f in functional.blocks(train.features, step):
            phi = (
                self.feature_map(functional.normalised(f)) - shift
            )  # near the mean, so that the difference of squares does not cancel
            total, square = total + phi.double().sum(dim=0), square + phi.T @ phi
        offset = total / len(train)
        self.mean = shift.double() + offset
        values, vectors = torch.linalg.eigh(square / len(train) - offset.outer(offset))
        return values, vectors

    def score(self, outputs: Outputs) -> Tensor:
        phi = self.feature_map(functional.unit_features(outputs))
        centred = phi - self.mean.to(phi.dtype)
        directions = self.directions.to(phi.dtype)
        return (centred - (centred @ directions) @ directions.T).norm(dim=1)


@scorer(
    "pnml",
    source=(
        "Bibas et al., NeurIPS 2021; src/lit_utils/baseline_lit_utils.py of kobybibas/pnml_ood_detection; "
        "pytorch-ood 0.4 detector/pnml.py"
    ),
)
class PNML(Scorer):
    """pNML regret: log sum_c p_c / (p_c + (1 - p_c) p_c^k) / log C, (N,), in [0, 1]; p = softmax(W f' + b)
    with f' = f / ||f||_2 and k = q / (1 + q), q = f'^T (X^T X)^+ f' over the unit-norm training features X.

    Summed as the excess over sum_c p_c = 1 in float64, so that regrets near 0 do not tie.
    """

    needs = frozenset({"train", "head", "features"})

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        train = needed(train, "train", self)
        m = functional.moments(train, unit=True)
        gram = len(train) * m.about(torch.zeros_like(m.mean))
        self.whiten = functional.whitening(gram, floor=len(train) * m.floor)

    def score(self, outputs: Outputs) -> Tensor:
        head = outputs.required_head
        unit = functional.unit_features(outputs).double()
        q = (unit @ self.whiten).square().sum(dim=1, keepdim=True)
        logits = unit @ head.weight.double().T + head.bias.double()
        log_p, log_rest = functional.log_odds(logits)
        powered = q / (1 + q) * log_p
        genie = torch.logaddexp(log_p, log_rest + powered)  # log(p + (1 - p) p^k)
        excess = (log_p + log_rest - genie).exp() * -torch.expm1(powered)
        return torch.log1p(excess.sum(dim=1)) / math.log(outputs.classes)
