"""Corruptions against their formulas, their tables of strength, and the library that has some of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core.dataset import Geometry
from oodbench.core.errors import MissingData, SpecError, UserError
from oodbench.data.corruptions import KINDS, LIBRARY_KINDS, corrupt
from oodbench.data.images import fit
from tests.data.written import build


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    """Three real photographs' worth of patches, 32x32 RGB."""
    from sklearn.datasets import load_sample_images

    photo = load_sample_images().images[0]
    return (
        torch.from_numpy(np.stack([photo[t : t + 32, 100:132] for t in (0, 100, 200)]))
        .permute(0, 3, 1, 2)
        .contiguous()
    )


@pytest.mark.parametrize("scale", ["small", "large"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_is_each_images_own(kind: str, scale: Any, photos: torch.Tensor) -> None:
    """The same alone and in a batch, different at every severity, farther from the clean image at 5 than at
    1; dtype and shape kept."""
    one = corrupt(photos, kind, 5, [4, 7, 9], scale=scale)
    assert one.dtype == torch.uint8
    assert one.shape == photos.shape
    assert torch.equal(corrupt(photos[1:2], kind, 5, [7], scale=scale), one[1:2])
    weak = corrupt(photos, kind, 1, [4, 7, 9], scale=scale)
    assert len({bytes(corrupt(photos, kind, s, [4, 7, 9], scale=scale).numpy()) for s in range(1, 6)}) == 5

    def far(x: torch.Tensor) -> float:
        return float((x.float() - photos.float()).square().mean())

    assert (
        far(one) > far(weak) or kind == "saturate"
    )  # whose severities 1 and 2 grey the image and 3 to 5 colour it
    grey = corrupt(photos[:, :1], kind, 3, [4, 7, 9], scale=scale)
    assert grey.shape == photos[:, :1].shape
    floats = corrupt(photos.float() / 255, kind, 3, [4, 7, 9], scale=scale)
    assert floats.dtype == torch.float32
    assert 0 <= float(floats.min()) <= float(floats.max()) <= 1


def test_corruptions_against_their_formulas(photos: torch.Tensor) -> None:
    x = photos[0].permute(1, 2, 0).numpy() / 255

    def got(kind: str, severity: int, images: torch.Tensor = photos) -> np.ndarray:
        return corrupt(images[:1], kind, severity, [0])[0].permute(1, 2, 0).numpy()

    mean = x.mean(axis=(0, 1))
    assert np.array_equal(
        got("contrast", 5), (np.clip((x - mean) * 0.15 + mean, 0, 1) * 255 + 1e-6).astype(np.uint8)
    )
    packed = io.BytesIO()
    Image.fromarray(photos[0].permute(1, 2, 0).numpy()).save(packed, "JPEG", quality=40)
    assert np.array_equal(got("jpeg", 5), np.asarray(Image.open(packed)))
    small = Image.fromarray(photos[0].permute(1, 2, 0).numpy()).resize((20, 20), Image.Resampling.BOX)
    assert np.array_equal(got("pixelate", 5), np.asarray(small.resize((32, 32), Image.Resampling.BOX)))
    import colorsys

    bright, dull = got("brightness", 5), got("saturate", 2)
    for r, c in ((0, 0), (10, 20), (31, 31)):
        h, s, v = colorsys.rgb_to_hsv(*x[r, c])
        assert np.abs(bright[r, c] - 255 * np.array(colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1)))).max() <= 1
        assert np.abs(dull[r, c] - 255 * np.array(colorsys.hsv_to_rgb(h, s * 0.1, v))).max() <= 1


def test_noise_has_the_strength_that_its_table_says() -> None:
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    places = range(20)

    def std(kind: str, severity: int, scale: Any = "small") -> float:
        return float(corrupt(grey, kind, severity, places, scale=scale).float().std()) / 255

    assert std("gaussian-noise", 5) == pytest.approx(0.10, rel=0.02)
    assert std("gaussian-noise", 1, "large") == pytest.approx(0.08, rel=0.02)
    assert std("shot-noise", 5) == pytest.approx((0.5 / 50) ** 0.5, rel=0.02)
    assert std("speckle-noise", 5) == pytest.approx(0.1, rel=0.02)
    hit = corrupt(grey, "impulse-noise", 5, places, scale="large") != 128
    assert float(hit.float().mean()) == pytest.approx(0.27, rel=0.03)


def test_blurs_keep_the_mean_and_spread_a_point() -> None:
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1
    for kind, severity in (("gaussian-blur", 4), ("defocus-blur", 3)):
        blurred = corrupt(point, kind, severity, [0], scale="large")[0, 0]
        assert float(blurred.sum()) == pytest.approx(1, abs=1e-3)
        assert torch.allclose(blurred, blurred.T, atol=1e-6)
        assert torch.allclose(blurred, blurred.flip(0), atol=1e-6)
    yy, xx = torch.meshgrid(torch.arange(33) - 16, torch.arange(33) - 16, indexing="ij")
    gauss = corrupt(point, "gaussian-blur", 4, [0], scale="large")[0, 0]
    assert float((gauss * (xx**2)).sum()) == pytest.approx(
        16, rel=0.01
    )  # the variance of standard deviation 4
    disk = corrupt(point, "defocus-blur", 3, [0], scale="large")[0, 0]
    assert float(disk[yy**2 + xx**2 > 8**2].sum()) == pytest.approx(0, abs=1e-3)
    assert float(disk[16, 16]) == pytest.approx(1 / 113, rel=0.01)  # pixels of a disk of radius 6


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
def test_kinds_of_the_library_are_each_images_own(kind: str, photos: torch.Tensor) -> None:
    pytest.importorskip("imagecorruptions")
    images = fit(photos[:3], Geometry((3, 40, 48)))
    strength = []
    for severity in (1, 5):
        one = corrupt(images, kind, severity, [4, 5, 6], scale="large")
        state = np.random.get_state()[1].tolist()
        assert torch.equal(corrupt(images[1:2], kind, severity, [5], scale="large"), one[1:2])
        assert np.random.get_state()[1].tolist() == state  # the global generator is left as it was
        assert one.dtype == torch.uint8
        assert one.shape == images.shape
        strength.append(float((one.float() - images.float()).abs().mean()))
    assert strength[1] > strength[0]
    assert corrupt(fit(images, Geometry((1, 40, 48))), kind, 3, [0, 1, 2], scale="large").shape == (
        3,
        1,
        40,
        48,
    )
    with pytest.raises(UserError, match="32x32 or more, got 28x28"):
        corrupt(images[..., :28, :28], kind, 1, [0, 1, 2], scale="large")


def test_kinds_of_the_library_have_constants_for_large_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(SpecError, match=r"corrupted.scale: should be large for snow"):
        build({"corrupted": {"of": "digits", "kind": "snow"}})
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    snow = build({"corrupted": {"of": "digits", "kind": "snow", "scale": "large"}})
    with pytest.raises(MissingData, match=r"pip install 'oodbench\[corruptions\]'"):
        snow["test"]


@pytest.mark.parametrize("severity", [1, 5])
def test_shot_noise_keeps_the_mean(severity: int) -> None:
    """A Poisson count over its rate: unbiased, with a variance of x / rate."""
    grey = torch.full((60, 3, 32, 32), 51, dtype=torch.uint8)
    noisy = corrupt(grey, "shot-noise", severity, list(range(60)), scale="large").double()
    # clipping at white moves the mean of so dark an image by nothing, rounding by less than half a level
    assert float(noisy.mean()) == pytest.approx(51, abs=0.8)
