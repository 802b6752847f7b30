"""Methods that learn from outliers: images of none of the known classes, given with each batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy

from oodbench.core.method import Batch, Course, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.core.spec import spec_of
from oodbench.training.methods.shared import (
    CROSS_ENTROPY,
    beta,
    rectangle,
    require_criterion,
    too_late,
    width,
)


def to_uniform(logits: Tensor) -> Tensor:
    """Cross-entropy of each sample against the uniform distribution, (B,): logsumexp(z) - mean_c z_c."""
    return torch.logsumexp(logits, dim=1) - logits.mean(dim=1)


def outliers_of(batch: Batch) -> Tensor:
    """The outliers (B, ...) of a batch; the loop draws them for every method that needs them."""
    assert batch.outliers is not None
    return batch.outliers


class WithOutliers(Method):
    """Known samples and outliers pass the network together, as one batch."""

    needs = frozenset({"outliers"})

    def features(self, network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of the known samples and of the outliers."""
        features = network.features(torch.cat([batch.inputs, outliers_of(batch)]))
        return features[: len(batch.inputs)], features[len(batch.inputs) :]

    def logits(self, network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of the known samples and of the outliers."""
        inside, outside = self.features(network, batch)
        return network.head(inside), network.head(outside)


class Exposed(WithOutliers):
    """A criterion `of` for the known classes, and a term for outliers."""

    def __init__(self, *, of: Method = CROSS_ENTROPY) -> None:
        self.of = of

    def setup(self, network: Network) -> None:
        require_criterion(spec_of(self).name, self.of)
        self.of.setup(network)


@method(
    "outlier-exposure",
    source=(
        "Hendrycks et al., ICLR 2019; CIFAR/oe_scratch.py of hendrycks/outlier-exposure; pytorch-ood 0.4"
        " loss/oe.py"
    ),
)
class OutlierExposure(Exposed):
    """Outlier exposure: L(known) + lam * mean over outliers of (logsumexp(z) - mean_c z_c), the cross-entropy
    to uniform; lam = 0.5."""

    def __init__(self, *, lam: NonNegativeFloat = 0.5, of: Method = CROSS_ENTROPY) -> None:
        super().__init__(of=of)
        self.lam = lam

    def loss(self, network: Network, batch: Batch) -> Tensor:
        inside, outside = self.logits(network, batch)
        return self.of.criterion(inside, batch.labels).mean() + self.lam * to_uniform(outside).mean()


@method("energy-bounded", source="Liu et al., NeurIPS 2020, by way of pytorch-ood 0.4 loss/energy.py")
class EnergyBounded(Exposed):
    """Energy-bounded learning: L(known) + alpha * (mean relu(E - m_in)^2 over known + mean relu(m_out - E)^2
    over outliers).

    E = -logsumexp(z). The paper fine-tunes a trained network with it (few epochs at a small learning rate);
    margins are its CIFAR values."""

    def __init__(
        self,
        *,
        alpha: NonNegativeFloat = 0.1,
        m_in: float = -25.0,
        m_out: float = -7.0,
        of: Method = CROSS_ENTROPY,
    ) -> None:
        super().__init__(of=of)
        self.alpha, self.m_in, self.m_out = alpha, m_in, m_out

    def loss(self, network: Network, batch: Batch) -> Tensor:
        inside, outside = self.logits(network, batch)
        low = (-torch.logsumexp(inside, dim=1) - self.m_in).relu().square().mean()
        high = (self.m_out + torch.logsumexp(outside, dim=1)).relu().square().mean()
        return self.of.criterion(inside, batch.labels).mean() + self.alpha * (low + high)


@method("entropic-open-set", source="Dhamija et al., NeurIPS 2018, by way of pytorch-ood 0.4 loss/entropy.py")
class EntropicOpenSet(WithOutliers):
    """Entropic open-set loss: cross-entropy of known samples, cross-entropy to uniform of outliers, one mean
    over all of them."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        inside, outside = self.logits(network, batch)
        return torch.cat([cross_entropy(inside, batch.labels, reduction="none"), to_uniform(outside)]).mean()


@method(
    "objectosphere", source="Dhamija et al., NeurIPS 2018, by way of pytorch-ood 0.4 loss/objectosphere.py"
)
class Objectosphere(WithOutliers):
    """Objectosphere loss: entropic open-set loss + alpha * (relu(xi - ||f||_2)^2 for known, ||f||_2^2 for
    outliers), one mean over all.

    What fits depends on the network's feature norms. The library's defaults (1 and 1) let the outliers shrink
    every feature: small-cnn then classified two thirds of the digits, and 99 % with the defaults here."""

    def __init__(self, *, alpha: NonNegativeFloat = 0.01, xi: PositiveFloat = 10.0) -> None:
        self.alpha, self.xi = alpha, xi

    def loss(self, network: Network, batch: Batch) -> Tensor:
        inside, outside = self.features(network, batch)
        known = cross_entropy(network.head(inside), batch.labels, reduction="none")
        known = known + self.alpha * (self.xi - vector_norm(inside, dim=1)).relu().square()
        unknown = to_uniform(network.head(outside)) + self.alpha * outside.square().sum(dim=1)
        return torch.cat([known, unknown]).mean()


@method(
    "background-class", source="Dhamija et al., NeurIPS 2018, by way of pytorch-ood 0.4 loss/background.py"
)
class BackgroundClass(WithOutliers):
    """Cross-entropy over the known classes and one more, the background, which is the label of outliers; one
    mean over all samples.

    The network's logits stay those of the known classes; the background's logit is the further head
    ``background``, read by the scorer `background`."""

    def setup(self, network: Network) -> None:
        network.heads["background"] = nn.Linear(width("background-class", network), 1)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        features = torch.cat(self.features(network, batch))
        logits = torch.cat([network.head(features), network.heads["background"](features)], dim=1)
        background = batch.labels.new_full((len(outliers_of(batch)),), logits.shape[1] - 1)
        return cross_entropy(logits, torch.cat([batch.labels, background]))


@method(
    "mixoe", source="Zhang et al., WACV 2023, by way of OpenOOD v1.5 mixoe_trainer.py and train_mixoe.yml"
)
class MixOE(Exposed):
    """MixOE: L(known) + lam * (s L(mixed, y) + (1 - s) * cross-entropy to uniform of mixed), s ~ Beta(alpha,
    beta) once per batch.

    A known sample is mixed with an outlier: by pasting a rectangle of it (cutmix; s is then the area left) or
    by s x + (1 - s) o (mixup). Defaults are OpenOOD's, which fine-tunes a trained network for 10 epochs."""

    def __init__(
        self, *, lam: NonNegativeFloat = 1.0, alpha: PositiveFloat = 0.1, beta: PositiveFloat = 1.0,
        mix: Literal["cutmix", "mixup"] = "cutmix", of: Method = CROSS_ENTROPY,
    ) -> None:  # fmt: skip
        super().__init__(of=of)
        self.lam, self.alpha, self.beta, self.mix = lam, alpha, beta, mix

    def loss(self, network: Network, batch: Batch) -> Tensor:
        x, other, share = batch.inputs, outliers_of(batch), beta(self.alpha, self.beta, batch)
        if self.mix == "cutmix":
            inside = rectangle(batch, share)
            mixed, share = torch.where(inside, other, x), 1 - inside.to(x.dtype).mean()
        else:
            mixed = share * x + (1 - share) * other
        known = self.of.criterion(network(x), batch.labels).mean()
        logits = network(mixed)
        soft = (
            share * self.of.criterion(logits, batch.labels).mean() + (1 - share) * to_uniform(logits).mean()
        )
        return known + self.lam * soft


@method("mcd", source="Yu and Aizawa, ICCV 2019, by way of OpenOOD v1.5 mcd_trainer.py and mcd_net.py")
class MCD(Method):
    """Maximum classifier discrepancy: CE of two heads, + lam * relu(margin - mean over outliers of (H(p1) -
    H(p2))) late in training.

    H is the entropy over classes in nats (OpenOOD's takes it over the batch). The outlier term acts from the
    fraction `start` of training (epoch 90 of 100 there). The second head is ``mcd``, read by the scorer
    `mcd`; the first gives the logits."""

    needs = frozenset({"outliers"})

    acts_once = "start is over"

    def __init__(
        self, *, lam: NonNegativeFloat = 1.0, margin: NonNegativeFloat = 1.2,
        start: Annotated[float, Field(ge=0, le=1)] = 0.9,
    ) -> None:  # fmt: skip
        self.lam, self.margin, self.start = lam, margin, start

    def objection(self, course: Course) -> str:
        return too_late(course, self.start)

    def setup(self, network: Network) -> None:
        network.heads["mcd"] = nn.Linear(width("mcd", network), network.task.classes)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        heads = (network.head, network.heads["mcd"])
        features = network.features(batch.inputs)
        first, second = (cross_entropy(head(features), batch.labels) for head in heads)
        self.acted = batch.progress >= self.start
        if not self.acted:
            return first + second
        features = network.features(outliers_of(batch))
        one, two = (entropy(head(features)) for head in heads)
        return first + second + self.lam * (self.margin - (one - two).mean()).relu()


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax over classes, (B,), in nats."""
    log_p = torch.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)
