"""Sets of the Hugging Face hub, by its own library (an extra)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import MissingData, UserError
from oodbench.core.identity import fingerprint
from oodbench.data.images import fit
from oodbench.data.sources.roots import offline


class HubSamples:
    """One split of a set in Arrow tables; images are decoded when they are read. uint8 RGB."""

    kind = "image"

    def __init__(self, table: Any, image: str, name: str, labels: Tensor) -> None:
        self._table, self._image, self._name = table, image, name
        self.labels = labels
        self.ids: Sequence[str] = [f"{name}/{i}" for i in range(len(table))]
        self.digest = fingerprint({"table": content(table, image), "labels": labels.tolist()})

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        made = []
        for i in torch.as_tensor(indices, dtype=torch.int64).tolist():
            try:
                pixels = np.asarray(self._table[i][self._image].convert("RGB"))
            except Exception as error:
                raise UserError(
                    f"{self._name}: image {i} cannot be decoded ({str(error).splitlines()[0]})"
                ) from None
            tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
            made.append(tensor if geometry is None else fit(tensor.unsqueeze(0), geometry)[0])
        if len({m.shape for m in made}) > 1:
            raise UserError(
                f"{self._name}: images differ in size; give the pair a `geometry: {{shape: [channels, height,"
                " width]}`"
            )
        return torch.stack(made) if made else torch.empty(0, 3, 1, 1, dtype=torch.uint8)


def content(table: Any, image: str) -> str:
    """sha256 over the stored bytes of every image."""
    import hashlib

    sha = hashlib.sha256()
    datasets: Any = importlib.import_module("datasets")
    for row in table.select_columns([image]).cast_column(image, datasets.Image(decode=False)):
        data = row[image]["bytes"]
        if data is None:
            data = Path(row[image]["path"]).read_bytes()
        sha.update(len(data).to_bytes(8, "little") + data)
    return sha.hexdigest()


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
    try:
        if Path(name).is_dir():
            found = datasets.load_from_disk(name)
            table = found[split] if hasattr(found, "keys") else found
        else:
            with _unconnected() if offline() else nullcontext():
                table = datasets.load_dataset(name, config or None, split=split, revision=revision or None)
    except Exception as error:  # the library has a dozen of its own
        raise MissingData(
            f"data set 'huggingface' ({name}, split {split!r}):"
            f" {str(error).splitlines()[0] or type(error).__name__}"
        ) from None
    absent = next((c for c in (image, label) if c not in table.column_names), None)
    if absent == image or (absent and label):
        raise UserError(
            f"data set 'huggingface' ({name}): there is no column {absent!r}; it has"
            f" {', '.join(map(repr, table.column_names))}"
        )
    labels = torch.tensor(table[label][:] if label else [0] * len(table), dtype=torch.int64)
    return HubSamples(table, image, f"{name}/{split}", labels)
