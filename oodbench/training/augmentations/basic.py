"""Flips, crops and holes."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from oodbench.core.registry import augmentation


@augmentation("flip", source="torchvision.transforms.RandomHorizontalFlip")
class Flip:
    """Mirror each image left to right with probability `p`."""

    def __init__(self, *, p: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None:
        self.p = p

    def __call__(self, inputs: Tensor, rng: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(inputs), generator=rng, device=inputs.device) < self.p
        return torch.where(mirrored.view(-1, 1, 1, 1), inputs.flip(-1), inputs)


@augmentation("pad-crop", source="torchvision.transforms.RandomCrop with padding")
class PadCrop:
    """Pad each image with `padding` black pixels on every side and cut its size out at a random place."""

    def __init__(self, *, padding: PositiveInt = 4) -> None:
        self.padding = padding

    def __call__(self, inputs: Tensor, rng: torch.Generator) -> Tensor:
        n, _, height, width = inputs.shape
        padded = torch.nn.functional.pad(inputs, [self.padding] * 4)
        top, left = torch.randint(0, 2 * self.padding + 1, (2, n, 1), generator=rng, device=inputs.device)
        rows = (top + torch.arange(height, device=inputs.device)).view(n, 1, height, 1)
        columns = (left + torch.arange(width, device=inputs.device)).view(n, 1, 1, width)
        sample = torch.arange(n, device=inputs.device).view(n, 1, 1, 1)
        channel = torch.arange(inputs.shape[1], device=inputs.device).view(1, -1, 1, 1)
        return padded[sample, channel, rows, columns]


@augmentation(
    "cutout", source="DeVries and Taylor, arXiv 1708.04552, by way of OpenOOD v1.5 cutout_preprocessor.py"
)
class Cutout:
    """Set `holes` squares of `length` pixels in each image to `fill`, centred anywhere and cut off at the
    border.

    The code read blacks out normalised inputs, so that its holes have the ID mean; these have the value
    `fill` of inputs in [0, 1]."""

    def __init__(
        self,
        *,
        length: PositiveInt = 16,
        holes: PositiveInt = 1,
        fill: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:
        self.length, self.holes, self.fill = length, holes, fill

    def __call__(self, inputs: Tensor, rng: torch.Generator) -> Tensor:
        n, _, height, width = inputs.shape
        kept = torch.ones(n, 1, height, width, dtype=torch.bool, device=inputs.device)
        for _ in range(self.holes):
            inside = torch.ones_like(kept)
            for size, axis in ((height, 2), (width, 3)):
                centre = torch.randint(0, size, (n, 1, 1, 1), generator=rng, device=inputs.device)
                place = torch.arange(size, device=inputs.device).view(
                    [-1 if d == axis else 1 for d in range(4)]
                )
                inside = inside & (place >= centre - self.length // 2) & (place < centre + self.length // 2)
            kept &= ~inside
        return torch.where(kept, inputs, self.fill)
