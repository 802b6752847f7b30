"""Images that stand in two sets are found, exactly and nearly."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.data.contract import toy_images
from oodbench.data.duplicates import audit, looks, shared_images, twins
from oodbench.data.images import fit
from oodbench.data.samples import TensorSamples
from tests.data.made import pictures, unlabelled


def _found(
    a: torch.Tensor, b: torch.Tensor, bits: int = 6, limit: float = 0.005
) -> list[tuple[int, int, bool]]:
    geometry = Geometry((3, 32, 32))
    pair = [looks(unlabelled(x), geometry, "x") for x in (a, b)]
    return [(i, j, exact) for i, j, exact, _ in twins(*pair, bits, limit)]


def test_copies_are_found_through_jpeg_brightness_and_size() -> None:
    train, test = pictures(300, 0), pictures(40, 1)
    packed = io.BytesIO()
    Image.fromarray(train[7].permute(1, 2, 0).numpy()).save(packed, "JPEG", quality=60)
    test[3] = torch.from_numpy(np.array(Image.open(packed))).permute(2, 0, 1)
    test[11] = (train[100].float() * 0.8 + 20).to(torch.uint8)
    test[20] = fit(fit(train[250:251], Geometry((3, 20, 20))), Geometry((3, 32, 32)))[0]
    test[30] = train[42]
    assert _found(train, test) == [(7, 3, False), (100, 11, False), (250, 20, False), (42, 30, True)]


def test_pictures_that_differ_and_plain_ones_are_not_twins() -> None:
    assert _found(pictures(500, 0), pictures(500, 1)) == []
    plain = torch.full((3, 3, 32, 32), 7, dtype=torch.uint8)
    assert _found(plain[:1], plain[1:] + 1) == []
    assert _found(plain[:1], plain[1:]) == [(0, 0, True), (0, 1, True)]


def test_shared_images_are_found_by_content() -> None:
    images = toy_images(20)
    g = Geometry((1, 8, 8))
    half = TensorSamples(images.images[10:], images.labels[10:])
    assert shared_images(images, half, g) == 10
    assert shared_images(images, toy_images(20, seed=5), g) == 0


def test_the_digits_suite_shares_no_image() -> None:
    twins_found, skipped = audit(registry.build("pair", "mnist-5k"))
    assert skipped == []
    assert twins_found == []
