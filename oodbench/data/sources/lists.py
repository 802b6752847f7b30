"""Text files that list images: OpenOOD's image lists and CSV files. Every mistake is said with file and line
number."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from oodbench.core.errors import UserError
from oodbench.data.sources.index import Item

_SPLITS = ("train", "val", "test")


def image_list(file: Path, *, classes: int = 0) -> Iterator[Item]:
    """Lines ``path label`` of an image list. `classes` is the number of classes where labels are those of
    known ones, else 0."""
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(file), 1):
        path, _, text = line.rpartition(" ")
        where = f"{file}:{number}"
        problem = ""
        label = 0
        try:
            label = int(text)
        except ValueError:
            problem = f"should be `path label` with a whole number as label, is {line!r}"
        if not problem and not path:
            problem = f"should be `path label`, is {line!r}"
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
                f" {row[split].strip()!r}"
            )
            yield Item(row[path].strip(), -1, f"{file}:{number}", about)
            continue
        if only and row[split].strip() != only:
            continue
        name, problem, value = row[path].strip(), "", 0
        if names is not None:
            text = row[label].strip()
            value = names.get(text, -1)
            problem = f"unknown label {text!r}" if text not in names else ""
        if not name:
            problem = f"the column {path!r} is empty"
        yield Item(name, value, f"{file}:{number}", problem or _objection(name, value, 0, seen, number))


def csv_column(file: Path, column: str) -> list[str]:
    """The different values of a column, sorted as numbers where all are numbers, else as text."""
    values = {row[column].strip() for _, row in _rows(file, [column]) if not isinstance(row, str)} - {""}
    return sorted(values, key=lambda v: (int(v), v) if _all_integers(values) else (0, v))


def csv_has(file: Path, column: str) -> bool:
    """Whether the header names the column."""
    return column in _header(file)


def _all_integers(values: set[str]) -> bool:
    return all(v.lstrip("-").isdecimal() for v in values)


def _header(file: Path) -> Sequence[str]:
    first = next(iter(_lines(file)), "")
    return next(csv.reader([first]), [])


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Line number and row, or what is wrong with the row."""
    header = _header(file)
    absent = [c for c in columns if c not in header]
    if absent:
        raise UserError(
            f"{file}:1: there is no column {absent[0]!r}; it has {', '.join(map(repr, header)) or 'none'}"
        )
    reader = csv.reader(_lines(file))
    next(reader)
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            yield reader.line_num, f"has {len(row)} fields, the header has {len(header)}"
        else:
            yield reader.line_num, dict(zip(header, row, strict=True))


def _objection(path: str, label: int, classes: int, seen: dict[str, int], number: int) -> str:
    first = seen.setdefault(path, number)
    if first != number:
        return f"{path!r} stands there already in line {first}"
    if classes and not 0 <= label < classes:
        return f"label {label} should be from 0 to {classes - 1}"
    if label < -1:
        return f"label {label} should be -1 (unknown) or more"
    if path.startswith("/") or ".." in path.split("/"):
        return f"{path!r} should be a path below the images' folder"
    return ""


def _lines(file: Path) -> Iterator[str]:
    try:
        with open(file, encoding="utf-8", newline="") as f:
            for line in f:
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not a text file ({error})") from None
