"""Downloads that can be gone on with, are checked against a known hash, and take their name only when they
are whole."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from oodbench.core.errors import UserError
from oodbench.data.sources.roots import offline

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are here and those of the whole (0 where unknown)."""

watcher: ContextVar[Progress | None] = ContextVar("watcher", default=None)
"""Who is told how far a download has come; a data set's own code does not have to hand it on."""

downloads: dict[str, Callable[[Path], None]] = {}
"""How a data set is downloaded into a folder, for those that can be: filled by the components' modules."""


def fetch(url: str, target: Path, *, md5: str = "", sha256: str = "") -> Path:
    """Download `url` to `target`: what an earlier attempt left in ``target.part`` is gone on with, and the
    name is given only when the length and the hash are right. A file that has the right hash already is not
    downloaded again.

    Not pooch, which begins an interrupted download anew: docs/decisions/resumed-downloads.md."""
    if target.is_file() and (_right(target, md5, sha256) or not (md5 or sha256)):
        return target
    if offline():
        raise UserError(f"offline: {url} was not asked for; run again without --offline")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(2):
        start = part.stat().st_size if part.is_file() else 0
        request = urllib.request.Request(
            url, headers={"User-Agent": "oodbench", **({"Range": f"bytes={start}-"} if start else {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                goes_on = start > 0 and answer.status == 206
                _copy(answer, part, start if goes_on else 0, target.name)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # 416: nothing is left beyond what is here, so the hash decides
                raise UserError(f"{url}: {error}; what has come so far is kept in {part}") from None
        except (urllib.error.URLError, OSError) as error:
            raise UserError(
                f"{url}: {getattr(error, 'reason', error)}; what has come so far is kept, so run again to"
                " go on"
            ) from None
        if _right(part, md5, sha256):
            os.replace(part, target)
            return target
        got = _hash(part, "md5" if md5 else "sha256")
        part.unlink()
        if start == 0 or attempt:
            raise UserError(
                f"{url}: the file has {'md5' if md5 else 'sha256'} {got}, expected {md5 or sha256}; it was"
                " deleted"
            )
    return target


def _copy(answer: Any, part: Path, start: int, name: str) -> None:
    length = int(answer.headers.get("Content-Length") or 0)
    done, tell = start, watcher.get()
    with open(part, "ab" if start else "wb") as file:
        while block := answer.read(1 << 20):
            file.write(block)
            done += len(block)
            if tell is not None:
                tell(name, done, start + length if length else 0)
    if length and done != start + length:
        raise OSError(f"connection lost after {done} of {start + length} bytes")


def _hash(file: Path, kind: str) -> str:
    with open(file, "rb") as f:
        sha = hashlib.new(kind)
        while block := f.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def _right(file: Path, md5: str, sha256: str) -> bool:
    return (not md5 or _hash(file, "md5") == md5) and (not sha256 or _hash(file, "sha256") == sha256)


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder beside `target` to download and unpack into; it takes the target's name when the block ends
    well, and is kept, to be gone on with, when it does not."""
    if target.exists():
        raise UserError(f"{target} is there already, but not as this data set needs it; move it away first")
    stage = target.with_name(f".{target.name}.incomplete")
    stage.mkdir(parents=True, exist_ok=True)
    yield stage
    os.replace(stage, target)


@contextmanager
def through_fetch() -> Iterator[None]:
    """Inside, torchvision's downloads go through `fetch`, since its own start from zero and write under the
    final name."""
    from torchvision.datasets import utils

    # Private, since torchvision has no public way to say who downloads (docs/decisions/resumed-downloads.md).
    # Should it go, torchvision downloads by itself, and only the going on after an interruption is lost.
    original = getattr(utils, "_urlretrieve", None)

    def retrieve(url: str, filename: Any, chunk_size: int = 0) -> None:
        # torchvision asks only where no file has the right hash: what lies there under the name is damaged.
        Path(filename).unlink(missing_ok=True)
        fetch(url, Path(filename))

    if original is not None:
        utils._urlretrieve = retrieve
    try:
        yield
    finally:
        if original is not None:
            utils._urlretrieve = original
