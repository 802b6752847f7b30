"""Image files: colours, depths, sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources.files import FileSamples, folder


def _png(file: Path, array: np.ndarray) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


def test_grey_palette_and_transparent_files_become_rgb_and_back(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    grey, rgb, rgba = (rng.integers(0, 256, (6, 5, *c), dtype=np.uint8) for c in ((), (3,), (4,)))
    _png(tmp_path / "set/a.png", grey)
    _png(tmp_path / "set/b.png", rgb)
    _png(tmp_path / "set/c.png", rgba)
    Image.fromarray(rgb).quantize(8).save(tmp_path / "set/d.png")
    samples = folder("set", tmp_path / "set", flat=True)
    got = samples.read(range(4))
    assert got.shape == (4, 3, 6, 5)
    assert np.array_equal(got[0].numpy(), np.stack([grey] * 3))
    assert np.array_equal(got[1].permute(1, 2, 0).numpy(), rgb)
    assert np.array_equal(got[2].permute(1, 2, 0).numpy(), rgba[..., :3])
    assert len(np.unique(got[3].flatten(1).T.numpy(), axis=0)) <= 8
    as_grey = folder("set", tmp_path / "set", flat=True, color="grey")
    assert as_grey.read([1]).shape == (1, 1, 6, 5)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(as_grey.read([1])[0, 0].numpy() - luma).max() <= 1
    assert as_grey.digest != samples.digest


def test_sixteen_bits_become_eight_and_thirty_two_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    wide = np.array([[0, 255, 257, 32_896], [65_535, 30_000, 128, 129]], np.uint16)
    _png(tmp_path / "set/a.png", wide)
    expected = np.round(wide / 257).astype(np.uint8)
    assert np.array_equal(
        folder("set", tmp_path / "set", flat=True).read([0])[0].numpy(), np.stack([expected] * 3)
    )
    assert np.array_equal(
        folder("set", tmp_path / "set", flat=True, color="grey").read([0])[0, 0].numpy(), expected
    )
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "set/b.tif")
    with pytest.raises(UserError, match=r"b\.tif: cannot be decoded as an image \(it has pixels of 32 bits"):
        folder("set", tmp_path / "set", flat=True).read([1])


def test_images_of_different_size_ask_for_a_geometry(tmp_path: Path) -> None:
    from oodbench.core.dataset import Geometry

    _png(tmp_path / "set/a.png", np.zeros((6, 5, 3), np.uint8))
    _png(tmp_path / "set/b.png", np.zeros((7, 5, 3), np.uint8))
    samples: FileSamples = folder("set", tmp_path / "set", flat=True)
    with pytest.raises(UserError, match="images differ in size"):
        samples.read([0, 1])
    assert samples.read([0, 1], Geometry((1, 4, 4))).shape == (2, 1, 4, 4)


def test_an_empty_class_and_an_empty_folder_are_said(tmp_path: Path) -> None:
    _png(tmp_path / "set/cat/a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "set/dog").mkdir()
    (tmp_path / "set/dog/readme.txt").write_text("no image")
    with pytest.raises(UserError, match="class 'dog' has no image"):
        folder("set", tmp_path / "set", classes=["cat", "dog"])
    with pytest.raises(UserError, match="there is no image in it"):
        folder("set", tmp_path / "set/dog", flat=True)
