"""Small data sets, written to disk in their true formats."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oodbench.core import registry
from oodbench.core.dataset import Dataset


def build(spec: Any) -> Dataset:
    return registry.build("dataset", spec)


def write_images(root: Path, names: list[str], size: tuple[int, int] = (8, 8), seed: int = 0) -> None:
    """RGB images of noise, in the format that each name ends with."""
    rng = np.random.default_rng(seed)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name)


def write_idx(file: Path, array: np.ndarray) -> None:
    """An IDX file by the format's own description: two zero bytes, the type (8: unsigned byte), dimensions,
    big-endian sizes, data."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(np.uint8).tobytes()
    )
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def write_mnist(
    folder: Path, suffix: str = "", n: int = 40, seed: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = {}
    for part in ("train", "t10k"):
        x, y = rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", x)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", y)
        made[part] = (x, y)
    return made
