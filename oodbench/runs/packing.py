"""What is done when all of a run is made: its outputs and choices, until then a folder each, and its scores,
until then a pack of those that were made together, become one pack. Nothing is removed before what takes its
place is on the disk under its final name, so that a kill at any moment leaves both or one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from oodbench.core.errors import one_line
from oodbench.runs.artefact import MANIFEST, fsync
from oodbench.runs.drafts import PACK
from oodbench.runs.pack import Files, Name, Pack, Piece, copy_out, write_pack
from oodbench.runs.packs import SUFFIX
from oodbench.suite.run import ArrayRun, Run

if TYPE_CHECKING:
    from oodbench.runs.store import Store

CAP = 2**30
"""Bytes above which an artefact stays as it is."""
_TRIES = 5


def address(run: Run) -> str:
    """Where the scores and choices of a run are packed, and what is extracted through its network: its key,
    which everything that is made of its weights depends on. Scores of ready outputs depend on two or three
    of the sets, the key of their run on all, so theirs is that of the ID test set."""
    return run.outputs_key("test") if isinstance(run, ArrayRun) else run.key


def addresses(run: Run) -> tuple[str, ...]:
    """All addresses where something of a run may be packed: outputs of an ensemble lie with its members."""
    return tuple(dict.fromkeys([address(run), *(source.key for source in run.sources)]))


def pack_run(store: Store, run: Run) -> None:
    """Pack everything of a run that this process has made or found unpacked. Where there is no room for
    that, it stays as it is, which is told."""
    for one in addresses(run):
        try:
            pack(store, one)
        except OSError as error:
            store.report(f"the artefacts of {run.title} stay unpacked: {one_line(error)}")


def pack(store: Store, at: str) -> None:
    """Pack what belongs to an address. OSError where it cannot be written; everything is as it was then."""
    for left in reversed(range(_TRIES)):
        try:
            _Packing(store, at).work()
            return _announce(store, at)
        except FileNotFoundError:  # another process was quicker: what is left of it is seen anew
            if not left:
                raise


def put(store: Store, at: str, artefacts: Mapping[Name, Mapping[str, bytes]]) -> None:
    """Store small artefacts that were made together, as a pack of their own. OSError where it cannot be
    written."""
    pieces = {
        n: {f: Piece(data, 0, len(data)) for f, data in files.items()} for n, files in artefacts.items()
    }
    _publish(store, at, pieces)


def _publish(store: Store, at: str, artefacts: Mapping[Name, Files]) -> Path:
    """Write a pack and give it its name."""
    drafts, packs = store._drafts, store.packs
    draft = drafts.fresh(PACK, at)
    try:
        content = write_pack(draft / "pack", list(artefacts.items()))
        place = packs.folder(at) / f"{content}{SUFFIX}"
        if place.exists() and not _is_whole(place):  # whoever knows that one will remove it by its name
            place = place.with_name(f"{content}-{draft.name[-8:]}{SUFFIX}")
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(draft / "pack", place)
        for folder in (place.parent, *place.parents[1:3]):
            fsync(folder)
    finally:
        drafts.remove(draft)
    for pack in packs.of(at, anew=True):
        if pack.path == place:
            packs.written(pack)
    packs.unannounced.add(place)
    return place


def _announce(store: Store, at: str, only: Path | None = None) -> None:
    """Tell of the packs of a run that are there to stay. Those in which scores are put as they are made are
    mostly gone when all of it is packed."""
    for pack in store.packs.of(at):
        if pack.path in store.packs.unannounced and only in (None, pack.path):
            store._packed(at, pack.path)
            store.packs.unannounced.discard(pack.path)


class _Old(NamedTuple):
    """An unpacked artefact: its name and its folder."""

    name: Name
    folder: Path


class _Packing:
    def __init__(self, store: Store, at: str) -> None:
        self._store, self._packs, self._at = store, store.packs, at

    def work(self) -> None:
        unpacked = [_Old(n, self._store._folder(*n)) for n in sorted(self._store.unpacked(self._at))]
        packs = self._packs.of(self._at, anew=bool(unpacked))
        old = [one for one in unpacked if (one.folder / MANIFEST).is_file()]
        there = {n for pack in packs for n in pack.names}
        twice = [one for one in old if one.name in there and self._is_packed(one.name)]
        single = [one for one in old if one not in twice and self._fits(one)]
        joined = self._packs.to_join(self._at, sum(_size(one.folder) for one in single))
        if not (twice or single or joined):
            return
        new = self._write(single, joined) if single or joined else None
        if new is not None:
            _announce(self._store, self._at, new)  # what is removed next may be removed elsewhere too
        self._remove([*twice, *single], joined, new)

    def _is_packed(self, name: Name) -> bool:
        """Whether some pack holds an artefact, and whole."""
        return any(not self._packs.damage(p, name) for p in self._packs.holding(name, self._at))

    def _fits(self, one: _Old) -> bool:
        return _size(one.folder) <= CAP and self._store.is_whole(*one.name)

    def _write(self, single: list[_Old], joined: list[Pack]) -> Path | None:
        """A new pack of unpacked artefacts and of what is whole in other packs; returns where it lies, None
        where nothing is."""
        artefacts = self._gathered(single, joined)
        return _publish(self._store, self._at, artefacts) if artefacts else None

    def _gathered(self, single: list[_Old], joined: list[Pack]) -> dict[Name, Files]:
        artefacts = {one.name: _files(one.folder) for one in single}
        for pack in joined:
            for name in pack.names - artefacts.keys():
                if not self._packs.damage(pack, name):
                    artefacts[name] = pack.files(name)
        for pack in joined:
            for name in pack.names - artefacts.keys():
                self._take_out(pack, name)
        return artefacts

    def _take_out(self, pack: Pack, name: Name) -> None:
        """Outputs of which a part is damaged, out of a pack that will go: whoever needs them makes the rest
        again."""
        final = self._store._folder(*name)
        if name[0] == "outputs" and not final.exists() and not self._is_packed(name):
            draft = self._store._drafts.fresh(PACK, self._at)
            copy_out(pack.files(name), draft)
            final.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                os.rename(draft, final)
            self._store._drafts.done(draft)

    def _remove(self, old: list[_Old], joined: list[Pack], new: Path | None) -> None:
        """What lies in a pack now, or in a larger one."""
        self._store.forget(self._at, [one.name for one in old])
        self._store._drafts.remove(*(one.folder for one in old))
        for folder in {one.folder.parent for one in old}:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        packs = self._packs.of(self._at, anew=True)
        gone = [p for p in joined if p.path != new]
        if len(packs) - len(gone) > 1:
            gone += [p for p in self._packs.contained(self._at) if p not in gone]
        for pack in gone:
            self._packs.remove(pack)
        for path in [p for p in self._packs.nonsense if p.parent == self._packs.folder(self._at)]:
            path.unlink(missing_ok=True)
            self._packs.nonsense.discard(path)
        self._packs.of(self._at, anew=bool(gone))


def _is_whole(place: Path) -> bool:
    """Whether a pack is there whose every artefact is whole."""
    try:
        pack = Pack(place)
        return not pack.hurt and not any(pack.damage(name) for name in pack.names)
    except (OSError, ValueError):
        return False


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir())


def _files(folder: Path) -> Files:
    return {f.name: Piece(f, 0, f.stat().st_size) for f in folder.iterdir()}
