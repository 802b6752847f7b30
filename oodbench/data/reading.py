"""Samples in batches, the next ones read while this one is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.data.images import to_float


def batches(samples: Samples, geometry: Geometry, size: int, device: str | torch.device) -> Iterator[Tensor]:
    """Inputs (B, C, H, W) in [0, 1] on `device`, in order; the next batch is read while this one is used."""
    starts = range(0, len(samples), size)
    with ThreadPoolExecutor(max_workers=1) as pool:
        reads = (pool.submit(samples.read, range(s, min(s + size, len(samples))), geometry) for s in starts)
        ahead = next(reads, None)
        while ahead is not None:
            images, ahead = ahead.result(), next(reads, None)
            yield to_float(images.to(device))
