"""IDX files, plain or gzip: the format of the MNIST family (yann.lecun.com/exdb/mnist, "the IDX file
format")."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from oodbench.core.errors import UserError, one_line
from oodbench.core.files import readable
from oodbench.data.sources.local_copy import through_copy

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 8
_MOST_PACKED = 1100
"""Times that gzip can shrink anything: 1032, and its header."""
PARTS = {"train": "train", "test": "t10k"}


def find_idx(folder: Path, part: str) -> tuple[Path, Path] | None:
    """Image and label file of a part (``train`` or ``t10k``) in a folder, plain ones before gzip; None where
    one is not there."""
    found = []
    for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
        # Some mirrors unpack to "images.idx3-ubyte".
        dotted = name.replace("-idx", ".idx")
        here = [folder / f for f in (name, f"{name}.gz", dotted, f"{dotted}.gz") if (folder / f).is_file()]
        found += here[:1]
    return (found[0], found[1]) if len(found) == 2 else None


def read_idx(file: Path) -> Tensor:
    """The array of an IDX file, its shape and type as its header says. UserError with the file's name where
    header and length disagree."""
    try:
        return through_copy(readable(file), _read)
    except UserError:
        raise
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}); get the file again") from None


def _read(file: Path) -> Tensor:
    size = file.stat().st_size
    with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as f:
        return _array(file, f, size * _MOST_PACKED if file.suffix == ".gz" else size)


def _array(file: Path, f: IO[bytes] | gzip.GzipFile, most: int) -> Tensor:
    """The array of an open file that can hold at most `most` bytes, so that no header makes us ask for more
    memory."""
    start = f.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES:
        raise UserError(f"{file}: is not an IDX file (it starts with {start!r})")
    dims = start[3]
    if not 1 <= dims <= _MOST_DIMENSIONS:
        raise UserError(f"{file}: has {dims} dimensions; 1 to {_MOST_DIMENSIONS} are allowed")
    header = f.read(4 * dims)
    if len(header) < 4 * dims:
        raise UserError(f"{file}: is cut short: {len(header) + 4} bytes hold no header of {dims} dimensions")
    shape = struct.unpack(f">{dims}I", header)
    dtype = np.dtype(_TYPES[start[2]])
    due = math.prod(shape) * dtype.itemsize
    before = 4 + 4 * dims
    data = f.read(due + 1) if before + due <= most else b""
    if len(data) != due:
        holds = before + len(data) if before + due <= most else most
        raise UserError(
            f"{file}: header says {'x'.join(map(str, shape))}, {before + due} bytes, but the file holds"
            f" {holds}{' or more' if len(data) > due else ''}; get it again"
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    return torch.from_numpy(array.astype(dtype.newbyteorder("=")))


def read_pair(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 1, H, W) uint8 and labels (N,) int64 of two IDX files."""
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or x.dtype != torch.uint8:
        raise UserError(f"{images}: should hold uint8 images (N, H, W), holds {x.dtype} {tuple(x.shape)}")
    if y.ndim != 1 or len(y) != len(x):
        raise UserError(
            f"{labels}: should hold {len(x)} labels, as many as {images.name} has images, holds"
            f" {tuple(y.shape)}"
        )
    return x.unsqueeze(1), y.to(torch.int64)
