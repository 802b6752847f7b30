"""Archives, unpacked member by member: nothing lands outside, no more than an archive can honestly hold,
whole or not at all. What the libraries promise of that depends on their patch level."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from oodbench.core.errors import UserError, one_line, shown
from oodbench.core.files import readable
from oodbench.data.sources.locks import alone

_LEAST, _RATIO = 2**25, 100
"""An archive may unpack to so many bytes, or to so many times its own size: images hardly shrink."""
_DEEPEST = 100
"""Folders in one another."""
_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open,
}  # fmt: skip
_FOREIGN = {
    b"Rar!": "RAR", b"7z\xbc\xaf": "7z", b"\x28\xb5\x2f\xfd": "zstandard", b"\x1f\x9d": "compress",
}  # fmt: skip


class _Member(NamedTuple):
    """One member of an archive. `target` is where a link leads: below the archive's root, as the name is."""

    name: str
    kind: Literal["file", "folder", "link"]
    size: int = 0
    target: str = ""
    open: Callable[[], IO[bytes] | None] = lambda: None


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or a zip.

    Files and folders alone are made, with the rights of any new file. A link to a file of the archive becomes
    a copy of that.

    Args:
        archive: the file.
        folder: made if it is not there; files of the same names in it are replaced.

    Raises:
        UserError: the archive is damaged, encrypted or of another kind, unpacks to far more than it could
            hold, or has a member that lies or leads outside or is no file. Nothing has been unpacked then.
    """
    new = not os.path.lexists(folder)
    try:
        limit = max(_LEAST, _RATIO * readable(archive).stat().st_size)
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            draft = folder / ".unpacking"
            shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
            draft.mkdir()
            try:
                _fill(draft, archive, _Budget(limit))
                _refuse_clashes(draft, folder)
                _move(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
                if new:
                    with contextlib.suppress(OSError):  # it is not empty
                        folder.rmdir()
    except UserError as error:
        raise UserError(f"{archive}: cannot be unpacked: {error}; nothing was unpacked") from None
    except Exception as error:  # of damaged archives the libraries raise a dozen types
        raise UserError(f"{archive}: cannot be unpacked ({one_line(error)})") from None


class _Budget:
    """Bytes that may still be read or written."""

    def __init__(self, limit: int) -> None:
        self.limit, self.left = limit, limit

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UserError(
                f"it holds more than {self.limit:,} bytes, which is too much for a file of its size"
            )


class _Bounded:
    """A stream of which no more may be read than a budget has."""

    def __init__(self, stream: Any, budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._budget.take(len(data))
        return data


def _fill(draft: Path, archive: Path, budget: _Budget) -> None:
    """Write every member below an empty folder of our own, links last."""
    links: list[tuple[Path, Path, _Member]] = []
    within = {draft}
    for member in _members(archive, budget.limit):
        place = draft.joinpath(*_parts(member.name))
        try:
            if member.kind == "folder":
                place.mkdir(parents=True, exist_ok=True)
                continue
            if place == draft:
                raise UserError(f"member {shown(member.name)} has no name")
            if place.parent not in within:
                place.parent.mkdir(parents=True, exist_ok=True)
                _check_within(place.parent, draft)
                within.add(place.parent)
            if member.kind == "link":
                links.append((place, draft.joinpath(*_parts(member.target)), member))
            else:
                _write(place, member, budget)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise UserError(
                f"member {shown(member.name)} stands where another has a folder or a file"
            ) from None
        except OSError as error:
            if error.strerror is None:
                raise
            raise UserError(f"member {shown(member.name)}: {one_line(error.strerror)}") from None
    _copy_linked(links, budget)


def _check_within(parent: Path, draft: Path) -> None:
    """There is no link in the draft, so that this cannot fail: it is what all else is for."""
    if not Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(draft)):
        raise UserError("a member lies outside the folder")


def _parts(name: str) -> list[str]:
    """The folders and the name of a member. UserError where it could lie outside, on whatever system."""
    both = re.split(r"[/\\]", name)
    if ".." in both or name[:1] in ("/", "\\") or re.match(r"[A-Za-z]:[/\\]", name):
        raise UserError(f"member {shown(name)} lies outside the folder")
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if len(parts) > _DEEPEST:
        raise UserError(
            f"member {shown(name)} lies in {len(parts) - 1} folders; at most {_DEEPEST} are allowed"
        )
    return parts


def _write(place: Path, member: _Member, budget: _Budget) -> None:
    stream, done = member.open(), 0
    assert stream is not None
    with stream, open(place, "wb") as file:
        while block := stream.read(1 << 20):
            budget.take(len(block))
            file.write(block)
            done += len(block)
    if done != member.size:
        raise UserError(f"member {shown(member.name)} is cut short")


def _copy_linked(links: list[tuple[Path, Path, _Member]], budget: _Budget) -> None:
    """Copy the files that links lead to; a link may lead to one that came later."""
    while links:
        ready = [(place, target) for place, target, _ in links if target.is_file()]
        if not ready:
            member = links[0][2]
            raise UserError(
                f"member {shown(member.name)} is a link to {shown(member.target)}, which is no file of the"
                " archive"
            )
        for place, target in ready:
            budget.take(target.stat().st_size)
            if place != target:
                shutil.copyfile(target, place)
        made = {place for place, _ in ready}
        links = [link for link in links if link[0] not in made]


def _refuse_clashes(draft: Path, folder: Path) -> None:
    """Before anything is moved: a folder for each folder, and none for a file; no link on the way."""
    for place, folders, files in os.walk(draft):
        below = folder / Path(place).relative_to(draft)
        for name in folders:
            if os.path.lexists(below / name) and (
                os.path.islink(below / name) or not (below / name).is_dir()
            ):
                raise UserError(f"{below / name} is there already, and no folder")
        for name in files:
            if (below / name).is_dir() and not os.path.islink(below / name):
                raise UserError(f"{below / name} is there already, and a folder")


def _move(draft: Path, folder: Path) -> None:
    for entry in sorted(os.listdir(draft)):
        source, target = draft / entry, folder / entry
        if source.is_dir() and target.is_dir():
            _move(source, target)
        else:
            os.replace(source, target)


# ---------------------------------------------------------------- the two kinds of archives


def _members(archive: Path, limit: int) -> Iterator[_Member]:
    with open(archive, "rb") as file:
        start = file.read(8)
    foreign = next((kind for magic, kind in _FOREIGN.items() if start.startswith(magic)), "")
    if foreign:
        raise UserError(f"it is packed by {foreign}; tar (gzip, bzip2, xz) and zip are read")
    return _of_zip(archive, limit) if start.startswith(b"PK") else _of_tar(archive, start, limit)


class _Strict(tarfile.TarInfo):
    """A damaged header in the middle is an error, where the library takes it for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Any:  # type: ignore[override]
        try:
            return super().fromtarfile(tar)  # type: ignore[call-arg]
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"no tar, or a damaged one: {error}") from None


def _of_tar(archive: Path, start: bytes, limit: int) -> Iterator[_Member]:
    opened: Callable[..., Any] = next(
        (opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open
    )
    with opened(archive, "rb") as stream:
        bounded: Any = _Bounded(stream, _Budget(limit + 2**20))
        with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Strict) as tar:
            for m in tar:
                yield _of_tarinfo(m, tar)
        try:
            while bounded.read(1 << 20):  # to the end, where the checksum stands
                pass
        except gzip.BadGzipFile as error:
            if "Not a gzipped file" not in str(error):  # what follows the end does not matter
                raise


def _of_tarinfo(m: tarfile.TarInfo, tar: tarfile.TarFile) -> _Member:
    if m.isdir():
        return _Member(m.name, "folder")
    if m.isreg():
        return _Member(m.name, "file", m.size, open=lambda: tar.extractfile(m))
    if m.islnk():
        return _Member(m.name, "link", target=m.linkname)
    if m.issym():
        return _Member(m.name, "link", target=_led_to(m.name, m.linkname))
    raise UserError(f"member {shown(m.name)} is a device, a pipe or the like")


def _of_zip(archive: Path, limit: int) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as z:
        _Budget(limit).take(sum(i.file_size for i in z.infolist()))
        for info in z.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                raise UserError(f"member {shown(info.filename)} is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise UserError(f"member {shown(info.filename)} is a device, a pipe or the like")
            if info.filename.endswith("/"):
                yield _Member(info.filename, "folder")
            elif kind == stat.S_IFLNK:
                with z.open(info) as f:
                    target = os.fsdecode(f.read(4096))
                yield _Member(info.filename, "link", target=_led_to(info.filename, target))
            else:
                yield _Member(info.filename, "file", info.file_size, open=lambda i=info: z.open(i))  # type: ignore[misc]


def _led_to(name: str, target: str) -> str:
    """Where a link leads, from the root of the archive, as far as its text alone says it."""
    return target if target.startswith("/") else os.path.normpath(os.path.join(os.path.dirname(name), target))
