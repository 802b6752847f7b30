"""Artefacts by key: written atomically, read verified and memory-mapped, one lock each.

An artefact is a folder ``<root>/<kind>/<key[:2]>/<key>/``. It is written under a temporary name, fsynced and
renamed, so that whatever has a final name is whole. A damaged artefact is reported, removed and treated as
missing, until it is made again. No other module knows paths below the root."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
from filelock import FileLock, Timeout
from safetensors.torch import save_file
from torch import Tensor

from oodbench.core.errors import UserError, one_line
from oodbench.core.files import replacing
from oodbench.runs.artefact import HOLDS, MANIFEST, Artefact, Draft, damage, fsync
from oodbench.runs.drafts import Drafts, me
from oodbench.runs.stamps import Stamps, looks

ANNOUNCED_AFTER = 2.0
"""Seconds after which a process says that it waits for another."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


class CannotKeep(UserError):
    """The store cannot be written. More work would be lost as well, so the run ends."""

    def __init__(self, root: Path, error: Exception) -> None:
        why = getattr(error, "strerror", None) or error
        super().__init__(
            f"store {root}: cannot be written ({one_line(why)}); make room, or choose another folder with"
            " --store, and run the same command again: what is stored is found"
        )


class Lock:
    """The lock of one artefact, held: the only way to a draft, since who writes one holds its lock."""

    def __init__(self, store: Store, kind: str, key: str) -> None:
        self._store, self._kind, self._key = store, kind, key

    def draft(self) -> contextlib.AbstractContextManager[Draft]:
        """Write the artefact. Killed or failed half way, it leaves nothing under the final name; shards that
        were finished are found by the next who holds the lock."""
        return self._store._draft(self._kind, self._key)


class Store:
    """All artefacts below one folder, which several processes may share. `report` is told of damaged files,
    one line each."""

    def __init__(self, root: Path, report: Callable[[str], None] = lambda message: None) -> None:
        self._look_into(root, report)
        if not str(root.absolute()).isprintable():
            raise UserError(
                f"store {root}: safetensors reads no path that is not text; choose another folder with"
                " --store or --results"
            )
        try:
            for folder in ("tmp", "locks", "state"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            probe = root / "tmp" / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
            self._drafts.sweep()
        except OSError as error:
            raise UserError(
                f"store {root}: cannot be written ({error.strerror or error}); choose another folder with"
                " --store or --results"
            ) from None

    def _look_into(self, root: Path, report: Callable[[str], None]) -> None:
        self.root, self.report = root, report
        self._verified: set[Path] = set()
        self._damaged: set[Path] = set()
        self._drafts, self._stamps = Drafts(root / "tmp"), Stamps(root / "seen")
        self._writes = True

    @classmethod
    def opened(cls, root: Path) -> Store:
        """A store that is only looked at: it must be there, and no folder is made."""
        if not cls.holds_artefacts(root):
            raise UserError(f"store {root}: holds no artefacts")
        store = cls.__new__(cls)
        store._look_into(root, lambda message: None)
        store._writes = False
        return store

    @staticmethod
    def holds_artefacts(root: Path) -> bool:
        """Whether a folder is a store with something in it."""
        return any((root / kind).is_dir() for kind in HOLDS)

    def damage(self, kind: str, key: str) -> str:
        """What is wrong with an artefact's files, every byte of which is read, in one line; empty where they
        are whole (or not there)."""
        return damage(self._folder(kind, key), kind) if self.has(kind, key) else ""

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the artefact is there (not whether its bytes are sound: `get` checks that)."""
        return (self._folder(kind, key) / MANIFEST).is_file()

    def get(self, kind: str, key: str) -> Artefact | None:
        """The artefact; None where it is missing or damaged, which is reported once. Only who makes it again,
        and holds its lock, takes the remains away.

        Checksums are verified once per process. A large artefact that was whole when it was last read is
        known by the sizes and times of its files (see `Stamps`)."""
        folder = self._folder(kind, key)
        if not (folder / MANIFEST).is_file():
            return None
        if folder not in self._verified:
            wrong = "" if self._stamps.known(folder) else self._read(folder, kind)
            if wrong:
                if folder not in self._damaged:
                    self.report(f"damaged {kind} {key[:12]}: {wrong}; it will be made again")
                self._damaged.add(folder)
                return None
            self._verified.add(folder)
        return Artefact(folder)

    def _read(self, folder: Path, kind: str) -> str:
        before = looks(folder)
        wrong = damage(folder, kind)
        if not wrong and self._writes:
            self._stamps.remember(folder, before)
        return wrong

    @contextlib.contextmanager
    def lock(self, kind: str, key: str) -> Iterator[Lock]:
        """The lock of one artefact, held while it is looked for once more and made, so that processes that
        share a store do not do the same work, nor meet in it. Whoever waits for long is told for whom."""
        path = self.root / "locks" / f"{kind}-{key}.lock"
        lock, holder = FileLock(path), path.with_suffix(".holder")
        try:
            lock.acquire(timeout=ANNOUNCED_AFTER)
        except Timeout:
            self.report(f"waiting for {kind} {key[:12]}, which {_holder(holder)} is making")
            lock.acquire()
        except OSError as error:
            raise CannotKeep(self.root, error) from None
        try:
            with contextlib.suppress(OSError):  # it only tells those who wait
                holder.write_text(json.dumps(me() | {"since": time.strftime("%H:%M:%S")}))
            yield Lock(self, kind, key)
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    @contextlib.contextmanager
    def _draft(self, kind: str, key: str) -> Iterator[Draft]:
        final, folder = self._folder(kind, key), None
        try:
            folder = self._drafts.begin(kind, key, final)
            draft = Draft(folder)
            yield draft
            draft.finish(kind)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(folder, final)
            except OSError:
                # A whole one made without our lock (another machine) is a harmless duplicate; remains that
                # are not whole make way.
                whole = not damage(final, kind)
                self._drafts.remove(folder if whole else final)
                if not whole:
                    os.rename(folder, final)
            fsync(final.parent)
            self._verified.add(final)
            self._stamps.remember(final, looks(final))
        except (OSError, safetensors.SafetensorError) as error:  # the second is how a full disk shows there
            if isinstance(error, OSError) and not self._mine(error):
                raise
            raise CannotKeep(self.root, error) from None
        finally:
            if folder is not None and folder.exists():
                self._drafts.leave(folder)

    def _mine(self, error: OSError) -> bool:
        """Whether an error is of the store's disk, not of what is read meanwhile (a user's image)."""
        name = error.filename
        return error.errno in _NO_ROOM or (
            isinstance(name, str) and os.path.abspath(name).startswith(os.path.abspath(self.root) + os.sep)
        )

    def save_state(self, key: str, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Replace the resumable state of a training in progress, atomically."""
        path = self.root / "state" / f"{key}.safetensors"
        copies = {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}
        try:
            with replacing(path) as draft:
                save_file(copies, draft, metadata={"scalars": json.dumps(scalars)})
        except (OSError, safetensors.SafetensorError) as error:
            self.report(f"training state {key[:12]} cannot be saved, a kill would cost it: {one_line(error)}")

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


def _holder(file: Path) -> str:
    """Who holds a lock, as far as it is known."""
    try:
        about = json.loads(file.read_text())
        return f"process {about['pid']} on {about['host']} (since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
