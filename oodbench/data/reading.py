"""Samples in batches, the next ones read while this one is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.data.images import to_float


def in_parts(count: int, size: int) -> Iterator[range]:
    """The places 0..count-1, `size` at a time; the last part may be shorter."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def read_ahead(
    samples: Samples, geometry: Geometry | None, parts: Iterable[Sequence[int] | Tensor]
) -> Iterator[Tensor]:
    """What `samples.read` gives for each of `parts`, in order; the next one is read while this one is
    used."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        reads = (pool.submit(samples.read, part, geometry) for part in parts)
        ahead = next(reads, None)
        while ahead is not None:
            images, ahead = ahead.result(), next(reads, None)
            yield images


def batches(samples: Samples, geometry: Geometry, size: int, device: str | torch.device) -> Iterator[Tensor]:
    """Inputs (B, C, H, W) in [0, 1] on `device`, in order, read ahead."""
    for images in read_ahead(samples, geometry, in_parts(len(samples), size)):
        yield to_float(images.to(device))
