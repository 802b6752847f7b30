"""Images made in memory."""

from __future__ import annotations

import torch

from oodbench.data.samples import TensorSamples


def samples(
    n: int = 40, classes: int = 4, shape: tuple[int, int, int] = (3, 6, 5), seed: int = 0
) -> TensorSamples:
    """Images of noise, their classes in turn, with names."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), generator=rng, dtype=torch.uint8)
    return TensorSamples(images, torch.arange(n) % classes, [f"img/{i}" for i in range(n)])


def pictures(n: int, seed: int, size: int = 32) -> torch.Tensor:
    """Smooth random pictures, no two alike."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=rng)
    return (torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1) * 255).to(
        torch.uint8
    )


def unlabelled(images: torch.Tensor) -> TensorSamples:
    """Images of which nobody knows the class."""
    return TensorSamples(images, torch.zeros(len(images)))
