"""Sets of image files: decoded when read, a few lines of list or a folder tree at the start."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError, one_line
from oodbench.core.identity import fingerprint
from oodbench.data.sources.content import hashes_of, marks_of
from oodbench.data.sources.decoding import Color, channels_first, decode
from oodbench.data.sources.index import index_of, kept
from oodbench.data.sources.listing import Index, Item
from oodbench.data.sources.local_copy import Place, Source, folder_of, pixels
from oodbench.data.sources.paths import Printable, printable
from oodbench.data.sources.roots import trust
from oodbench.data.sources.walk import SUFFIXES, Walk
from oodbench.data.sources.workers import decoding_processes, read_into, threads

OnError = Literal["fail", "skip"]


def objection(file: Path) -> str:
    """Why a file is no image that can be decoded, in a few words; empty where it can."""
    try:
        decode(file)
    except Exception as error:  # Pillow raises half a dozen types for damaged files
        return f"{printable(str(file))}: cannot be decoded as an image ({one_line(error)})"
    return ""


class FileSamples:
    """Image files in a given order, decoded by threads or processes when they are read; only geometry is
    applied here. uint8 RGB or grey."""

    kind = "image"
    are_files = True

    def __init__(
        self,
        found: Index,
        root: Path,
        color: Color = "rgb",
        items: Callable[[], Iterator[Item]] | None = None,
    ) -> None:
        self.root = root
        # The list that names the files, read again only to say which line a damaged one stands in.
        self._items = items
        self.color: Color = color
        self.paths = found.paths
        self.ids: Sequence[str] = Printable(found.paths)
        self._index, self.brief = found, found.brief
        self.labels = torch.from_numpy(found.labels)
        self.skipped = found.skipped
        self.note = ""  # what a user should know about the set, for `oodbench data verify`
        self.digest = fingerprint([found.digest, color]) if color != "rgb" else found.digest

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        wanted = torch.as_tensor(indices, dtype=torch.int64).tolist()
        if geometry is not None:
            out = np.empty((len(wanted), *geometry.shape), dtype=np.uint8)
            read_into(
                out,
                self._sources(wanted),
                self.color,
                geometry,
                decoding_processes(len(self)),
                lambda at, error: self._damaged(self.paths[wanted[at]], error),
            )
            return torch.from_numpy(out)
        images = list(threads().map(self._one, wanted, self._sources(wanted)))
        shapes = {tuple(i.shape) for i in images}
        if len(shapes) > 1:
            raise UserError(
                f"{printable(str(self.root))}: images differ in size"
                f" ({' and '.join('x'.join(map(str, s)) for s in sorted(shapes)[:2])}); give the pair a"
                " `geometry: {shape: [channels, height, width]}`"
            )
        if not images:
            return torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        return torch.from_numpy(np.ascontiguousarray(np.stack(images)))

    def shapes(self, places: Sequence[int]) -> list[str]:
        """The shape of each image, as text, or a line that starts with ``!`` where it cannot be decoded."""

        def shape(i: int) -> str:
            try:
                return "x".join(map(str, self._one(i, Source(str(self.root / self.paths[i]))).shape))
            except UserError as error:
                return f"!{error}"

        return list(threads().map(shape, places))

    def _one(self, i: int, source: Source) -> np.ndarray:
        """An image (C, H, W), which may not be written to."""
        try:
            return channels_first(pixels(source, self.color))
        except Exception as error:
            raise self._damaged(self.paths[i], error) from None

    def _sources(self, places: Sequence[int]) -> list[Source]:
        """The files of some images, with where this machine keeps copies of them."""
        files = [str(self.root / self.paths[i]) for i in places]
        folder = folder_of(self._index.digest)
        if not folder:
            return [Source(file) for file in files]
        hashes, doubted = self._index.hashes, trust() == "nothing"
        contents, marked = (self._index.contents, self.brief) if hashes is None else (hashes, False)
        return [
            Source(file, Place(folder, i, contents[i].tobytes(), marked, doubted))
            for i, file in zip(places, files, strict=True)
        ]

    def _damaged(self, name: str, error: Exception) -> UserError:
        listed = self._items() if self._items is not None else iter(())
        where = next((f"{item.where}: " for item in listed if item.path == name), "")
        return UserError(
            f"{where}{printable(str(self.root / name))}: cannot be decoded as an image ({one_line(error)});"
            " mend or remove it, or read the set with `on_error: skip`"
        )

    def file_marks(self) -> np.ndarray:
        """The mark of every file, (N,)."""
        if self.brief:
            return _texts(self._index.contents)
        return kept(f"marks-{self._index.digest}", lambda: marks_of(self.root, self.paths))

    def file_hashes(self, places: np.ndarray | None = None) -> np.ndarray:
        """The first 16 bytes of the sha256 of every file (or of those at `places`), (N,)."""
        if self.brief and self._index.hashes is None:
            wanted = range(len(self)) if places is None else places.tolist()
            return hashes_of(self.root, [self.paths[i] for i in wanted])
        known = _texts(self._index.contents if self._index.hashes is None else self._index.hashes)
        return known if places is None else known[places]

    def image_sizes(self) -> np.ndarray:
        """Channels, height and width of every image, int64 (N, 3), by the headers of the files. UserError
        names a file that has none."""
        channels = 3 if self.color == "rgb" else 1
        found = kept(f"sizes-{self.digest}", self._heights_and_widths)
        return np.concatenate([np.full((len(found), 1), channels), found], axis=1)

    def _heights_and_widths(self) -> np.ndarray:
        return np.array(list(threads().map(self._size, self.paths)), np.int64).reshape(-1, 2)

    def _size(self, name: str) -> tuple[int, int]:
        from PIL import Image

        try:
            with Image.open(self.root / name) as image:
                return image.height, image.width
        except Exception as error:
            raise self._damaged(name, error) from None


def _texts(rows: np.ndarray) -> np.ndarray:
    """Rows of 16 bytes (N, 16) as texts (N,)."""
    return np.ascontiguousarray(rows).view("S16").ravel()


def from_items(
    name: str,
    root: Path,
    stamp: str,
    items: Callable[[], Iterator[Item]],
    *,
    color: Color = "rgb",
    on_error: OnError = "fail",
) -> FileSamples:
    """The files that `items` lists, which is called only where the index in the cache is not that of `stamp`
    and of these files."""
    found = index_of(name, root, stamp, items, skip=on_error == "skip", check=objection)
    return FileSamples(found, root, color, items)


# ---------------------------------------------------------------- folders


def folder(
    name: str,
    root: Path,
    *,
    classes: Sequence[str] = (),
    flat: bool = False,
    below: str = "",
    color: Color = "rgb",
    on_error: OnError = "fail",
) -> FileSamples:
    """Images of a folder, sorted: one class per sub-folder of `classes` (all files of all depths, label 0,
    where `flat`). Links are followed, each folder is read once, and image files of a kind that is not read
    are counted in a warning.

    `below` is a path inside each class folder where its images lie (Tiny-ImageNet's ``images``).
    """
    place = printable(str(root))
    tops = [""] if flat else [f"{c}/{below}" if below else c for c in classes]
    for c, top in zip(classes, tops, strict=False):
        if not (root / top).is_dir():
            raise UserError(f"{place}: class {printable(c)!r} has no folder {printable(top)}")
    walk = Walk(root, tops)
    over = walk.passed_over()
    empty = [i for i, top in enumerate(tops) if next(walk.images(top), None) is None]
    if empty or not tops:
        raise _no_image(place, classes[empty[0]] if classes else "", over)
    if over:
        warnings.warn(f"data set {name!r}: files in {place} that are not read: {over}", stacklevel=2)

    def items() -> Iterator[Item]:
        for label, top in enumerate(tops):
            for path in walk.images(top):
                yield Item(path, label, place, walk.problems.get(path, ""))

    stamp = f"{walk.stamp(tops)}{list(classes)}{flat}{below}"
    found = index_of(name, root, stamp, items, skip=on_error == "skip", check=objection)
    if len(found.labels) == 0:
        raise _no_image(place, "", over)
    return FileSamples(found, root, color)


def _no_image(place: str, top: str, over: str) -> UserError:
    what = f"class {printable(top)!r} has no image" if top else "there is no image in it"
    unread = f"; there are files that are not read: {over}" if over else ""
    return UserError(f"{place}: {what} ({', '.join(SUFFIXES)}){unread}")
