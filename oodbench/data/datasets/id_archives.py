"""Well-known sets of image files, each in the folder layout that its archive unpacks to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from oodbench.core.dataset import Dataset, Samples
from oodbench.core.errors import UserError, shown
from oodbench.core.registry import dataset
from oodbench.data.samples import carve
from oodbench.data.sources.archives import unpacked
from oodbench.data.sources.download import downloads
from oodbench.data.sources.files import FileSamples, OnError, folder, from_items
from oodbench.data.sources.listing import Item
from oodbench.data.sources.lists import list_digest, text_lines
from oodbench.data.sources.roots import find
from oodbench.data.sources.walk import class_folders

Share = Annotated[float, Field(gt=0, lt=1)]


def _carved(
    train: Callable[[], Samples], test: Callable[[], Samples], val: float, classes: Sequence[str] = ()
) -> Dataset:
    parts = lru_cache(1)(lambda: carve(train(), val))
    return Dataset({"train": lambda: parts()[0], "val": lambda: parts()[1], "test": test}, classes)


# ---------------------------------------------------------------- Tiny-ImageNet

_TINY = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")


@dataset(
    "tiny-imagenet", source="the archive's layout, as pytorch-ood 0.4.0 dataset/img/tinyimagenet.py reads it"
)
def tiny_imagenet(*, root: Path | None = None, val: Share = 0.1, on_error: OnError = "fail") -> Dataset:
    """Tiny-ImageNet, 110,000 64x64 RGB images of 200 classes, numbered in the order of their sorted WordNet
    ids.

    Test is the official validation set (the official test set has no labels), by val_annotations.txt or,
    where somebody has sorted it, by class folders; validation is the share `val` of each class of train."""

    def place() -> Path:
        return find(
            "tiny-imagenet", ["tiny-imagenet/tiny-imagenet-200", "tiny-imagenet-200", "tiny-imagenet"],
            root=root,
            get="oodbench data download tiny-imagenet",
            is_it=lambda p: (p / "train").is_dir() and (p / "val").is_dir(),
        )  # fmt: skip

    def train() -> Samples:
        top = place() / "train"
        return folder(
            "tiny-imagenet train", top, classes=class_folders(top), below="images", on_error=on_error
        )

    def test() -> Samples:
        top = place() / "val"
        names = class_folders(place() / "train")
        annotations = top / "val_annotations.txt"
        if not (top / "images").is_dir():
            return folder("tiny-imagenet test", top, classes=names, on_error=on_error)
        if class_folders(top / "images"):
            return folder("tiny-imagenet test", top / "images", classes=names, on_error=on_error)
        if not annotations.is_file():
            raise UserError(f"{annotations}: no such file; it says which class each validation image is")
        number = {n: i for i, n in enumerate(names)}

        def items() -> Iterator[Item]:
            for line, text in enumerate(text_lines(annotations), 1):
                fields = text.split("\t")
                where = f"{annotations}:{line}"
                if len(fields) < 2 or fields[1] not in number:
                    yield Item(
                        fields[0],
                        -1,
                        where,
                        f"should be `file<tab>class...` with a class of train, is {shown(text)}",
                    )
                else:
                    yield Item(f"images/{fields[0]}", number[fields[1]], where)

        return from_items(
            "tiny-imagenet test", top, f"{list_digest(annotations)}{names}", items, on_error=on_error
        )

    return _carved(train, test, val)


# ---------------------------------------------------------------- CUB-200-2011

_CUB = (
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "97eceeb196236b17998738112f37df78",
)


@dataset(
    "cub",
    source="the archive's layout, as github.com/sgvaze/osr_closed_set_all_you_need data/cub.py reads it",
)
def cub(*, root: Path | None = None, val: Share = 0.1, on_error: OnError = "fail") -> Dataset:
    """CUB-200-2011, 11,788 photographs of 200 birds, numbered from 0; validation is the share `val` of each
    class of train."""

    def part(training: str) -> Callable[[], FileSamples]:
        def read() -> FileSamples:
            place = find(
                "cub", ["cub/CUB_200_2011", "CUB_200_2011", "cub"], root=root,
                get="oodbench data download cub",
                is_it=lambda p: (p / "images.txt").is_file(),
            )  # fmt: skip
            files = [place / f for f in ("images.txt", "image_class_labels.txt", "train_test_split.txt")]

            def items() -> Iterator[Item]:
                paths, labels, splits = (_numbered(f) for f in files)
                for number, path in paths.items():
                    absent = next(
                        (f for f, t in zip(files[1:], (labels, splits), strict=True) if number not in t), None
                    )
                    where = f"{files[0]}:{number}"
                    if absent is not None:
                        yield Item(path, -1, where, f"image {number} is not in {absent.name}")
                    elif splits[number] not in ("0", "1"):
                        yield Item(
                            path,
                            -1,
                            where,
                            f"{files[2].name} should say 1 (train) or 0, says {shown(splits[number])}",
                        )
                    elif not (labels[number].isdecimal() and 1 <= int(labels[number]) <= 200):
                        yield Item(
                            path,
                            -1,
                            where,
                            f"the class in {files[1].name} should be from 1 to 200, is"
                            f" {shown(labels[number])}",
                        )
                    elif splits[number] == training:
                        yield Item(path, int(labels[number]) - 1, where)

            stamp = f"{training}{[list_digest(f) for f in files]}"
            return from_items(f"cub {training}", place / "images", stamp, items, on_error=on_error)

        return read

    return _carved(part("1"), part("0"), val)


def _numbered(file: Path) -> dict[str, str]:
    """Lines ``number text`` of one of the archive's lists."""
    found = {}
    for line, text in enumerate(text_lines(file), 1):
        number, _, value = text.partition(" ")
        if not number.isdecimal() or not value:
            raise UserError(f"{file}:{line}: should be `number text`, is {shown(text)}")
        if number in found:
            raise UserError(f"{file}:{line}: image {number} stands there already")
        found[number] = value
    return found


# ---------------------------------------------------------------- ImageNet


@dataset("imagenet", source="the layout of ILSVRC2012 that torchvision.datasets.ImageNet and timm read")
def imagenet(*, root: Path | None = None, val: Share = 0.01, on_error: OnError = "fail") -> Dataset:
    """ImageNet-1K, 1.28 million photographs in train/<WordNet id>/ and val/<WordNet id>/; the official
    validation set is test.

    Validation is the share `val` of each class of train.
    """

    def part(name: str) -> Callable[[], FileSamples]:
        def read() -> FileSamples:
            place = find(
                "imagenet",
                ["imagenet", "ImageNet", "ILSVRC2012", "imagenet_1k", "ILSVRC/Data/CLS-LOC"],
                root=root,
                get=(
                    "register at https://image-net.org/download-images and sort the validation images into"
                    " class folders"
                ),
                is_it=lambda p: (p / "train").is_dir() and (p / "val").is_dir(),
            )
            names = class_folders(place / "train")
            return folder(f"imagenet {name}", place / name, classes=names, on_error=on_error)

        return read

    return _carved(part("train"), part("val"), val)


# ---------------------------------------------------------------- ImageNet-C

_CORRUPTION = re.compile(r"[a-z_]+")


@dataset(
    "imagenet-c",
    source="the archives' layout, zenodo.org/records/2235448 (Hendrycks and Dietterich, ICLR 2019)",
)
def imagenet_c(
    *, corruption: str = "gaussian_noise", severity: Annotated[int, Field(ge=1, le=5)] = 3,
    root: Path | None = None,
    on_error: OnError = "fail",
) -> Dataset:  # fmt: skip
    """ImageNet's validation images under one `corruption` at one `severity`, 224x224, in
    <corruption>/<severity>/<WordNet id>/."""
    if not _CORRUPTION.fullmatch(corruption):
        raise UserError(
            "imagenet-c.corruption: should be a folder of ImageNet-C such as gaussian_noise, got"
            f" {corruption!r}"
        )
    groups = ("", "blur/", "digital/", "extra/", "noise/", "weather/")
    below = [
        f"{top}/{group}{corruption}/{severity}"
        for top in ("imagenet-c", "ImageNet-C", "imagenet-c/ImageNetC")
        for group in groups
    ]

    def read() -> FileSamples:
        place = find(
            "imagenet-c",
            below if root is None else [f"{g}{corruption}/{severity}" for g in groups],
            root=root,
            get=(
                "https://zenodo.org/records/2235448 (blur.tar, digital.tar, extra.tar, noise.tar,"
                " weather.tar)"
            ),
            is_it=lambda p: p.is_dir() and p.parts[-2:] == (corruption, str(severity)),
        )
        return folder(
            f"imagenet-c {corruption} {severity}", place, classes=class_folders(place), on_error=on_error
        )

    return Dataset({"test": read})


downloads["tiny-imagenet"] = unpacked(*_TINY)
downloads["cub"] = unpacked(*_CUB)
