"""What a large set consists of, listed once: files, labels and a digest of the content, kept so that the
second start is quick."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from oodbench.core.errors import UserError
from oodbench.core.files import replacing
from oodbench.core.identity import file_sha256, fingerprint
from oodbench.data.sources.roots import cache_folder, note, trust

_VERSION = 2
ALL_CHECKED = 100_000
"""Of at most so many files the size and the time of each are compared with the index; of more,"""
SOME_CHECKED = 2_000
"""so many, evenly spaced."""


class NotIndexed(UserError):
    """A folder is here, but no index of it was kept, and none may be made now."""


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
        coded = [t.encode() for t in texts]
        ends = np.cumsum([len(c) for c in coded], dtype=np.int64) if coded else np.zeros(0, np.int64)
        return cls(np.frombuffer(b"".join(coded), np.uint8), ends)

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
        return bytes(self._block[self._ends[i - 1] if i else 0 : self._ends[i]]).decode()


class Index(NamedTuple):
    """Files of a set in order, their labels and sizes, the sha256 over names, labels and content, and what
    was skipped, with the reason."""

    paths: Lines
    labels: np.ndarray
    digest: str
    skipped: tuple[str, ...]


def index_of(
    name: str, root: Path, stamp: str, items: Callable[[], Iterator[Item]], *, skip: bool = False,
    check: Callable[[Path], str] | None = None,
) -> Index:  # fmt: skip
    """The index of the files that `items` lists under `root`, from the cache where `stamp` and the files are
    as they were.

    `stamp` changes when the list does. Sizes and times of all files are compared, of `SOME_CHECKED` evenly
    spaced ones where there are more than `ALL_CHECKED` (``oodbench data verify`` reads every byte). With
    `skip`, samples that are missing or for which `check` gives a reason are left out and counted; without it
    the first missing one raises UserError with its line."""
    note(root)
    place = (
        cache_folder()
        / "index"
        / f"{fingerprint([_VERSION, str(root.resolve()), name, stamp, skip])[:32]}.safetensors"
    )
    found = _cached(place, root) if trust() != "nothing" else None
    if found is None:
        if trust() == "presence":
            raise NotIndexed(f"{root}: has not been read yet")
        found = _made(root, items, skip, check, place)
    if found.skipped:  # said at every start, not only at the one that found out
        warnings.warn(
            f"data set {name!r}: {len(found.skipped)} samples skipped, the first: {found.skipped[0]}",
            stacklevel=2,
        )
    return found


def _cached(place: Path, root: Path) -> Index | None:
    from safetensors import SafetensorError, safe_open

    if not place.is_file():
        return None
    try:
        with safe_open(place, framework="numpy") as f:
            data = {k: f.get_tensor(k) for k in ("block", "ends", "labels", "sizes", "times")}
            about = json.loads(f.metadata()["about"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    found = Index(
        Lines(data["block"], data["ends"]), data["labels"], about["digest"], tuple(about["skipped"])
    )
    n = len(found.labels)
    places = range(n) if n <= ALL_CHECKED else range(0, n, n // SOME_CHECKED)
    base = str(root)
    for i in places:
        try:
            stat = os.stat(f"{base}/{found.paths[i]}")
        except OSError:
            return None
        if stat.st_size != data["sizes"][i] or stat.st_mtime_ns != data["times"][i]:
            return None
    return found


class _Read(NamedTuple):
    """What is seen of one file: sha256 of its content, size and time; or why it is no sample."""

    sha256: str = ""
    size: int = 0
    time: int = 0
    reason: str = ""


def _read(root: Path, item: Item, check: Callable[[Path], str] | None) -> _Read:
    if item.problem:
        return _Read(reason=item.problem)
    file = root / item.path
    try:
        stat = os.stat(file)
        content = file_sha256(file)
    except FileNotFoundError:
        return _Read(reason=f"no such file: {file}")
    except OSError as error:
        return _Read(reason=str(error))
    return _Read(content, stat.st_size, stat.st_mtime_ns, check(file) if check else "")


def _made(
    root: Path,
    items: Callable[[], Iterator[Item]],
    skip: bool,
    check: Callable[[Path], str] | None,
    place: Path,
) -> Index:
    """The index, by reading every file, and kept at `place` for the next start."""
    paths, labels, sizes, times, skipped = [], [], [], [], []
    sha = hashlib.sha256()
    listed = iter(items())
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        # In blocks, so that a million lines never wait in the pool's queue.
        while block := list(islice(listed, 4096)):
            reads = pool.map(partial(_read, root, check=check if skip else None), block)
            for item, read in zip(block, reads, strict=True):
                if read.reason:
                    if not skip:
                        raise UserError(f"{item.where}: {read.reason}")
                    skipped.append(f"{item.where}: {read.reason}")
                    continue
                paths.append(item.path)
                labels.append(item.label)
                sizes.append(read.size)
                times.append(read.time)
                sha.update(f"{item.path}\0{item.label}\0{read.sha256}\n".encode())
    found = Index(Lines.of(paths), np.asarray(labels, np.int64), sha.hexdigest(), tuple(skipped))
    _keep(found, place, sizes, times)
    return found


def _keep(found: Index, place: Path, sizes: Sequence[int], times: Sequence[int]) -> None:
    from safetensors.numpy import save_file

    data = {
        **found.paths.arrays,
        "labels": found.labels,
        "sizes": np.asarray(sizes, np.int64),
        "times": np.asarray(times, np.int64),
    }
    about = {"about": json.dumps({"digest": found.digest, "skipped": found.skipped})}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as draft:
            save_file(data, draft, about)
    except OSError:
        pass  # an index that cannot be kept is made again
