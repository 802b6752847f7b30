"""What images a model was trained on, held against the transforms of the libraries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.network import Input
from oodbench.data.images import fit, to_float
from oodbench.training.networks.clip_inputs import input_of
from tests.training.networks.clip_models import MEAN, STD, open_clip_folder

SQUASHED = {"mean": MEAN, "std": STD, "interpolation": "bilinear", "resize_mode": "squash"}


def picture(height: int, width: int) -> Tensor:
    """Waves of many lengths, (3, H, W) of uint8."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [127.5 + 127 * torch.sin(2 * math.pi * (x / a + y / b)) for a, b in ((7, 31), (19, 5), (90, 140))]
    return torch.stack(waves).to(torch.uint8)


def fed(found: Input, image: Tensor) -> Tensor:
    assert found.mean is not None
    assert found.std is not None
    pixels = to_float(fit(image[None], found.geometry(Geometry((3, 8, 8)))))[0]
    return (pixels - torch.tensor(found.mean).view(3, 1, 1)) / torch.tensor(found.std).view(3, 1, 1)


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


LEVEL = 1.01 / 255 / 0.2
"""A grey level, over the smallest deviation."""


@pytest.mark.parametrize("preset", [{}, SQUASHED], ids=["as OpenAI's", "squashed"])
@pytest.mark.parametrize("size", [(60, 45), (33, 90), (32, 32)], ids=str)
def test_pixels_are_those_of_open_clips_transform(tmp_path: Path, preset: Any, size: tuple[int, int]) -> None:
    package = pytest.importorskip("open_clip")
    folder = open_clip_folder(tmp_path / "m", preset=preset)
    _, _, transform = package.create_model_and_transforms(f"local-dir:{folder}")
    image = picture(*size)
    found = input_of("open_clip", folder, None, "x")
    assert float((fed(found, image) - transform(pillow(image))).abs().max()) < LEVEL


@pytest.mark.parametrize("size", [(60, 45), (41, 90)], ids=str)
def test_pixels_are_those_of_the_image_processor(hugging_face_model: Path, size: tuple[int, int]) -> None:
    package = pytest.importorskip("transformers")
    processor = package.CLIPImageProcessor.from_pretrained(hugging_face_model)
    image = picture(*size)
    due = processor(images=pillow(image), return_tensors="pt")["pixel_values"][0]
    assert (
        float((fed(input_of("huggingface", hugging_face_model, None, "x"), image) - due).abs().max()) < LEVEL
    )


def test_names_say_it_without_their_weights() -> None:
    pytest.importorskip("open_clip")
    openai = input_of("open_clip", "ViT-B-16", "openai", "x")
    assert openai[2:6] == (224, (224, 224), "bicubic", True)
    assert openai.mean is not None
    assert openai.mean[0] == pytest.approx(0.48145466)
    siglip = input_of("open_clip", "ViT-B-16-SigLIP", "webli", "x")
    assert (siglip.mean, siglip.resize, siglip.crop) == ((0.5, 0.5, 0.5), None, (224, 224))


def test_what_no_geometry_gives_is_said(tmp_path: Path) -> None:
    folder = open_clip_folder(tmp_path / "m", preset={"resize_mode": "longest"})
    with pytest.raises(UserError, match="its own preprocessing makes other pixels"):
        input_of("open_clip", folder, None, "x")
