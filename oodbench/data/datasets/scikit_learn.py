"""Real images that scikit-learn carries, and generated noise: nothing to download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, PositiveInt

from oodbench.core.dataset import Dataset
from oodbench.core.errors import SpecError
from oodbench.core.registry import dataset
from oodbench.data.samples import TensorSamples, select

_DIGITS_SOURCE = (
    "scikit-learn, sklearn.datasets.load_digits (UCI optical recognition of handwritten digits, test part)"
)


@dataset("digits", source=_DIGITS_SOURCE)
def digits(*, classes: list[Annotated[int, Field(ge=0, le=9)]] = list(range(10))) -> Dataset:  # noqa: B006 - a signature is a schema
    """Handwritten digits: scikit-learn's 1,797 images of 8x8, `classes` relabelled 0..K-1 in the order given.

    Of each digit's images, in their order, every fourth is test; of the others every eighth is validation,
    the rest train."""

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
            return select(
                TensorSamples(images[index], labels[index], [f"digits/{i}" for i in index.tolist()]), classes
            )

        return read

    return Dataset({name: part(name) for name in ("train", "val", "test")}, [str(c) for c in classes])


@dataset(
    "photo-patches", source="scikit-learn, sklearn.datasets.load_sample_images (two photographs, 427x640)"
)
def photo_patches(*, size: PositiveInt = 32) -> Dataset:
    """Texture: patches of scikit-learn's two photographs, `size` x `size` pixels in RGB, on a regular grid
    without overlap.

    Patches are numbered along rows; every fourth is test, of the others every fourth validation, the rest
    train."""

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
                    [
                        (
                            "photo-patches.size",
                            f"should be at most 427, the height of the photographs, got {size}",
                        )
                    ]
                )
            place = torch.arange(len(patches))
            test, val = place % 4 == 3, (place % 4 != 3) & (place % 16 == 0)
            keep = torch.nonzero({"test": test, "val": val, "train": ~test & ~val}[name]).flatten().tolist()
            labels = torch.tensor([int(ids[i][6]) for i in keep])
            return TensorSamples(torch.stack([patches[i] for i in keep]), labels, [ids[i] for i in keep])

        return read

    return Dataset({name: part(name) for name in ("train", "val", "test")}, ("photo-0", "photo-1"))
