"""The packs of a store: several beside one another for a run to which something was added later, found by
the run's address, and joined where they become many."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from oodbench.core.errors import one_line
from oodbench.core.files import listed
from oodbench.runs.pack import Name, Pack
from oodbench.runs.stamps import Stamps, is_large, looks

FEW = 4
"""Packs that a run may have before they are joined."""
_OPEN = 32
"""Runs whose packs are kept open."""
SUFFIX = ".zip"


class Packs:
    """All packs below one folder, ``<address[:2]>/<address>/<id of its content>.zip``. A pack never changes:
    another one takes its place, and it is removed afterwards.

    Args:
        root: the folder. It need not be there.
        stamps: which large packs have been read; None where nothing may be written.
        report: is told of packs that cannot be read.
        fetch: is called with an address before its packs are looked for the first time.
    """

    def __init__(
        self, root: Path, stamps: Stamps, writes: bool, report: Callable[[str], None],
        fetch: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.root, self._stamps, self._writes = root, stamps, writes
        self._report, self._fetch = report, fetch
        self._open: OrderedDict[str, dict[str, Pack]] = OrderedDict()
        self._told: set[Path] = set()
        self.unannounced: set[Path] = set()
        """Packs that were written here, of which nobody has been told yet."""
        self.nonsense: set[Path] = set()
        """Files in place of packs in which nothing can be found."""
        self._known: set[Path] = set()

    def folder(self, address: str) -> Path:
        """Where the packs of a run lie."""
        return self.root / address[:2] / address

    def of(self, address: str, anew: bool = False) -> Sequence[Pack]:
        """The packs of a run; `anew`: as they are now, not as they were when they were last looked for."""
        known = self._open.get(address)
        if known is None:
            self._fetch(address)
        if known is None or anew:
            known = self._opened(address, known or {})
        self._open[address] = known
        self._open.move_to_end(address)
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return list(known.values())

    def _opened(self, address: str, known: dict[str, Pack]) -> dict[str, Pack]:
        folder, found = self.folder(address), {}
        for name in listed(folder, SUFFIX):
            pack = known.get(name) or self._opened_one(folder / name)
            if pack is not None:
                found[name] = pack
        return found

    def _opened_one(self, path: Path) -> Pack | None:
        try:
            return Pack(path)
        except FileNotFoundError:  # it has been joined into another
            return None
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError):
                self.nonsense.add(path)
            if path not in self._told:
                self._told.add(path)
                what = "it is made again, as far as it is needed"
                self._report(
                    f"damaged pack {path.parent.name[:12]}/{path.name[:12]}: {one_line(error)}; {what}"
                )
            return None

    def everywhere(self) -> Iterator[Pack]:
        """Every pack of the store, those that are open first."""
        yield from (pack for packs in list(self._open.values()) for pack in packs.values())
        for address in (a for start in listed(self.root) for a in listed(self.root / start)):
            if address not in self._open:
                yield from self.of(address)

    def holding(self, name: Name, address: str, anew: bool = False) -> list[Pack]:
        """The packs that hold an artefact, whole or not: of one run, or without an address of all."""
        packs: Iterable[Pack] = self.of(address, anew) if address else self.everywhere()
        return [pack for pack in packs if name in pack.names]

    def damage(self, pack: Pack, name: Name) -> str:
        """What is wrong with an artefact in a pack; empty where it is whole. A large pack is read as a whole
        at the first time, and known by its size and time later."""
        if is_large(pack.bytes) and pack.path not in self._known:
            self._known.add(pack.path)
            before = looks(pack.path)
            if self._stamps.known(pack.path):
                self.trust(pack, pack.names)
            else:
                wrong = [why for n in sorted(pack.names) if (why := pack.damage(n))]
                if not wrong and self._writes:
                    self._stamps.remember(pack.path, before)
        return pack.damage(name)

    def trust(self, pack: Pack, names: Iterable[Name]) -> None:
        """Some artefacts in a pack are whole, and need not be read."""
        pack.wrong.update(dict.fromkeys(names, ""))

    def written(self, pack: Pack) -> None:
        """A pack was written here, of what was whole."""
        self.trust(pack, pack.names)
        self._known.add(pack.path)
        self._stamps.remember(pack.path, looks(pack.path))

    def remove(self, pack: Pack) -> None:
        """Take a pack away whose artefacts lie in another one. Who has it open reads on."""
        pack.path.unlink(missing_ok=True)
        self.unannounced.discard(pack.path)
        self._stamps.forget(pack.path)

    def to_join(self, address: str, added: int) -> list[Pack]:
        """The packs that should become one with what is `added`, in bytes: all that hold damage, those of
        which nobody knows yet, those smaller than what they are joined with, and as many as it takes for few
        to be left."""
        packs = self.of(address)
        hurt = [p for p in packs if p.hurt or any(p.wrong.values())]
        joined = [p for p in packs if p.path in self.unannounced and p not in hurt]
        if not added and len(joined) < 2:
            joined = []
        rest = [p for p in packs if p not in hurt and p not in joined]
        size, few = added + sum(p.bytes for p in joined), FEW - bool(added or joined)
        for one in sorted(rest, key=lambda p: (p.bytes, p.path.name)) if size or len(rest) > FEW else ():
            if one.bytes > size and len(rest) <= few:
                break
            few = FEW - 1  # what is joined is one of them
            joined.append(one)
            rest.remove(one)
            size += one.bytes
        return hurt + joined

    def contained(self, address: str) -> list[Pack]:
        """Packs that hold nothing but what a larger one holds too, and whole: two processes packed the same
        run. Of two that hold the same, the first by name is told, so that everyone tells the same one."""
        packs = sorted(self.of(address), key=lambda p: (len(p.names), p.path.name))
        return [
            p
            for i, p in enumerate(packs)
            if any(p.names <= q.names and not any(self.damage(q, n) for n in p.names) for q in packs[i + 1 :])
        ]
