"""Real images that scikit-learn carries, and generated noise: nothing to download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from oodbench.core.errors import SpecError
from oodbench.core.registry import dataset
from oodbench.core.scorer import Dataset
from oodbench.data.samples import TensorSamples, select

_DIGITS_SOURCE = "scikit-learn, sklearn.datasets.load_digits (UCI optical recognition of handwritten digits, test part)"


@dataset("digits", source=_DIGITS_SOURCE)
def digits(*, classes: list[Annotated[int, Field(ge=0, le=9)]] = list(range(10))) -> Dataset:  # noqa: B006 - a signature is a schema
    """Handwritten digits: scikit-learn's 1,797 images of 8x8, `classes` relabelled 0..K-1 in the order given.

    Of each digit's images, in their order, every fourth is test; of the others every eighth is validation, the rest train.
    """

    def part(name: str) -> Callable[[], TensorSamples]:
        def read() -> TensorSamples:
            from sklearn.datasets import load_digits

            data = load_digits()
            images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
            labels = torch.tensor(data.target, dtype=torch.int64)
            keep = torch.zeros(len(labels), dtype=torch.bool)
            for digit in range(10):
                mine = torch.nonzero(labels == digit).flatten()
                test = torch.arange(len(mine)) % 4 == 3
                rest = mine[~test]
                val = torch.arange(len(rest)) % 8 == 7
                keep[{"test": mine[test], "val": rest[val], "train": rest[~val]}[name]] = True
            index = torch.nonzero(keep).flatten()
            return select(TensorSamples(images[index], labels[index], [f"digits/{i}" for i in index.tolist()]), classes)

        return read

    return Dataset({name: part(name) for name in ("train", "val", "test")}, [str(c) for c in classes])


@dataset("photo-patches", source="scikit-learn, sklearn.datasets.load_sample_images (two photographs, 427x640)")
def photo_patches(*, size: PositiveInt = 32) -> Dataset:
    """Texture: patches of scikit-learn's two photographs, `size` x `size` pixels in RGB, on a regular grid without overlap.

    Patches are numbered along rows; every fourth is test, of the others every fourth validation, the rest train.
    """

    def part(name: str) -> Callable[[], TensorSamples]:
        def read() -> TensorSamples:
            from sklearn.datasets import load_sample_images

            patches, ids = [], []
            for number, photo in enumerate(load_sample_images().images):
                image = torch.from_numpy(photo.copy()).permute(2, 0, 1)
                for top in range(0, image.shape[1] - size + 1, size):
                    for left in range(0, image.shape[2] - size + 1, size):
                        patches.append(image[:, top : top + size, left : left + size])
                        ids.append(f"photo-{number}/{top},{left}")
            if not patches:
                raise SpecError(
                    [("photo-patches.size", f"should be at most 427, the height of the photographs, got {size}")]
                )
            place = torch.arange(len(patches))
            test, val = place % 4 == 3, (place % 4 != 3) & (place % 16 == 0)
            keep = torch.nonzero({"test": test, "val": val, "train": ~test & ~val}[name]).flatten().tolist()
            labels = torch.tensor([int(ids[i][6]) for i in keep])
            return TensorSamples(torch.stack([patches[i] for i in keep]), labels, [ids[i] for i in keep])

        return read

    return Dataset({name: part(name) for name in ("train", "val", "test")}, ("photo-0", "photo-1"))


@dataset(
    "noise", source="oodbench's own generator; kinds as in Hendrycks et al., ICLR 2019 (outlier exposure), section 4.2"
)
def noise(
    *,
    kind: Literal["gaussian", "uniform", "rademacher", "blobs"] = "gaussian",
    count: PositiveInt = 400,
    size: PositiveInt = 32,
    channels: Literal[1, 3] = 3,
) -> Dataset:
    """Generated noise of `count` images per split, values in [0, 1], from constant seeds of its own: no run's seed changes it.

    gaussian: mean 0.5, standard deviation 0.5, clipped; uniform: each value in [0, 1]; rademacher: 0 or 1 with even odds;
    blobs: uniform noise blurred with standard deviation size / 16 and cut at its 75th percentile to bright amorphous shapes.
    """
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
            return TensorSamples(images, torch.zeros(count, dtype=torch.int64), [f"{kind}/{i}" for i in range(count)])

        return read

    return Dataset({name: part(name) for name in seeds}, (kind,))


def _blobs(values: Tensor, sigma: float) -> Tensor:
    """Blurred noise above its 75th percentile, stretched to [0, 1]; what lies below is black."""
    reach = max(1, round(2 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(sigma, 0.3)) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    flat = torch.nn.functional.pad(values.flatten(0, 1).unsqueeze(1), [reach] * 4, mode="circular")
    blurred = torch.nn.functional.conv2d(torch.nn.functional.conv2d(flat, kernel), kernel.transpose(2, 3)).view_as(
        values
    )
    cut = blurred.flatten(1).quantile(0.75, dim=1).view(-1, 1, 1, 1)
    top = blurred.amax(dim=(1, 2, 3), keepdim=True)
    return ((blurred - cut) / (top - cut).clamp(min=1e-6)).clamp(0, 1)
