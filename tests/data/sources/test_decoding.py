"""The pixels of an image file are Pillow's, whoever decodes it, and so is what counts as damage."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from oodbench.core.dataset import Geometry
from oodbench.data.sources import decoding
from oodbench.data.sources.decoding import as_seen, decode


def _photograph(size: tuple[int, int]) -> Image.Image:
    """Smooth with some noise, as cameras see the world."""
    rng = np.random.default_rng(3)
    smooth = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.integers(-12, 13, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image, **how: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **how)
    return file.getvalue()


def _jpegs() -> Iterator[tuple[str, bytes]]:
    for size in ((500, 375), (33, 17), (1, 1), (7, 101), (16, 16)):
        picture = _photograph(size)
        for sub, quality, progressive in itertools.product((0, 1, 2), (30, 95), (False, True)):
            yield (
                f"{size}-{sub}-{quality}-{progressive}",
                _jpeg(picture, subsampling=sub, quality=quality, progressive=progressive),
            )
        yield f"{size}-grey", _jpeg(picture.convert("L"))
        yield f"{size}-cmyk", _jpeg(picture.convert("CMYK"))
        yield f"{size}-kept-rgb", _jpeg(picture, keep_rgb=True)
        yield f"{size}-restart", _jpeg(picture, restart_marker_blocks=1)
    turned = Image.Exif()
    turned[0x0112] = 6
    yield "turned", _jpeg(_photograph((40, 30)), exif=turned)
    whole = _jpeg(_photograph((200, 150)), quality=90)
    yield "trailing", whole + b"more"
    yield "twice", whole + whole
    yield "cut", whole[: len(whole) // 2]
    yield "cut at the end", whole[:-2]
    yield "header alone", whole[:300]
    for rare in (b"\x14", b"\x41", b"\x12", b"\x31"):  # subsampling
        yield f"rare-{rare.hex()}", whole.replace(b"\x03\x01\x22", b"\x03\x01" + rare, 1)
    yield "empty", b""
    yield "a PNG of that name", _png(_photograph((5, 4)))
    yield "a line before", b"\n" + whole
    rng = np.random.default_rng(0)
    for number in range(40):
        broken = bytearray(whole)
        for at in rng.integers(2, len(whole), 1 + number % 4):
            broken[at] = rng.integers(0, 256)
        yield f"flipped-{number}", bytes(broken)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("color", ["rgb", "grey"])
def test_the_pixels_of_jpegs_are_pillows(tmp_path: Path, color: Any) -> None:
    pytest.importorskip("simplejpeg")
    file = tmp_path / "one.JPEG"
    damaged = 0
    for name, data in _jpegs():
        file.write_bytes(data)
        try:
            with Image.open(file) as image:
                expected = np.asarray(image.convert("RGB" if color == "rgb" else "L"))
        except Exception as error:
            damaged += 1
            with pytest.raises(type(error)):
                decode(file, color)
            continue
        assert np.array_equal(decode(file, color), expected), name
    assert damaged >= 5


def test_jpegs_are_decoded_by_the_faster_library_where_it_is_here(tmp_path: Path) -> None:
    pytest.importorskip("simplejpeg")
    assert decoding._quick() is not None
    assert decoding._by_simplejpeg(_jpeg(_photograph((9, 8))), "rgb") is not None
    assert decoding._by_simplejpeg(_jpeg(_photograph((9, 8)).convert("CMYK")), "rgb") is None


def test_a_library_with_other_pixels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    theirs = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: theirs(*a, **k) ^ 1)
    assert not decoding._agrees()


def test_an_image_too_large_to_be_meant_is_refused_as_by_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(_jpeg(_photograph((50, 40))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        decode(tmp_path / "a.jpg")


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    "geometry",
    [Geometry((3, 24, 24), 28), Geometry((3, 20, 30), interpolation="bicubic"), Geometry((3, 375, 500))],
)
def test_what_a_network_sees_is_torchvisions_transform(
    tmp_path: Path, quick: bool, geometry: Geometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import transforms

    if not quick:
        monkeypatch.setattr(decoding, "_quick", lambda: None)
    picture = _photograph((500, 375))
    (tmp_path / "a.jpg").write_bytes(_jpeg(picture))
    how = {"bilinear": transforms.InterpolationMode.BILINEAR, "bicubic": transforms.InterpolationMode.BICUBIC}
    size = geometry.shape[1:] if geometry.resize is None else geometry.resize
    chain = [transforms.Resize(size, how[geometry.interpolation]), transforms.CenterCrop(geometry.shape[1:])]
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(transforms.Compose(chain)(image)).transpose(2, 0, 1)
    found = as_seen(tmp_path / "a.jpg", "rgb", geometry)
    assert found.shape == geometry.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_grey_of_colours_is_the_same_by_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(_jpeg(_photograph((51, 37))))
    geometry = Geometry((1, 16, 16), 20)
    found = as_seen(tmp_path / "a.jpg", "rgb", geometry)
    monkeypatch.setattr(decoding, "_quick", lambda: None)
    assert np.array_equal(as_seen(tmp_path / "a.jpg", "rgb", geometry), found)
    assert found.shape == (1, 16, 16)
