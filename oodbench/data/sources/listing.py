"""A list of files made into an index: each file looked at once, by many threads."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from oodbench.core.errors import UserError
from oodbench.data.sources.content import THREADS, WHOLE, Budget, Read, read_content
from oodbench.data.sources.paths import coded, decoded, printable
from oodbench.data.sources.roots import tell, trust

TOLD_EVERY = 5.0
"""Seconds between two lines that say how far a long list is."""


class Item(NamedTuple):
    """One sample of a list: its file below the root, its label, where the list says so (``train.txt:17``),
    and what is wrong with it."""

    path: str
    label: int
    where: str
    problem: str = ""


class Lines(Sequence[str]):
    """Many short texts as one block of bytes: a million of them open in no time."""

    def __init__(self, block: np.ndarray, ends: np.ndarray) -> None:
        self._block, self._ends = block, ends

    @classmethod
    def of(cls, texts: Sequence[str]) -> Lines:
        lines = [coded(t) for t in texts]
        ends = np.cumsum([len(line) for line in lines], dtype=np.int64) if lines else np.zeros(0, np.int64)
        return cls(np.frombuffer(b"".join(lines), np.uint8), ends)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The bytes of all texts and where each one ends, as the constructor takes them."""
        return {"block": self._block, "ends": self._ends}

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return decoded(bytes(self._block[self._ends[i - 1] if i else 0 : self._ends[i]]))


class Index(NamedTuple):
    """Files of a set in order, their labels, the first 16 bytes of the sha256 of each (`brief`: its mark),
    the sha256 over names, labels and these, and what was skipped, with the reason.

    A set whose files are together larger than `WHOLE` is `brief`: it is told by name, label, size and mark
    of each file, so that its first start does not read a hundred gigabytes. What every byte said when it was
    last read, if it was: `hashes`, as the `contents` of a small set, and `every`, the digest that a small set
    would have."""

    paths: Lines
    labels: np.ndarray
    contents: np.ndarray
    digest: str
    skipped: tuple[str, ...]
    brief: bool = False
    hashes: np.ndarray | None = None
    every: str = ""


class Seen(NamedTuple):
    """Size and time of every file of an index, and (path, size, time) of what was skipped."""

    sizes: Sequence[int] | np.ndarray
    times: Sequence[int] | np.ndarray
    unread: Sequence[tuple[Any, ...]]


def looks(file: str) -> tuple[int, int]:
    """Size and time of a file; -1 for what is none."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return -1, -1
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else (-1, -1)


class _List:
    """An index in the making; a million files take a few hundred bytes each."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.labels, self.sizes, self.times = array("q"), array("q"), array("q")
        self.skipped: list[str] = []
        self.unread: list[tuple[str, int, int]] = []
        self._marks, self._hashes = bytearray(), bytearray()
        self._every, self._brief = hashlib.sha256(), hashlib.sha256(b"brief\n")

    def add(self, item: Item, read: Read) -> None:
        self.paths.append(item.path)
        self.labels.append(item.label)
        self.sizes.append(read.size)
        self.times.append(read.time)
        self._marks += read.mark
        self._hashes += bytes.fromhex(read.sha256[:32])
        self._every.update(coded(f"{item.path}\0{item.label}\0{read.sha256}\n"))
        self._brief.update(coded(f"{item.path}\0{item.label}\0{read.size}\0{read.mark.hex()}\n"))

    def done(self, brief: bool) -> tuple[Index, Seen]:
        marks, hashes = (np.frombuffer(b, np.uint8).reshape(-1, 16) for b in (self._marks, self._hashes))
        all_read = len(hashes) == len(marks)
        found = Index(
            Lines.of(self.paths), np.array(self.labels, np.int64), marks if brief else hashes,
            (self._brief if brief else self._every).hexdigest(), tuple(self.skipped), brief,
            hashes if brief and all_read else None, self._every.hexdigest() if brief and all_read else "",
        )  # fmt: skip
        return found, Seen(self.sizes, self.times, self.unread)


def list_files(
    name: str,
    root: Path,
    items: Callable[[], Iterator[Item]],
    skip: bool,
    check: Callable[[Path], str] | None,
) -> tuple[Index, Seen]:
    """The index of the files that `items` lists below `root`, by looking at each of them once, and how they
    looked. `skip` and `check` as for `index_of`, whose messages these are."""
    made, listed, told = _List(), iter(items()), time.monotonic()
    budget = Budget(float("inf") if trust() == "nothing" else WHOLE)

    def look(part: Sequence[Item]) -> list[Read]:
        return [_look(root, item, budget, check if skip else None) for item in part]

    with ThreadPoolExecutor(THREADS) as pool:
        # In blocks, so that a million lines never wait in the pool's queue, and many files in one task.
        while block := list(islice(listed, 4096)):
            reads = pool.map(look, [block[i : i + 64] for i in range(0, len(block), 64)])
            for item, read in zip(block, chain.from_iterable(reads), strict=True):
                if not read.reason:
                    made.add(item, read)
                elif skip:
                    made.skipped.append(f"{item.where}: {read.reason}")
                    made.unread.append((item.path, *looks(f"{root}/{item.path}")))
                else:
                    raise UserError(f"{item.where}: {read.reason}")
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                tell(f"data set {name!r}: {len(made.paths):,} files listed in {printable(str(root))}")
    return made.done(budget.total > WHOLE)


def _look(root: Path, item: Item, budget: Budget, check: Callable[[Path], str] | None) -> Read:
    if item.problem:
        return Read(reason=item.problem)
    read = read_content(f"{root}/{item.path}", budget)
    return read if read.reason or check is None else read._replace(reason=check(root / item.path))
