"""Methods that shape features by contrast; a linear classifier learns beside them on features that it does
not move."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax, normalize

from oodbench.core.errors import SpecError
from oodbench.core.method import Batch, Course, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import Buffers, Queues, memory, too_few, too_late, width

_BASE = 0.07  # the base temperature of the code read: losses are scaled by temperature / base
_NOWHERE = -1e9  # stands for minus infinity where a row may have nothing else


def projection(features: int, out: int) -> nn.Sequential:
    """The usual head of contrastive learning: one hidden layer as wide as the features."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, out))


def two_views(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """Features of the batch and of its further view, one below the other (2B, D), and their labels."""
    return network.features(torch.cat([batch.inputs, batch.views[0]])), batch.labels.repeat(2)


def classifier(network: Network, features: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of the network's head on features of the batch that get no gradient from it."""
    return cross_entropy(network.head(features[: len(batch.labels)].detach()), batch.labels)


@method("supcon", source="Khosla et al., NeurIPS 2020; losses.py of HobbitLong/SupContrast")
class SupCon(Method):
    """Supervised contrastive learning of two views: mean over samples i of -mean over others of its class of
    log r_i, times T / 0.07.

    r_i is the softmax over all other samples of both views of u_i . u_j / T; u is the unit output of a
    two-layer projection of the features. The network's head learns by cross-entropy on detached features at
    the same time (the authors train it afterwards)."""

    views = 1

    def __init__(self, *, temperature: PositiveFloat = 0.07, width: PositiveInt = 128) -> None:
        self.temperature, self.width = temperature, width

    def setup(self, network: Network) -> None:
        network.add_module("supcon", projection(width("supcon", network), self.width))

    def contrast(self, units: Tensor, labels: Tensor) -> Tensor:
        """The contrastive loss of unit vectors (N, D) with labels (N,); each class has at least two
        samples."""
        itself = torch.eye(len(units), dtype=torch.bool, device=units.device)
        log_r = log_softmax((units @ units.T / self.temperature).masked_fill(itself, _NOWHERE), dim=1)
        alike = (labels.unsqueeze(1) == labels) & ~itself
        return -(self.temperature / _BASE) * ((log_r * alike).sum(dim=1) / alike.sum(dim=1)).mean()

    def loss(self, network: Network, batch: Batch) -> Tensor:
        features, labels = two_views(network, batch)
        units = normalize(network.get_submodule("supcon")(features), dim=1)
        return self.contrast(units, labels) + classifier(network, features, batch)


def moved(prototypes: Tensor, units: Tensor, labels: Tensor, decay: float) -> Tensor:
    """Prototypes (C, D) after each sample in turn has moved its own: p_y <- unit(decay p_y + (1 - decay) u).
    Gradients reach the samples.

    Classes do not meet, so the first samples of all classes take their turn together, then the second ones,
    and so on."""
    turns = (
        torch.nn.functional.one_hot(labels, len(prototypes))
        .cumsum(dim=0)
        .gather(1, labels.unsqueeze(1))[:, 0]
    )
    for turn in range(1, int(turns.max()) + 1):
        now = (turns == turn).nonzero()[:, 0]
        y = labels[now]
        new = normalize(decay * prototypes[y] + (1 - decay) * units[now], dim=1)
        prototypes = prototypes.index_put((y,), new)
    return prototypes


def dispersion(prototypes: Tensor, temperature: float) -> Tensor:
    """mean_i log mean_{j != i} exp(p_i . p_j / T) over prototypes that are not zero (classes seen so far); 0
    where fewer than two are."""
    seen = (prototypes != 0).any(dim=1)
    pairs = seen.unsqueeze(1) & seen & ~torch.eye(len(seen), dtype=torch.bool, device=seen.device)
    count = pairs.sum(dim=1)
    similar = (prototypes @ prototypes.T / temperature).masked_fill(~pairs, _NOWHERE)
    rows = torch.logsumexp(similar, dim=1) - count.clamp(min=1).log()
    return torch.where(count > 0, rows, 0.0).sum() / (count > 0).sum().clamp(min=1)


def compactness(units: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """-mean log softmax_c(u . p_c / T)_y, times T / 0.07, over the classes seen so far; prototypes get no
    gradient."""
    fixed = prototypes.detach()
    logits = (units @ fixed.T / temperature).masked_fill((fixed == 0).all(dim=1), _NOWHERE)
    return temperature / _BASE * cross_entropy(logits, labels)


class _Prototypes(Method):
    """Unit embeddings of two views around class prototypes that are a moving average of them."""

    views = 1
    name = ""

    def __init__(self, temperature: float, decay: float, width: int) -> None:
        self.temperature, self.decay, self.width = temperature, decay, width

    def setup(self, network: Network) -> None:
        network.add_module(f"{self.name}_projection", projection(width(self.name, network), self.width))
        network.add_module(
            f"{self.name}_state", Buffers(prototypes=torch.zeros(network.task.classes, self.width))
        )

    def terms(self, network: Network, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compactness and dispersion, the prototypes moved."""
        units = normalize(network.get_submodule(f"{self.name}_projection")(features), dim=1)
        kept = memory(network, f"{self.name}_state")["prototypes"]
        prototypes = moved(kept.clone(), units, labels, self.decay)
        if network.training:
            kept.copy_(prototypes.detach())
        return compactness(units, prototypes, labels, self.temperature), dispersion(
            prototypes, self.temperature
        )


@method("cider", source="Ming et al., ICLR 2023, by way of OpenOOD v1.5 cider_trainer.py and cider_net.py")
class CIDER(_Prototypes):
    """CIDER: weight * compactness + dispersion of unit embeddings on the hypersphere.

    Compactness: cross-entropy over classes of u . p_c / T, times T / 0.07. Dispersion: mean_i log mean_{j !=
    i} exp(p_i . p_j / T). p_c is an average of the class's embeddings that each sample moves by 1 - decay
    (0.95; 0.5 for CIFAR-100), from zero, so that its first sample sets it (OpenOOD starts from validation
    means). The network's head learns on detached features. The authors score by `knn`."""

    name = "cider"

    def __init__(
        self, *, weight: NonNegativeFloat = 2.0, temperature: PositiveFloat = 0.1,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.95, width: PositiveInt = 128,
    ) -> None:  # fmt: skip
        super().__init__(temperature, decay, width)
        self.weight = weight

    def loss(self, network: Network, batch: Batch) -> Tensor:
        features, labels = two_views(network, batch)
        compact, disperse = self.terms(network, features, labels)
        return self.weight * compact + disperse + classifier(network, features, batch)


@method(
    "npos",
    source="Tao et al., ICLR 2023, by way of OpenOOD v1.5 npos_trainer.py, npos_net.py and train_npos.yml",
)
class NPOS(_Prototypes):
    """NPOS: compactness + dispersion_weight * dispersion (as CIDER's) + outlier_weight * binary cross-entropy
    of known features against outliers.

    Outliers come from queues of `size` features of each class, once they are full and the fraction `start` of
    training is over: of the `border` features farthest from their `k`-th neighbour (squared distance of unit
    features, itself counted) `picks` are drawn, `draws` Gaussian steps of scale `step` are made from each,
    and the `kept` that end farthest from their `k`-th neighbour are taken. A two-layer head tells them apart.
    The gradient reaches the network through the known features. The network's head learns on detached
    features. The authors score by `knn`."""

    name = "npos"
    acts_once = "the queues of all classes are full (size) and start is over"

    def __init__(
        self, *, dispersion_weight: NonNegativeFloat = 0.5, outlier_weight: NonNegativeFloat = 0.1,
        temperature: PositiveFloat = 0.1, decay: Annotated[float, Field(ge=0, lt=1)] = 0.95,
        width: PositiveInt = 128,
        start: Annotated[float, Field(ge=0, le=1)] = 0.4, size: PositiveInt = 1000, k: PositiveInt = 300,
        border: PositiveInt = 200, picks: PositiveInt = 2, draws: PositiveInt = 600, kept: PositiveInt = 200,
        step: PositiveFloat = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(temperature, decay, width)
        limits = [
            ("k", k, "size", size),
            ("border", border, "size", size),
            ("picks", picks, "border", border),
        ]
        limits += [("kept", kept, "draws", draws)]
        wrong = [(f"npos.{a}", f"should be at most {b} ({n}), got {m}") for a, m, b, n in limits if m > n]
        if wrong:
            raise SpecError(wrong)
        self.dispersion_weight, self.outlier_weight, self.start = dispersion_weight, outlier_weight, start
        self.size, self.k, self.border, self.picks, self.draws, self.kept, self.step = (
            size,
            k,
            border,
            picks,
            draws,
            kept,
            step,
        )

    def objection(self, course: Course) -> str:
        return too_few(course, self.size, of_each=2) or too_late(course, self.start)

    def setup(self, network: Network) -> None:
        super().setup(network)
        features = width("npos", network)
        network.add_module("npos_queues", Queues(network.task.classes, self.size, features))
        tell = nn.Sequential(nn.Linear(features, self.width), nn.ReLU(), nn.Linear(self.width, 1))
        network.add_module("npos_outliers", tell)

    def reach(self, features: Tensor, known: Tensor) -> Tensor:
        """Squared distance of unit features (N, D) to their k-th neighbour among the unit features of `known`
        (M, D), (N,)."""
        distances = torch.cdist(normalize(features, dim=1), normalize(known, dim=1)).square()
        return distances.kthvalue(self.k, dim=1).values

    def outliers(self, known: Tensor, rng: torch.Generator | None) -> Tensor:
        """Outliers (C * picks * kept, D) of features (C, size, D); all steps are shared by all classes and
        starting points."""
        noise = torch.randn(self.draws, known.shape[2], generator=rng, device=known.device, dtype=known.dtype)
        found = []
        for own in known:
            border = self.reach(own, own).topk(self.border).indices
            picked = border[torch.randperm(self.border, generator=rng, device=known.device)[: self.picks]]
            for start in own[picked]:
                candidates = start + self.step * noise
                found.append(candidates[self.reach(candidates, own).topk(self.kept).indices])
        return torch.cat(found)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        queues, tell = network.get_submodule("npos_queues"), network.get_submodule("npos_outliers")
        assert isinstance(queues, Queues)
        features, labels = two_views(network, batch)
        self.acted = ready = batch.progress >= self.start and queues.full
        if network.training:
            queues.push(features, labels)
        outliers = self.outliers(queues.features, batch.rng) if ready else features[:0].detach()
        told = tell(torch.cat([features, outliers]))[:, 0]
        truth = (torch.arange(len(told), device=told.device) < len(features)).to(told.dtype)
        # before there are outliers the term weighs nothing, but its head has a gradient
        apart = (self.outlier_weight if ready else 0.0) * binary_cross_entropy_with_logits(told, truth)
        compact, disperse = self.terms(network, features, labels)
        return compact + self.dispersion_weight * disperse + apart + classifier(network, features, batch)
