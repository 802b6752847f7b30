"""Each operation against Pillow, or a formula written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from oodbench.training.augmentations import operations, policies
from oodbench.training.augmentations.operations import operate
from tests.training.augmentations.common import rng


def picture(channels: int = 3, size: tuple[int, int] = (24, 20), seed: int = 0) -> Tensor:
    """A smooth picture with some noise, uint8 (C, H, W)."""
    generator = rng(seed)
    coarse = torch.rand(1, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].clamp(0, 1)
    return (
        (255 * (0.9 * smooth + 0.1 * torch.rand(channels, *size, generator=generator)))
        .round()
        .to(torch.uint8)
    )


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())


def from_pil(image: Image.Image) -> Tensor:
    array = torch.from_numpy(np.array(image)).float() / 255
    return array.unsqueeze(0) if array.dim() == 2 else array.permute(2, 0, 1)


def ours(name: str, strength: float, image: Tensor, mode: str = "nearest") -> Tensor:
    """The operation on the second of three images; the others stay."""
    batch = torch.stack([image.float() / 255] * 3)
    out = operate(batch, ["identity", name, "identity"], [0.0, strength, 0.0], rng(), mode)
    assert torch.equal(out[0], batch[0])
    assert torch.equal(out[2], batch[2])
    return out[1]


def close(a: Tensor, b: Tensor, grey: float, share: float = 1.0) -> None:
    """Equal to `grey` levels on at least that share of pixels."""
    assert float(((a - b).abs() * 255 <= grey + 1e-3).float().mean()) >= share


MODES = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


AFFINE: dict[str, Any] = {
    "shear-x": lambda v: (1, v, 0, 0, 1, 0),
    "shear-y": lambda v: (1, 0, 0, v, 1, 0),
    "translate-x": lambda v: (1, 0, v, 0, 1, 0),
    "translate-y": lambda v: (1, 0, 0, 0, 1, v),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "strength"), [("shear-x", 0.21), ("shear-y", -0.17), ("translate-x", 5.0), ("translate-y", -4.0)]
)
def test_geometry_is_pillows_affine(name: str, strength: float, mode: str, channels: int) -> None:
    image = picture(channels)
    theirs = from_pil(
        to_pil(image).transform(
            (20, 24), Image.Transform.AFFINE, AFFINE[name](strength), resample=MODES[mode]
        )
    )
    mine = ours(name, strength, image, mode)
    inside = (slice(None), slice(6, 18), slice(6, 14))  # Pillow leaves out pixels that reach over the border
    close(mine[inside], theirs[inside], 1.0, 0.98)
    assert bool((mine == 0).any())
    close(mine, theirs, 1.0, 0.9)


@pytest.mark.parametrize("degrees", [30.0, -12.0])
def test_rotation_is_pillows(degrees: float) -> None:
    image = picture()
    theirs = from_pil(to_pil(image).rotate(degrees, resample=Image.Resampling.BILINEAR))
    mine = ours("rotate", degrees, image, "bilinear")
    inside = (slice(None), slice(6, 18), slice(6, 14))
    close(mine[inside], theirs[inside], 2.0, 0.98)


@pytest.mark.parametrize("factor", [0.1, 0.6, 1.0, 1.9])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["brightness", "color", "contrast", "sharpness"])
def test_enhancements_are_pillows(name: str, channels: int, factor: float) -> None:
    image = picture(channels)
    theirs = from_pil(getattr(ImageEnhance, name.capitalize())(to_pil(image)).enhance(factor))
    close(ours(name, factor, image), theirs, 2.0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "strength", "pillow"),
    [
        ("posterize", 3.0, lambda x: ImageOps.posterize(x, 3)),
        ("posterize", 8.0, lambda x: x),
        ("solarize", 100.0, lambda x: ImageOps.solarize(x, 100)),
        ("solarize", 256.0, lambda x: x),
        ("solarize", 0.0, ImageOps.invert),
        ("autocontrast", 0.0, ImageOps.autocontrast),
        ("equalize", 0.0, ImageOps.equalize),
        ("invert", 0.0, ImageOps.invert),
    ],
)
def test_colour_operations_are_pillows(name: str, strength: float, pillow: Any, channels: int) -> None:
    for seed in range(3):
        image = picture(channels, (40, 40), seed) // 2 + 40  # not the whole range, so that stretching shows
        close(ours(name, strength, image), from_pil(pillow(to_pil(image))), 1.0)


@pytest.mark.parametrize("values", [[7], [0, 255], [10, 11]])
def test_equalize_and_autocontrast_of_few_levels_are_pillows(values: list[int]) -> None:
    image = torch.tensor(values, dtype=torch.uint8)[
        torch.randint(0, len(values), (1, 12, 12), generator=rng(1))
    ]
    for name in ("equalize", "autocontrast"):
        theirs = from_pil(getattr(ImageOps, name)(to_pil(image)))
        close(ours(name, 0.0, image), theirs, 1.0)


def test_solarize_add_by_hand() -> None:
    image = picture()
    raised = (image.int() + 60).clamp(max=255)
    expected = torch.where(raised >= 128, 255 - raised, raised).float() / 255
    torch.testing.assert_close(ours("solarize-add", 60.7, image), expected)


def test_cut_is_a_grey_square_of_the_length() -> None:
    images = torch.ones(200, 3, 32, 32)
    out = operate(images, ["cutout"] * 200, [9.0] * 200, rng())
    hole = (out[:, 0] < 1).float()
    colour = torch.tensor([125.0, 123.0, 114.0]) / 255
    for image, mask in zip(out, hole, strict=True):
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert mask.sum() == len(rows) * len(columns) > 0
        assert len(rows) <= 10
        torch.testing.assert_close(image[:, rows[0], columns[0]], colour)
    assert float(hole.sum((1, 2)).max()) == 100


def test_operations_are_all_reachable() -> None:
    names = {n for space in policies.SPACES.values() for n in space} | set(policies.Levels(3.0, True).names)
    assert names - {"identity"} == set(operations.GEOMETRIC) | set(operations.PHOTOMETRIC)
