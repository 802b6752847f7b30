"""Sets of the Hugging Face hub, by its own library (an extra)."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import MissingData, UserError, one_line, shown
from oodbench.core.identity import fingerprint
from oodbench.core.text_files import read_bytes
from oodbench.data.images import fit
from oodbench.data.sources.content import mark
from oodbench.data.sources.index import kept
from oodbench.data.sources.lists import MOST_LABEL
from oodbench.data.sources.local_copy import through_copy
from oodbench.data.sources.paths import found_at, only_files, printable
from oodbench.data.sources.roots import offline


class HubSamples:
    """One split of a set in Arrow tables; images are decoded when they are read. uint8 RGB."""

    kind = "image"
    are_files = True

    def __init__(self, table: Any, image: str, name: str, labels: Tensor) -> None:
        self._table, self._image, self._name = table, image, name
        self.labels = labels
        self.ids: Sequence[str] = [f"{name}/{i}" for i in range(len(table))]
        table_digest, self._contents = content(table, image, name)
        self.digest = fingerprint({"table": table_digest, "labels": labels.tolist()})

    def __len__(self) -> int:
        return len(self.labels)

    def file_hashes(self, places: np.ndarray | None = None) -> np.ndarray:
        """The first 16 bytes of the sha256 of every stored image (or of those at `places`), (N,)."""
        return self._contents if places is None else self._contents[places]

    def file_marks(self) -> np.ndarray:
        """The mark of every stored image, (N,)."""
        every = stored(self._table, self._image, self._name)
        return kept(f"marks-{self.digest}", lambda: np.array([mark(data) for data in every], "S16"))

    def image_sizes(self) -> np.ndarray:
        """Channels, height and width of every image, int64 (N, 3), by their headers."""
        return kept(f"sizes-{self.digest}", self._read_sizes)

    def _read_sizes(self) -> np.ndarray:
        from PIL import Image

        found = []
        for i, data in enumerate(stored(self._table, self._image, self._name)):
            try:
                with Image.open(io.BytesIO(data)) as image:
                    found.append((3, image.height, image.width))
            except Exception as error:
                raise UserError(f"{self._name}: image {i} cannot be decoded ({one_line(error)})") from None
        return np.array(found, np.int64).reshape(-1, 3)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        made = []
        for i in torch.as_tensor(indices, dtype=torch.int64).tolist():
            try:
                pixels = np.asarray(self._table[i][self._image].convert("RGB"))
            except Exception as error:
                raise UserError(f"{self._name}: image {i} cannot be decoded ({one_line(error)})") from None
            tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
            made.append(tensor if geometry is None else fit(tensor.unsqueeze(0), geometry)[0])
        if len({m.shape for m in made}) > 1:
            raise UserError(
                f"{self._name}: images differ in size; give the pair a `geometry: {{shape: [channels, height,"
                " width]}`"
            )
        return torch.stack(made) if made else torch.empty(0, 3, 1, 1, dtype=torch.uint8)


def stored(table: Any, image: str, name: str) -> Iterator[bytes]:
    """The bytes of every image as they are stored: in the table, or in a file that it names."""
    datasets: Any = importlib.import_module("datasets")
    try:
        rows = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # of pyarrow's, about types
        raise UserError(
            f"{name}: the column {shown(image)} holds no images ({one_line(error, 120)}); name the one that"
            " does by `image:`"
        ) from None
    for i, row in enumerate(rows):
        cell = row[image] or {}
        data, path = cell.get("bytes"), cell.get("path")
        if data is None and not path:
            raise UserError(f"{name}: image {i} is missing")
        yield data if data is not None else read_bytes(Path(str(path)))


def content(table: Any, image: str, name: str) -> tuple[str, np.ndarray]:
    """sha256 over the stored bytes of every image, and the first 16 bytes of the sha256 of each."""
    sha, each = hashlib.sha256(), []
    for data in stored(table, image, name):
        sha.update(len(data).to_bytes(8, "little") + data)
        each.append(hashlib.sha256(data).digest()[:16])
    return sha.hexdigest(), np.array(each, dtype="S16")


@contextmanager
def _unconnected() -> Iterator[None]:
    """Inside, the library uses its cache alone. Its own argument for that, ``local_files_only``, still asks
    the hub."""
    switches: list[Any] = [
        importlib.import_module(m) for m in ("datasets.config", "huggingface_hub.constants")
    ]
    before = [s.HF_HUB_OFFLINE for s in switches]
    for s in switches:
        s.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for s, value in zip(switches, before, strict=True):
            s.HF_HUB_OFFLINE = value


def hub_split(name: str, config: str, revision: str, split: str, image: str, label: str) -> HubSamples:
    """A split of the set `name`, a folder that ``save_to_disk`` wrote or a name on the hub."""
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError:
        raise MissingData(
            f"data set 'huggingface' ({name}) needs the package datasets, which is not installed; pip install"
            " datasets"
        ) from None
    where = f"data set 'huggingface' ({printable(name)}, split {split!r})"
    try:
        if Path(name).is_dir():
            only_files(Path(name))
            found = through_copy(Path(name), lambda place: datasets.load_from_disk(str(place)))
            table = found[split] if hasattr(found, "keys") else found
        elif Path(name).is_absolute() or os.path.lexists(name):
            raise MissingData(f"{found_at(Path(name))} is there, where a folder belongs")
        else:
            with _unconnected() if offline() else nullcontext():
                table = datasets.load_dataset(name, config or None, split=split, revision=revision or None)
    except Exception as error:  # the library has a dozen of its own
        raise MissingData(f"{where}: {one_line(error)}") from None
    absent = next((c for c in (image, label) if c and c not in table.column_names), None)
    if absent is not None:
        there = one_line(", ".join(map(repr, table.column_names)), 200)
        raise UserError(f"{where}: there is no column {absent!r}; it has {there}")
    return HubSamples(table, image, f"{name}/{split}", _labels(table, label, where))


def _labels(table: Any, column: str, where: str) -> Tensor:
    """The column of labels, 0 for all where there is none."""
    values = table[column][:] if column else [0] * len(table)
    for value in values:
        if type(value) is not int or not -1 <= value <= MOST_LABEL:
            raise UserError(
                f"{where}: the column {column!r} should hold whole numbers from -1 (unknown), holds"
                f" {shown(value)}; the library's `class_encode_column` makes numbers of names"
            )
    return torch.tensor(values, dtype=torch.int64)
