"""Numerics that scorers share: similarities to the training set, streamed statistics, whitening. No scorer's
formula stands here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

BLOCK = 16_384
"""Rows of a memory-mapped training set that are held at a time."""


def blocks(tensor: Tensor, size: int = BLOCK) -> Iterator[Tensor]:
    """Consecutive row blocks of a (maybe memory-mapped) tensor, float32 or wider."""
    for start in range(0, len(tensor), size):
        block = tensor[start : start + size]
        yield block if block.dtype == torch.float64 else block.float()


def percentile(values: Tensor, q: float) -> float:
    """The q-th percentile of all elements, linearly interpolated as NumPy's; exact, in bounded memory however
    many there are."""
    if values.numel() <= 1 << 26 and values.device.type == "cpu":
        return float(np.percentile(values.float().numpy(), q))
    rank = (values.numel() - 1) * q / 100
    below, above = order_statistics(values, (int(rank), min(int(rank) + 1, values.numel() - 1)))
    return below + (above - below) * (rank - int(rank))


def order_statistics(values: Tensor, ranks: tuple[int, ...]) -> list[float]:
    """The elements (as float32) at `ranks` in ascending order: first the upper half of their bits is counted,
    then the lower half."""

    def keys() -> Iterator[Tensor]:  # integers in the order of the floats
        for block in blocks(values, max(1, (1 << 22) // max(values[0].numel(), 1))):
            bits = block.float().contiguous().view(torch.int32).flatten()
            yield bits ^ ((bits >> 31) & 0x7FFFFFFF)

    upper = torch.zeros(1 << 16, dtype=torch.int64, device=values.device)
    for key in keys():
        upper += torch.bincount((key >> 16) + (1 << 15), minlength=1 << 16)
    total = upper.cumsum(0)
    halves = [int(torch.searchsorted(total, rank, right=True)) for rank in ranks]
    lower = {half: torch.zeros(1 << 16, dtype=torch.int64, device=values.device) for half in halves}
    for key in keys():
        for half, counts in lower.items():
            counts += torch.bincount(key[(key >> 16) + (1 << 15) == half] & 0xFFFF, minlength=1 << 16)
    found = []
    for rank, half in zip(ranks, halves, strict=True):
        inside = rank - int(total[half] - upper[half])
        key = torch.tensor(
            [((half - (1 << 15)) << 16) + int(torch.searchsorted(lower[half].cumsum(0), inside, right=True))]
        )
        key = key.to(torch.int32)
        found.append(float((key ^ ((key >> 31) & 0x7FFFFFFF)).view(torch.float32)))
    return found


def evenly_spaced(tensor: Tensor, count: int) -> Tensor:
    """At most `count` rows, evenly spaced, float32: what a fit that cannot read all of them reads instead."""
    step = -(-len(tensor) // count)
    return tensor[::step].float()


def column_percentiles(features: Tensor, percentiles: tuple[float, ...], samples: int) -> tuple[Tensor, ...]:
    """Percentiles of each column (D,), linearly interpolated, from at most `samples` evenly spaced rows."""
    rows = evenly_spaced(features, samples)
    q = torch.tensor(percentiles, dtype=torch.float32, device=rows.device) / 100
    width = max(1, (1 << 24) // max(len(rows), 1))  # torch.quantile takes 16 million elements at most
    parts = [torch.quantile(part, q, dim=0) for part in rows.split(min(width, rows.shape[1]), dim=1)]
    return tuple(torch.cat(parts, dim=1))
