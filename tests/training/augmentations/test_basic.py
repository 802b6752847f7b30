"""Flips, crops and holes."""

from __future__ import annotations

import numpy as np
import torch

from oodbench.core import registry
from tests.training.augmentations.common import rng


def test_each_image_is_flipped_or_not() -> None:
    x = torch.rand(1000, 3, 5, 6, generator=rng(1))
    out = registry.build("augmentation", {"flip": {"p": 0.3}})(x, rng(2))
    mirrored = (out == x.flip(3)).flatten(1).all(1)
    assert torch.equal(mirrored, ~(out == x).flatten(1).all(1))
    assert 0.25 < float(mirrored.float().mean()) < 0.35
    assert torch.equal(registry.build("augmentation", {"flip": {"p": 0.0}})(x, rng()), x)
    assert torch.equal(registry.build("augmentation", {"flip": {"p": 1.0}})(x, rng()), x.flip(3))


def test_each_image_is_cut_out_of_its_padded_self_at_its_own_place() -> None:
    """Pixels that tell where they were: each image is shifted by up to 2, black comes in, and all 25 shifts
    come about."""
    height, width = 5, 7
    image = torch.arange(1.0, height * width + 1).view(1, 1, height, width) / 100
    x = torch.cat([image, image + 0.5], dim=1).repeat(600, 1, 1, 1)
    out = registry.build("augmentation", {"pad-crop": {"padding": 2}})(x, rng(3))
    padded = np.pad(x[0].numpy(), [(0, 0), (2, 2), (2, 2)])
    shifts = {padded[:, i : i + height, j : j + width].tobytes(): (i, j) for i in range(5) for j in range(5)}
    found = [shifts[one.numpy().tobytes()] for one in out]
    assert set(found) == set(shifts.values())


def test_cutout_blacks_out_squares() -> None:
    x = torch.rand(300, 3, 16, 16, generator=rng(1)) * 0.5 + 0.5
    out = registry.build("augmentation", {"cutout": {"length": 6}})(x, rng(2))
    hole = (out == 0).all(dim=1)
    assert torch.equal(out[~hole.unsqueeze(1).expand_as(out)], x[~hole.unsqueeze(1).expand_as(out)])
    sizes = hole.sum((1, 2))
    assert sizes.max() == 36
    assert sizes.min() == 9  # a corner: half of each side
    assert (sizes == 36).float().mean() > 0.3
    grey = registry.build("augmentation", {"cutout": {"length": 6, "fill": 0.25}})(x, rng(2))
    assert torch.equal(grey == 0.25, out == 0)
    two = registry.build("augmentation", {"cutout": {"length": 6, "holes": 2}})(x, rng(2))
    assert (two == 0).all(1).sum() > 1.5 * hole.sum()
