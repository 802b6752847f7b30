"""A user's own images: a folder, a CSV file, arrays, or a set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from oodbench.core.dataset import Dataset, Samples
from oodbench.core.errors import MissingData, UserError
from oodbench.core.identity import file_sha256
from oodbench.core.registry import dataset
from oodbench.data.samples import TensorSamples, carve
from oodbench.data.sources.files import (
    SUFFIXES,
    Color,
    FileSamples,
    OnError,
    class_folders,
    folder,
    from_items,
)
from oodbench.data.sources.huggingface import hub_split
from oodbench.data.sources.lists import csv_column, csv_has, csv_list
from oodbench.data.sources.roots import note
from oodbench.data.sources.shared import held_once

Share = Annotated[float, Field(gt=0, lt=1)]
Split = Literal["given", "random", "none"]
_TEST = 0.2
"""Share of each class that is test where a set is split at random."""


def _of_whole(whole: Callable[[], Samples], split: Split, val: float, classes: tuple[str, ...]) -> Dataset:
    """One set as all splits: drawn from it class by class (random), or the whole of it whatever the role
    (none)."""
    read = lru_cache(1)(whole)
    if split == "none":
        return Dataset(dict.fromkeys(("train", "val", "test"), read), classes)

    @lru_cache(1)
    def parts() -> dict[str, Samples]:
        rest, test = carve(read(), _TEST)
        train, inner = carve(rest, val)
        return {"train": train, "val": inner, "test": test}

    return Dataset({s: lambda s=s: parts()[s] for s in ("train", "val", "test")}, classes)  # type: ignore[misc]


def _of_parts(read: Callable[[str], Samples], has_val: bool, val: float, classes: tuple[str, ...]) -> Dataset:
    """Train and test as they are, and validation as it is or, where there is none, drawn from train."""
    if has_val:
        return Dataset({s: lambda s=s: read(s) for s in ("train", "val", "test")}, classes)  # type: ignore[misc]
    parts = lru_cache(1)(lambda: carve(read("train"), val))
    return Dataset(
        {"train": lambda: parts()[0], "val": lambda: parts()[1], "test": lambda: read("test")}, classes
    )


def _there(kind: str, path: Path, folder: bool) -> None:
    if not (path.is_dir() if folder else path.is_file()):
        raise MissingData(
            f"data set {kind!r}: there is no {'folder' if folder else 'file'} {path}; correct its path"
        )


@dataset(
    "folder", source="oodbench's own; class-per-folder trees as torchvision.datasets.ImageFolder reads them"
)
def image_folder(
    *, root: Path, split: Split = "given", val: Share = 0.1, color: Color = "rgb", on_error: OnError = "fail"
) -> Dataset:  # fmt: skip
    """Your own images in a folder. Labels are the sub-folders, sorted by name; images that lie in no
    sub-folder have the label 0.

    `split` given: `root` holds train/ and test/ (and val/; else validation is the share `val` of each class
    of train), each with the same class folders. random: `root` holds the class folders; a fifth of each class
    is test, the share `val` of the rest validation. none: every image, whatever the role: for OOD sets."""
    _there("folder", root, folder=True)

    def read(place: Path, names: list[str]) -> FileSamples:
        return folder(
            f"folder {place.name}", place, classes=names, flat=not names, color=color, on_error=on_error
        )

    if split != "given":
        names = _classes(root)
        return _of_whole(lambda: read(root, names), split, val, tuple(names))
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise UserError(
                f"data set 'folder': {root} has no folder {part}; write `split: random` to have it split, or"
                " `split: none` for an OOD set"
            )
    names = _classes(root / "train")

    def part_of(part: str) -> Samples:
        mine = _classes(root / part)
        strange = sorted(set(mine) - set(names))
        if strange:
            raise UserError(
                f"data set 'folder': {root / part} has the class {strange[0]!r}, which train does not have"
            )
        return read(root / part, names)

    return _of_parts(part_of, (root / "val").is_dir(), val, tuple(names))


def _classes(root: Path) -> list[str]:
    """Class folders of `root`; none where images lie in `root` itself, which then has no classes."""
    loose = next((f for f in root.iterdir() if f.is_file() and f.name.lower().endswith(SUFFIXES)), None)
    names = class_folders(root)
    if loose is not None and names:
        raise UserError(
            f"data set 'folder': {root} holds class folders and loose images ({loose.name}); move these away"
        )
    return names


@dataset("csv", source="oodbench's own")
def csv_images(
    *, file: Path, root: Path | None = None, path: str = "path", label: str = "label", column: str = "split",
    split: Split = "given",
    val: Share = 0.1, color: Color = "rgb", on_error: OnError = "fail",
) -> Dataset:  # fmt: skip
    """Your own images as rows of a CSV file with a header: the columns `path` (below `root`, or the file's
    folder) and `label`.

    Labels are numbers or names, numbered in sorted order; without that column every label is 0. `split`
    given: the column named `column` says train, val or test (without val, validation is the share `val` of
    each class of train); random and none as for `folder`."""
    _there("csv", file, folder=False)
    top = root if root is not None else file.parent
    labels = csv_column(file, label) if csv_has(file, label) else None
    names = None if labels is None else {n: i for i, n in enumerate(labels)}

    def read(only: str) -> FileSamples:
        stamp = f"{file_sha256(file)}{only}{path}{label}{column}"
        return from_items(
            f"csv {file.name}", top, stamp,
            lambda: csv_list(file, path=path, label=label, split=column, only=only, names=names), color=color,
            on_error=on_error,
        )  # fmt: skip

    classes = tuple(labels or ())
    if split != "given":
        return _of_whole(lambda: read(""), split, val, classes)
    there = set(csv_column(file, column)) if csv_has(file, column) else set()
    if not {"train", "test"} <= there:
        what = (
            f"its column {column!r} says {', '.join(sorted(there))}"
            if there
            else f"it has no column {column!r}"
        )
        raise UserError(
            f"data set 'csv': {file} should say train and test, but {what}; write `split: random` to have it"
            " split, or `split: none` for an OOD set"
        )
    return _of_parts(read, "val" in there, val, classes)


# ---------------------------------------------------------------- arrays

_ARRAYS = (".npz", ".safetensors", ".npy")


@dataset("arrays", source="oodbench's own")
def arrays(
    *, file: Path, split: Split = "given", val: Share = 0.1,
    layout: Literal["auto", "channels-first", "channels-last"] = "auto"
) -> Dataset:  # fmt: skip
    """Your own images as arrays: `images` (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1],
    and `labels` (N,).

    `file` is an .npz, a .safetensors or, with images only, an .npy file (random and none as for `folder`),
    or, with `split` given, a folder of such files named train, test and perhaps val. Without labels every
    label is 0."""
    if split != "given":
        _there("arrays", file, folder=False)
        return _of_whole(lambda: _read_arrays(file, layout), split, val, ())
    _there("arrays", file, folder=True)
    found = {
        p: next((file / f"{p}{s}" for s in _ARRAYS if (file / f"{p}{s}").is_file()), None)
        for p in ("train", "val", "test")
    }
    for part in ("train", "test"):
        if found[part] is None:
            raise UserError(f"data set 'arrays': {file} has no file {part} ({', '.join(_ARRAYS)})")

    def read(part: str) -> Samples:
        place = found[part]
        assert place is not None
        return _read_arrays(place, layout)

    return _of_parts(read, found["val"] is not None, val, ())


def _read_arrays(file: Path, layout: str) -> TensorSamples:
    note(file)
    return held_once(("arrays", layout), [file], lambda: _arrays(file, layout))


def _arrays(file: Path, layout: str) -> TensorSamples:
    try:
        if file.suffix == ".npy":
            found = {"images": np.load(file, allow_pickle=False)}
        elif file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as z:
                found = {k: z[k] for k in z.files}
        elif file.suffix == ".safetensors":
            from safetensors.numpy import load_file

            found = load_file(file)
        else:
            raise UserError(f"{file}: should end in {', '.join(_ARRAYS)}")
    except UserError:
        raise
    except Exception as error:  # each of the three libraries has its own
        raise UserError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    if "images" not in found:
        raise UserError(
            f"{file}: should hold an array 'images', holds {', '.join(map(repr, found)) or 'none'}"
        )
    images = _images(file, found["images"], layout)
    labels = found.get("labels", np.zeros(len(images), np.int64))
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{file}: 'labels' should be {len(images)} whole numbers, is {labels.dtype} {labels.shape}"
        )
    low = int(labels.min()) if len(labels) else 0
    if low < -1:
        raise UserError(f"{file}: 'labels' should be -1 (unknown) or more, holds {low}")
    ids = [f"{file.name}[{i}]" for i in range(len(images))]
    return TensorSamples(images, torch.from_numpy(labels.astype(np.int64)), ids)


def _images(file: Path, array: np.ndarray, layout: str) -> Tensor:
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{file}: 'images' should be uint8 or floats in [0, 1], is {array.dtype}")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if layout == "auto" and first and last:
            raise UserError(
                f"{file}: 'images' {array.shape} may be either; write `layout: channels-first` or `layout:"
                " channels-last`"
            )
        if layout == "channels-last" or (layout == "auto" and last):
            array = np.moveaxis(array, 3, 1)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise UserError(
            f"{file}: 'images' should be (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, is"
            f" {array.shape}"
        )
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    images = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    if not bool(torch.isfinite(images).all()):
        raise UserError(f"{file}: 'images' is not finite")
    if len(images) and (float(images.min()) < 0 or float(images.max()) > 1):
        raise UserError(
            f"{file}: floats in 'images' should be in [0, 1], are in [{float(images.min()):g},"
            f" {float(images.max()):g}]"
        )
    return images


# ---------------------------------------------------------------- Hugging Face


@dataset("huggingface", source="datasets.load_dataset and load_from_disk (extra: pip install datasets)")
def huggingface(
    *, name: str, config: str = "", revision: str = "", image: str = "image", label: str = "label",
    train: str = "train",
    validation: str = "", test: str = "test", val: Share = 0.1,
) -> Dataset:  # fmt: skip
    """A set of the Hugging Face hub, or a folder that its library saved: the columns `image` and `label`, the
    splits by their names there.

    Without `validation`, validation is the share `val` of each class of train. Offline, only what its cache
    holds is used."""
    names = {"train": train, "val": validation, "test": test}
    return _of_parts(
        lambda part: hub_split(name, config, revision, names[part], image, label), bool(validation), val, ()
    )
