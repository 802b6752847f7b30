"""Made outputs for tests of scorers, with everything that any scorer reads, and scorers fitted on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.scoring import contract


def blobs(
    count: int,
    classes: int = 4,
    width: int = 16,
    *,
    seed: int = 0,
    spread: float = 0.4,
    ood: bool = False,
    scale: float = 1.0,
) -> Outputs:
    """Non-negative features about one random prototype for each class, and a random linear head that mostly
    knows them."""
    world = torch.Generator().manual_seed(1234 + classes + width)
    prototypes = torch.randn(classes, width, generator=world).abs()
    weight = prototypes - prototypes.mean(dim=0) + 0.05 * torch.randn(classes, width, generator=world)
    head = Head(scale * weight, 0.1 * torch.randn(classes, generator=world))
    rng = torch.Generator().manual_seed(seed + 777 * ood)
    labels = torch.arange(count) % classes
    features = prototypes[labels] + spread * torch.randn(count, width, generator=rng)
    if ood:
        features = 0.7 * torch.randn(count, width, generator=rng).abs()
        labels = torch.full((count,), -1)
    features = features.clamp(min=0)
    return Outputs(head(features), features, labels, head)


def with_features(outputs: Outputs, features: Tensor, labels: Tensor | None = None) -> Outputs:
    """Other features through the same head."""
    assert outputs.head is not None
    return Outputs(
        outputs.head(features), features, outputs.labels if labels is None else labels, outputs.head
    )


def world() -> tuple[Outputs, Outputs, Outputs]:
    """Training, validation and test outputs with a few wrong predictions and OOD samples among the test
    ones."""
    train, val, test = (
        blobs(300, seed=1, spread=0.9),
        blobs(120, seed=2, spread=0.9),
        blobs(40, seed=3, spread=0.9),
    )
    ood = blobs(20, seed=4, ood=True)
    both = torch.cat([test.features, ood.features]), torch.cat([test.labels, ood.labels])
    return train, val, with_features(test, *both)


def with_extras(outputs: Outputs) -> Outputs:
    """With what every view and every head would add, each sample's made from its own logits and features."""
    z, f = outputs.logits.float(), outputs.features.float()
    p, q = torch.softmax(z, dim=1), torch.softmax(z / 2, dim=1)
    turned = torch.stack(
        [torch.stack([f.mean(dim=1) * (1 + t == s) - s for s in range(4)], dim=1) for t in range(4)], dim=1
    )
    odd = torch.sin(50 * f.mean(dim=1, keepdim=True) / f.abs().mean() * torch.arange(z.shape[1]))
    another = z + 2 * z.std(dim=1, keepdim=True) * odd
    extras = {
        "perturbation.logits": 1.1 * z, "score-perturbation.score": -z.amax(dim=1),
        "attack.score": -z.amax(dim=1),
        "attack.logits": 0.9 * z, "rankfeat.logits": 0.7 * z, "mcd": 0.5 * z,
        "mc-dropout.probabilities": (p + q) / 2,
        "mc-dropout.entropy": (torch.special.entr(p) + torch.special.entr(q)).sum(dim=1) / 2,
        "weak-pixels.features": 0.9 * f + 0.01, "stages.one": f[:, : max(1, f.shape[1] // 2)],
        "stages.two": f,
        "gram.one": f[:, :1], "gram.two": f.square(),
        "members.logits": torch.stack([z, z / 3, another], dim=1),
        "godin": torch.sigmoid(f.mean(dim=1, keepdim=True)), "rotation": turned[:, 0],
        "rotations.logits": turned,
        "negatives": 0.5 * torch.cos(3 * f), "local-features.mcm": -0.5 * p.amax(dim=1),
    }  # fmt: skip
    for name in registry.scorers:  # any other head has one output
        for extra in by_default(name).extras - extras.keys():
            extras[extra] = f.mean(dim=1, keepdim=True)
    return Outputs(outputs.logits, outputs.features, outputs.labels, outputs.head, extras)


def fitted(spec: object, train: Outputs | None = None, val: Outputs | None = None) -> Scorer:
    """The scorer, fitted on what it needs of these."""
    made: Scorer = registry.build("scorer", spec)
    made.fit(train if "train" in made.needs else None, val if "val" in made.needs else None)
    return made


def by_default(name: str) -> Scorer:
    """The scorer with its defaults."""
    made: Scorer = registry.build("scorer", contract.example("scorer", name))
    return made


def reference_outputs(file: Any, part: str) -> Outputs:
    """One set of the reference arrays: of `train`, `val`, `id_test`, `ood_test`."""

    def get(name: str) -> Tensor:
        return torch.from_numpy(file[name])

    head = Head(get("head.weight"), get("head.bias"))
    return Outputs(get(f"{part}.logits"), get(f"{part}.features"), get(f"{part}.labels"), head)
