"""What the runs of a suite answer, kept on disk in the order that it comes and read in the order of the plan:
the memory of whoever gathers does not grow with per-sample scores."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation.large import LARGE, Columns, Names, nameless
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import NEWER_KEY, ROW_KEYS
from oodbench.runs.folder import HISTORY, NUMBERS, TIMING, Contents
from oodbench.runs.per_sample import pictures_of
from oodbench.suite.plan import Plan

if TYPE_CHECKING:
    import pandas as pd


class Answer(NamedTuple):
    """What one run gives back: records of results.csv, timing.csv, history.csv and of single samples."""

    rows: Sequence[Mapping[str, Any]] = ()
    timing: Sequence[Mapping[str, Any]] = ()
    history: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    """As of `per_sample.samples_of`: keys, and the arrays `value` and `index` (N,)."""


class Gathered:
    """Answers of runs on disk.

    They lie in files without a name inside the results folder, which are gone when they are closed, also by a
    process that is killed. Frames of `contents` read single samples from there: use them inside the block.

    Example:
        >>> with Gathered(folder.path) as gathered:
        ...     gathered.put(1, second)
        ...     gathered.put(0, first)
        ...     folder.write(gathered.contents(plan))
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = [_nameless(folder) for _ in range(2)]
        records, arrays = self._files
        self._tables = {name: _Table(records) for name in ("rows", "timing", "history", "samples")}
        self._arrays = Arrays(arrays)

    def __enter__(self) -> Gathered:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def put(self, place: int, answer: Answer) -> None:
        """Keep the answer of the run at `place` of the plan. A second one takes the place of the first.
        UserError where the disk takes no more."""
        try:
            self._tables["rows"].put(place, [_keys_as_text(row) for row in answer.rows])
            self._tables["timing"].put(place, answer.timing)
            self._tables["history"].put(place, answer.history)
            self._tables["samples"].put(place, [self._arrays.kept(record) for record in answer.samples])
        except OSError as error:
            raise UserError(
                f"results folder {self._folder}: cannot keep what was measured ({error.strerror or error});"
                " make room and run again"
            ) from None

    def contents(self, plan: Plan) -> Contents:
        """What a results folder is made from, in the order of the places."""
        rows = self._tables["rows"]
        newer = [NEWER_KEY] if NEWER_KEY in rows.names else []
        frame = rows.whole([*ROW_KEYS, *newer, *METRICS], METRICS, self._folder)
        return Contents(
            frame.fillna({key: "" for key in newer if len(rows) < LARGE}),
            plan.suite,
            timing=self._tables["timing"].whole(TIMING, NUMBERS, self._folder),
            history=self._tables["history"].frame(HISTORY).drop_duplicates(),
            samples=self._arrays.read(self._tables["samples"].frame()),
            pictures=pictures_of(plan),
        )


def _nameless(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        raise UserError(
            f"results folder {folder}: cannot be written ({error.strerror or error}); choose another with"
            " --results"
        ) from None


def _keys_as_text(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{key: "" if row[key] is None else str(row[key]) for key in ROW_KEYS}}


class _Table:
    """Records, column by column in one piece per place: numbers as such, anything else by its place among the
    different ones, which are few."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pieces: dict[int, tuple[int, int, int]] = {}
        self._words: dict[str, dict[Any, int]] = {}
        self.names: dict[str, None] = {}

    def __len__(self) -> int:
        return sum(n for *_, n in self._pieces.values())

    def put(self, place: int, records: Sequence[Mapping[str, Any]]) -> None:
        names = dict.fromkeys(name for record in records for name in record)
        self.names |= names
        piece = {name: self._packed(name, [r.get(name) for r in records]) for name in names}
        data = pickle.dumps(piece, protocol=5)
        self._pieces[place] = (_append(self._file, data), len(data), len(records))

    def _packed(self, name: str, values: Sequence[Any]) -> tuple[bool, np.ndarray]:
        """Whether a column holds words, and its numbers or the places of its words (missing: -1)."""
        there = [v for v in values if v is not None and v == v]
        if all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in there):
            whole = len(there) == len(values) and all(isinstance(v, (int, np.integer)) for v in there)
            return False, np.array([np.nan if v is None else v for v in values], "i8" if whole else "f8")
        known = self._words.setdefault(name, {})
        # 1, 1.0 and True are one key of a dictionary
        places = [-1 if v is None or v != v else known.setdefault((type(v), v), len(known)) for v in values]
        return True, np.array(places, dtype="i4")

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All records in the order of their places, with these columns."""
        import pandas as pd

        columns = list(self.names) if columns is None else list(columns)
        pieces: dict[str, list[tuple[bool, np.ndarray]]] = {name: [] for name in columns}
        for n, piece in self._in_order():
            for name in columns:
                pieces[name].append(piece.get(name, (False, np.full(n, np.nan))))
        # a column after the other, each freed when it is whole
        return pd.DataFrame({name: self._joined(name, pieces.pop(name)) for name in columns}, columns=columns)

    def _in_order(self) -> Iterator[tuple[int, dict[str, tuple[bool, np.ndarray]]]]:
        for place in sorted(self._pieces):
            at, size, n = self._pieces[place]
            if n:
                yield n, pickle.loads(_bytes_at(self._file, at, size))

    def whole(self, order: Sequence[str], known: Collection[str], folder: Path) -> pd.DataFrame:
        """All records in the order of their places with these columns, of which the `known` ones hold
        numbers; of many in the form of `evaluation.large`, where a missing name is empty."""
        if len(self) < LARGE:
            return self.frame(order)
        names, numbers = ([c for c in order if (c in known) == number] for number in (False, True))
        columns = Columns(numbers, len(self), folder)
        words = {name: [*(str(word) for _, word in self._words.get(name, ())), ""] for name in names}
        keys = {name: Names() for name in names}
        start = 0
        for n, piece in self._in_order():
            for name in names:
                held, found = piece.get(name, (False, None))
                keys[name].add(found if held else np.full(n, -1), words[name])
            for name in numbers:
                _, found = piece.get(name, (False, None))
                columns.write(name, start, np.full(n, np.nan) if found is None else found)
            start += n
        return columns.frame({name: one.column() for name, one in keys.items()}, order)

    def _joined(self, name: str, pieces: Sequence[tuple[bool, np.ndarray]]) -> Any:
        import pandas as pd

        if not any(words for words, _ in pieces):
            return np.concatenate([numbers for _, numbers in pieces]) if pieces else np.empty(0)
        known = dict(self._words[name])
        codes = [found if words else _coded(found, known) for words, found in pieces]
        words = pd.Index([word for _, word in known])
        return words.take(np.concatenate(codes), allow_fill=True, fill_value=np.nan)


def _coded(numbers: np.ndarray, known: dict[Any, int]) -> np.ndarray:
    """Numbers in a column of words, as places among those."""
    found = [-1 if v != v else known.setdefault((type(v), v), len(known)) for v in numbers.tolist()]
    return np.array(found, dtype="i4")


class Kept:
    """An array (N,) of numbers on disk, read when numpy asks for it."""

    __slots__ = ("_at", "_file", "_kind", "_n")
    ndim = 1

    def __init__(self, file: IO[bytes], at: int, n: int, kind: str) -> None:
        self._file, self._at, self._n, self._kind = file, at, n, kind

    def __len__(self) -> int:
        return self._n

    @property
    def shape(self) -> tuple[int]:
        return (self._n,)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        kind = np.dtype(self._kind)
        found = np.frombuffer(_bytes_at(self._file, self._at, self._n * kind.itemsize), kind)
        wide = found.astype("f8" if kind.kind == "f" else "i8")
        return wide if dtype is None else wide.astype(dtype, copy=False)


class Arrays:
    """The arrays of per-sample records on disk: scores at half their width where that loses nothing, places
    of samples, which most records share, once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._known: dict[bytes, int] = {}

    def kept(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with where its arrays lie in place of them."""
        value, index = np.asarray(record["value"], "f8"), np.asarray(record["index"], "i8")
        with np.errstate(over="ignore"):
            half = value.astype("f4")
        whole = not np.array_equal(half, value, equal_nan=True)
        at = _append(self._file, (value if whole else half).tobytes())
        digest = hashlib.blake2b(index.tobytes(), digest_size=16).digest()
        if digest not in self._known:
            self._known[digest] = _append(self._file, index.tobytes())
        rest = {k: v for k, v in record.items() if k not in ("value", "index")}
        where = {"_n": len(value), "_whole": int(whole), "_value": at, "_index": self._known[digest]}
        return rest | where

    def read(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Records of `kept` with arrays again, each read when it is asked for."""
        if frame.empty:
            return frame
        n, whole, value, index = (frame.pop(c).tolist() for c in ("_n", "_whole", "_value", "_index"))
        places = {at: Kept(self._file, at, size, "i8") for at, size in set(zip(index, n, strict=True))}
        values = (
            Kept(self._file, at, size, "f8" if wide else "f4")
            for at, size, wide in zip(value, n, whole, strict=True)
        )
        return frame.assign(
            value=_objects(values, len(n)), index=_objects((places[at] for at in index), len(n))
        )


def kept_samples(each: Iterable[Sequence[Mapping[str, Any]]], folder: Path) -> pd.DataFrame:
    """Per-sample records of some runs as one frame whose arrays lie on disk, as long as it is there."""
    records, arrays = _Table(nameless(folder)), Arrays(nameless(folder))
    for place, samples in enumerate(each):
        records.put(place, [arrays.kept(record) for record in samples])
    return arrays.read(records.frame())


def _objects(found: Iterable[Any], n: int) -> np.ndarray:
    """An array of objects that are not looked into."""
    return np.fromiter(found, dtype=object, count=n)


def _append(file: IO[bytes], data: bytes) -> int:
    """Write at the end of a file; returns where that was."""
    at = file.seek(0, 2)
    left = memoryview(data)
    while left:  # a write without a buffer may take a part
        left = left[file.write(left) :]
    return at


def _bytes_at(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    found = bytearray()
    while len(found) < size and (more := file.read(size - len(found))):
        found += more
    return bytes(found)
