"""A big table of text read piece by piece, each of whole rows with the header before them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from oodbench.core.errors import one_line
from oodbench.core.text_files import MOST_BYTES, refused, text_of


def blocks_of(file: Path, size: int, hint: str = "") -> Iterator[tuple[str, int]]:
    """The rows of a table, plain or packed, about `size` bytes at a time.

    Args:
        file: ``.csv`` or ``.csv.gz``.
        size: bytes that are read at a time; a longer row is read whole.
        hint: what to do where the file is damaged.

    Yields:
        The header with some rows below it, and how many lines of the file stand between the two.

    Raises:
        UserError: the file cannot be read or unpacked, is no text in UTF-8, or a row of it has no end.
    """
    header, rest, before = "", b"", 0
    try:
        with gzip.open(file) if file.name.endswith(".gz") else open(file, "rb") as stream:
            while data := stream.read(size):
                rest += data
                cut = _end_of_rows(rest)
                if len(rest) - cut > MOST_BYTES:
                    raise refused(file, "is no table (a row has no end)", hint)
                text, rest = text_of(file, rest[:cut], hint), rest[cut:]
                if header and text:
                    yield header + text, before
                    before += text.count("\n")
                elif text.strip("\r\n"):
                    yield text, 0
                    header = _first_row(text)
                    before = text.count("\n") - header.count("\n")
                else:  # empty lines before the header
                    rest = text.encode() + rest
    except (OSError, EOFError, zlib.error) as error:
        raise refused(file, f"cannot be unpacked ({one_line(error, 120)})", hint) from None
    if rest or not header:
        yield header + text_of(file, rest, hint), before


def _end_of_rows(data: bytes) -> int:
    """Where the last row that is whole ends: at a line end outside quotes; 0: none does."""
    cut = data.rfind(b"\n") + 1
    quotes = data.count(b'"', 0, cut)
    while cut and quotes % 2:
        earlier = data.rfind(b"\n", 0, cut - 1) + 1
        quotes -= data.count(b'"', earlier, cut)
        cut = earlier
    return cut


def _first_row(text: str) -> str:
    """The text up to the end of its first row that is not empty."""
    end = text.find("\n", len(text) - len(text.lstrip("\r\n"))) + 1
    while text.count('"', 0, end) % 2:
        end = text.find("\n", end) + 1
    return text[:end]
