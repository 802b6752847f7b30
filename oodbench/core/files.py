"""The one way a file comes to be (written beside its place, then moved there, so that no reader meets half of
it), and what may be opened at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import socket
import stat
import uuid
import zlib
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
    that reads a format from the name must be told it. The content is on the disk before the name is given.
    Drafts of the same file that killed processes have left are removed."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, where a file belongs", str(path))
    if path.exists() and not path.is_file():  # a device would be gone
        raise OSError(errno.EINVAL, "is no file that can be replaced", str(path))
    remove_left(path)
    draft = draft_of(path)
    try:
        yield draft
        with open(draft, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        if error.filename == str(draft):  # whoever reads the message knows the file by its own name
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def listed(folder: Path, suffix: str = "") -> list[str]:
    """The names in a folder that end so, sorted; none where it is not there, or another process takes it away
    meanwhile, of which `Path.glob` makes an error."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(suffix))
    except OSError:
        return []


def draft_of(path: Path) -> Path:
    """A name beside `path` for what will take its place, hidden, and with who writes it: the machine and the
    process."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def remove_left(path: Path) -> None:
    """Remove the drafts of a file or a folder that killed processes of this machine have left."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        found = _DRAFT.search(draft.name)
        if found is not None and found[1] == _machine() and not _runs(int(found[2])):
            with contextlib.suppress(OSError):
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


_DRAFT = re.compile(r"\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.tmp$")


def _machine() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True
