"""What a large set consists of, listed once: files, labels and a digest of the content, kept so that the
second start is quick."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from oodbench.core.errors import UserError, one_line
from oodbench.core.files import readable, replace, replacing
from oodbench.core.identity import file_sha256, fingerprint
from oodbench.data.sources.paths import coded, decoded, kind_of, printable
from oodbench.data.sources.roots import cache_folder, note, trust

_VERSION = 3
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
    """Files of a set in order, their labels, the first 16 bytes of the sha256 of each, the sha256 over names,
    labels and contents, and what was skipped, with the reason."""

    paths: Lines
    labels: np.ndarray
    contents: np.ndarray
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
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = load(readable(place).read_bytes())
        about = json.loads(data.pop("about").tobytes())
        skipped = tuple(about["skipped"])
        found = Index(
            Lines(data["block"], data["ends"]), data["labels"], data["contents"], about["digest"], skipped
        )
        seen = _Seen(data["sizes"], data["times"], [tuple(s) for s in about["unread"]])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None
    return found if _unchanged(found.paths, root, seen) else None


class _Seen(NamedTuple):
    """Size and time of every file of an index, and (path, size, time) of what was skipped."""

    sizes: Sequence[int] | np.ndarray
    times: Sequence[int] | np.ndarray
    unread: Sequence[tuple[Any, ...]]


def _unchanged(paths: Lines, root: Path, seen: _Seen) -> bool:
    """Whether the files are as they were, those too that could not be read."""
    n, base = len(paths), str(root)
    places = range(n) if n <= ALL_CHECKED else range(0, n, n // SOME_CHECKED)
    return all(_looks(f"{base}/{paths[i]}") == (seen.sizes[i], seen.times[i]) for i in places) and all(
        _looks(f"{base}/{path}") == (size, time) for path, size, time in seen.unread
    )


def _looks(file: str) -> tuple[int, int]:
    """Size and time of a file; -1 for what is none."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return -1, -1
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else (-1, -1)


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
        seen = os.stat(file)
        if not stat.S_ISREG(seen.st_mode):  # never waited for
            return _Read(reason=f"{printable(str(file))}: is {kind_of(seen.st_mode)}, no image file")
        content = file_sha256(file)
    except FileNotFoundError:
        return _Read(reason=f"no such file: {printable(str(file))}")
    except (OSError, ValueError) as error:
        why = one_line(getattr(error, "strerror", None) or error)
        return _Read(reason=f"{one_line(printable(str(file)))}: cannot be read ({why})")
    return _Read(content, seen.st_size, seen.st_mtime_ns, check(file) if check else "")


def _made(
    root: Path,
    items: Callable[[], Iterator[Item]],
    skip: bool,
    check: Callable[[Path], str] | None,
    place: Path,
) -> Index:
    """The index, by reading every file, and kept at `place` for the next start."""
    paths, labels, contents, sizes, times = [], [], [], [], []
    skipped: list[str] = []
    unread: list[tuple[str, int, int]] = []
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
                    unread.append((item.path, *_looks(f"{root}/{item.path}")))
                    continue
                paths.append(item.path)
                labels.append(item.label)
                contents.append(bytes.fromhex(read.sha256[:32]))
                sizes.append(read.size)
                times.append(read.time)
                sha.update(coded(f"{item.path}\0{item.label}\0{read.sha256}\n"))
    found = Index(
        Lines.of(paths), np.asarray(labels, np.int64),
        np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 16), sha.hexdigest(), tuple(skipped),
    )  # fmt: skip
    _keep(found, place, _Seen(sizes, times, unread))
    return found


def _keep(found: Index, place: Path, seen: _Seen) -> None:
    from safetensors.numpy import save

    about = json.dumps({"digest": found.digest, "skipped": found.skipped, "unread": seen.unread})
    data = {
        **found.paths.arrays,
        "labels": found.labels,
        "contents": found.contents,
        "sizes": np.asarray(seen.sizes, np.int64),
        "times": np.asarray(seen.times, np.int64),
        "about": np.frombuffer(about.encode(), np.uint8),
    }
    with contextlib.suppress(OSError):  # an index that cannot be kept is made again
        place.parent.mkdir(parents=True, exist_ok=True)
        replace(place, save(data))


def kept(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` finds out about a set, from the cache where it is there under `name`, which says by its
    digest of which content."""
    place = cache_folder() / "arrays" / f"{name}.npy"
    try:
        return np.load(readable(place), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        found = make()
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as draft, open(draft, "wb") as file:
            np.save(file, found, allow_pickle=False)
    return found
