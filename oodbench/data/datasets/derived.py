"""Sets made from any other set: some classes, fewer images, fewer of rare classes, wrong labels, corrupted
images, several sets as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from oodbench.core.dataset import Dataset, Geometry, Samples
from oodbench.core.errors import SpecError, UserError
from oodbench.core.identity import fingerprint
from oodbench.core.registry import dataset
from oodbench.data.corruptions import LIBRARY_KINDS, Scale, corrupt, library
from oodbench.data.samples import Joined, Subset, by_class, of_classes
from oodbench.data.sizes import sizes_of

ClassId = Annotated[int, Field(ge=0)]


def _map(
    of: Dataset, change: Callable[[str, Samples], Samples], classes: tuple[str, ...] | None = None
) -> Dataset:
    """`of` with every split changed when it is read."""

    def part(split: str) -> Callable[[], Samples]:
        return lambda: change(split, of[split])

    return Dataset({split: part(split) for split in of.splits}, of.classes if classes is None else classes)


@dataset("subset", source="oodbench's own")
def subset(*, of: Dataset, classes: list[ClassId], relabel: bool = True) -> Dataset:
    """The `classes` of a set, in every split: relabelled 0..K-1 in the order given, or with the labels they
    have.

    Known classes of an open-set trial are relabelled; unknown ones keep their labels.
    """
    if not classes or len(set(classes)) < len(classes):
        raise SpecError(
            [("subset.classes", f"should be different class numbers, at least one, got {classes}")]
        )
    if of.classes and max(classes) >= len(of.classes):
        raise SpecError(
            [("subset.classes", f"the set has classes 0 to {len(of.classes) - 1}, got {max(classes)}")]
        )

    def change(split: str, samples: Samples) -> Samples:
        chosen = of_classes(samples, classes, relabel)
        present = set(samples.labels.unique().tolist())
        empty = [c for c in classes if c not in present]
        if empty and (relabel or len(empty) == len(classes)):
            raise UserError(
                f"subset: class {empty[0]} has no sample in the {split} split; it has {sorted(present)}"
            )
        return chosen

    names = tuple(of.classes[c] for c in classes) if of.classes else tuple(str(c) for c in classes)
    return _map(of, change, names if relabel else of.classes)


@dataset("sampled", source="oodbench's own")
def sampled(
    *, of: Dataset, count: Annotated[int, Field(gt=0)] = 10_000, seed: Annotated[int, Field(ge=0)] = 0
) -> Dataset:  # fmt: skip
    """A set with at most `count` training images, drawn by `seed` whatever their class, in their order;
    validation and test stay."""

    def change(split: str, samples: Samples) -> Samples:
        if split != "train" or len(samples) <= count:
            return samples
        drawn = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:count]
        return Subset(samples, drawn.sort().values)

    return _map(of, change)


@dataset(
    "long-tailed",
    source=(
        "github.com/kaidic/LDAM-DRW, imbalance_cifar.py (Cao et al., NeurIPS 2019): its exponential profile"
    ),
)
def long_tailed(
    *,
    of: Dataset,
    imbalance: Annotated[float, Field(gt=0, le=1)] = 0.01,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Dataset:
    """A set whose training classes thin out: of class i of C, the share imbalance^(i / (C-1)) of the largest
    class's size is kept.

    Drawn by `seed`; at least one image is left of each class. Validation and test stay as they are.
    """

    def change(split: str, samples: Samples) -> Samples:
        if split != "train":
            return samples
        present = list(by_class(samples.labels))
        largest = max(len(mine) for _, mine in present)
        rng = torch.Generator().manual_seed(seed)
        keep = []
        for i, (_, mine) in enumerate(present):
            wanted = int(largest * imbalance ** (i / max(len(present) - 1, 1)))
            keep.append(mine[torch.randperm(len(mine), generator=rng)[: max(wanted, 1)]])
        return Subset(samples, torch.cat(keep).sort().values)

    return _map(of, change)


@dataset(
    "label-noise",
    source=(
        "symmetric and pair noise as in Han et al., NeurIPS 2018 (Co-teaching), github.com/bhanML/Co-teaching"
    ),
)
def label_noise(
    *, of: Dataset, rate: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    kind: Literal["symmetric", "pair"] = "symmetric",
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Dataset:  # fmt: skip
    """A set whose training labels are wrong with probability `rate`: any other class alike (symmetric), or
    the next one (pair).

    Drawn by `seed`. Validation and test keep their true labels, so that accuracies mean what they say.
    """

    def change(split: str, samples: Samples) -> Samples:
        if split != "train":
            return samples
        classes = len(of.classes) or int(samples.labels.max()) + 1
        if classes < 2:
            raise UserError("label-noise: a set of one class has no wrong labels")
        rng = torch.Generator().manual_seed(seed)
        wrong = torch.rand(len(samples), generator=rng) < rate
        shift = (
            torch.randint(1, classes, (len(samples),), generator=rng)
            if kind == "symmetric"
            else torch.ones(len(samples)).long()
        )
        labels = torch.where(wrong, (samples.labels + shift) % classes, samples.labels)
        return Subset(samples, torch.arange(len(samples)), labels)

    return _map(of, change)


Kind = Literal[
    "gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise", "gaussian-blur", "defocus-blur",
    "zoom-blur", "fog", "brightness",
    "contrast", "saturate", "jpeg", "pixelate", "glass-blur", "motion-blur", "snow", "frost", "spatter",
    "elastic-transform",
]  # fmt: skip


@dataset(
    "corrupted",
    source=(
        "github.com/hendrycks/robustness, make_cifar_c.py and imagenet_c/corruptions.py; six kinds:"
        " imagecorruptions-imaug 1.1.5"
    ),
)
def corrupted(
    *, of: Dataset, kind: Kind, severity: Annotated[int, Field(ge=1, le=5)] = 3, scale: Scale = "small"
) -> Dataset:  # fmt: skip
    """Any set's images under a common corruption, at the size that the network sees; labels stay. For
    covariate-shifted ID sets.

    `scale` says whose constants: small for CIFAR-C's (32x32), large for ImageNet-C's (224x224). Randomness is
    each image's own. glass-blur, motion-blur, snow, frost, spatter and elastic-transform are large only and
    need the extra ``corruptions``."""
    if kind in LIBRARY_KINDS and scale == "small":
        raise SpecError(
            [
                (
                    "corrupted.scale",
                    f"should be large for {kind}: CIFAR-C's constants are in no library; there is cifar10-c",
                )
            ]
        )

    def change(split: str, samples: Samples) -> Samples:
        if kind in LIBRARY_KINDS:
            library()  # now, not in the middle of a run
        return Corrupted(samples, kind, severity, scale)

    return _map(of, change)


class Corrupted:
    """Samples corrupted when they are read."""

    def __init__(self, of: Samples, kind: str, severity: int, scale: Scale) -> None:
        self.of = of
        self.kind = of.kind
        self.labels = of.labels
        self.ids = of.ids
        self.how, self.severity, self.scale = kind, severity, scale
        self.digest = fingerprint({"of": of.digest, "corruption": [kind, severity, scale, 1]})

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        places = torch.as_tensor(indices, dtype=torch.int64).tolist()
        return corrupt(self.of.read(indices, geometry), self.how, self.severity, places, scale=self.scale)

    def image_sizes(self) -> np.ndarray:
        return sizes_of(self.of)


@dataset("joined", source="oodbench's own")
def joined(*, of: list[Dataset], distinct: bool = False) -> Dataset:
    """Several sets as one, split by split; with `distinct`, the classes of each set are numbered on after
    those of the sets before."""
    if not of:
        raise SpecError([("joined.of", "should name at least one set")])
    splits = [s for s in of[0].splits if all(s in o for o in of)]

    def part(split: str) -> Callable[[], Samples]:
        def read() -> Samples:
            parts: list[Samples] = [o[split] for o in of]
            if distinct:
                start, moved = 0, []
                for o, p in zip(of, parts, strict=True):
                    moved.append(Subset(p, torch.arange(len(p)), p.labels + start))
                    start += len(o.classes) or int(p.labels.max()) + 1
                parts = [*moved]
            return Joined(parts)

        return read

    names = (
        tuple(n for o in of for n in o.classes) if distinct and all(o.classes for o in of) else of[0].classes
    )
    return Dataset({s: part(s) for s in splits}, names)
