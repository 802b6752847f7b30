"""Samples in batches, the next ones read while this one is worked on."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry, Samples
from oodbench.data.images import to_float

AHEAD, AHEAD_BYTES = 4, 2**29
"""So many batches are read ahead, fewer where they would hold more bytes, but one at least."""


def in_parts(places: int | range, size: int) -> Iterator[range]:
    """Places (a number N for 0..N-1), `size` at a time; the last part may be shorter."""
    whole = range(places) if isinstance(places, int) else places
    return (whole[start : start + size] for start in range(0, len(whole), size))


def read_ahead(
    samples: Samples,
    geometry: Geometry | None,
    parts: Iterable[Sequence[int] | Tensor],
    device: str | torch.device = "cpu",
) -> Iterator[Tensor]:
    """What `samples.read` gives for each of `parts`, in order, on `device`; the next ones are read while this
    one is used. One thread reads, since a set need not bear two; sets of files are decoded by many."""
    device = torch.device(device)

    def read(part: Sequence[int] | Tensor) -> Tensor:
        images = samples.read(part, geometry)
        if device.type != "cuda":
            return images
        with torch.cuda.device(device):
            return images.pin_memory()  # else the copy to the device would wait for it, and it for the copy

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[Tensor]] = deque()
        rest, ahead = iter(parts), 1
        try:
            while True:
                for part in itertools.islice(rest, 1 + ahead - len(waiting)):
                    waiting.append(pool.submit(read, part))
                if not waiting:
                    return
                images = waiting.popleft().result()
                ahead = max(1, min(AHEAD, AHEAD_BYTES // max(images.nbytes, 1)))
                yield images.to(device, non_blocking=device.type == "cuda")
        finally:
            for future in waiting:
                future.cancel()


def batches(
    samples: Samples,
    geometry: Geometry,
    size: int,
    device: str | torch.device,
    places: range | None = None,
) -> Iterator[Tensor]:
    """Inputs (B, C, H, W) in [0, 1] on `device`, of all samples or those at `places`, in order, read
    ahead."""
    parts = in_parts(len(samples) if places is None else places, size)
    for images in read_ahead(samples, geometry, parts, device):
        yield to_float(images)
