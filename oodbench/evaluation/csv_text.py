"""Frames as the text of a CSV file, through pandas where they are small and through pyarrow, where it is
installed, where they are not: the same text, several times faster."""

from __future__ import annotations

import contextlib
import csv
import gzip
import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.files import replace, replacing
from oodbench.core.names import no_formula
from oodbench.evaluation.decimals import texts
from oodbench.evaluation.large import LARGE, released

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FEW_CELLS = 100_000
"""Up to so many, pandas is as fast."""
AT_ONCE = 20_000
"""Rows that are made into text together."""
_THREADS = 2

HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None


def to_csv(frame: pd.DataFrame, digits: int = 10) -> str:
    """A frame as every results file holds it: ten significant digits, empty for missing, one line end on
    every machine, and no text that a spreadsheet would take for a formula."""
    return "".join(parts(frame, digits))


def write_csv(frame: pd.DataFrame, file: Path) -> None:
    """Write that text as a file, packed where its name ends in ``.gz``. A reader sees the old one or the new
    one; the same frame gives the same bytes, without a time stamp. OSError where it cannot be written."""
    packed = file.name.endswith(".gz")
    if len(frame) < LARGE:
        text = to_csv(frame)
        replace(file, gzip.compress(text.encode("utf-8", "backslashreplace"), 9, mtime=0) if packed else text)
        return
    with (
        replacing(file) as draft,
        open(draft, "wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=0) if packed else contextlib.nullcontext(raw) as stream,
    ):
        for text in parts(frame):
            stream.write(text.encode("utf-8", "backslashreplace"))


def is_text_of(frame: pd.DataFrame, file: Path) -> bool:
    """Whether a file, plain or packed, holds the text of a frame, byte by byte."""
    with gzip.open(file) if file.name.endswith(".gz") else open(file, "rb") as stream:
        for text in parts(frame):
            data = text.encode("utf-8", "backslashreplace")
            if stream.read(len(data)) != data:
                return False
        return not stream.read(1)


def parts(frame: pd.DataFrame, digits: int = 10) -> Iterator[str]:
    """The text of `to_csv` in pieces, each of whole lines, so that a large one need never be there at
    once."""
    if frame.size <= FEW_CELLS or frame.shape[1] < 2:
        yield _by_pandas(frame, digits, header=True)
        return
    yield _by_pandas(frame.iloc[:0], digits, header=True)
    if not HAS_PYARROW:
        for start in range(0, len(frame), AT_ONCE):
            yield _by_pandas(frame.iloc[start : start + AT_ONCE], digits, header=False)
        return
    columns = [_column(frame.iloc[:, i], digits) for i in range(frame.shape[1])]
    with ThreadPoolExecutor(_THREADS) as pool:  # pyarrow and numpy let one another work
        waiting = []
        for start in range(0, len(frame), AT_ONCE):
            waiting.append(pool.submit(_lines, frame, columns, start, digits))
            if len(waiting) > _THREADS:
                yield waiting.pop(0).result()
        for one in waiting:
            yield one.result()


def _by_pandas(frame: pd.DataFrame, digits: int, *, header: bool) -> str:
    safe: dict[str, Any] = {}
    for name in frame.select_dtypes(exclude="number"):
        cells = [cell for cell in frame[name].unique() if isinstance(cell, str)]
        guarded = {cell: text for cell in cells if (text := no_formula(cell)) != cell}
        if guarded:
            column = frame[name].astype(object)
            safe[str(name)] = column.map(lambda cell, known=guarded: known.get(cell, cell))
    made = frame.assign(**safe)
    return made.to_csv(index=False, header=header, lineterminator="\n", float_format=f"%.{digits}g")


_Column = Callable[[int, int], "pa.Array"]
"""The cells of some rows as they stand in the file, null where there is none."""


def _lines(frame: pd.DataFrame, columns: Iterable[_Column], start: int, digits: int) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    stop = min(start + AT_ONCE, len(frame))
    try:
        cells = [column(start, stop) for column in columns]
    except (pa.ArrowException, UnicodeError, TypeError):  # what is no text of Unicode, or several kinds
        return _by_pandas(frame.iloc[start:stop], digits, header=False)
    joined: Any = {"null_handling": "replace", "null_replacement": ""}
    cells[-1] = pc.binary_join_element_wise(cells[-1], "", "\n", **joined)
    lines = pc.binary_join_element_wise(*cells, ",", **joined)
    return lines.buffers()[2].to_pybytes().decode()


def _column(series: pd.Series[Any], digits: int) -> _Column:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(series.dtype, pd.CategoricalDtype):
        words = _quoted(series.cat.categories)
        codes = series.cat.codes.to_numpy()
        return lambda a, b: words.take(pa.array(codes[a:b], mask=codes[a:b] < 0))
    if series.dtype.kind == "f" and isinstance(series.dtype, type(pd.Series([0.0]).dtype)):
        values = series.to_numpy()

        def numbers(a: int, b: int) -> pa.Array:
            found = texts(values[a:b], digits)
            released(values)  # of a mapped table a part is in memory, not all that was read
            return found

        return numbers
    if series.dtype.kind in "iu":
        return lambda a, b: pc.cast(pa.array(series.iloc[a:b]), pa.string())
    return lambda a, b: _words(series.iloc[a:b])


def _words(series: pd.Series[Any]) -> pa.Array:
    """Cells of text; TypeError where some are something else."""
    import pyarrow as pa

    found = pa.array(series.to_numpy(dtype=object), pa.string(), from_pandas=True).dictionary_encode()
    return _quoted(found.dictionary.to_pylist()).take(found.indices)


def _quoted(words: Iterable[str]) -> pa.Array:
    """Cells as they stand in the file, by the writer that pandas uses."""
    import pyarrow as pa

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    found = []
    for word in words:
        if not isinstance(word, str):
            raise TypeError("no text")
        text.seek(0)
        text.truncate()
        writer.writerow([no_formula(word), ""])
        found.append(text.getvalue()[:-2])
    return pa.array(found, pa.string())
