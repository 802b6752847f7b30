"""The one way a file comes to be: written beside its place, then moved there, so that no reader meets half of
it."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
