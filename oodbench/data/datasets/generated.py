"""Pictures made by formulas, for methods that mix them into training images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Tensor

from oodbench.core.registry import dataset
from oodbench.core.scorer import Dataset
from oodbench.data.samples import TensorSamples

_STEPS = 40


@dataset("fractals", source="oodbench's own generator of Julia sets")
def fractals(*, count: PositiveInt = 200, size: PositiveInt = 64) -> Dataset:
    """Generated pictures: `count` coloured Julia sets per split, `size` x `size` pixels in RGB, from constant seeds of its own.

    z <- z^2 + c from each pixel, c near the boundary of the Mandelbrot set, a random window and palette; colour follows the smoothed
    number of steps until |z| > 2. They stand in for the fractals that PixMix mixes in; all have label 0.
    """

    def part(seed: int) -> Callable[[], TensorSamples]:
        return lambda: TensorSamples(julia(count, size, seed), torch.zeros(count, dtype=torch.int64))

    return Dataset({"train": part(1), "val": part(2), "test": part(3)}, ("fractal",))


def julia(count: int, size: int, seed: int) -> Tensor:
    """Coloured Julia sets, uint8 (count, 3, size, size)."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=rng, dtype=torch.float64)

    turn, beyond = uniform(0, 2 * math.pi), uniform(1.01, 1.15)
    # the rim of the main cardioid, a little beyond it
    cx = (beyond * (turn.cos() / 2 - (2 * turn).cos() / 4)).view(-1, 1, 1)
    cy = (beyond * (turn.sin() / 2 - (2 * turn).sin() / 4)).view(-1, 1, 1)
    zoom, angle, left, top = (
        v.view(-1, 1, 1) for v in (uniform(0.4, 1.4), uniform(0, 2 * math.pi), uniform(-0.5, 0.5), uniform(-0.5, 0.5))
    )
    line = torch.linspace(-1, 1, size, dtype=torch.float64)
    column, row = line.view(1, 1, -1), line.view(1, -1, 1)
    x = zoom * (column * angle.cos() - row * angle.sin()) + left
    y = zoom * (column * angle.sin() + row * angle.cos()) + top
    steps = torch.full(x.shape, float(_STEPS), dtype=torch.float64)
    for number in range(_STEPS):
        x, y = x * x - y * y + cx, 2 * x * y + cy
        square = x * x + y * y
        out = (square > 4) & (steps == _STEPS)
        if bool(out.any()):
            steps[out] = number + 1 - torch.log2(square[out].log() / math.log(4))
        # those that left stay where they do not overflow
        x, y = x.clamp(-10, 10), y.clamp(-10, 10)
    place = torch.log1p(steps.clamp(min=0)).unsqueeze(1)
    speed, phase = uniform(1.5, 6, 3, 1, 1), uniform(0, 2 * math.pi, 3, 1, 1)
    return ((0.5 + 0.5 * torch.cos(speed * place + phase)) * 255).round().to(torch.uint8)
