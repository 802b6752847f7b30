"""Where the rows of several tensors lie in one safetensors file, and the checksum of some of them."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
_TYPES = {name: dtype for dtype, name in _DTYPES.items()}
_READ_AT_ONCE = 4 * 2**20


class Place(NamedTuple):
    """One tensor of a file: where its first row starts, the bytes of a row, type and shape of a row."""

    start: int
    width: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Layout(NamedTuple):
    """A file of tensors of `n` rows each: the bytes before the data, and the tensors in the order of the
    file."""

    head: bytes
    n: int
    places: dict[str, Place]

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return max((p.start + self.n * p.width for p in self.places.values()), default=len(self.head))

    def parts(self, rows: range) -> Iterator[tuple[int, int]]:
        """Start and end, in the file, of the bytes of some rows, tensor by tensor."""
        for p in self.places.values():
            yield p.start + rows.start * p.width, p.start + rows.stop * p.width


def layout_of(batch: Mapping[str, Tensor], n: int) -> Layout:
    """The layout of a file of `n` rows like those of a batch. ValueError for a type that the format lacks."""
    header: dict[str, Any] = {}
    at = 0
    # widest type first, so that every tensor starts aligned to its element
    for name, rows in sorted(batch.items(), key=lambda item: (-item[1].element_size(), item[0])):
        if rows.dtype not in _DTYPES:
            raise ValueError(f"{name}: dtype {rows.dtype} cannot be stored")
        end = at + n * rows.element_size() * rows[0].numel()
        header[name] = {
            "dtype": _DTYPES[rows.dtype], "shape": [n, *rows.shape[1:]], "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return _parsed(struct.pack("<Q", len(text)) + text)


def layout_in(file: Path) -> Layout:
    """The layout of a file that was written by one. OSError or ValueError where it has none."""
    with open(file, "rb") as f:
        return layout_at(f.fileno(), 0)


def layout_at(fd: int, at: int) -> Layout:
    """The layout of a file that lies inside an open one, from byte `at` on; its places are counted from its
    own start. OSError or ValueError where there is none."""
    length = os.pread(fd, 8, at)
    (size,) = struct.unpack("<Q", length) if len(length) == 8 else (0,)
    return _parsed(length + os.pread(fd, min(size, 1 << 20), at + 8))


def _parsed(head: bytes) -> Layout:
    header = json.loads(head[8:])
    n, places = 0, {}
    for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        n, *shape = about["shape"]
        start, end = about["data_offsets"]
        places[name] = Place(
            len(head) + start, (end - start) // max(n, 1), _TYPES[about["dtype"]], tuple(shape)
        )
    return Layout(head, n, places)


def rows_sha256(sums: Sequence[Any]) -> str:
    """The checksum of some rows, of the sha256 of those rows of each tensor, in the order of the file. So it
    can be counted while rows of several tensors are written in turn."""
    return hashlib.sha256(b"".join(s.digest() for s in sums)).hexdigest()


def stored_sha256(fd: int, layout: Layout, rows: range, start: int = 0) -> str:
    """The checksum of some rows as they lie in an open file, in which theirs begins at byte `start`."""
    return rows_sha256([bytes_sha256(fd, start + at, start + end) for at, end in layout.parts(rows)])


def bytes_sha256(fd: int, at: int, end: int) -> Any:
    """The sha256 of some bytes of an open file, as far as it has them."""
    sha = hashlib.sha256()
    while at < end and (data := os.pread(fd, min(_READ_AT_ONCE, end - at), at)):
        sha.update(data)
        at += len(data)
    return sha


def tensors_in(data: Any, at: int, end: int) -> dict[str, Tensor]:
    """The tensors of a safetensors file that lies in a buffer, from byte `at` to `end`: they share the
    buffer's memory. ValueError where there is none."""
    (size,) = struct.unpack_from("<Q", data, at)
    start, found = at + 8 + size, {}
    for name, about in json.loads(bytes(data[at + 8 : min(start, end)])).items():
        if name == "__metadata__":
            continue
        dtype, (first, last) = _TYPES[about["dtype"]], about["data_offsets"]
        count = (last - first) // dtype.itemsize
        flat = (
            torch.frombuffer(data, dtype=dtype, count=count, offset=start + first)
            if count
            else torch.empty(0, dtype=dtype)
        )
        found[name] = flat.reshape(about["shape"])
    return found
