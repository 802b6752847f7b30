"""One stored artefact: a folder of safetensors and JSON files with a manifest of their sha256 (one for each
shard of a file that was written in shards), read, written and checked."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from oodbench.core.errors import one_line
from oodbench.core.identity import file_sha256
from oodbench.runs import shards
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
    """An artefact being written; it becomes visible only when its `with` block ends without an error.

    In a folder where an earlier process began it, the files that were written in shards are gone on with;
    everything else is removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._in_shards: dict[str, dict[str, Any]] = {}
        _as_begun(folder)

    def json(self, name: str, value: Any) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")

    def tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        # clone() parts tensors that share storage, which safetensors refuses
        save_file(
            {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()},
            self.folder / f"{name}.safetensors",
        )

    @contextlib.contextmanager
    def rows(self, name: str, n: int, batch: int = 1) -> Iterator[RowWriter]:
        """A file of tensors of `n` rows each, written batch by batch in bounded memory, in shards of whole
        batches. Only what the writer says is `missing` has to be written."""
        file = self.folder / f"{name}.safetensors"
        writer = RowWriter(file, n, -(-shards.SHARD // batch) * batch)
        try:
            yield writer
            writer.finish()
            if writer.manifest is not None:
                self._in_shards[file.name] = writer.manifest
        finally:
            writer.close()

    def finish(self, kind: str) -> None:
        """Write the manifest of all that its kind holds, and everything to the disk. What was written in
        shards is not read again."""
        manifest = {
            f.name: self._in_shards.get(f.name) or {"sha256": file_sha256(f), "bytes": f.stat().st_size}
            for f in sorted(self.folder.iterdir())
            if f.suffix != shards.JOURNAL
        }
        absent = HOLDS[kind] - manifest.keys()
        assert not absent, f"{kind} without {sorted(absent)}"
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for file in self.folder.iterdir():
            if file.suffix == shards.JOURNAL:  # the manifest says the same from now on
                file.unlink()
                continue
            os.chmod(file, 0o644)
            fsync(file)


def _as_begun(folder: Path) -> None:
    """Leave nothing in a folder but files in shards with their journals, which are made from the manifest
    where it is that of a finished artefact."""
    try:
        manifest = _in_shards(folder)
        for name, entry in manifest.items():
            if not shards.journal_of(folder / name).exists():
                shards.begin(folder / name, shards.of_manifest(entry))
    except UNREADABLE:
        pass  # then nothing of it can be kept
    keep = {shards.journal_of(f) for f in folder.iterdir()}
    for file in list(folder.iterdir()):
        begun = file in keep or shards.journal_of(file).exists()
        if not begun:
            shutil.rmtree(file) if file.is_dir() else file.unlink()


def can_be_mended(folder: Path) -> bool:
    """Whether a damaged artefact, or one that was begun, has files in shards, of which those that are whole
    need not be made again."""
    if any((shards.noted(f) or _NONE).shards for f in folder.glob("*.safetensors")):
        return True
    try:
        return bool(_in_shards(folder))
    except UNREADABLE:
        return False


_NONE = shards.Finished(0, 1, "", {})


def _in_shards(folder: Path) -> dict[str, Any]:
    """The entries of a manifest that are of files in shards."""
    manifest = json.loads((folder / MANIFEST).read_text())
    return {n: e for n, e in manifest.items() if "shards" in e and shards.of_manifest(e) and _plain(n)}


def _plain(name: str) -> bool:
    return Path(name).name == name


UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What a manifest that is none raises."""


def damage(folder: Path, kind: str) -> str:
    """What is wrong with an artefact's files against its manifest and what its kind holds, in one line; empty
    where all is sound. Every byte is read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        absent = sorted(HOLDS[kind] - manifest.keys())
        if absent:
            return f"{absent[0]} is not in the manifest"
        for name, entry in manifest.items():
            why = _wrong(folder / name, entry)
            if why:
                return f"{name} {why}"
    except UNREADABLE as error:
        return f"manifest unreadable ({one_line(error)})"
    return ""


def _wrong(file: Path, entry: Mapping[str, Any]) -> str:
    """What is wrong with one file, in a few words."""
    if not file.is_file():
        return "is missing"
    if file.stat().st_size != entry["bytes"]:
        return "does not match its checksum"
    if "shards" in entry:
        return shards.damage(file, entry)
    return "" if file_sha256(file) == entry["sha256"] else "does not match its checksum"


def fsync(path: Path) -> None:
    """Return when what was written of a file, or the names in a folder, are on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
