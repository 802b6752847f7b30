"""What a store holds, looked at: artefacts in folders of their own and in packs. Nothing is made here."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oodbench.runs.artefact import HOLDS, MANIFEST, Artefact, damage
from oodbench.runs.pack import Name, Pack, Packed
from oodbench.runs.packs import Packs
from oodbench.runs.stamps import Stamps, looks

PACKED = ("scores", "choices", "outputs")
"""What is packed when a run is done. Weights are not: other runs start from them before their own is."""


class Lookup:
    """The artefacts below one folder, to read.

    What belongs to a run is packed with it. So methods take `of`, the run's address (`packing.address`), and
    look into its packs alone; without it into every pack of the store."""

    def _look_into(self, root: Path, report: Callable[[str], None], writes: bool) -> None:
        self.root, self.report, self._writes = root, report, writes
        self._verified: set[Path] = set()
        self._damaged: set[Name] = set()
        self._hurt: dict[Name, Pack] = {}
        self._unpacked: defaultdict[str, set[Name]] = defaultdict(set)
        self._stamps = Stamps(root / "seen")
        self.packs = Packs(
            root / "packs", self._stamps, writes, lambda said: self.report(said),
            lambda address: self._fetch_packs(address),
        )  # fmt: skip

    @staticmethod
    def holds_artefacts(root: Path) -> bool:
        """Whether a folder is a store with something in it."""
        return any((root / kind).is_dir() for kind in (*HOLDS, "packs"))

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    def has(self, kind: str, key: str, of: str = "") -> bool:
        """Whether the artefact is there (not whether its bytes are sound: `get` checks that)."""
        unpacked = (self._folder(kind, key) / MANIFEST).is_file
        if not of:
            return unpacked() or bool(self._holding(kind, key, of))
        return bool(self._holding(kind, key, of)) or unpacked() or bool(self._holding(kind, key, of, True))

    def there(self, kind: str) -> set[str]:
        """The keys of all artefacts of a kind that are not packed, looked for at once."""
        return {entry.name for start in _entries(self.root / kind) for entry in _entries(Path(start.path))}

    def packed(self, of: str) -> frozenset[Name]:
        """(kind, key) of all that is packed of a run, looked for at once."""
        return frozenset().union(*(pack.names for pack in self.packs.of(of)))

    def note_of(self, kind: str, key: str, name: str) -> Any:
        """What stands in a JSON file of an artefact that lies here unpacked, for people: nothing is checked,
        and nothing fetched. None where it cannot be read."""
        try:
            return Artefact(self._folder(kind, key)).json(name)
        except (OSError, ValueError):
            return None

    def damage(self, kind: str, key: str, of: str = "") -> str:
        """What is wrong with an artefact's files, every byte of which is read, in one line; empty where they
        are whole (or not there)."""
        folder = self._folder(kind, key)
        wrong = [damage(folder, kind)] if (folder / MANIFEST).is_file() else []
        if all(wrong):
            wrong += [p.damage((kind, key)) for p in self._holding(kind, key, of)]
        return wrong[0] if all(wrong) and wrong else ""

    def get(self, kind: str, key: str, of: str = "") -> Artefact | None:
        """The artefact; None where it is missing or damaged, which is reported once. Only who makes it again
        takes the remains away.

        Checksums are verified once per process. A large artefact or pack that was whole when it was last read
        is known by the sizes and times of its files (see `Stamps`)."""
        name, wrong = (kind, key), ""
        for find in (self._in_pack, self._in_folder, self._in_pack_by_now):
            found, why = find(name, of)
            if found is not None:
                return found
            wrong = wrong or why
        if wrong and name not in self._damaged:
            self.report(f"damaged {kind} {key[:12]}: {wrong}; it will be made again")
            self._damaged.add(name)
        return None

    def _holding(self, kind: str, key: str, of: str, anew: bool = False) -> list[Pack]:
        return self.packs.holding((kind, key), of, anew) if kind in PACKED else []

    def _in_pack(self, name: Name, of: str, anew: bool = False) -> tuple[Artefact | None, str]:
        wrong = ""
        for pack in self._holding(*name, of, anew):
            why = self.packs.damage(pack, name)
            if not why:
                return Packed(pack, name), ""
            self._hurt[name] = pack
            wrong = why
        return None, wrong

    def _in_pack_by_now(self, name: Name, of: str) -> tuple[Artefact | None, str]:
        """Another process may have packed it since we looked."""
        return self._in_pack(name, of, anew=True) if of else (None, "")

    def _in_folder(self, name: Name, of: str) -> tuple[Artefact | None, str]:
        folder = self._folder(*name)
        if not (folder / MANIFEST).is_file() and not self._fetch(*name):
            return None, ""
        if folder not in self._verified:
            wrong = "" if self._stamps.known(folder) else self._read(folder, name[0])
            if wrong:  # or it was packed while we read
                return None, wrong if (folder / MANIFEST).is_file() else ""
            self._verified.add(folder)
        self._note(name, of)
        return Artefact(folder, lambda: self._in_pack_by_now(name, of)[0]), ""

    def _read(self, folder: Path, kind: str) -> str:
        before = looks(folder)
        wrong = damage(folder, kind)
        if not wrong and self._writes:
            self._stamps.remember(folder, before)
        return wrong

    def _note(self, name: Name, of: str) -> None:
        if of and self._writes and name[0] in PACKED:
            self._unpacked[of].add(name)

    # ------------------------------------------------------------ for stores that lie elsewhere as well

    def _fetch(self, kind: str, key: str) -> bool:
        """Called where an artefact is not here: whether it lies in its place now."""
        return False

    def _fetch_packs(self, run_key: str) -> None:
        """Called before the packs of a run are opened for the first time: those that lie elsewhere may be
        brought into their folder."""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(folder) if not entry.is_file()]
    except OSError:
        return []
