"""torchvision's data sets, read by torchvision's own readers (the MNIST family by its IDX files, which Debian
packages too)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from oodbench.core.dataset import Dataset, Samples
from oodbench.core.errors import MissingData, UserError, one_line
from oodbench.core.identity import fingerprint
from oodbench.core.registry import dataset
from oodbench.data.samples import TensorSamples, carve
from oodbench.data.sources.download import downloads, staged, through_fetch
from oodbench.data.sources.files import from_items
from oodbench.data.sources.idx import PARTS, find_idx, read_pair
from oodbench.data.sources.listing import Item
from oodbench.data.sources.local_copy import through_copy
from oodbench.data.sources.paths import only_files
from oodbench.data.sources.roots import data_roots, find
from oodbench.data.sources.shared import held_once

Share = Annotated[float, Field(gt=0, lt=1)]
Keywords = Mapping[str, Any]


@dataclass(frozen=True)
class _Set:
    """A torchvision class: keywords of each split, what it is, and the files or folders of its arrays (none:
    it lists images)."""

    cls: str
    about: str
    train: Keywords | None
    test: Keywords
    val: Keywords | None = None
    files: tuple[str, ...] = ()
    get: str = ""

    @property
    def arrays(self) -> bool:
        return bool(self.files)


_TRAIN: dict[str, Any] = {"train": True}
_TEST: dict[str, Any] = {"train": False}
_LETTERS: dict[str, Any] = {"split": "letters"}
_BALANCED: dict[str, Any] = {"split": "balanced"}
_EMNIST = ("EMNIST/raw",)
_S_TRAIN, _S_TEST, _S_VAL = {"split": "train"}, {"split": "test"}, {"split": "val"}
_SETS = {
    "cifar10": _Set(
        "CIFAR10", "60,000 32x32 RGB images of 10 objects", _TRAIN, _TEST, files=("cifar-10-batches-py",)
    ),
    "cifar100": _Set(
        "CIFAR100", "60,000 32x32 RGB images of 100 objects", _TRAIN, _TEST, files=("cifar-100-python",)
    ),
    "svhn": _Set(
        "SVHN",
        "99,289 32x32 RGB house numbers",
        _S_TRAIN,
        _S_TEST,
        files=("train_32x32.mat", "test_32x32.mat"),
    ),
    "stl10": _Set(
        "STL10", "13,000 labelled 96x96 RGB images of 10 objects", _S_TRAIN, _S_TEST, files=("stl10_binary",)
    ),
    "usps": _Set(
        "USPS", "9,298 16x16 grey handwritten digits", _TRAIN, _TEST, files=("usps.bz2", "usps.t.bz2")
    ),
    "emnist-letters": _Set(
        "EMNIST", "145,600 28x28 grey handwritten letters", _LETTERS | _TRAIN, _LETTERS | _TEST, files=_EMNIST
    ),
    "emnist-balanced": _Set(
        "EMNIST",
        "131,600 28x28 grey letters and digits",
        _BALANCED | _TRAIN,
        _BALANCED | _TEST,
        files=_EMNIST,
    ),
    "dtd": _Set("DTD", "5,640 photographs of 47 textures, partition 1", _S_TRAIN, _S_TEST, _S_VAL),
    # The semantic-shift benchmark trains on train and val together, and tests on test.
    "aircraft": _Set(
        "FGVCAircraft",
        "10,000 photographs of 100 aircraft variants",
        {"split": "trainval"},
        _S_TEST,
    ),
    "stanford-cars": _Set(
        "StanfordCars",
        "16,185 photographs of 196 cars",
        _S_TRAIN,
        _S_TEST,
        get=(
            "the address of the authors is gone; see github.com/pytorch/vision/issues/7545 for copies, and"
            " lay it out as torchvision does"
        ),
    ),
    "flowers102": _Set("Flowers102", "8,189 photographs of 102 flowers", _S_TRAIN, _S_TEST, _S_VAL),
    "food101": _Set("Food101", "101,000 photographs of 101 dishes", _S_TRAIN, _S_TEST),
    "places365": _Set(
        "Places365",
        "36,500 validation photographs of 365 scenes, 256 pixels",
        None,
        {"split": "val", "small": True},
    ),
    "country211": _Set(
        "Country211",
        "63,300 photographs from 211 countries",
        _S_TRAIN,
        _S_TEST,
        {"split": "valid"},
    ),
}


def _register(name: str, about: _Set) -> None:
    get = about.get or f"oodbench data download {name}"

    def component(*, root: Path | None = None, val: Share = 0.1) -> Dataset:
        @lru_cache(1)
        def parts() -> tuple[Samples, Samples]:
            return carve(_read(name, about, about.train or {}, root, get), val)

        splits: dict[str, Callable[[], Samples]] = {"test": lambda: _read(name, about, about.test, root, get)}
        if about.train is None:
            return Dataset(splits)
        if about.val is not None:
            official = about.val
            splits |= {
                "train": lambda: _read(name, about, about.train or {}, root, get),
                "val": lambda: _read(name, about, official, root, get),
            }
        else:
            splits |= {"train": lambda: parts()[0], "val": lambda: parts()[1]}
        return Dataset(splits)

    rule = "the official validation set" if about.val else "drawn from train, the share `val` of each class"
    component.__doc__ = f"{about.about}, in torchvision's layout; validation is {rule}."
    component.__name__ = component.__qualname__ = name.replace("-", "_")
    dataset(name, source=f"torchvision.datasets.{about.cls}")(component)
    if not about.get:

        def download(folder: Path) -> None:
            with staged(folder) as stage, through_fetch():
                for split in (about.train, about.test, about.val):
                    if split is not None:
                        _open(about, stage, split, download=True)

        downloads[name] = download


def _open(about: _Set, root: Path, keywords: Keywords, download: bool = False) -> Any:
    from torchvision import datasets

    return getattr(datasets, about.cls)(str(root), **({"download": True} if download else {}), **keywords)


def _opened(about: _Set, place: Path, keywords: Keywords) -> Any:
    """The set that lies in a folder, its arrays from this machine's own copy where one is kept."""

    def read(place: Path) -> Any:
        return _open(about, place, keywords)

    return through_copy(place, read, about.files) if about.files else read(place)


def _listed(got: Any) -> list[tuple[str, int]]:
    """Files and labels of a torchvision set, without opening an image: where the classes keep them, all
    versions since 0.19."""
    for name in ("samples", "_samples", "imgs"):
        if hasattr(got, name):
            return [(str(path), int(label)) for path, label in getattr(got, name)]
    return [(str(path), int(label)) for path, label in zip(got._image_files, got._labels, strict=True)]


def _read(name: str, about: _Set, keywords: Keywords, root: Path | None, get: str) -> Samples:
    problem = ""

    def there(place: Path) -> bool:
        nonlocal problem
        if not place.is_dir():
            return False
        if about.arrays and place not in data_roots():
            only_files(place)
        try:
            opened.append(_opened(about, place, keywords))
        except (RuntimeError, FileNotFoundError) as error:
            if (
                place not in data_roots()
            ):  # a data root as such may hold anything, so that its lack of this set says nothing
                problem = problem or one_line(error)
            return False
        except Exception as error:
            raise UserError(
                f"data set {name!r} in {place}: torchvision cannot read it ({one_line(error)})"
            ) from None
        return True

    opened: list[Any] = []
    try:
        place = find(name, [name, "."], get=get, is_it=there, root=root)
    except MissingData as error:
        if not problem:
            raise
        raise MissingData(f"{error} (torchvision says: {problem})") from None
    got = opened[-1]
    if about.arrays:
        return _arrays(got)
    items = [
        Item(os.path.relpath(path, place), label, f"{name}[{i}]")
        for i, (path, label) in enumerate(_listed(got))
    ]
    return from_items(name, place, fingerprint([[i.path, i.label] for i in items]), lambda: iter(items))


def _arrays(got: Any) -> TensorSamples:
    images = torch.as_tensor(np.ascontiguousarray(got.data))
    labels = torch.as_tensor(np.asarray(got.targets if hasattr(got, "targets") else got.labels)).to(
        torch.int64
    )
    if hasattr(got, "split") and got.split == "letters":
        labels = labels - 1  # EMNIST numbers its letters from 1
    if type(got).__name__ == "EMNIST":
        images = images.transpose(1, 2)  # its files hold every image transposed
    if images.ndim == 3:
        images = images.unsqueeze(1).contiguous()
    elif images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2).contiguous()
    return TensorSamples(images, labels)


for _name, _about in _SETS.items():
    _register(_name, _about)


# ---------------------------------------------------------------- the MNIST family, by its IDX files

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_IDX = {
    "mnist": ("MNIST", "70,000 28x28 grey handwritten digits", ()),
    "fashion-mnist": ("FashionMNIST", "70,000 28x28 grey pictures of clothing", (_DEBIAN,)),
    "kmnist": ("KMNIST", "70,000 28x28 grey cursive Japanese characters", ()),
}


def _register_idx(name: str, cls: str, about: str, also: tuple[Path, ...]) -> None:
    get = f"oodbench data download {name}" + (
        " (or, on Debian and Ubuntu, apt install dataset-fashion-mnist)" if also else ""
    )

    def component(*, root: Path | None = None, val: Share = 0.1) -> Dataset:
        def part(split: str) -> TensorSamples:
            folders = [f"{name}/{cls}/raw", name, f"{cls}/raw"]
            place = find(
                name,
                folders,
                get=get,
                is_it=lambda p: find_idx(p, PARTS[split]) is not None,
                root=root,
                also=also,
            )
            files = find_idx(place, PARTS[split])
            assert files is not None
            return held_once(name, files, lambda: TensorSamples(*read_pair(*files)))

        @lru_cache(1)
        def parts() -> tuple[Samples, Samples]:
            return carve(part("train"), val)

        return Dataset({"train": lambda: parts()[0], "val": lambda: parts()[1], "test": lambda: part("test")})

    where = "; Debian's package is found by itself" if also else ""
    component.__doc__ = (
        f"{about}, from IDX files, plain or gzip{where}; validation is the share `val` of each class of"
        " train."
    )
    component.__name__ = component.__qualname__ = name.replace("-", "_")
    dataset(name, source=f"IDX files as torchvision.datasets.{cls} and Debian lay them out")(component)

    def download(folder: Path) -> None:
        from torchvision import datasets

        with staged(folder) as stage, through_fetch():
            getattr(datasets, cls)(str(stage), download=True)

    downloads[name] = download


for _name, (_cls, _text, _also) in _IDX.items():
    _register_idx(_name, _cls, _text, _also)
