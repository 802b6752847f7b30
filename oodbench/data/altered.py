"""Sets made from another set: pixels permuted, images mixed, noise with the same statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.identity import fingerprint
from oodbench.data.images import to_float
from oodbench.data.samples import Joined
from oodbench.data.sizes import sizes_of


class _Made:
    """Images made from those of another set, one for each, the same each time."""

    kind = "image"
    how = ""

    def __init__(self, of: Samples) -> None:
        self.of = of
        self.labels = torch.full((len(of),), -1, dtype=torch.int64)
        self.ids: Sequence[str] = [f"{self.how}/{i}" for i in range(len(of))]
        self.digest = fingerprint({self.how: of.digest})

    def __len__(self) -> int:
        return len(self.of)

    def image_sizes(self) -> np.ndarray:
        return sizes_of(self.of)


class Permuted(_Made):
    """Each image with its pixels in a random order of its own: every statistic of single pixels stays, all
    structure goes."""

    how = "permuted"

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        images = self.of.read(indices, geometry).clone()
        for image, index in zip(images, torch.as_tensor(indices).tolist(), strict=True):
            order = torch.randperm(image[0].numel(), generator=torch.Generator().manual_seed(int(index)))
            image.copy_(image.flatten(1)[:, order].view_as(image))
        return images


class Mixed(_Made):
    """Each image averaged with one of another class (where there is one)."""

    how = "mixed"

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        index = torch.as_tensor(indices)
        one, two = (to_float(self.of.read(i, geometry)) for i in (index, self.partners()[index]))
        return (one + two) / 2

    def partners(self) -> Tensor:
        """The place of the image that each one is averaged with, (N,)."""
        labels, n = self.of.labels, len(self.of)
        # Half the sorted list away lies another class, unless one has more than half.
        order = torch.argsort(labels, stable=True)
        partners = torch.empty(n, dtype=torch.int64)
        partners[order] = order.roll(n // 2)
        return partners


def noise_from(val: Samples) -> Samples:
    """The OOD set of the regime ``noise``: permuted and mixed ID validation images."""
    return Joined([Permuted(val), Mixed(val)])
