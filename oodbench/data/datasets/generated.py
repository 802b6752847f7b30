"""Pictures made by formulas, for methods that mix them into training images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from oodbench.core.dataset import Dataset
from oodbench.core.registry import dataset
from oodbench.data.samples import TensorSamples

_STEPS = 40


@dataset("fractals", source="oodbench's own generator of Julia sets")
def fractals(*, count: PositiveInt = 200, size: PositiveInt = 64) -> Dataset:
    """Generated pictures: `count` coloured Julia sets per split, `size` x `size` pixels in RGB, from constant
    seeds of its own.

    z <- z^2 + c from each pixel, c near the boundary of the Mandelbrot set, a random window and palette;
    colour follows the smoothed number of steps until |z| > 2. They stand in for the fractals that PixMix
    mixes in; all have label 0."""

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
        v.view(-1, 1, 1)
        for v in (uniform(0.4, 1.4), uniform(0, 2 * math.pi), uniform(-0.5, 0.5), uniform(-0.5, 0.5))
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


@dataset(
    "noise",
    source=(
        "oodbench's own generator; kinds as in Hendrycks et al., ICLR 2019 (outlier exposure), section 4.2"
    ),
)
def noise(
    *,
    kind: Literal["gaussian", "uniform", "rademacher", "blobs"] = "gaussian",
    count: PositiveInt = 400,
    size: PositiveInt = 32,
    channels: Literal[1, 3] = 3,
) -> Dataset:
    """Generated noise of `count` images per split, values in [0, 1], from constant seeds of its own: no run's
    seed changes it.

    gaussian: mean 0.5, standard deviation 0.5, clipped; uniform: each value in [0, 1]; rademacher: 0 or 1
    with even odds; blobs: uniform noise blurred with standard deviation size / 16 and cut at its 75th
    percentile to bright amorphous shapes."""
    seeds = {"train": 1, "val": 2, "test": 0}

    def part(name: str) -> Callable[[], TensorSamples]:
        def read() -> TensorSamples:
            rng = torch.Generator().manual_seed(20_260_000 + seeds[name])
            shape = (count, channels, size, size)
            if kind == "gaussian":
                values = (0.5 + 0.5 * torch.randn(shape, generator=rng)).clamp(0, 1)
            elif kind == "rademacher":
                values = torch.randint(0, 2, shape, generator=rng).float()
            else:
                values = torch.rand(shape, generator=rng)
            if kind == "blobs":
                values = _blobs(values, size / 16)
            images = (values * 255).round().to(torch.uint8)
            return TensorSamples(
                images, torch.zeros(count, dtype=torch.int64), [f"{kind}/{i}" for i in range(count)]
            )

        return read

    return Dataset({name: part(name) for name in seeds}, (kind,))


def _blobs(values: Tensor, sigma: float) -> Tensor:
    """Blurred noise above its 75th percentile, stretched to [0, 1]; what lies below is black."""
    reach = max(1, round(2 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(sigma, 0.3)) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    flat = torch.nn.functional.pad(values.flatten(0, 1).unsqueeze(1), [reach] * 4, mode="circular")
    blurred = torch.nn.functional.conv2d(
        torch.nn.functional.conv2d(flat, kernel), kernel.transpose(2, 3)
    ).view_as(values)
    cut = blurred.flatten(1).quantile(0.75, dim=1).view(-1, 1, 1, 1)
    top = blurred.amax(dim=(1, 2, 3), keepdim=True)
    return ((blurred - cut) / (top - cut).clamp(min=1e-6)).clamp(0, 1)
