"""The one way a file comes to be: written beside its place, then moved there, so that no reader meets half of
it."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


def replace(path: Path, data: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half. Text is written as UTF-8."""
    with replacing(path) as draft:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """For what is written in pieces, or by a library: a path beside `path` to write to, which takes the place
    of `path` when the block ends well and is deleted when it does not.

    The draft's name is hidden and ends in ``.tmp``, so that no search for finished files finds it; a library
    that reads a format from the name must be told it. The content is on the disk before the name is given."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield draft
        with open(draft, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
