"""IDX files, plain or gzip: the format of the MNIST family (yann.lecun.com/exdb/mnist, "the IDX file
format")."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oodbench.core.errors import UserError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
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
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read ({error}); get the file again") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise UserError(f"{file}: is not an IDX file (it starts with {data[:4]!r})")
    dims = data[3]
    start = 4 + 4 * dims
    if len(data) < start:
        raise UserError(f"{file}: is cut short: {len(data)} bytes hold no header of {dims} dimensions")
    shape = struct.unpack(f">{dims}I", data[4:start])
    dtype = np.dtype(_TYPES[data[2]])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise UserError(
            f"{file}: header says {'x'.join(map(str, shape))}, {expected} bytes, but the file holds"
            f" {len(data)}; get it again"
        )
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
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
