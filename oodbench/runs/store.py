"""Artefacts by key: written atomically, read verified and memory-mapped, one lock each.

An artefact is a folder ``<root>/<kind>/<key[:2]>/<key>/`` holding safetensors and JSON files and a manifest
of their sha256. It is written under a temporary name, fsynced and renamed, so that whatever has a final name
is whole. A damaged artefact is reported, removed and treated as missing. No other module knows paths below
the root."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.files import replacing
from oodbench.core.identity import file_sha256
from oodbench.runs.tensor_file import RowWriter

_MANIFEST = "manifest.json"


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


class Store:
    """All artefacts below one folder, which several processes may share. `report` is told of damaged files,
    one line each."""

    def __init__(self, root: Path, report: Callable[[str], None] = lambda message: None) -> None:
        self.root, self.report, self._read_only = root, report, False
        self._verified: set[Path] = set()
        try:
            for folder in ("tmp", "locks", "state"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            probe = root / "tmp" / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"store {root}: cannot be written ({error.strerror or error}); choose another folder with"
                " --store or --results"
            ) from None

    @classmethod
    def opened(cls, root: Path) -> Store:
        """A store that is only looked at: it must be there, no folder is made, nothing damaged is removed."""
        if not cls.holds_artefacts(root):
            raise UserError(f"store {root}: holds no artefacts")
        store = cls.__new__(cls)
        store.root, store.report, store._read_only = root, lambda message: None, True
        store._verified = set()
        return store

    @staticmethod
    def holds_artefacts(root: Path) -> bool:
        """Whether a folder is a store with something in it."""
        return any((root / kind).is_dir() for kind in ("weights", "outputs", "choices", "scores"))

    def damage(self, kind: str, key: str) -> str:
        """What is wrong with an artefact's files, in one line; empty where they are whole (or not there)."""
        return damage(self._folder(kind, key)) if self.has(kind, key) else ""

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the artefact is there (not whether its bytes are sound: `get` checks that)."""
        return (self._folder(kind, key) / _MANIFEST).is_file()

    def get(self, kind: str, key: str) -> Artefact | None:
        """The artefact, its checksums verified once per process; None where it is missing or was found
        damaged (and removed)."""
        folder = self._folder(kind, key)
        if not (folder / _MANIFEST).is_file():
            return None
        if folder not in self._verified:
            wrong = damage(folder)
            if wrong:
                self.report(f"damaged {kind} {key[:12]}: {wrong}; it will be made again")
                self._remove(folder)
                return None
            self._verified.add(folder)
        return Artefact(folder)

    @contextlib.contextmanager
    def draft(self, kind: str, key: str) -> Iterator[Draft]:
        """Write an artefact. Killed or failed half way, it leaves nothing under the final name."""
        final = self._folder(kind, key)
        # left by a killed process: whoever writes this artefact holds its lock, which is ours
        for left in (self.root / "tmp").glob(f"{kind}-{key}-*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = self.root / "tmp" / f"{kind}-{key}-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        try:
            yield Draft(folder)
            manifest = {
                f.name: {"sha256": file_sha256(f), "bytes": f.stat().st_size}
                for f in sorted(folder.iterdir())
            }
            (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            for file in folder.iterdir():
                os.chmod(file, 0o644)
                _fsync(file)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(folder, final)
            except OSError:
                # A whole one made without our lock (another machine) is a harmless duplicate; remains without
                # a manifest make way.
                if not self.has(kind, key):
                    self._remove(final)
                    os.rename(folder, final)
            _fsync(final.parent)
            self._verified.add(final)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def lock(self, kind: str, key: str) -> FileLock:
        """The lock of one artefact; held while it is made, so that two processes on one store do not do the
        same work."""
        return FileLock(self.root / "locks" / f"{kind}-{key}.lock")

    def save_state(self, key: str, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Replace the resumable state of a training in progress, atomically."""
        path = self.root / "state" / f"{key}.safetensors"
        copies = {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}
        with replacing(path) as draft:
            save_file(copies, draft, metadata={"scalars": json.dumps(scalars)})

    def load_state(self, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        path = self.root / "state" / f"{key}.safetensors"
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                tensors = {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
                return tensors, json.loads(file.metadata()["scalars"])
        except FileNotFoundError:
            return None
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            self.report(f"damaged training state {key[:12]}: {error}; training starts again")
            self.drop_state(key)
            return None

    def drop_state(self, key: str) -> None:
        for pattern in (f"{key}.*", f".{key}.*"):  # the second: drafts that a killed process left
            for path in (self.root / "state").glob(pattern):
                path.unlink(missing_ok=True)

    def _remove(self, folder: Path) -> None:
        if self._read_only:
            return
        aside = self.root / "tmp" / f"damaged-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):
            os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)


def damage(folder: Path) -> str:
    """What is wrong with an artefact's files against its manifest, in one line; empty where all is sound."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        for name, entry in manifest.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"] or file_sha256(file) != entry["sha256"]:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"manifest unreadable ({error})"
    return ""


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
