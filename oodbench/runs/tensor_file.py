"""Rows of tensors written to one safetensors file as they come, finished shard by shard."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oodbench.data.reading import in_parts
from oodbench.runs import shards
from oodbench.runs.layout import Layout, layout_of, rows_sha256
from oodbench.runs.shards import Finished


class RowWriter:
    """Rows of several tensors, put in place in one safetensors file whose layout the first batch decides.

    A file of more rows than `shard` is hashed as it is written. A shard that is full is put on the disk and
    noted in a journal beside the file; whoever opens the file again keeps the shards that are whole by their
    checksums, and writes those that are `missing`.

    Args:
        path: the file. What is there and cannot be gone on with is written over.
        n: rows in all.
        shard: rows of a shard.
    """

    def __init__(self, path: Path, n: int, shard: int = shards.SHARD) -> None:
        self._path, self._n, self._shard = path, n, shard
        self._at, self._fd = 0, -1
        self._layout: Layout | None = None
        self._shards: dict[int, tuple[str, float]] = {}
        self._sums: list[Any] = []
        self._since = time.perf_counter()
        self._go_on()

    @property
    def missing(self) -> list[range]:
        """The rows that are not there yet, in few pieces; each starts at the start of a shard."""
        parts = enumerate(in_parts(self._n, self._shard))
        return shards.ranges(part for i, part in parts if i not in self._shards)

    @property
    def seconds(self) -> float:
        """What the shards that are there took to make, those of earlier processes included."""
        return sum(seconds for _, seconds in self._shards.values())

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What a manifest says of the finished file; None where it is of one shard, and hashed as a whole."""
        if self._n <= self._shard or self._layout is None:
            return None
        return self._finished().manifest | {"bytes": self._layout.bytes}

    def go_to(self, row: int) -> None:
        """The row that the next batch starts at: the first of one of `missing`."""
        if row % self._shard:
            raise ValueError(f"row {row} is not the first of a shard of {self._shard}")
        self._at, self._sums, self._since = row, [], time.perf_counter()

    def put(self, batch: Mapping[str, Tensor]) -> None:
        """Add a batch: the same names, dtypes and trailing shapes each time."""
        count = len(next(iter(batch.values())))
        if self._at + count > self._n:
            raise ValueError(f"{self._at + count} rows were written where {self._n} were announced")
        data = self._bytes_of(batch, count)
        done = 0
        while done < count:
            rows = min(count - done, self._shard - self._at % self._shard)
            self._write(data, done, rows)
            done += rows

    def finish(self) -> None:
        """ValueError where rows are missing."""
        there = self._n - sum(map(len, self.missing))
        if there != self._n:
            raise ValueError(f"{max(there, self._at)} rows were written where {self._n} were announced")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ------------------------------------------------------------

    def _go_on(self) -> None:
        """Keep what an earlier process has finished, if it was at this file."""
        found = shards.noted(self._path)
        if found is None or (found.n, found.rows) != (self._n, self._shard):
            return
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            self._layout, whole = shards.sound(self._path, found)
            self._shards = {i: one for i, one in found.shards.items() if i in whole}
            self._fd = os.open(self._path, os.O_RDWR)
            os.ftruncate(self._fd, self._layout.bytes)  # what hangs on after the rows would stay there
            shards.begin(self._path, self._finished())

    def _finished(self) -> Finished:
        assert self._layout is not None
        return Finished(self._n, self._shard, shards.head_sha256(self._layout), self._shards)

    def _bytes_of(self, batch: Mapping[str, Tensor], count: int) -> list[memoryview]:
        """The bytes of each tensor's rows, in the order of the file."""
        if self._fd < 0:
            self._open(layout_of(batch, self._n))
        assert self._layout is not None
        places = self._layout.places
        wrong = {name: batch.get(name) for name in sorted(places.keys() | batch.keys())}
        for name, place in places.items():
            rows = wrong[name]
            if rows is not None and (rows.shape, rows.dtype) == ((count, *place.shape), place.dtype):
                del wrong[name]
        if wrong:
            self._forget()
            name, rows = next(iter(wrong.items()))
            what = "no rows" if rows is None else f"rows of {tuple(rows.shape[1:])}, {rows.dtype}"
            raise ValueError(f"{name}: {what} do not fit the first batch's")
        flat = (batch[n].detach().cpu().contiguous().reshape(-1) for n in places)
        return [rows.view(torch.uint8).numpy().data for rows in flat]

    def _open(self, layout: Layout) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._layout = layout
        _write(self._fd, memoryview(layout.head), 0)
        os.ftruncate(self._fd, layout.bytes)
        if self._n > self._shard:
            shards.begin(self._path, self._finished())

    def _write(self, data: list[memoryview], done: int, rows: int) -> None:
        """Rows of one shard, from `done` of a batch on."""
        assert self._layout is not None
        if not self._sums:
            self._sums = [hashlib.sha256() for _ in data]
        for piece, place, sha in zip(data, self._layout.places.values(), self._sums, strict=True):
            mine = piece[done * place.width : (done + rows) * place.width]
            _write(self._fd, mine, place.start + self._at * place.width)
            if self._n > self._shard:
                sha.update(mine)
        self._at += rows
        if self._at == self._n or self._at % self._shard == 0:
            self._note((self._at - 1) // self._shard)

    def _note(self, shard: int) -> None:
        seconds, self._since = time.perf_counter() - self._since, time.perf_counter()
        sha256, self._sums = rows_sha256(self._sums), []
        if self._n > self._shard:
            os.fsync(self._fd)
            shards.note(self._path, shard, sha256, seconds)
        self._shards[shard] = (sha256, seconds)

    def _forget(self) -> None:
        """What is there is of another layout: nobody can go on with it."""
        shards.journal_of(self._path).unlink(missing_ok=True)


def _write(fd: int, data: memoryview, place: int) -> None:
    """All of `data`: the system may write a part without an error, as on a disk that is nearly full."""
    while data:
        done = os.pwrite(fd, data, place)
        data, place = data[done:], place + done
