"""The one way a table is read from a CSV file, plain or compressed: every row as wide as the header, every
number a number, every name visible text. What is not so is refused in one line that says where."""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import one_line, shown
from oodbench.core.files import readable
from oodbench.core.names import visible
from oodbench.core.text_files import MOST_BYTES, read_bytes, refused, text_of, there
from oodbench.evaluation.blocks import blocks_of
from oodbench.evaluation.large import Columns, Names, factorized

if TYPE_CHECKING:
    import pandas as pd

Range = tuple[float, float]
"""Lowest and highest value that a number may have."""
ANY: Range = (-math.inf, math.inf)
FINITE: Range = (-sys.float_info.max, sys.float_info.max)
AMOUNT: Range = (0.0, sys.float_info.max)
FRACTION: Range = (0.0, 1.0 + 1e-9)
"""A mean of fractions may be above 1 by its rounding."""
PERCENT: Range = (0.0, 100.0)

AGAIN = "`oodbench run` writes it anew from what is stored"
"""What to do where a file of a results folder is damaged."""
NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
_MISSING = frozenset(("", "-", "–", "—", "na", "n/a", "nan", "none", "null"))
"""How published tables say that there is no number."""


def table(folder: Path, name: str) -> Path | None:
    """The file of one table of a results folder, plain or compressed: ``results.csv``, ``results.csv.gz``.
    UserError where both are there: they could disagree."""
    found = [f for f in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if there(f)]
    if len(found) > 1:
        raise refused(found[0], f"{found[1].name} is there too, and they may disagree", "remove one of them")
    return found[0] if found else None


def read_table(
    file: Path,
    names: Sequence[str],
    numbers: Mapping[str, Range],
    *,
    sentences: Sequence[str] = (),
    newer: Sequence[str] = (),
    hint: str = AGAIN,
) -> pd.DataFrame:
    """A table of a results folder.

    Args:
        file: ``.csv`` or ``.csv.gz``.
        names: its columns of names, each visible text; empty is empty, never NaN.
        numbers: its columns of numbers, each with its range; empty is NaN.
        sentences: its columns of text for people, in which what is not visible is left out.
        newer: of `numbers`, those that tables of earlier versions lack; there they are NaN.
        hint: what to do where the table is damaged.

    Raises:
        UserError: the file cannot be read, lacks a column or its end, has a column twice, or holds a row of
            another width, a number that is none or out of its range, or a name that is not visible text.
    """
    wanted = _Wanted(names, numbers, sentences, newer)
    if _is_big(file):
        return _by_blocks(file, wanted, hint)
    return _read(_Text(file, _content(file, hint), hint), wanted)


class _Wanted(NamedTuple):
    """The columns of a table, as `read_table` is told."""

    names: Sequence[str]
    numbers: Mapping[str, Range]
    sentences: Sequence[str]
    newer: Sequence[str]


class _Text(NamedTuple):
    """What a file says, or a part of it with the header before it."""

    file: Path
    content: str
    hint: str
    before: int = 0
    """Lines of the file between the header and this part."""


def _read(text: _Text, wanted: _Wanted) -> pd.DataFrame:
    file, content, hint, _ = text
    if content and not content.endswith("\n"):
        raise refused(file, "is cut short: its last line has no end", hint)
    header = _shape(text)
    every = (*wanted.names, *wanted.sentences, *wanted.numbers)
    missing = [name for name in every if name not in header and name not in wanted.newer]
    if missing:
        raise refused(file, f"lacks the column {missing[0]!r}", hint)
    frame = _parsed(text, header, list(wanted.numbers))
    for name, allowed in wanted.numbers.items():
        frame[name] = _numbers(text, frame[name], allowed) if name in header else np.nan
    plain = content.replace("\r", "").replace("\n", "").isprintable()
    if not plain or len(frame) < content.count("\n") - 1:  # or a line end within a cell
        for name in wanted.names:
            hidden = ~frame[name].map(str.isprintable).to_numpy(dtype=bool)
            _refuse_first(text, frame[name], hidden, "which holds what is not seen")
        for name in wanted.sentences:
            frame[name] = frame[name].map(visible)
    return frame


BLOCK = 1 << 26
"""Bytes of a table that are read together where it is big."""


def _is_big(file: Path) -> bool:
    """Whether a table is read block by block; packed, a fifteenth of it is there."""
    try:
        size = readable(file).stat().st_size
    except (OSError, ValueError):  # which is told where it is read
        return False
    return size * (15 if file.name.endswith(".gz") else 1) > 4 * BLOCK


def _by_blocks(file: Path, wanted: _Wanted, hint: str) -> pd.DataFrame:
    """A table of any size, in the form of `large`."""
    most = sum(content.count("\n") for content, _ in blocks_of(file, BLOCK, hint))
    columns = Columns([*wanted.numbers], most, file.parent)
    keys: dict[str, Names] = {}
    order: list[str] = []
    start = 0
    for content, before in blocks_of(file, BLOCK, hint):
        part = _read(_Text(file, content, hint, before), wanted)
        order = order or [str(name) for name in part]
        for name in order:
            if name in wanted.numbers:
                columns.write(name, start, part[name])
            else:
                keys.setdefault(name, Names()).add(*factorized(part[name]))
        start += len(part)
    return columns.frame({name: one.column() for name, one in keys.items()}, order, start)


def read_published(file: Path) -> pd.DataFrame:
    """A table that somebody else made, every column as visible text. UserError as of `read_table`."""
    text = _Text(file, _content(file, ""), "")
    header = _shape(text)
    frame = _parsed(text, header, ())
    for name in header:
        frame[name] = frame[name].map(visible)
    return frame


def published_numbers(file: Path, column: pd.Series[Any], allowed: Range = FINITE) -> pd.Series[Any]:
    """A column of `read_published` as numbers, NaN where it says that there is none. UserError names the
    first cell that is neither."""
    import pandas as pd

    given = column.str.strip()
    absent = given.str.lower().isin(_MISSING).to_numpy(dtype=bool)
    found = pd.to_numeric(given.where(~absent), errors="coerce").astype(float)
    wrong = ~absent & ~_within(found.to_numpy(), allowed)
    _refuse_first(_Text(file, "", ""), column, wrong, _should(allowed))
    return found


def _content(file: Path, hint: str) -> str:
    data = read_bytes(file, hint)
    if file.name.endswith(".gz"):
        try:
            with gzip.open(io.BytesIO(data)) as stream:
                data = stream.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise refused(file, f"cannot be unpacked ({one_line(error, 120)})", hint) from None
        if len(data) > MOST_BYTES:
            raise refused(file, f"unpacks to more than {MOST_BYTES / 1e9:.1f} GB", hint)
    return text_of(file, data, hint)


def _lines(content: str) -> Iterator[tuple[int, list[str]]]:
    """Every row with the line it ends at; an empty line is none."""
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    for row in reader:
        if row:
            yield reader.line_num, row


def _shape(text: _Text) -> list[str]:
    """The header: no name twice, and every row as wide."""
    file, content, hint, before = text
    try:
        lines = _lines(content)
        _, header = next(lines, (0, []))
        wrong = next(((line, len(row)) for line, row in lines if len(row) != len(header)), None)
    except csv.Error as error:
        raise refused(file, f"is no table ({one_line(error, 120)})", hint) from None
    if not header:
        raise refused(file, "is empty", hint)
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise refused(file, f"the column {shown(twice)} stands twice", hint)
    if wrong is not None:
        raise refused(
            file, f"line {wrong[0] + before} has {wrong[1]} cells, the header has {len(header)}", hint
        )
    return header


def _parsed(text: _Text, header: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    try:
        return parsed(text.content, header, numbers)
    except ValueError as error:
        raise refused(text.file, f"is no table ({one_line(error, 120)})", text.hint) from None


def parsed(content: str, header: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """The text of a table as a frame: `numbers` are read as such as far as they can be, an empty one is NaN;
    the other columns of the header are text."""
    import pandas as pd

    return pd.read_csv(
        io.StringIO(content, newline=""),
        dtype={name: str for name in header if name not in numbers},
        na_values={name: [""] for name in numbers if name in header},
        keep_default_na=False,
        index_col=False,
    )


def _within(values: Any, allowed: Range) -> Any:
    return (values >= allowed[0]) & (values <= allowed[1])


def _should(allowed: Range) -> str:
    low, high = allowed
    if low < 0:
        return "should be a number or empty"
    return f"should be a number {f'from {low:g} to {high:g}' if high < FINITE[1] else f'>= {low:g}'} or empty"


def _numbers(text: _Text, column: pd.Series[Any], allowed: Range) -> pd.Series[Any]:
    """A parsed column as numbers, each in its range or missing."""
    import pandas as pd

    found = column
    words = absent = np.zeros(len(column), dtype=bool)
    if column.dtype.kind not in "iuf":  # some cell is no number, and all were left as they are
        said = column.astype(object).where(column.notna(), "").astype(str)
        absent = said.eq("").to_numpy(dtype=bool)
        words = ~said.str.fullmatch(NUMBER).to_numpy(dtype=bool)
        found = pd.to_numeric(said.where(~words), errors="coerce").astype(float)
    values = found.to_numpy(dtype=float)
    wrong = ~absent & (words | ~(np.isnan(values) | _within(values, allowed)))
    _refuse_first(text, column, wrong, _should(allowed))
    return found


def _refuse_first(text: _Text, column: pd.Series[Any], wrong: Any, should: str) -> None:
    """UserError names the first cell of a column that is wrong, by its line in the file."""
    if not wrong.any():
        return
    at = int(wrong.argmax())
    line = next((n for i, (n, _) in enumerate(_lines(text.content)) if i == at + 1), at + 2)
    cell = column.iloc[at]
    said = shown(cell) if isinstance(cell, str) else one_line(str(cell), 120)
    raise refused(text.file, f"line {line + text.before}: {column.name} is {said}, {should}", text.hint)
