"""A store on an object store, or wherever fsspec reaches by a URL: a folder here, in which all work is done,
and a copy of what is finished there.

Weights and other large artefacts are copied when they are made, each as a pack of its own; what is small
travels in the pack of its run when that is done. So a finished run is a few objects, each of which appears
whole or not at all and bears its checksums at its end; whoever fetches one believes nothing but them. Nothing
is locked there: what two machines make of one artefact is the same. The folder here may be deleted at any
time: it is filled again by what is needed."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from oodbench.core.errors import UserError, one_line
from oodbench.core.identity import fingerprint
from oodbench.data.sources.roots import cache_folder
from oodbench.runs.artefact import HOLDS, MANIFEST, Artefact, damage
from oodbench.runs.drafts import PACK
from oodbench.runs.lookup import PACKED
from oodbench.runs.pack import Name, Pack, Piece, copy_out, write_pack
from oodbench.runs.packing import CAP
from oodbench.runs.packs import SUFFIX
from oodbench.runs.remote_files import RemoteFiles, Unreachable
from oodbench.runs.remote_packs import RemotePacks
from oodbench.runs.states import State
from oodbench.runs.store import Store

Report = Callable[[str], None]

ID = "store.json"
"""The object by which a store is known again, when another has taken its place under the same URL."""
FRESH = 30.0
"""Seconds for which a list of all that is there is believed. Weights, which cost most, are asked for each."""


_CUT = "its end is damaged"
"""What is wrong with an object all of whose artefact is whole."""


class NoStore(UserError):
    """There is nothing yet under a URL."""


class RemoteStore(Store):
    """All artefacts below a URL.

    Args:
        url: such as ``s3://bucket/study``. What fsspec takes from the environment (an endpoint, credentials)
            is taken.
        report: is told of damaged objects, one line each.
        writes: whether anything may be put there.

    Raises:
        UserError: nothing can be read, or written, there; without `writes`: nothing is there (`NoStore`).
    """

    def __init__(self, url: str, report: Report = lambda message: None, writes: bool = True) -> None:
        self.url, self.remote, self._puts = url, RemoteFiles(url), writes
        self._bad: set[str] = set()
        self._listed: dict[str, tuple[float, set[str]]] = {}
        self._grouped: tuple[set[str], dict[str, list[str]]] = set(), {}
        root = cache_folder() / "stores" / fingerprint(url.rstrip("/"))[:32]
        self._kept = root / "kept" / self.remote.within(self._identity)
        try:
            super().__init__(root, report)
            self._kept.mkdir(parents=True, exist_ok=True)
        except (OSError, UserError) as error:
            why = one_line(getattr(error, "strerror", None) or error, 200)
            raise UserError(
                f"store {self.remote.url}: its folder here, {root}, cannot be written ({why}); name another"
                " place by OODBENCH_CACHE"
            ) from None

    def _look_into(self, root: Path, report: Report, writes: bool) -> None:
        super()._look_into(root, report, writes)
        self.packs: RemotePacks = RemotePacks(
            root, self._stamps, self._say, self.remote, self._drafts,
            lambda name: self._mark(f"packs-{name}"), self._puts,
        )  # fmt: skip

    def _identity(self) -> str:
        """What the store is known by, made where it is new. A store to be written is written at once, so that
        it is known before any work where that cannot be."""
        try:
            found = self.remote.read(ID)
        except FileNotFoundError:
            found = b""
        if self._puts:
            self.remote.write(ID, found or json.dumps({"id": uuid.uuid4().hex}).encode())
            found = self.remote.read(ID)
        elif not found and not any(self.remote.names(kind) for kind in (*HOLDS, "packs")):
            raise NoStore(f"store {self.remote.url}: holds no artefacts")
        return fingerprint(found.hex())[:16]

    def _mark(self, name: str) -> Path:
        """A file that is there once something is known to lie there."""
        return self._kept / name

    # ------------------------------------------------------------ what is there

    def has(self, kind: str, key: str, of: str = "") -> bool:
        here = (self._folder(kind, key) / MANIFEST).is_file()
        return here or key in self._keys(kind) or (kind, key) in (self.packed(of) if of else ())

    def there(self, kind: str) -> set[str]:
        return super().there(kind) | self._keys(kind)

    def packed(self, of: str) -> frozenset[Name]:
        return self.packs.names(of, None if self._puts else self._packs_of(of))

    def _packs_of(self, address: str) -> list[str]:
        """The packs of a run there, of a list of all of them."""
        names = self._names("packs")
        if names is not self._grouped[0]:
            groups: dict[str, list[str]] = {}
            for _, _, of, *name in (n.split("/") for n in names if n.count("/") == 3):
                groups.setdefault(of, []).extend(name)
            self._grouped = names, groups
        return self._grouped[1].get(address, [])

    def damage(self, kind: str, key: str, of: str = "") -> str:
        """What is wrong with an artefact there or here, every byte of which is read."""
        draft = self._drafts.fresh(PACK, key)
        try:
            wrong = self._fetched(kind, key, draft)
        except FileNotFoundError:
            wrong = self.packs.damage_there((kind, key), of) if of and kind in PACKED else ""
        finally:
            self._drafts.remove(draft)
        return f"{wrong} in {self.remote.url}" if wrong else super().damage(kind, key, of)

    def _keys(self, kind: str) -> set[str]:
        """The keys of all artefacts of a kind that are there by themselves."""
        return {name.split("/")[2] for name in self._names(kind) if name.count("/") >= 3}

    def _names(self, folder: str) -> set[str]:
        when, names = self._listed.get(folder, (-FRESH, set[str]()))
        if time.monotonic() - when > FRESH:
            names = self.remote.names(folder)
            self._listed[folder] = (time.monotonic(), names)
        return names

    # ------------------------------------------------------------ artefacts that travel by themselves

    def get(self, kind: str, key: str, of: str = "") -> Artefact | None:
        found, folder = super().get(kind, key, of), self._folder(kind, key)
        if found is None and (folder / MANIFEST).is_file() and self._fetch(kind, key):
            found = super().get(kind, key, of)  # what is damaged here is whole there
        if found is not None and found.folder == folder and _alone(kind, found.bytes):
            self._put(kind, key)  # as it is where an earlier process was killed before it did
        return found

    def _published(self, kind: str, key: str, folder: Path) -> None:
        try:
            size = sum(f.stat().st_size for f in folder.iterdir())
        except FileNotFoundError:  # packed by another process by now, which large ones never are
            return
        if _alone(kind, size):
            self._mark(f"{kind}-{key}").unlink(missing_ok=True)
            self._put(kind, key)

    def _put(self, kind: str, key: str) -> None:
        """Put an artefact there, unless it was."""
        mark = self._mark(f"{kind}-{key}")
        if not self._puts or mark.exists():
            return
        folder, draft = self._folder(kind, key), self._drafts.fresh(PACK, key)
        try:
            files = {f.name: Piece(f, 0, f.stat().st_size) for f in folder.iterdir()}
            write_pack(draft / "pack", [((kind, key), files)])
            self.remote.put(_object(kind, key), draft / "pack")
        finally:
            self._drafts.remove(draft)
        mark.touch()
        self._bad.discard(key)

    def _fetch(self, kind: str, key: str) -> bool:
        if key in self._bad or (kind != "weights" and key not in self._keys(kind)):
            return False
        draft = self._drafts.fresh(PACK, key)
        try:
            wrong = self._fetched(kind, key, draft)
            if wrong in ("", _CUT):
                self._publish(draft, self._folder(kind, key), kind)
                if not wrong:  # else it is put there anew
                    self._mark(f"{kind}-{key}").touch()
                return True
        except FileNotFoundError:
            return False
        finally:
            if draft.exists():
                self._drafts.remove(draft)
        self._bad.add(key)
        self.report(f"damaged {kind} {key[:12]} in {self.remote.url}: {wrong}; it will be made again")
        return False

    def _fetched(self, kind: str, key: str, draft: Path) -> str:
        """Bring the files of an artefact into a folder, and say what is wrong with them. FileNotFoundError
        where there are none."""
        packed = draft / "pack"
        try:
            self.remote.get(_object(kind, key), packed)
        except FileNotFoundError:  # or file by file, as in the folder of a store that somebody has put there
            names = {n.rpartition("/")[2]: n for n in self.remote.names(f"{kind}/{key[:2]}/{key}")}
            if MANIFEST not in names:
                raise
            for file, name in names.items():
                self.remote.get(name, draft / file)
            return damage(draft, kind)
        try:
            pack = Pack(packed)
            if (kind, key) not in pack.names:
                return "it is another artefact"
            wrong = pack.damage((kind, key))
            if not wrong:
                copy_out(pack.files((kind, key)), draft)
            return wrong or (_CUT if pack.hurt else "")
        except ValueError as error:
            return one_line(error)
        finally:
            packed.unlink()

    # ------------------------------------------------------------ packs

    def _fetch_packs(self, run_key: str) -> None:
        self.packs.fetch(run_key)

    def _packed(self, run_key: str, pack: Path) -> None:
        self.packs.replaced(run_key, pack)

    # ------------------------------------------------------------ trainings in progress

    def save_state(self, key: str, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        super().save_state(key, tensors, scalars)
        try:
            if self._state(key).is_file():
                self.remote.put(_state(key), self._state(key))
        except Unreachable as error:
            self.report(f"training state {key[:12]} is kept here only: {error}")

    def load_state(self, key: str) -> State | None:
        """The state that has come further: of this machine, or what another one has put there."""
        draft = self._drafts.fresh(PACK, key)
        try:
            self.remote.get(_state(key), draft / "state")
            epochs = _epochs(draft / "state")
            if epochs < 0:
                self.report(f"damaged training state {key[:12]} in {self.remote.url}; it is left out")
            elif epochs > _epochs(self._state(key)):
                os.replace(draft / "state", self._state(key))
        except FileNotFoundError:
            pass
        finally:
            self._drafts.remove(draft)
        return super().load_state(key)

    def drop_state(self, key: str) -> None:
        super().drop_state(key)
        self.remote.remove(_state(key))

    def _state(self, key: str) -> Path:
        return self.root / "state" / f"{key}.safetensors"


def _alone(kind: str, size: int) -> bool:
    """Whether an artefact travels by itself, and not in its run's pack."""
    return kind not in PACKED or size > CAP


def _object(kind: str, key: str) -> str:
    """The name of an artefact that travels by itself."""
    return f"{kind}/{key[:2]}/{key}/artefact{SUFFIX}"


def _state(key: str) -> str:
    return f"state/{key}.safetensors"


def _epochs(file: Path) -> int:
    """How many epochs a training state has behind it, -1 where it is none."""
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            return len(json.loads(opened.metadata()["scalars"])["history"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return -1
