"""Methods that take the norm (or the scale) out of logits or features while training, some by a head of their
own."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy, linear, normalize

from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import CROSS_ENTROPY, require_criterion, width


@method(
    "logitnorm",
    source="Wei et al., ICML 2022; OpenOOD v1.5 logitnorm_trainer.py; pytorch-ood 0.4 loss/logitnorm.py",
)
class LogitNorm(Method):
    """The criterion `of` on logits of constant norm: z / (tau * (||z||_2 + 1e-7)). Inference uses the plain
    logits.

    tau = 0.04 is OpenOOD's default; the authors tune it. The gradient goes as 1 / (tau ||z||), which is large
    at first: a network without batch norm needs warm-up or clipping (small-cnn on digits: 40 % correct
    without, 99 % with either)."""

    def __init__(self, *, tau: PositiveFloat = 0.04, of: Method = CROSS_ENTROPY) -> None:
        self.tau, self.of = tau, of

    def setup(self, network: Network) -> None:
        require_criterion("logitnorm", self.of)
        self.of.setup(network)

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.of.criterion(
            logits / (self.tau * (vector_norm(logits, dim=1, keepdim=True) + 1e-7)), labels
        )


@method(
    "elogitnorm",
    source="Ding et al., arXiv 2504.11434; elogitnorm_loss.py of limchaos/ELogitNormOOD",
    version=2,
)
class ELogitNorm(Method):
    """Extended LogitNorm: the criterion `of` on z / D, D = mean_c (z_k - z_c) / ||w_k - w_c||_2 with k =
    argmax z and the term of k zero.

    D is the mean distance of the feature to the boundaries of its predicted class; it has no parameter.
    Gradients pass through D. 1e-7 is added to D and to each norm, so that equal logits or weights stay
    finite. Inference uses the plain logits."""

    def __init__(self, *, of: Method = CROSS_ENTROPY) -> None:
        self.of = of

    def setup(self, network: Network) -> None:
        width("elogitnorm", network)
        require_criterion("elogitnorm", self.of)
        self.of.setup(network)

    def scaled(self, logits: Tensor, weight: Tensor) -> Tensor:
        """Logits (B, C) over each sample's mean distance to the boundaries of the head's weight (C, D)."""
        top, k = logits.max(dim=1, keepdim=True)
        between = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist") + 1e-7
        # the term of k is zero whatever divides it; but over 1e-7 its two gradients, of the same logit, are
        # so large that in float32 they swallow all others before they cancel
        between = between + torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        distance = ((top - logits) / between[k[:, 0]]).mean(dim=1, keepdim=True)
        return logits / (distance + 1e-7)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        assert isinstance(network.head, nn.Linear)
        logits = self.scaled(network(batch.inputs), network.head.weight)
        return self.of.criterion(logits, batch.labels).mean()


class NormedFeatures(nn.Module):
    """A linear layer of f / ||f|| / tau while training, of f / tau in evaluation."""

    def __init__(self, linear: nn.Linear, tau: float) -> None:
        super().__init__()
        self.linear, self.tau = linear, tau

    def forward(self, features: Tensor) -> Tensor:
        return self.linear((normalize(features, dim=1) if self.training else features) / self.tau)


@method("t2fnorm", source="Regmi et al., CVPR workshops 2024 (arXiv 2305.17797); OpenOOD v1.5 t2fnorm_net.py")
class T2FNorm(Method):
    """Train-time feature normalisation: the criterion `of` on W f / (||f||_2 tau) + b; inference uses W f /
    tau + b.

    The norm, which the loss never sees, is left to tell OOD samples. The head is replaced, so scorers that
    need a linear one do not apply."""

    def __init__(self, *, tau: PositiveFloat = 0.1, of: Method = CROSS_ENTROPY) -> None:
        self.tau, self.of = tau, of

    def setup(self, network: Network) -> None:
        width("t2fnorm", network)
        assert isinstance(network.head, nn.Linear)
        network.head = NormedFeatures(network.head, self.tau)
        self.of.setup(network)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return self.of.loss(network, batch)


class Prototypes(nn.Module):
    """Minus the distance of unit features to unit prototypes, times a learnt scale: logits (B, C), all <=
    0."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(classes, features))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        unit, centres = normalize(features, dim=1), normalize(self.prototypes, dim=1)
        return -self.scale.abs() * torch.cdist(unit, centres, compute_mode="donot_use_mm_for_euclid_dist")


@method(
    "isomax+",
    source=(
        "Macedo et al., arXiv 2105.14399; losses/isomaxplus.py of"
        " dlmacedo/entropic-out-of-distribution-detection"
    ),
)
class IsoMaxPlus(Method):
    """IsoMax+: cross-entropy of scale * z with z_c = -|s| * ||f / ||f|| - p_c / ||p_c|| ||_2; prototypes p
    and s are learnt.

    The entropic scale (10) acts in training only. The authors score by the minimum distance, which is the
    scorer `mls` on these logits. The head is replaced, so scorers that need a linear one do not apply."""

    def __init__(self, *, scale: PositiveFloat = 10.0) -> None:
        self.scale = scale

    def setup(self, network: Network) -> None:
        network.head = Prototypes(width("isomax+", network), network.task.classes)

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.scale * logits, labels, reduction="none")


class Cosines(nn.Module):
    """Cosines between features and the rows of a weight: logits (B, C) in [-1, 1]; 1e-4 is added to norms."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        unit, rows = (x / (vector_norm(x, dim=1, keepdim=True) + 1e-4) for x in (features, self.weight))
        return linear(unit, rows)


@method(
    "godin",
    source="Hsu et al., CVPR 2020, by way of OpenOOD v1.5 godin_net.py and godin_trainer.py (cosine variant)",
)
class GODIN(Method):
    """Generalised ODIN: cross-entropy of h_c(f) / g(f); h_c = cos(f, w_c), g = sigmoid(batch norm(a f + b))
    in the further head ``godin``.

    The network's logits are h, which has the same argmax; the scorer `godin` reads h or g. The head is
    replaced, so scorers that need a linear one do not apply. The authors take weight decay off h, which the
    recipe does not."""

    def setup(self, network: Network) -> None:
        features = width("godin", network)
        network.head = Cosines(features, network.task.classes)
        network.heads["godin"] = nn.Sequential(nn.Linear(features, 1), nn.BatchNorm1d(1), nn.Sigmoid())

    def loss(self, network: Network, batch: Batch) -> Tensor:
        features = network.features(batch.inputs)
        g = network.heads["godin"](features).clamp(min=1e-6)
        return cross_entropy(network.head(features) / g, batch.labels)
