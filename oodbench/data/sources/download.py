"""Downloads that can be gone on with, are checked against a known hash or length, and take their name only
when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from oodbench.core.errors import UserError, one_line, reason_of
from oodbench.core.files import readable, replace
from oodbench.data.sources.locks import alone
from oodbench.data.sources.paths import found_at
from oodbench.data.sources.roots import offline
from oodbench.data.sources.unpacking import unpack

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are here and those of the whole (0 where unknown)."""

watcher: ContextVar[Progress | None] = ContextVar("watcher", default=None)
"""Who is told how far a download has come; a data set's own code does not have to hand it on."""

downloads: dict[str, Callable[[Path], None]] = {}
"""How a data set is downloaded into a folder, for those that can be: filled by the components' modules."""


def fetch(url: str, target: Path, *, md5: str = "", sha256: str = "") -> Path:
    """Download `url` to `target`. What an earlier attempt left in ``target.part`` is gone on with. The name
    is given only when the hash is right or, where none is known, the length, which the server then has to
    say. What is here already is not downloaded again. Of several processes one downloads, the others wait
    for it.

    Not pooch, which begins an interrupted download anew: docs/decisions/resumed-downloads.md.

    Raises:
        UserError: whatever goes wrong, in one line.
    """
    hashes = {kind: value for kind, value in (("md5", md5), ("sha256", sha256)) if value}
    try:
        if _is_here(target, hashes):
            return target
        _only_web(url)
        if offline():
            raise UserError(f"offline: {one_line(url)} was not asked for; run again without --offline")
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target):
            if not _is_here(target, hashes):
                _download(url, target, hashes)
    # http.client's errors are no OSError, and an address that is none makes ValueErrors.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(
            f"{one_line(url)}: {_said_by(error)}; what has come so far is kept, so run again to go on"
        ) from None
    return target


def _said_by(error: Exception) -> str:
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.InvalidURL):
        return f"the answer is cut short, or not of the web ({reason_of(error)})"
    return one_line(error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error))


def _download(url: str, target: Path, hashes: Mapping[str, str]) -> None:
    """What `fetch` does, alone with the target."""
    part = target.with_name(target.name + ".part")
    if part.is_symlink() or found_at(part) not in ("nothing", "a file"):
        raise UserError(f"{part}: is a link or a folder, where a download belongs; remove it")
    wrong = ""
    for _ in range(2):  # again from the beginning, where what is here is not that of this file
        start = part.stat().st_size if part.exists() else 0
        wrong = _wrong(part, hashes) if _has_gone_on(url, part, start, bool(hashes)) else "another beginning"
        if not wrong:
            os.replace(part, target)
        _said_file(part).unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        if not wrong or start == 0:
            break
    if wrong:
        raise UserError(f"{one_line(url)}: the file has {wrong}; it was deleted")


class _Said(NamedTuple):
    """What a server says of its answer: the place of its first byte, the bytes of the whole file (each -1
    where it does not say), and its mark of the file."""

    begins: int
    total: int
    mark: str = ""

    @classmethod
    def of(cls, answer: Any, url: str, start: int) -> _Said:
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if answer.status not in (200, 203, 206):
            raise UserError(f"{one_line(url)}: the server answers {answer.status}, without the file")
        lengths = {text.strip() for text in answer.headers.get_all("Content-Length", [])}
        if len(lengths) > 1 or not all(text.isascii() and text.isdigit() for text in lengths):
            said = one_line(" and ".join(sorted(lengths)), 80)
            raise UserError(f"{one_line(url)}: the server says a length that is none ({said})")
        length = int(lengths.pop()) if lengths else -1
        if answer.status != 206:
            return cls(0, length, mark)
        places = answer.headers.get("Content-Range")
        if places is None and start and length > 0:  # some servers do not say what they were just asked
            return cls(start, start + length, mark)
        return cls(*_range(places or ""), mark)


def _range(text: str) -> tuple[int, int]:
    """(first byte, bytes of the whole) of a Content-Range such as ``bytes 300-999/1000``."""
    places, _, total = text.removeprefix("bytes").strip().partition("/")
    first = places.partition("-")[0]
    return int(first) if first.isdecimal() else -1, int(total) if total.isdecimal() else -1


def _has_gone_on(url: str, part: Path, start: int, hashed: bool) -> bool:
    """Write what follows the `start` bytes that are here, or all of it where the server begins anew; False
    where what is here is not the beginning of this file.

    What the server says of the file is kept beside the part, since without a hash nothing else tells whether
    the rest is that of the same file."""
    request = urllib.request.Request(url, headers={"User-Agent": "oodbench"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    before = None if hashed else _said_before(part)
    try:
        with urllib.request.build_opener(_OnlyWeb).open(request, timeout=60) as answer:
            said = _Said.of(answer, url, start)
            same = said.begins == start and (hashed or said._replace(begins=0) == before)
            if answer.status == 206 and start and not same:
                return False
            _check(said, url, answer.status == 206 and said.begins != start, hashed)
            if not hashed:
                replace(_said_file(part), json.dumps(said._replace(begins=0)))
            _copy(answer, part, said)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        # Nothing is left beyond what is here: the hash decides, or the length that was said before.
        return hashed or (before is not None and before.total == start)
    return True


def _check(said: _Said, url: str, only_a_part: bool, hashed: bool) -> None:
    if only_a_part:
        raise UserError(f"{one_line(url)}: the server sends a part of the file, and not which")
    if not hashed and said.total <= 0:
        raise UserError(
            f"{one_line(url)}: the server does not say how long the file is, and no hash of it is known;"
            " nobody could tell whether it is whole"
        )


def _copy(answer: Any, part: Path, said: _Said) -> None:
    done, tell = said.begins, watcher.get()
    with open(part, "ab" if said.begins else "wb") as file:
        while block := answer.read(1 << 20):
            file.write(block)
            done += len(block)
            if tell is not None:
                tell(part.name.removesuffix(".part"), done, max(said.total, 0))
    if said.total >= 0 and done != said.total:
        raise OSError(f"connection lost after {done} of {said.total} bytes")


def _said_file(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")


def _said_before(part: Path) -> _Said | None:
    try:
        return _Said(*json.loads(readable(_said_file(part)).read_text()))
    except (OSError, ValueError, TypeError):
        return None


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web alone: the library's own goes to ftp too."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _only_web(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _only_web(url: str) -> None:
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        raise UserError(f"{one_line(url)}: is no address of the web; http and https are allowed")


def _is_here(target: Path, hashes: Mapping[str, str]) -> bool:
    found = found_at(target)
    if found not in ("nothing", "a file", "a link to nothing"):
        raise UserError(f"{target}: is {found}, where a file belongs; move it away")
    return found == "a file" and not _wrong(target, hashes)


def _wrong(file: Path, hashes: Mapping[str, str]) -> str:
    """Which hash of a file is not the one that it should be; empty where all are."""
    for kind, due in hashes.items():
        with open(readable(file), "rb") as f:
            sha = hashlib.new(kind)
            while block := f.read(1 << 20):
                sha.update(block)
        if sha.hexdigest() != due.lower():
            return f"{kind} {sha.hexdigest()}, expected {due}"
    return ""


class MadeMeanwhile(UserError):
    """Another process has made what this one waited to make."""


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder beside `target` to download and unpack into; it takes the target's name when the block ends
    well, and is kept, to be gone on with, when it does not. One process at a time is in it.

    Raises:
        MadeMeanwhile: another process was in it, and has made the target.
        UserError: the target is there already, or its place cannot be written to.
    """
    if os.path.lexists(target):
        raise UserError(f"{target} is there already, but not as this data set needs it; move it away first")
    stage = target.with_name(f".{target.name}.incomplete")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target):
            made = os.path.lexists(target)
            if stage.is_symlink():
                raise UserError(f"{stage}: is a link, where a folder belongs; remove it")
            if not made:
                stage.mkdir(exist_ok=True)
                yield stage
                os.replace(stage, target)
        if made:
            raise MadeMeanwhile(f"{target} was made by another process")
    except OSError as error:
        raise UserError(f"{target}: cannot be made ({one_line(error)})") from None


@contextmanager
def through_fetch() -> Iterator[None]:
    """Inside, torchvision's downloads go through `fetch`, since its own start from zero and write under the
    final name, and its archives through `unpack`."""
    from torchvision.datasets import utils

    # Private, since torchvision has no public way to say who downloads (docs/decisions/resumed-downloads.md).
    # Should they go, torchvision does it by itself, and only what is better here is lost.
    original = {n: getattr(utils, n) for n in ("_urlretrieve", "_ARCHIVE_EXTRACTORS") if hasattr(utils, n)}

    def retrieve(url: str, filename: Any, chunk_size: int = 0) -> None:
        # torchvision asks only where no file has the right hash: what lies there under the name is damaged.
        Path(filename).unlink(missing_ok=True)
        fetch(url, Path(filename))

    def extract(archive: Any, folder: Any, compression: str | None = None) -> None:
        unpack(Path(archive), Path(folder))

    ours = {"_urlretrieve": retrieve, "_ARCHIVE_EXTRACTORS": {".tar": extract, ".zip": extract}}
    for name in original:
        setattr(utils, name, ours[name])
    try:
        yield
    finally:
        for name, before in original.items():
            setattr(utils, name, before)
