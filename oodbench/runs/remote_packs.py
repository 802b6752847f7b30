"""The packs of a store that lies elsewhere: those of a run are fetched when they are first asked for, and put
there when they are written."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from oodbench.core.errors import one_line
from oodbench.core.files import listed
from oodbench.core.identity import file_sha256
from oodbench.runs.drafts import PACK, Drafts
from oodbench.runs.pack import Name, Pack
from oodbench.runs.packs import SUFFIX, Packs
from oodbench.runs.remote_files import RemoteFiles
from oodbench.runs.stamps import Stamps

_TAIL = 2**20
"""Bytes of a pack's end in which its index is looked for, so that a pack need not be fetched to be listed."""


class RemotePacks(Packs):
    """Packs below a folder here and below ``packs/`` there.

    Args:
        store: the folder of the store here.
        remote: what is there.
        drafts: where what is fetched is written first.
        mark: from the name of a pack, a file that is there once the pack is known to lie there.
        writes: whether anything may be put there.
    """

    def __init__(
        self, store: Path, stamps: Stamps, report: Callable[[str], None], remote: RemoteFiles, drafts: Drafts,
        mark: Callable[[str], Path], writes: bool,
    ) -> None:  # fmt: skip
        super().__init__(store / "packs", stamps, True, report, self.fetch)
        self._store, self._remote, self._drafts = store, remote, drafts
        self._mark, self._puts = mark, writes
        self._bad: dict[str, str] = {}
        self._indices: dict[str, frozenset[Name]] = {}
        self._compared: dict[str, dict[Name, str]] = {}

    def fetch(self, address: str) -> None:
        """Bring the packs of a run here, and put those there that a killed process has not."""
        for name in sorted(self._there(address)):
            if not (self.folder(address) / name).is_file() and name not in self._bad:
                self._bring(address, name)
        for name in listed(self.folder(address), SUFFIX):
            self.put(address, self.folder(address) / name)

    def put(self, address: str, pack: Path) -> None:
        """Put a pack there, unless it was."""
        mark = self._mark(pack.name)
        if self._puts and not mark.exists():
            self._remote.put(f"{_place(address)}/{pack.name}", pack)
            mark.touch()

    def replaced(self, address: str, pack: Path) -> None:
        """A pack was written here: put it there, whatever lies there under its name, and remove what was
        damaged there, all of which it holds anew or nobody needs."""
        self._mark(pack.name).unlink(missing_ok=True)
        self.put(address, pack)
        for name in [n for n, of in self._bad.items() if of == address]:
            del self._bad[name]
            if name != pack.name:
                self._remote.remove(f"{_place(address)}/{name}")

    def remove(self, pack: Pack) -> None:
        super().remove(pack)
        if self._puts:
            self._remote.remove(f"{_place(pack.path.parent.name)}/{pack.path.name}")

    def names(self, address: str, there: Iterable[str] | None = None) -> frozenset[Name]:
        """(kind, key) of all that is packed of a run here or there, for which no pack is fetched. `there`:
        the packs there, where they are known."""
        here = set(listed(self.folder(address), SUFFIX))
        there = self._there(address) if there is None else there
        return frozenset().union(*(self._index(address, name) for name in here.union(there)))

    def damage_there(self, name: Name, address: str) -> str:
        """What is wrong with an artefact in all packs there that hold it, each of which is fetched once;
        empty where one is whole, or none holds it."""
        whys = []
        for pack in sorted(self._there(address)):
            if pack not in self._compared:
                self._compared[pack] = self._compare(address, pack)
            whys += [why for of, why in self._compared[pack].items() if of in (name, _ALL)]
        return whys[0] if whys and all(whys) else ""

    # ------------------------------------------------------------

    def _there(self, address: str) -> set[str]:
        names = self._remote.names(_place(address))
        return {n.rpartition("/")[2] for n in names if n.endswith(SUFFIX)}

    def _bring(self, address: str, name: str) -> None:
        """Fetch a pack. One in which nothing can be found is left out and replaced when the run is packed;
        what is damaged in another one is found when it is read."""
        draft, wrong = self._drafts.fresh(PACK, address), ""
        try:
            self._remote.get(f"{_place(address)}/{name}", draft / "pack")
            wrong = "its index is damaged" if Pack(draft / "pack").hurt else ""
            place = self.folder(address) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft / "pack", place)
            self._mark(name).touch()
        except FileNotFoundError:  # another machine has put another one in its place
            return
        except ValueError as error:
            self._bad[name], wrong = address, one_line(error)
        finally:
            self._drafts.remove(draft)
        if wrong:
            self._report(
                f"damaged pack {address[:12]}/{name[:12]} in {self._remote.url}: {wrong}; it is made again"
                ", as far as it is needed"
            )

    def _index(self, address: str, name: str) -> frozenset[Name]:
        """(kind, key) of what a pack holds; nothing where it is damaged."""
        if name not in self._indices:
            here, draft = self.folder(address) / name, self._drafts.fresh(PACK, address)
            self._indices[name] = frozenset()
            try:
                if here.is_file():
                    self._indices[name] = Pack(here).names
                    return self._indices[name]
                for size in (_TAIL, sys.maxsize):  # the second where its index is longer, or it is damaged
                    self._remote.get_end(f"{_place(address)}/{name}", draft / "pack", size)
                    with contextlib.suppress(ValueError):
                        self._indices[name] = Pack(draft / "pack").names
                        break
            except (OSError, ValueError):
                pass  # there is no such pack, or nothing can be found in it
            finally:
                self._drafts.remove(draft)
        return self._indices[name]

    def _compare(self, address: str, name: str) -> dict[Name, str]:
        """What is wrong with each artefact in a pack there; nothing is said where it is the one that is here,
        of which others ask."""
        here, draft = self.folder(address) / name, self._drafts.fresh(PACK, address)
        try:
            self._remote.get(f"{_place(address)}/{name}", draft / "pack")
            if here.is_file() and file_sha256(here) == file_sha256(draft / "pack"):
                return {}
            pack = Pack(draft / "pack")
            return {name: pack.damage(name) for name in pack.names}
        except FileNotFoundError:
            return {}
        except ValueError as error:
            return {_ALL: one_line(error)}
        finally:
            self._drafts.remove(draft)


_ALL: Name = ("", "")
"""In place of an artefact: whatever a pack holds."""


def _place(address: str) -> str:
    return f"packs/{address[:2]}/{address}"
