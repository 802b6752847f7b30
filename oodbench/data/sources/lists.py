"""Text files that list images: OpenOOD's image lists and CSV files. Every mistake is said with file and line
number."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from oodbench.core.errors import UserError, one_line, shown
from oodbench.core.text_files import read_bytes
from oodbench.data.sources.listing import Item

_SPLITS = ("train", "val", "test")
MOST_LABEL = 2**31 - 1
"""A label above is no class number."""


def image_list(file: Path, *, classes: int = 0) -> Iterator[Item]:
    """Lines ``path label`` of an image list. `classes` is the number of classes where labels are those of
    known ones, else 0."""
    seen: dict[str, int] = {}
    for number, line in enumerate(text_lines(file), 1):
        path, _, text = line.rpartition(" ")
        where = f"{file}:{number}"
        problem = ""
        label = 0
        try:
            label = int(text)
        except ValueError:
            problem = f"should be `path label` with a whole number as label, is {shown(line)}"
        if not problem and not path:
            problem = f"should be `path label`, is {shown(line)}"
        yield Item(path, label, where, problem or _objection(path, label, classes, seen, number))


def csv_list(
    file: Path, *, path: str, label: str, split: str, only: str, names: Mapping[str, int] | None
) -> Iterator[Item]:
    """Rows of a CSV file with a header. `only` keeps the rows whose column `split` says so (empty: all rows):
    train, val or test.

    `names` maps the texts of the label column to numbers (``None``: there is no label column, and every label
    is 0)."""
    seen: dict[str, int] = {}
    for number, row in _rows(
        file, [path, *([label] if names is not None else []), *([split] if only else [])]
    ):
        if isinstance(row, str):
            yield Item("", -1, f"{file}:{number}", row)
            continue
        if only and row[split].strip() not in _SPLITS:
            about = (
                f"the column {split!r} should say {', '.join(_SPLITS[:-1])} or {_SPLITS[-1]}, says"
                f" {shown(row[split].strip())}"
            )
            yield Item(row[path].strip(), -1, f"{file}:{number}", about)
            continue
        if only and row[split].strip() != only:
            continue
        name, problem, value = row[path].strip(), "", 0
        if names is not None:
            text = row[label].strip()
            value = names.get(text, -1)
            problem = f"unknown label {shown(text)}" if text not in names else ""
        if not name:
            problem = f"the column {path!r} is empty"
        yield Item(name, value, f"{file}:{number}", problem or _objection(name, value, 0, seen, number))


def csv_column(file: Path, column: str) -> list[str]:
    """The different values of a column, sorted as numbers where all are numbers, else as text."""
    values = {row[column].strip() for _, row in _rows(file, [column]) if not isinstance(row, str)} - {""}
    if all(v.lstrip("-").isdecimal() and len(v) < 20 for v in values):
        return sorted(values, key=lambda v: (int(v), v))
    return sorted(values)


def csv_header(file: Path) -> list[str]:
    """The names of the columns, without the spaces around them. UserError where one stands twice."""
    header = [name.strip() for name in next(_fields(file), (0, []))[1]]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{file}:1: the column {shown(twice)} stands twice in the header")
    return header


def columns_text(header: Sequence[str]) -> str:
    """The columns that there are, for the end of a message."""
    return one_line(", ".join(map(shown, header)) or "none")


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Line number and row, or what is wrong with the row."""
    header = csv_header(file)
    absent = [c for c in columns if c not in header]
    if absent:
        raise UserError(f"{file}:1: there is no column {shown(absent[0])}; it has {columns_text(header)}")
    rows = _fields(file)
    next(rows)
    for number, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            yield number, f"has {len(row)} fields, the header has {len(header)}"
        else:
            yield number, dict(zip(header, row, strict=True))


def _fields(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The line at which each row ends, and the row."""
    reader = csv.reader(io.StringIO(_text(file), newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:  # a field of more than 128 kB, mostly
        raise UserError(
            f"{file}:{reader.line_num}: is no CSV ({one_line(error)}); is a quotation mark left open?"
        ) from None


def _objection(path: str, label: int, classes: int, seen: dict[str, int], number: int) -> str:
    first = seen.setdefault(path, number)
    if first != number:
        return f"{shown(path)} stands there already in line {first}"
    if classes and not 0 <= label < classes:
        return f"label {shown(label)} should be from 0 to {classes - 1}"
    if not -1 <= label <= MOST_LABEL:
        return f"label {shown(label)} should be -1 (unknown) or more, up to {MOST_LABEL}"
    if path.startswith("/") or ".." in path.split("/"):
        return f"{shown(path)} should be a path below the images' folder"
    return ""


def list_digest(file: Path) -> str:
    """sha256 (hex) of a list's content. UserError where it cannot be read."""
    return hashlib.sha256(read_bytes(file)).hexdigest()


def text_lines(file: Path) -> Iterator[str]:
    """The lines of a text file, without their ends. UserError where it is no text in UTF-8."""
    return (line.removesuffix("\n") for line in io.StringIO(_text(file), newline=None))


def _text(file: Path) -> str:
    """A text file as people save it: UTF-8, with a byte-order mark or without."""
    data = read_bytes(file)
    why = "it is UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    try:
        text = data.decode("utf-8-sig")
        zero = text.find("\0")
        why = why or (f"a zero byte in line {text.count(chr(10), 0, zero) + 1}" if zero >= 0 else "")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = why or f"the byte {data[error.start]:#x} in line {line}"
    if why:
        raise UserError(f"{file}: is not a text file in UTF-8 ({why}); save it as UTF-8")
    return text
