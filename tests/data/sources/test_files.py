"""Image files: colours, depths, sizes."""

from __future__ import annotations

import os
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


def test_names_that_are_no_text_are_read_and_shown_by_their_escapes(tmp_path: Path) -> None:
    _png(tmp_path / "set/a.png", np.zeros((4, 4, 3), np.uint8))
    os.rename(tmp_path / "set/a.png", os.fsencode(tmp_path / "set") + b"/caf\xe9.png")
    (tmp_path / "set/b\x1b[31m.png").write_bytes(b"")
    for _ in range(2):  # listed, and from the cache
        samples = folder("set", tmp_path / "set", flat=True)
        assert list(samples.ids) == ["b\\x1b[31m.png", "caf\\xe9.png"]
        assert samples.read([1]).shape == (1, 3, 4, 4)
        with pytest.raises(UserError) as caught:
            samples.read([0])
        assert "b\\x1b[31m.png: cannot be decoded" in str(caught.value)
        assert str(caught.value).isprintable()


def test_new_files_are_seen_wherever_links_lead(tmp_path: Path) -> None:
    """A class folder whose only sub-folder is a link: two links to the folder itself, as of one without."""
    for i in range(3):
        _png(tmp_path / f"far/{i}.png", np.full((4, 4, 3), i, np.uint8))
    (tmp_path / "set/a").mkdir(parents=True)
    (tmp_path / "set/a/more").symlink_to(tmp_path / "far")

    def count() -> int:
        return len(folder("set", tmp_path / "set", classes=["a"]))

    assert count() == count() == 3
    _png(tmp_path / "far/3.png", np.full((4, 4, 3), 3, np.uint8))
    assert count() == 4
    _png(tmp_path / "far/deep/4.png", np.full((4, 4, 3), 4, np.uint8))
    assert count() == 5
    (tmp_path / "far/0.png").unlink()
    assert count() == 4


def test_files_that_are_not_read_are_told_at_every_start(tmp_path: Path) -> None:
    _png(tmp_path / "set/a/0.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "set/a/1.heic").write_bytes(b"x")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"data set 'set': files in .*set that are not read: 1 \.heic"):
            assert len(folder("set", tmp_path / "set", classes=["a"])) == 1


def test_the_first_bytes_of_every_files_digest_are_known(tmp_path: Path) -> None:
    import hashlib

    for i in range(3):
        _png(tmp_path / f"set/{i}.png", np.full((4, 4, 3), i, np.uint8))
    expected = [hashlib.sha256((tmp_path / f"set/{i}.png").read_bytes()).digest()[:16] for i in range(3)]
    for _ in range(2):
        hashes = folder("set", tmp_path / "set", flat=True).file_hashes()
        assert [h.ljust(16, b"\0") for h in hashes.tolist()] == expected
