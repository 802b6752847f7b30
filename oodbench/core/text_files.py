"""The one way a file of text is read: whole and as what it should be, or refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from oodbench.core.errors import UserError, one_line, shown
from oodbench.core.files import readable

MOST_BYTES = 2**30
"""Of a file that is read whole."""


def there(path: Path) -> bool:
    """Whether anything has this name: a file, but also a folder, a pipe, or a link that leads nowhere."""
    return os.path.lexists(path)


def refused(path: Path, why: str, hint: str = "") -> UserError:
    """The error of a file that is not what it should be: which file, what is wrong, what to do."""
    return UserError(f"{path}: {why}" + (f"; {hint}" if hint else ""))


def read_bytes(path: Path, hint: str = "") -> bytes:
    """The content of a file.

    Args:
        path: the file, or a link to one.
        hint: what to do where it cannot be read, for the end of the message.

    Raises:
        UserError: no file stands there (but a folder, a device, or a pipe, which is never waited for), it
            cannot be read, or it has more than MOST_BYTES.
    """
    try:
        if readable(path).stat().st_size > MOST_BYTES:
            raise refused(path, f"has more than {MOST_BYTES / 1e9:.1f} GB", hint)
        return path.read_bytes()
    except FileNotFoundError:
        why = "is a link to a file that is not there" if there(path) else "no such file"
        raise refused(path, why, hint) from None
    except IsADirectoryError:
        raise refused(path, "is a folder, where a file belongs", hint) from None
    except (OSError, ValueError) as error:  # ValueError: of a path with a NUL byte
        why = one_line(getattr(error, "strerror", None) or error, 120)
        raise refused(path, f"cannot be read ({why})", hint) from None


def text_of(path: Path, data: bytes, hint: str = "") -> str:
    """Bytes of a file as text, without a byte-order mark and with plain line ends. UserError where they are
    not UTF-8."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(path, f"is no text in UTF-8 (byte {error.start})", hint) from None
    if "\0" in text:
        raise refused(path, f"is no text: it holds a NUL byte at {data.index(0)}", hint)
    return text.replace("\r\n", "\n")


def read_text(path: Path, hint: str = "") -> str:
    """A file of text. UserError as of `read_bytes`, and where it is not UTF-8."""
    return text_of(path, read_bytes(path, hint), hint)


def read_mapping(path: Path, hint: str = "") -> dict[str, Any]:
    """The mapping that a JSON file holds. UserError as of `read_text`, and where it is no JSON, holds
    something else, names a key twice, or has a number that is none."""
    text = read_text(path, hint)
    try:
        found = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
    except RecursionError:
        raise refused(path, "is nested too deeply", hint) from None
    except ValueError as error:
        raise refused(path, f"is not valid JSON ({one_line(error, 120)})", hint) from None
    if not isinstance(found, dict):
        raise refused(path, f"should hold a mapping, got {shown(found)}", hint)
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")
