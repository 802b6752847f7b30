"""A user's own images: a folder, a CSV file, arrays, or a set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from oodbench.core.dataset import Dataset, Samples
from oodbench.core.errors import MissingData, UserError, one_line, shown
from oodbench.core.registry import dataset
from oodbench.data.samples import carve
from oodbench.data.sources.arrays import SUFFIXES, Layout, read_arrays
from oodbench.data.sources.decoding import Color
from oodbench.data.sources.files import FileSamples, OnError, folder, from_items
from oodbench.data.sources.huggingface import hub_split
from oodbench.data.sources.lists import columns_text, csv_column, csv_header, csv_list, list_digest
from oodbench.data.sources.paths import found_at, printable
from oodbench.data.sources.walk import class_folders, loose_images, once

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


def _there(kind: str, path: Path, due: Literal["a file", "a folder"]) -> None:
    found = found_at(path)
    if found != due:
        but = "" if found == "nothing" else f", but {found}"
        place = one_line(printable(str(path)))
        raise MissingData(f"data set {kind!r}: there is no {due[2:]} {place}{but}; correct its path")


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
    _there("folder", root, "a folder")
    top = printable(str(root))

    def read(place: Path, names: list[str]) -> FileSamples:
        return folder(
            f"folder {place.name}", place, classes=names, flat=not names, color=color, on_error=on_error
        )

    if split != "given":
        names = _classes(root)
        if split == "none":
            names = once(root, names)
        elif {"train", "test"} <= set(names):
            raise UserError(
                f"data set 'folder': {top} holds train and test; write `split: given` to use them"
            )
        return _of_whole(lambda: read(root, names), split, val, _shown(names))
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise UserError(
                f"data set 'folder': {top} has no folder {part}; write `split: random` to have it split, or"
                " `split: none` for an OOD set"
            )
    names = _classes(root / "train")

    def part_of(part: str) -> Samples:
        mine = _classes(root / part)
        strange = sorted(set(mine) - set(names))
        if strange:
            raise UserError(
                f"data set 'folder': {top}/{part} has the class {shown(printable(strange[0]))}, which train"
                " does not have"
            )
        return read(root / part, names)

    return _of_parts(part_of, (root / "val").is_dir(), val, _shown(names))


def _shown(names: list[str]) -> tuple[str, ...]:
    return tuple(map(printable, names))


def _classes(root: Path) -> list[str]:
    """Class folders of `root`; none where images lie in `root` itself, which then has no classes."""
    loose, names = loose_images(root), class_folders(root)
    if loose and names:
        raise UserError(
            f"data set 'folder': {printable(str(root))} holds class folders and loose images"
            f" ({printable(loose[0])}); move these away"
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
    _there("csv", file, "a file")
    top = root if root is not None else file.parent
    header = csv_header(file)
    if label not in header and (label != "label" or split == "random"):
        without = "write `split: none`" if label == "label" else "leave `label:` out"
        raise UserError(
            f"data set 'csv': {file} has no column {shown(label)}; it has {columns_text(header)}; name that"
            f" of the classes by `label:`, or {without} for an OOD set without one"
        )
    labels = csv_column(file, label) if label in header else None
    names = None if labels is None else {n: i for i, n in enumerate(labels)}

    def read(only: str) -> FileSamples:
        stamp = f"{list_digest(file)}{only}{path}{label}{column}"
        return from_items(
            f"csv {file.name}", top, stamp,
            lambda: csv_list(file, path=path, label=label, split=column, only=only, names=names), color=color,
            on_error=on_error,
        )  # fmt: skip

    classes = tuple(labels or ())
    if split != "given":
        return _of_whole(lambda: read(""), split, val, classes)
    there = set(csv_column(file, column)) if column in header else set()
    if not {"train", "test"} <= there:
        what = (
            f"its column {shown(column)} says {one_line(', '.join(sorted(there)), 120)}"
            if there
            else f"it has no column {shown(column)} (it has {columns_text(header)})"
        )
        raise UserError(
            f"data set 'csv': {file} should say train and test, but {what}; write `split: random` to have it"
            " split, or `split: none` for an OOD set"
        )
    return _of_parts(read, "val" in there, val, classes)


# ---------------------------------------------------------------- arrays


@dataset("arrays", source="oodbench's own")
def arrays(
    *, file: Path, split: Split = "given", val: Share = 0.1, layout: Layout = "auto"
) -> Dataset:  # fmt: skip
    """Your own images as arrays: `images` (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1],
    and `labels` (N,).

    `file` is an .npz, a .safetensors or, with images only, an .npy file (random and none as for `folder`),
    or, with `split` given, a folder of such files named train, test and perhaps val. Without labels every
    label is 0."""
    if split != "given":
        _there("arrays", file, "a file")
        return _of_whole(lambda: read_arrays(file, layout), split, val, ())
    _there("arrays", file, "a folder")
    found = {
        p: next((file / f"{p}{s}" for s in SUFFIXES if (file / f"{p}{s}").is_file()), None)
        for p in ("train", "val", "test")
    }
    for part in ("train", "test"):
        if found[part] is None:
            raise UserError(f"data set 'arrays': {file} has no file {part} ({', '.join(SUFFIXES)})")

    def read(part: str) -> Samples:
        place = found[part]
        assert place is not None
        return read_arrays(place, layout)

    return _of_parts(read, found["val"] is not None, val, ())


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
