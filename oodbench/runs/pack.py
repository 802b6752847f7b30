"""One pack: the artefacts of a run in one file, byte for byte, in place of folders of a few files each.

It is a zip archive whose members are stored as they are, each at an aligned place, so that large tensors
are mapped into memory where they lie; any unzip unpacks it, in the store's folder, to the folders that it was
made of. Its last member, `index.json`, holds two lines of JSON: the keys of each kind, and where the files of
each artefact lie. The archive's comment says where those are. Of a pack whose end is damaged the members are
found one after another by their own headers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import struct
import sys
import weakref
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from torch import Tensor

from oodbench.core.errors import one_line
from oodbench.runs import shards
from oodbench.runs.artefact import HOLDS, MANIFEST, UNREADABLE, Artefact, damage_of, is_plain
from oodbench.runs.layout import bytes_sha256, tensors_in

INDEX = "index.json"
MAPPED = 2**20
"""Bytes from which tensors are mapped into memory; smaller ones are read."""
_ALIGNED = 64
_PADDING = 0xD935
"""Extra field of a member that holds nothing but room (as the Android tools write it)."""
_WORD = b"oodbench-pack 1"
_AT_ONCE = 4 * 2**20

Name = tuple[str, str]
"""(kind, key) of an artefact."""


class Piece(NamedTuple):
    """Some bytes of a file, which is open or has a path; or of memory."""

    file: int | Path | bytes
    at: int
    size: int

    def read(self) -> bytes:
        """All of them. OSError where the file is too short."""
        found = b"".join(self.parts())
        if len(found) != self.size:
            raise OSError(f"{self.size} bytes at {self.at} were cut")
        return found

    def parts(self) -> Iterator[bytes]:
        """All of them, in pieces of a few MiB."""
        if isinstance(self.file, bytes):
            yield self.file[self.at : self.at + self.size]
            return
        fd = self.file if isinstance(self.file, int) else os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        at, end = self.at, self.at + self.size
        try:
            while at < end and (data := os.pread(fd, min(_AT_ONCE, end - at), at)):
                yield data
                at += len(data)
        finally:
            if fd != self.file:
                os.close(fd)


Files = Mapping[str, Piece]
"""The files of an artefact, by name."""


class Pack:
    """A pack that is open for reading; it stays readable when its file is removed. OSError where it cannot
    be opened, ValueError where nothing can be found in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        self.bytes = os.fstat(self._fd).st_size
        self.wrong: dict[Name, str] = {}
        """What has been found wrong with artefacts; empty of those that are whole."""
        self.hurt = False
        """Whether its index is damaged, so that it should be written anew."""
        try:
            self._keys, self._places = _index(self._fd, self.bytes)
        except UNREADABLE:
            self.hurt = True
            self.__dict__["places"] = _members(self._fd, self.bytes)
            self._keys, self._places = sorted(self.places), b""
            if not self._keys:
                raise ValueError("it holds no artefact that can be found") from None
        self.names = frozenset(self._keys)

    @cached_property
    def places(self) -> dict[Name, dict[str, tuple[int, int]]]:
        """Where the files of each artefact lie, and how long they are."""
        return dict(zip(self._keys, json.loads(self._places), strict=True))

    def files(self, name: Name) -> Files:
        """The files of an artefact, its manifest among them. KeyError where it is not in the pack."""
        return {n: Piece(self._fd, at, size) for n, (at, size) in self.places[name].items()}

    def mapped(self, piece: Piece) -> dict[str, Tensor]:
        """The tensors of a file in the pack, mapped into memory. OSError where the pack was cut."""
        if piece.at + piece.size > os.fstat(self._fd).st_size:  # else whoever uses it is killed
            raise OSError(f"{self.path} was cut")
        before = piece.at % mmap.ALLOCATIONGRANULARITY
        options: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        memory = mmap.mmap(
            self._fd, before + piece.size, access=mmap.ACCESS_COPY, offset=piece.at - before, **options
        )
        return tensors_in(memory, before, before + piece.size)

    def damage(self, name: Name) -> str:
        """What is wrong with an artefact, every byte of which is read the first time; empty where it is
        whole."""
        if name not in self.wrong:
            self.wrong[name] = self._damage(name)
        return self.wrong[name]

    def _damage(self, name: Name) -> str:
        def wrong(file: str, entry: Mapping[str, Any]) -> str:
            if file not in files:
                return "is missing"
            piece = files[file]
            if piece.size != entry["bytes"]:
                return "does not match its checksum"
            if "shards" in entry:
                return shards.damage_at(self._fd, piece.at, entry)
            same = bytes_sha256(self._fd, piece.at, piece.at + piece.size).hexdigest() == entry["sha256"]
            return "" if same else "does not match its checksum"

        try:
            files = self.files(name)
            manifest = files[MANIFEST].read()
        except UNREADABLE as error:
            return f"manifest unreadable ({one_line(error)})"
        return damage_of(manifest, name[0], wrong)


class Packed(Artefact):
    """An artefact in a pack, whole and verified."""

    def __init__(self, pack: Pack, name: Name) -> None:
        super().__init__(pack.path)
        self._pack, self._files = pack, pack.files(name)

    def json(self, name: str) -> Any:
        return json.loads(self._files[f"{name}.json"].read())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file; of a large one memory-mapped (copy-on-write): nothing is read until
        used."""
        piece = self._files[f"{name}.safetensors"]
        if piece.size < MAPPED:
            return tensors_in(bytearray(piece.read()), 0, piece.size)
        return self._pack.mapped(piece)

    @property
    def bytes(self) -> int:
        return sum(piece.size for piece in self._files.values())


def copy_out(files: Files, folder: Path) -> None:
    """Write the files of a packed artefact into a folder, as far as they can be read."""
    for name, piece in files.items():
        if not is_plain(name):
            continue
        with open(folder / name, "wb") as file:
            for part in piece.parts():
                file.write(part)


def _index(fd: int, size: int) -> tuple[list[Name], bytes]:
    """The names in a pack, and the line that says where they lie. ValueError where the index is not what the
    archive's end says."""
    tail = os.pread(fd, 256, max(0, size - 256))
    word, at, first, second, sha256 = tail[tail.rindex(_WORD) :].rsplit(b" ", 4)
    lines = Piece(fd, int(at), int(first) + int(second)).read()
    if word != _WORD or hashlib.sha256(lines).hexdigest().encode() != sha256:
        raise ValueError("the index does not match its checksum")
    keys = json.loads(lines[: int(first)])
    return [(kind, key) for kind in sorted(keys) for key in keys[kind]], lines[int(first) :]


def _members(fd: int, size: int) -> dict[Name, dict[str, tuple[int, int]]]:
    """Where the files of each artefact lie, as the members' own headers say, up to the first that is none."""
    found: dict[Name, dict[str, tuple[int, int]]] = {}
    at = 0
    with contextlib.suppress(struct.error, ValueError):
        while True:
            head = struct.unpack("<4s5H3L2H", os.pread(fd, 30, at))
            length, name_length, extra = head[8], head[9], head[10]
            path = PurePosixPath(os.pread(fd, name_length, at + 30).decode())
            start = at + 30 + name_length + extra
            if head[0] != b"PK\x03\x04" or start + length > size:
                break
            if len(path.parts) == 4 and path.parts[0] in HOLDS:
                kind, _, key, file = path.parts
                found.setdefault((kind, key), {})[file] = (start, length)
            at = start + length
    return {name: files for name, files in found.items() if MANIFEST in files}


def write_pack(path: Path, artefacts: Sequence[tuple[Name, Files]]) -> str:
    """Write a pack of some artefacts, and return an id of its content. It is on the disk then. OSError where
    it cannot be written, or a file of an artefact is shorter than it was."""
    ordered = sorted(artefacts, key=lambda one: one[0])
    places: list[dict[str, tuple[int, int]]] = []
    with zipfile.ZipFile(path, "w") as archive:
        for (kind, key), files in ordered:
            within = {n: _add(archive, f"{kind}/{key[:2]}/{key}/{n}", p) for n, p in sorted(files.items())}
            places.append({n: (at, files[n].size) for n, at in within.items()})
        keys: dict[str, list[str]] = {}
        for (kind, key), _ in ordered:
            keys.setdefault(kind, []).append(key)
        lines = [json.dumps(keys).encode() + b"\n", json.dumps(places).encode() + b"\n"]
        index = b"".join(lines)
        sha256 = hashlib.sha256(index).hexdigest()
        archive.writestr(_info(INDEX), index)
        assert archive.fp is not None
        at = archive.fp.tell() - len(index)
        archive.comment = b"%s %d %d %d %s" % (_WORD, at, len(lines[0]), len(lines[1]), sha256.encode())
    with open(path, "r+b") as written:
        os.fsync(written.fileno())
    return _content_id(ordered)


def _content_id(artefacts: Sequence[tuple[Name, Files]]) -> str:
    """Two packs have the same where they hold the same artefacts with the same bytes."""
    sha = hashlib.sha256()
    for (kind, key), files in artefacts:
        sha.update(f"{kind}/{key}\n".encode() + files[MANIFEST].read())
    return sha.hexdigest()[:40]


def _add(archive: zipfile.ZipFile, name: str, piece: Piece) -> int:
    """Add a file to an archive; returns where its bytes begin, which is aligned."""
    assert archive.fp is not None
    info = _info(name)
    info.file_size = piece.size
    room = -(archive.fp.tell() + 30 + len(name) + 4) % _ALIGNED
    info.extra = struct.pack("<HH", _PADDING, room) + bytes(room)
    with archive.open(info, "w") as member:
        at = archive.fp.tell()
        written = sum(member.write(part) for part in piece.parts())
    if written != piece.size:
        raise OSError(f"{name}: {written} of {piece.size} bytes could be read")
    return at


def _info(name: str) -> zipfile.ZipInfo:
    """A member whose bytes depend on nothing but its content."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o100644 << 16
    info.create_system = 3
    return info
