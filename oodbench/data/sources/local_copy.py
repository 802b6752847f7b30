"""Copies of data files on a machine's own disk, where the settings name a folder for them: whatever lies far
away is read once per machine, by the process that needs it first, and from the copy by all others.

A copy is only a quicker way to the same bytes. Names, digests and messages are those of the file itself; a
copy that is not whole, or of other content than the set was listed with, is not used; and where none can be
kept, one warning says so and the file is read where it lies. The folder may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from filelock import FileLock

from oodbench.core.errors import one_line
from oodbench.core.files import draft_of, remove_left
from oodbench.core.identity import file_sha256, fingerprint
from oodbench.data.sources.content import mark
from oodbench.data.sources.decoding import Color, decode
from oodbench.data.sources.locks import alone
from oodbench.data.sources.paths import printable
from oodbench.data.sources.roots import local_data, trust

T = TypeVar("T")

_HEAD = struct.Struct("<IQ")
"""Before the bytes of a copied image: their crc32 and how many they are. A copy that a machine's crash has
cut is told by them, so that nobody waits for the disk when it is written."""
_PER_FOLDER, _TURNS = 1000, 128


class NoCopy(UserWarning):
    """No copies can be kept; what is read is read where it lies."""


class Place(NamedTuple):
    """Where the copy of one image of a set is kept, and the 16 bytes that tell its content: the sha256 of all
    of it, or its mark. `doubted`: they are compared whenever it is read, not only when it is made."""

    folder: str
    number: int
    content: bytes
    marked: bool
    doubted: bool

    @property
    def file(self) -> Path:
        return Path(self.folder, str(self.number // _PER_FOLDER), str(self.number))

    @property
    def root(self) -> str:
        """The folder of all copies."""
        return str(Path(self.folder).parents[1])

    def is_of(self, data: bytes) -> bool:
        """Whether these are the bytes that the set was listed with."""
        return (mark(data) if self.marked else hashlib.sha256(data).digest()[:16]) == self.content


class Source(NamedTuple):
    """An image file, and where a copy of it is kept, if one is."""

    file: str
    copy: Place | None = None


def folder_of(digest: str) -> str:
    """Where the copies of a set's images are kept, empty where none are."""
    local = local_data()
    return "" if local is None else str(local / "images" / digest[:32])


def pixels(source: Source, color: Color) -> np.ndarray:
    """An image decoded, from its copy where there is one or one can be made; raises what `decode` raises of
    the file itself."""
    data = _held(source.file, source.copy) if source.copy is not None else None
    if data is not None:
        with contextlib.suppress(Exception):  # the file itself says what is wrong with it, by its name
            return decode(source.file, color, data)
    return decode(source.file, color)


def _held(file: str, copy: Place) -> bytes | None:
    """The bytes of an image, read where it lies by one process of this machine; None where no copies can be
    kept."""
    data = _read(copy)
    if data is not None or copy.root in _given_up:
        return data
    try:
        copy.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(Path(copy.folder, f"{copy.number % _TURNS}.lock"), poll_interval=0.002):
            return _read(copy) or _copied(file, copy)
    except (OSError, NotImplementedError) as error:  # the second: a disk without locks
        _give_up(copy.root, error)
        return None


def _read(copy: Place) -> bytes | None:
    """The bytes of a copy; None where there is none, or it is not whole."""
    try:
        found = copy.file.read_bytes()
        crc, size = _HEAD.unpack_from(found)
    except (OSError, struct.error):
        return None
    data = found[_HEAD.size :]
    whole = len(data) == size and zlib.crc32(data) == crc
    return data if whole and not (copy.doubted and not copy.is_of(data)) else None


def _copied(file: str, copy: Place) -> bytes | None:
    """The bytes of a file, of which a copy is made if they are those of the set; None where it cannot be
    read. The turn of the image is ours."""
    try:
        data = Path(file).read_bytes()
    except OSError:
        return None
    if copy.is_of(data):
        draft = copy.file.with_suffix(".tmp")  # the next who has the turn writes over what a kill left
        try:
            draft.write_bytes(_HEAD.pack(zlib.crc32(data), len(data)) + data)
            draft.replace(copy.file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            _give_up(copy.root, error)
    return data


# ---------------------------------------------------------------- what is read as a whole

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
"""Files that lie beside what was unpacked from them."""


def through_copy(place: Path, read: Callable[[Path], T], only: Sequence[str] = ()) -> T:
    """What `read` makes of a large file, or of a folder whose files a library opens, by a copy on this
    machine where one is kept; of the place itself where that fails, so that every message names it. `only`:
    the files and folders that are copied of a folder, all where it is empty."""
    copy = _copy_of(place, only)
    if copy is not None:
        with contextlib.suppress(Exception):
            return read(copy)
    return read(place)


def _copy_of(place: Path, only: Sequence[str]) -> Path | None:
    """The copy of a file or a folder as it looks now, made where it is missing; None where none is kept."""
    local = local_data()
    if local is None or str(local) in _given_up:
        return None
    try:
        files = _files(place, only)
        if not files:
            return None
        copy = local / "files" / fingerprint([str(place.resolve()), files])[:32]
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not _is_copy(copy, place, files):
            with alone(copy):
                if not _is_copy(copy, place, files):
                    _make_copy(copy, place, files, only)
    except _Changes:
        return None
    except (OSError, NotImplementedError) as error:
        _give_up(str(local), error)
        return None
    return copy / place.name if place.is_file() else copy


Looks = list[tuple[str, int, int]]
"""Name, size and time of each file."""


def _files(place: Path, only: Sequence[str]) -> Looks:
    """The files of a folder at any depth, or the file itself, relative to where they lie."""
    start = place.parent if place.is_file() else place
    found: list[Path] = []
    for top in [start / name for name in only] or [place]:
        found += [top] if top.is_file() else [f for f in sorted(top.rglob("*")) if f.is_file()]
    stats = [(f, f.stat()) for f in found if f == place or not f.name.endswith(_ARCHIVES)]
    return [(str(f.relative_to(start)), seen.st_size, seen.st_mtime_ns) for f, seen in stats]


class _Changes(Exception):
    """A file is being written: the copy would be of no state of it."""


def _make_copy(copy: Path, place: Path, files: Looks, only: Sequence[str]) -> None:
    remove_left(copy)
    draft, start = draft_of(copy), place.parent if place.is_file() else place
    try:
        draft.mkdir()
        for name, _, _ in files:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(start / name, draft / name)
            with open(draft / name, "r+b") as written:
                os.fsync(written.fileno())
        if _files(place, only) != files:
            raise _Changes
        shutil.rmtree(copy, ignore_errors=True)  # of another size, or another content
        draft.rename(copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_copy(copy: Path, place: Path, files: Looks) -> bool:
    """Whether a copy is there, by the sizes of its files; where nothing is believed, by every byte."""
    if not all((copy / name).is_file() and (copy / name).stat().st_size == size for name, size, _ in files):
        return False
    if not copy.is_dir() or trust() != "nothing":
        return copy.is_dir()
    start = place.parent if place.is_file() else place
    return all(file_sha256(copy / name) == file_sha256(start / name) for name, _, _ in files)


# ---------------------------------------------------------------- when no copies can be kept

_given_up: set[str] = set()
_told: set[str] = set()


def _give_up(local: str, error: Exception) -> None:
    """Make no more copies in a folder, and say so."""
    _given_up.add(local)
    why = one_line(getattr(error, "strerror", None) or error)
    say_once(f"{printable(local)}: no local copies can be kept there ({why}); data are read where they lie")


def say_once(line: str) -> None:
    """Warn of what is told but once by this process, whoever noticed it."""
    if line not in _told:
        _told.add(line)
        warnings.warn(line, NoCopy, stacklevel=3)
