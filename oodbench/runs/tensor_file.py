"""Rows of tensors written to one safetensors file as they come."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class RowWriter:
    """Rows of several tensors, put in place in one safetensors file whose layout the first batch decides."""

    def __init__(self, path: Path, n: int) -> None:
        self._path, self._n, self._done = path, n, 0
        self._fd = -1
        self._places: dict[str, tuple[int, int, torch.dtype]] = {}

    def put(self, batch: Mapping[str, Tensor]) -> None:
        """Append a batch: the same names, dtypes and trailing shapes each time."""
        if self._fd < 0:
            self._open(batch)
        count = len(next(iter(batch.values())))
        for name, rows in batch.items():
            start, width, dtype = self._places[name]
            data = rows.detach().to("cpu", dtype).contiguous().numpy()
            if data.nbytes != count * width:
                raise ValueError(f"{name}: rows of {tuple(rows.shape[1:])} do not fit the first batch's")
            _write(self._fd, data.tobytes(), start + self._done * width)
        self._done += count

    def _open(self, batch: Mapping[str, Tensor]) -> None:
        header: dict[str, Any] = {}
        offset = 0
        # widest type first, so that every tensor starts aligned to its element
        for name, rows in sorted(batch.items(), key=lambda item: (-item[1].element_size(), item[0])):
            if rows.dtype not in _DTYPES:
                raise ValueError(f"{name}: dtype {rows.dtype} cannot be stored")
            width = rows.element_size() * rows[0].numel()
            header[name] = {
                "dtype": _DTYPES[rows.dtype], "shape": [self._n, *rows.shape[1:]],
                "data_offsets": [offset, offset + self._n * width],
            }  # fmt: skip
            self._places[name] = (offset, width, rows.dtype)
            offset += self._n * width
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        _write(self._fd, struct.pack("<Q", len(text)) + text, 0)
        base = 8 + len(text)
        os.ftruncate(self._fd, base + offset)
        self._places = {
            name: (base + start, width, dtype) for name, (start, width, dtype) in self._places.items()
        }

    def finish(self) -> None:
        if self._done != self._n:
            raise ValueError(f"{self._done} rows were written where {self._n} were announced")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write(fd: int, data: bytes, place: int) -> None:
    """All of `data`: the system may write a part without an error, as on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, place)
        view, place = view[done:], place + done
