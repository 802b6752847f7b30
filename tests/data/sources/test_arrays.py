"""Arrays of images as they come to be samples; the bad ones are in tests/whole/test_bad_files.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources.arrays import read_arrays


def test_a_layout_that_is_said_holds(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    with pytest.raises(UserError, match="may be either"):
        read_arrays(tmp_path / "x.npz", "auto")
    first, last = (read_arrays(tmp_path / "x.npz", layout) for layout in ("channels-first", "channels-last"))
    assert np.array_equal(first.read([0, 1]).numpy(), images)
    assert np.array_equal(last.read([0, 1]).numpy(), np.moveaxis(images, 3, 1))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8", ">i4", ">u8"])
def test_labels_of_any_whole_kind(tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.array([0, 2, 1], kind))
    assert read_arrays(tmp_path / "x.npz", "auto").labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize("kind", ["float16", "float64", ">f4"])
def test_images_of_any_float_kind(tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "x.npz", images=np.full((1, 4, 4), 0.5, kind))
    read = read_arrays(tmp_path / "x.npz", "auto").read([0])
    assert read.shape == (1, 1, 4, 4)
    assert (read == 0.5).all()


def test_a_file_is_in_memory_once(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 4), np.uint8))
    first = read_arrays(tmp_path / "x.npy", "auto")
    assert read_arrays(tmp_path / "x.npy", "auto") is first
