"""One stored artefact: a folder of safetensors and JSON files with a manifest of their sha256, read, written
and checked."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from oodbench.core.errors import one_line
from oodbench.core.identity import file_sha256
from oodbench.runs.tensor_file import RowWriter

MANIFEST = "manifest.json"
HOLDS: dict[str, frozenset[str]] = {
    "weights": frozenset({"weights.safetensors", "head.safetensors", "history.json", "run.json"}),
    "outputs": frozenset({"outputs.safetensors", "meta.json"}),
    "choices": frozenset({"choice.json", "meta.json"}),
    "scores": frozenset({"scores.safetensors", "meta.json"}),
}
"""The kinds of artefacts, and the files without which one is not whole, whatever its manifest lists."""


class Artefact:
    """A stored artefact, whole and verified."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def json(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file, memory-mapped (copy-on-write): nothing is read until used."""
        with safetensors.safe_open(self.folder / f"{name}.safetensors", framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    @property
    def bytes(self) -> int:
        return sum(f.stat().st_size for f in self.folder.iterdir())


class Draft:
    """An artefact being written; it becomes visible only when its `with` block ends without an error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def json(self, name: str, value: Any) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")

    def tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        # clone() parts tensors that share storage, which safetensors refuses
        save_file(
            {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()},
            self.folder / f"{name}.safetensors",
        )

    @contextlib.contextmanager
    def rows(self, name: str, n: int) -> Iterator[RowWriter]:
        """A file of tensors of `n` rows each, written batch by batch in bounded memory."""
        writer = RowWriter(self.folder / f"{name}.safetensors", n)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()

    def finish(self, kind: str) -> None:
        """Write the manifest of all that its kind holds, and everything to the disk."""
        manifest = {
            f.name: {"sha256": file_sha256(f), "bytes": f.stat().st_size}
            for f in sorted(self.folder.iterdir())
        }
        absent = HOLDS[kind] - manifest.keys()
        assert not absent, f"{kind} without {sorted(absent)}"
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for file in self.folder.iterdir():
            os.chmod(file, 0o644)
            fsync(file)


def damage(folder: Path, kind: str) -> str:
    """What is wrong with an artefact's files against its manifest and what its kind holds, in one line; empty
    where all is sound."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        absent = sorted(HOLDS[kind] - manifest.keys())
        if absent:
            return f"{absent[0]} is not in the manifest"
        for name, entry in manifest.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"] or file_sha256(file) != entry["sha256"]:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"manifest unreadable ({one_line(error)})"
    return ""


def fsync(path: Path) -> None:
    """Return when what was written of a file, or the names in a folder, are on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
