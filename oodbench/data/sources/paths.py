"""Names as a disk holds them: any bytes, shown so that nothing in them acts; and what bears them, which is
not always a file."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from oodbench.core.errors import UserError, one_line


def coded(name: str) -> bytes:
    """The bytes of a name, those that are no UTF-8 included."""
    return name.encode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """The name that has these bytes; what `coded` undoes."""
    return data.decode("utf-8", "surrogateescape")


def printable(name: str) -> str:
    """A name as tables, pages and terminals can hold it: what is no text, or is not seen, as its escape.

    Example:
        >>> printable("cafe.png"), printable(decoded(b"caf\\xe9.png"))
        ('cafe.png', 'caf\\\\xe9.png')
    """
    return name if name.isprintable() else "".join(map(_escaped, name))


def _escaped(c: str) -> str:
    if c.isprintable() or unicodedata.category(c) == "Zs":
        return c
    if "\udc80" <= c <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode("unicode_escape").decode()


class Printable(Sequence[str]):
    """Names of a longer list as `printable` gives them, each when it is asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        return [printable(n) for n in self._names[i]] if isinstance(i, slice) else printable(self._names[i])


_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_ENDLESS = frozenset(("a named pipe", "a socket", "a device"))


def kind_of(mode: int) -> str:
    """What has this `st_mode`: ``a file``, ``a folder``, ``a named pipe`` (whose reader would wait for
    ever)."""
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def found_at(path: Path) -> str:
    """What lies at a path, links followed: as `kind_of` says it, or ``nothing``, with the reason where that
    is another than that nothing is there."""
    try:
        return kind_of(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "a link to nothing" if os.path.lexists(path) else "nothing"
    except (OSError, ValueError) as error:
        return f"nothing that can be looked at ({one_line(getattr(error, 'strerror', None) or error)})"


def only_files(folder: Path) -> None:
    """Before a library opens what it finds in a folder: UserError names a pipe, a socket or a device at any
    depth, whose reader might wait for ever."""
    for place, _, names in os.walk(folder):
        for name in names:
            found = found_at(Path(place, name))
            if found in _ENDLESS:
                raise UserError(f"{printable(os.path.join(place, name))}: is {found}, where a file belongs")
