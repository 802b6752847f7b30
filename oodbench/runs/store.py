"""Artefacts by key: written atomically, read verified and memory-mapped, one lock each.

An artefact is a folder ``<root>/<kind>/<key[:2]>/<key>/``. It is written under a temporary name, fsynced and
renamed, so that whatever has a final name is whole. When all of a run is made, its artefacts but for weights
become one pack (see `packing`), which is read as they were. A damaged artefact is reported and treated as
missing, until it is made again. No other module knows paths below the root.

Nothing depends on locks, which save work where they reach: what two processes make of one artefact is the
same."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from oodbench.core.errors import UserError, one_line
from oodbench.runs import locks
from oodbench.runs.artefact import Draft, damage, fsync
from oodbench.runs.drafts import Drafts
from oodbench.runs.lookup import PACKED, Lookup
from oodbench.runs.pack import Name, copy_out
from oodbench.runs.packing import put
from oodbench.runs.stamps import looks
from oodbench.runs.states import State, States

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
    """The lock of one artefact, as far as locks reach: who makes what is expensive asks for it."""

    def __init__(self, store: Store, kind: str, key: str) -> None:
        self._store, self._kind, self._key = store, kind, key

    def draft(self) -> contextlib.AbstractContextManager[Draft]:
        """Write the artefact. Killed or failed half way, it leaves nothing under the final name; shards that
        were finished are found by who makes it next."""
        return self._store._draft(self._kind, self._key)


class Store(Lookup):
    """All artefacts below one folder, which several processes may share. `report` is told of damaged files,
    one line each."""

    def __init__(self, root: Path, report: Callable[[str], None] = lambda message: None) -> None:
        self._look_into(root, report, writes=True)
        locks.wanted()
        if not str(root.absolute()).isprintable():
            raise UserError(
                f"store {root}: safetensors reads no path that is not text; choose another folder with"
                " --store or --results"
            )
        try:
            for folder in ("tmp", "locks", "state"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            self._drafts.sweep()
        except OSError as error:
            raise UserError(
                f"store {root}: cannot be written ({error.strerror or error}); choose another folder with"
                " --store or --results"
            ) from None

    def _look_into(self, root: Path, report: Callable[[str], None], writes: bool) -> None:
        super()._look_into(root, report, writes)
        self._left: set[Name] | None = None
        self._drafts, self._states = Drafts(root / "tmp"), States(root / "state", self._say)

    def _say(self, said: str) -> None:
        self.report(said)

    @classmethod
    def opened(cls, root: Path) -> Store:
        """A store that is only looked at: it must be there, and no folder is made."""
        if not cls.holds_artefacts(root):
            raise UserError(f"store {root}: holds no artefacts")
        store = cls.__new__(cls)
        store._look_into(root, lambda message: None, writes=False)
        return store

    # ------------------------------------------------------------ what is made

    @contextlib.contextmanager
    def lock(self, kind: str, key: str, of: str = "") -> Iterator[Lock]:
        """The lock of one artefact, held while it is looked for once more and made, so that processes that
        share a store do not do the same work. Whoever waits for long is told for whom."""

        def waiting(whom: str) -> None:
            self.report(f"waiting for {kind} {key[:12]}, which {whom} is making")

        self._note((kind, key), of)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locks.alone(self.root / "locks" / f"{kind}-{key}.lock", waiting))
            except OSError as error:
                raise CannotKeep(self.root, error) from None
            yield Lock(self, kind, key)

    def draft(self, kind: str, key: str, of: str = "") -> contextlib.AbstractContextManager[Draft]:
        """Write an artefact that nobody waits for another to make."""
        self._note((kind, key), of)
        return self._draft(kind, key)

    def put(self, of: str, artefacts: Mapping[Name, Mapping[str, bytes]]) -> None:
        """Store small artefacts of a run that were made together (see `in_memory`), all at once. They are so
        cheap to make that nobody waits for another who makes them."""
        try:
            put(self, of, artefacts)
        except OSError as error:
            raise CannotKeep(self.root, error) from None
        self._damaged -= artefacts.keys()

    @contextlib.contextmanager
    def _draft(self, kind: str, key: str) -> Iterator[Draft]:
        final, folder = self._folder(kind, key), None
        try:
            folder = self._begun(kind, key, final)
            draft = Draft(folder)
            yield draft
            draft.finish(kind)
            self._publish(folder, final, kind)
            with contextlib.suppress(FileNotFoundError):  # packed by another process by now
                fsync(final.parent)
            self._published(kind, key, final)
            self._verified.add(final)
            self._damaged.discard((kind, key))
            self._stamps.remember(final, looks(final))
        except (OSError, safetensors.SafetensorError) as error:  # the second is how a full disk shows there
            if isinstance(error, OSError) and not self._mine(error):
                raise
            raise CannotKeep(self.root, error) from None
        finally:
            if folder is not None and folder.exists():
                self._drafts.leave(folder)

    def _begun(self, kind: str, key: str, final: Path) -> Path:
        """A folder to write in, with what is whole of the artefact; one that another process has made again
        meanwhile is left alone."""
        damaged = final if final.exists() and damage(final, kind) else self.root / "none"
        folder, hurt = self._drafts.begin(kind, key, damaged), self._hurt.pop((kind, key), None)
        if hurt is not None and not any(folder.iterdir()):
            copy_out(hurt.files((kind, key)), folder)
        return folder

    def _publish(self, folder: Path, final: Path, kind: str) -> None:
        """Give a finished draft its name. A whole artefact of that name, made by somebody else, is a harmless
        duplicate; remains that are not whole make way."""
        for left in reversed(range(20)):
            try:
                os.rename(folder, final)
                break
            except OSError as error:
                if os.path.lexists(final):
                    if not damage(final, kind):
                        self._drafts.remove(folder)
                        break
                    self._drafts.remove(final)
                elif folder.exists() and isinstance(error, FileNotFoundError):
                    final.parent.mkdir(parents=True, exist_ok=True)
                elif not final.exists():
                    raise
                if not left:
                    raise
        self._drafts.done(folder)

    def _mine(self, error: OSError) -> bool:
        """Whether an error is of the store's disk, not of what is read meanwhile (a user's image)."""
        name = error.filename
        return error.errno in _NO_ROOM or (
            isinstance(name, str) and os.path.abspath(name).startswith(os.path.abspath(self.root) + os.sep)
        )

    # ------------------------------------------------------------ what is packed

    def unpacked(self, of: str) -> set[Name]:
        """What belongs to a run and may lie unpacked: what this process has made or found so, and what is
        packed but was not taken away by a process that was killed."""
        if self._left is None:
            self._left = {(kind, key) for kind in PACKED for key in self.there(kind)}
        return self._unpacked[of] | (self._left & self.packed(of) if self._left else set())

    def forget(self, of: str, names: Iterable[Name]) -> None:
        """These lie in a pack now."""
        self._unpacked.pop(of, None)
        for name in names:
            folder = self._folder(*name)
            self._verified.discard(folder)
            self._stamps.forget(folder)
            if self._left:
                self._left.discard(name)

    def is_whole(self, kind: str, key: str) -> bool:
        """Whether an unpacked artefact is whole, read unless this process has done so."""
        return self._in_folder((kind, key), "")[0] is not None

    # ------------------------------------------------------------ for stores that lie elsewhere as well

    def _published(self, kind: str, key: str, folder: Path) -> None:
        """Called when an artefact has got its final name."""

    def _packed(self, run_key: str, pack: Path) -> None:
        """Called when a pack of a run has got its final name."""

    def save_state(self, key: str, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Replace the resumable state of a training in progress, atomically."""
        self._states.save(key, tensors, scalars)

    def load_state(self, key: str) -> State | None:
        """The state of a training in progress, None where there is none that can be read."""
        return self._states.load(key)

    def drop_state(self, key: str) -> None:
        """Forget the state of a training that is done."""
        self._states.drop(key)
