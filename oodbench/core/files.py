"""The one way a file comes to be (written beside its place, then moved there, so that no reader meets half of
it), and what may be opened at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path


def readable(path: Path) -> Path:
    """`path`, if opening it ends: OSError where it is not there, or is a folder, a pipe, a socket or a
    device, whose reader might wait for ever."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path


def replace(path: Path, data: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half. Text is written as UTF-8,
    bytes of a file name that are none as ``\\udc..``."""
    with replacing(path) as draft:
        draft.write_bytes(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """For what is written in pieces, or by a library: a path beside `path` to write to, which takes the place
    of `path` when the block ends well and is deleted when it does not.

    The draft's name is hidden and ends in ``.tmp``, so that no search for finished files finds it; a library
    that reads a format from the name must be told it. The content is on the disk before the name is given."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, where a file belongs", str(path))
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield draft
        with open(draft, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
