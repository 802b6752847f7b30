"""What a data set and a pair must do, and toy images to check others with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Geometry, Pair, Samples
from oodbench.core.spec import Spec
from oodbench.data.samples import TensorSamples

CLASSES = 4


def toy_images(
    count: int, shape: Sequence[int] = (1, 8, 8), *, ood: bool = False, seed: int = 0
) -> TensorSamples:
    """Images in [0, 1] whose bright quadrant is their class (0..3); OOD ones are checkerboards of any
    brightness."""
    rng = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    images = 0.2 * torch.rand(count, channels, height, width, generator=rng)
    labels = torch.arange(count) % CLASSES
    if ood:
        board = ((torch.arange(height).unsqueeze(1) + torch.arange(width)) % 2).float()
        images = (images + board * (0.3 + 0.7 * torch.rand(count, 1, 1, 1, generator=rng))).clamp(0, 1)
        return TensorSamples(images, torch.zeros(count, dtype=torch.int64))
    half = (height // 2, width // 2)
    for i, label in enumerate(labels.tolist()):
        top, left = (label // 2) * half[0], (label % 2) * half[1]
        images[i, :, top : top + half[0], left : left + half[1]] += 0.7
    return TensorSamples(images, labels)


def of_dataset(spec: Spec) -> Iterator[str]:
    """What is wrong with a data set, one line each."""
    made: Dataset = registry.build("dataset", spec)
    if not made.splits:
        yield "has no split"
    for split in made.splits:
        again = registry.build("dataset", spec)[split]
        for line in _of_samples(made[split], again, len(made.classes) if split != "train" else 0):
            yield f"{split}: {line}"


def _of_samples(samples: Samples, again: Samples, classes: int) -> Iterator[str]:
    """What is wrong with one split. `again` is the same one, built anew; `classes` bounds its labels, unless
    it is 0."""
    if not isinstance(samples, Samples):
        yield "is no Samples (kind, labels, ids, digest, read)"
        return
    if samples.labels.dtype != torch.int64 or samples.labels.dim() != 1:
        yield f"labels are {samples.labels.dtype} {shape_text(samples.labels)}; int64 (N,) is due"
    if not len(samples) == len(samples.labels) == len(samples.ids):
        yield f"{len(samples)} samples, {len(samples.labels)} labels, {len(samples.ids)} ids"
        return
    if len(samples.digest) != 64 or again.digest != samples.digest:
        yield "the digest is no sha256 of the content alone"
    few = [len(samples) - 1, 0]
    x = samples.read(few, Geometry((1, 16, 16)))
    if tuple(x.shape) != (2, 1, 16, 16) or x.dtype not in (torch.uint8, torch.float32):
        yield f"read gives {x.dtype} {shape_text(x)} for two samples at (1, 16, 16)"
    elif not torch.equal(samples.read(few[::-1], Geometry((1, 16, 16))).flip(0), x):
        yield "read does not keep the order that it is asked for"
    if x.is_floating_point() and (float(x.min()) < 0 or float(x.max()) > 1):
        yield "float images leave [0, 1]"
    if classes and int(samples.labels.max()) >= classes:
        yield f"a label is outside 0..{classes - 1}"


def of_pair(spec: Spec) -> Iterator[str]:
    """What is wrong with a pair, one line each."""
    made: Pair = registry.build("pair", spec)
    names = [*made.near, *made.far, *made.shifted, *(("train", "val", "test") if made.id is not None else ())]
    for one, two in pairwise(sorted(names)):
        if one == two:
            yield f"has two sets named {one!r}"
    for raw in (
        made.id,
        made.ood_val,
        made.outliers,
        *made.near.values(),
        *made.far.values(),
        *made.shifted.values(),
    ):
        if raw is not None and made.id is not None:
            registry.resolve("dataset", raw)
    if made.id is not None and not made.near and not made.far:
        yield "has no OOD set"


def shape_text(value: Any) -> str:
    """The shape of a tensor, or of which class a value is that should have been one."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
