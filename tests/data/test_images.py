"""The one place of resizing and colours, against Pillow and torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core.dataset import Geometry, Interpolation
from oodbench.data.images import fit, statistics, to_float
from tests.data.made import samples


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from sklearn.datasets import load_sample_images

    return load_sample_images().images[0].copy()  # (427, 640, 3)


@pytest.mark.parametrize("size", [(32, 32), (100, 60), (500, 700)])
def test_resizing_is_pillows_antialiased_bilinear(photo: np.ndarray, size: tuple[int, int]) -> None:
    got = (
        fit(torch.from_numpy(photo).permute(2, 0, 1)[None], Geometry((3, *size)))[0]
        .permute(1, 2, 0)
        .numpy()
        .astype(int)
    )
    expected = np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(got - expected).max() <= 1


def test_the_shorter_edge_is_resized_then_the_centre_cut(photo: np.ndarray) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    got = (
        fit(torch.from_numpy(photo).permute(2, 0, 1)[None], Geometry((3, 224, 224), 256))[0]
        .permute(1, 2, 0)
        .numpy()
        .astype(int)
    )
    expected = np.asarray(Compose([Resize(256), CenterCrop(224)])(Image.fromarray(photo))).astype(int)
    assert got.shape == (224, 224, 3)
    assert np.abs(got - expected).max() <= 1
    wide = fit(
        torch.from_numpy(photo.transpose(1, 0, 2).copy()).permute(2, 0, 1)[None], Geometry((3, 31, 31), 37)
    )[0]
    other = np.asarray(
        Compose([Resize(37), CenterCrop(31)])(Image.fromarray(photo.transpose(1, 0, 2)))
    ).astype(int)
    assert np.abs(wide.permute(1, 2, 0).numpy() - other).max() <= 1


@pytest.mark.parametrize("size", [(32, 32), (100, 60), (500, 700), (290, 640), (40, 600)])
@pytest.mark.parametrize("grey", [False, True])
def test_bicubic_is_pillows(photo: np.ndarray, size: tuple[int, int], grey: bool) -> None:
    pictures = [p[..., 0] if grey else p for p in (photo, photo[::-1])]
    stored = torch.from_numpy(np.stack(pictures).reshape(2, *photo.shape[:2], -1)).permute(0, 3, 1, 2)
    channels = stored.shape[1]
    got = fit(stored, Geometry((channels, *size), interpolation="bicubic")).permute(0, 2, 3, 1)
    for ours, picture in zip(got.numpy(), pictures, strict=True):
        expected = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))
        assert np.array_equal(ours.squeeze(), expected)
    assert fit(stored[:0], Geometry((3, *size), interpolation="bicubic")).shape == (0, 3, *size)


def test_bicubic_of_floats_stays_in_range(photo: np.ndarray) -> None:
    x = (torch.from_numpy(photo).permute(2, 0, 1)[None] > 128).float()
    made = fit(x, Geometry((3, 600, 800), interpolation="bicubic"))
    assert (float(made.min()), float(made.max())) == (0.0, 1.0)


def test_torchs_own_bicubic(photo: np.ndarray) -> None:
    from torchvision.transforms.v2 import functional

    x = torch.from_numpy(photo).permute(2, 0, 1)[None]
    made = fit(x, Geometry((3, 90, 130), interpolation="bicubic-torch"))
    due = functional.resize(x, [90, 130], interpolation=functional.InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(made, due)


def test_every_edge_squeezed_then_the_centre_cut(photo: np.ndarray) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    x = torch.from_numpy(photo).permute(2, 0, 1)[None]
    made = fit(x, Geometry((3, 60, 64), (70, 91)))[0].permute(1, 2, 0).numpy().astype(int)
    due = np.asarray(Compose([Resize((70, 91)), CenterCrop((60, 64))])(Image.fromarray(photo))).astype(int)
    assert np.abs(made - due).max() <= 1


def test_an_odd_margin_is_halved_to_even_or_downwards() -> None:
    x = torch.arange(7.0).view(1, 1, 1, 7).expand(1, 1, 7, 7) / 7
    for size, rounded, floored in ((4, 2, 1), (6, 0, 0), (2, 2, 2)):
        for margin, first in (("rounded", rounded), ("floored", floored)):
            made = fit(x, Geometry((1, size, size), 7, margin=margin))  # type: ignore[arg-type]
            assert round(float(made[0, 0, 0, 0]) * 7) == first


def test_colours_both_ways(photo: np.ndarray) -> None:
    x = torch.from_numpy(photo[:50, :60].copy()).permute(2, 0, 1)[None]
    grey = fit(x, Geometry((1, 50, 60)))
    assert grey.dtype == torch.uint8
    assert (
        np.abs(
            grey[0, 0].numpy().astype(int)
            - np.asarray(Image.fromarray(photo[:50, :60]).convert("L")).astype(int)
        ).max()
        <= 1
    )
    back = fit(grey, Geometry((3, 50, 60)))
    assert torch.equal(back, grey.expand(-1, 3, -1, -1))
    floats = fit(x.float() / 255, Geometry((1, 50, 60)))
    assert floats.dtype == torch.float32
    assert float((floats * 255 - grey).abs().max()) <= 0.51
    with pytest.raises(ValueError, match="cannot turn 2 channels into 3"):
        fit(torch.zeros(1, 2, 4, 4), Geometry((3, 4, 4)))


def test_each_sample_is_fitted_by_itself() -> None:
    whole = samples(16, shape=(3, 40, 30))
    for geometry in (Geometry((1, 8, 8)), Geometry((3, 20, 20), 24)):
        batch = whole.read(range(16), geometry)
        assert all(torch.equal(whole.read([i], geometry)[0], batch[i]) for i in range(16))


def test_an_image_of_the_right_shape_is_untouched() -> None:
    whole = samples()
    assert torch.equal(whole.read([1, 5], Geometry((3, 6, 5))), whole.images[[1, 5]])


def test_statistics_are_numpys_and_a_plain_channel_gets_one() -> None:
    whole = samples(30)
    whole.images[:, 1] = 51
    mean, std = statistics([to_float(part) for part in whole.images.split(7)])
    x = whole.images.numpy() / 255
    assert mean == pytest.approx(x.mean(axis=(0, 2, 3)))
    assert std[0] == pytest.approx(x[:, 0].std())
    assert std[1] == 1.0


def test_statistics_of_parts_lose_no_digits() -> None:
    rng = torch.Generator().manual_seed(0)
    images = 0.9 + 1e-5 * torch.rand(200, 1, 4, 4, generator=rng)
    images[:120] -= 0.5
    _, std = statistics(images.split(33))
    assert std[0] == pytest.approx(images.numpy().astype(float).std(), rel=1e-12)
    _, narrow = statistics(images[120:].split(33))
    assert narrow[0] == pytest.approx(images[120:].numpy().astype(float).std(), rel=1e-9)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_in_another_order_in_memory_give_the_same_bytes(interpolation: Interpolation) -> None:
    rng = torch.Generator().manual_seed(0)
    for n, channels, h, w in ((1, 3, 60, 47), (3, 3, 33, 80), (2, 1, 40, 31), (1, 4, 21, 64)):
        images = torch.randint(0, 256, (n, channels, h, w), dtype=torch.uint8, generator=rng)
        for geometry in (Geometry((channels, 24, 20), 28, interpolation), Geometry((channels, 70, 9))):
            last = images.contiguous(memory_format=torch.channels_last)
            assert torch.equal(fit(last, geometry), fit(images, geometry))
