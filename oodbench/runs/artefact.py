"""One stored artefact: a folder of safetensors and JSON files with a manifest of their sha256 (one for each
shard of a file that was written in shards), read, written and checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save, save_file
from torch import Tensor

from oodbench.core.errors import one_line
from oodbench.core.files import listed
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
    """A stored artefact, whole and verified. Where its folder has been moved into a pack since it was found,
    `elsewhere` says where it is now."""

    def __init__(self, folder: Path, elsewhere: Callable[[], Artefact | None] = lambda: None) -> None:
        self.folder, self._elsewhere = folder, elsewhere

    def json(self, name: str) -> Any:
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except FileNotFoundError:
            return self._moved().json(name)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file, memory-mapped (copy-on-write): nothing is read until used."""
        try:
            with safetensors.safe_open(self.folder / f"{name}.safetensors", framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return self._moved().tensors(name)

    @property
    def bytes(self) -> int:
        try:
            return sum(f.stat().st_size for f in self.folder.iterdir())
        except FileNotFoundError:
            return self._moved().bytes

    def _moved(self) -> Artefact:
        """The same artefact where it lies now; for an `except` block, whose error it raises if nowhere."""
        found = self._elsewhere()
        if found is None:
            raise
        return found


class Draft:
    """An artefact being written; it becomes visible only when its `with` block ends without an error.

    In a folder where an earlier process began it, the files that were written in shards are gone on with;
    everything else is removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._in_shards: dict[str, dict[str, Any]] = {}
        _as_begun(folder)

    def json(self, name: str, value: Any) -> None:
        (self.folder / f"{name}.json").write_bytes(_json(value))

    def tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        save_file(_copies(tensors), self.folder / f"{name}.safetensors")

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


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # clone() parts tensors that share storage, which safetensors refuses
    return {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}


def in_memory(tensors: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a small artefact, its manifest among them, as a draft would write them."""
    files = {f"{name}.safetensors": save(_copies(each)) for name, each in tensors.items()}
    files |= {f"{name}.json": _json(value) for name, value in texts.items()}
    entries = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(files.items())
    }
    return files | {MANIFEST: (json.dumps(entries, indent=1) + "\n").encode()}


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
    if any((shards.noted(folder / n) or _NONE).shards for n in listed(folder, ".safetensors")):
        return True
    try:
        return bool(_in_shards(folder))
    except UNREADABLE:
        return False


_NONE = shards.Finished(0, 1, "", {})


def _in_shards(folder: Path) -> dict[str, Any]:
    """The entries of a manifest that are of files in shards."""
    manifest = json.loads((folder / MANIFEST).read_text())
    return {n: e for n, e in manifest.items() if "shards" in e and shards.of_manifest(e) and is_plain(n)}


def is_plain(name: str) -> bool:
    """Whether a name leads to a file right in its folder."""
    return Path(name).name == name


UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What a manifest that is none raises."""


def damage(folder: Path, kind: str) -> str:
    """What is wrong with an artefact's files against its manifest and what its kind holds, in one line; empty
    where all is sound. Every byte is read."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError as error:
        return f"manifest unreadable ({one_line(error)})"
    return damage_of(text, kind, lambda name, entry: _wrong(folder / name, entry))


def damage_of(manifest: bytes, kind: str, wrong: Callable[[str, Mapping[str, Any]], str]) -> str:
    """The same of an artefact that lies anywhere: `wrong` says of a file and its entry in the manifest what
    is wrong with it, in a few words."""
    try:
        entries = json.loads(manifest)
        absent = sorted(HOLDS[kind] - entries.keys())
        if absent:
            return f"{absent[0]} is not in the manifest"
        for name, entry in entries.items():
            why = wrong(name, entry)
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
