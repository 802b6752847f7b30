"""Tables of millions of rows in little memory: names as categories, numbers in a file without a name that is
mapped, a column of it at a time in memory."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LARGE = 200_000
"""A table of so many rows is kept this way."""


def nameless(folder: Path | None = None) -> IO[bytes]:
    """A file that is gone when it is closed, also by a process that is killed; on the disk of `folder` where
    that can be written."""
    with contextlib.suppress(OSError):
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    return tempfile.TemporaryFile(buffering=0)


class Columns:
    """Numbers of a table being made: up to `n` float64 of each name, each of which is to be written. OSError
    where the disk takes no more."""

    def __init__(self, names: Sequence[str], n: int, folder: Path | None = None) -> None:
        self._file, self._n = nameless(folder), n
        self._at = {name: i * n * 8 for i, name in enumerate(names)}

    def write(self, name: str, start: int, values: Any) -> None:
        """Numbers of one column from row `start` on."""
        self._file.seek(self._at[name] + start * 8)
        left = memoryview(np.ascontiguousarray(values, dtype="f8").tobytes())
        while left:  # a write without a buffer may take a part
            left = left[self._file.write(left) :]

    def frame(self, keys: Mapping[str, Any], order: Sequence[str], n: int | None = None) -> pd.DataFrame:
        """The table of all, or of the first `n` rows, with columns of names. The file lives as long as the
        frame."""
        import pandas as pd

        n = self._n if n is None else n
        found = dict(keys) | {
            name: np.asarray(np.memmap(self._file, "f8", "r", at, (n,))) if n else np.empty(0)
            for name, at in self._at.items()
        }
        self._file.close()  # what is mapped stays
        return pd.DataFrame({name: found[name] for name in order}, copy=False)


class Names:
    """A column of names being made: which of the different ones stands in each row."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._parts: list[np.ndarray] = []

    def add(self, codes: Any, words: Sequence[str]) -> None:
        """More rows: places (N,) among `words`."""
        used, codes = np.unique(codes, return_inverse=True)
        places = [self._places.setdefault(words[i], len(self._places)) for i in used]
        self._parts.append(np.array(places, "i2" if len(self._places) <= 2**15 else "i4")[codes])

    def column(self) -> pd.Categorical:
        """The column, whose parts are freed."""
        import pandas as pd

        codes = np.concatenate(self._parts) if self._parts else np.empty(0, dtype="i2")
        self._parts = []
        return pd.Categorical.from_codes(codes, pd.Index(list(self._places), dtype=pd.Series(["a"]).dtype))


def released(values: Any) -> None:
    """Give back the memory of numbers that are mapped; they are read again when they are asked for."""
    base = values
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def numbers(rows: pd.DataFrame, name: str, at: Any) -> np.ndarray:
    """One column's numbers (N,) float64 at some places, as an array of its own."""
    values = rows[name].to_numpy(dtype=float)
    found = values[at]
    released(values)
    return found


def compacted(
    rows: pd.DataFrame,
    numbers: Collection[str],
    word: Callable[[str], str] = str,
    number: Callable[[Any], Any] = np.asarray,
    folder: Path | None = None,
) -> pd.DataFrame:
    """A table in this form, with what `word` makes of each different name and `number` of `numbers`."""
    columns = Columns([str(c) for c in rows if c in numbers], len(rows), folder)
    keys = {}
    for name in map(str, rows):
        if name in numbers:
            values = rows[name].to_numpy(dtype=float)
            for start in range(0, len(rows), _AT_ONCE):
                columns.write(name, start, number(values[start : start + _AT_ONCE]))
            released(values)
        else:
            codes, words = factorized(rows[name])
            one = Names()
            one.add(codes, [*map(word, words), ""])  # missing is -1, the last of them
            keys[name] = one.column()
    return columns.frame(keys, [str(c) for c in rows])


_AT_ONCE = 250_000
"""Numbers of a column that are in memory together."""


def chosen(rows: pd.DataFrame, mask: np.ndarray) -> pd.DataFrame:
    """Some rows of a table; of a large one in the same form."""
    if len(rows) < LARGE:
        return rows[mask]
    if mask.all():
        return rows
    at = np.flatnonzero(mask)
    mapped = [str(name) for name in rows if rows[name].dtype.kind == "f"]
    columns = Columns(mapped, len(at))
    for name in mapped:
        columns.write(name, 0, numbers(rows, name, at))
    keys = {str(name): rows[name].iloc[at].array for name in rows if name not in mapped}
    return columns.frame(keys, [str(name) for name in rows])


def group_ids(columns: Sequence[Any]) -> np.ndarray:
    """Which rows agree in all of some columns: the number of the group of each row (N,), in the order in
    which groups appear."""
    import pandas as pd

    return np.asarray(pd.factorize(_combined(columns))[0])


def firsts(columns: Sequence[Any]) -> np.ndarray:
    """Which rows (N,) are the first of those that agree with them in all of some columns."""
    import pandas as pd

    return ~pd.Series(_combined(columns)).duplicated().to_numpy()


def _combined(columns: Sequence[Any]) -> np.ndarray:
    """One number for each row, the same where all columns agree."""
    import pandas as pd

    found, size = np.zeros(len(columns[0]), dtype="i8"), 1
    for column in columns:
        codes, n = _codes(column)
        if size > 2**62 // (n + 1):
            found, different = pd.factorize(found)
            size = len(different)
        found *= n + 1
        found += codes
        found += 1  # missing is -1
        size *= n + 1
    return found


def factorized(column: pd.Series[Any]) -> tuple[np.ndarray, list[str]]:
    """Which of its different words stands in each row of a column of text, and these."""
    import pandas as pd

    codes, words = pd.factorize(column)
    return np.asarray(codes), list(words)


def _codes(column: Any) -> tuple[np.ndarray, int]:
    import pandas as pd

    if isinstance(getattr(column, "dtype", None), pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), len(column.cat.categories)
    codes, different = pd.factorize(column)
    return np.asarray(codes), len(different)


def plain(keys: pd.DataFrame) -> pd.DataFrame:
    """Names as text where they are categories."""
    import pandas as pd

    kinds = {c: keys[c].cat.categories.dtype for c in keys if isinstance(keys[c].dtype, pd.CategoricalDtype)}
    return keys.astype(kinds) if kinds else keys
