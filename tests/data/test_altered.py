"""Sets made from another one for tuning."""

from __future__ import annotations

import torch

from oodbench.data.altered import Mixed, Permuted, noise_from
from oodbench.data.contract import toy_images


def test_permuted_keeps_every_pixel_and_mixed_averages_two_classes() -> None:
    images = toy_images(20)
    permuted = Permuted(images).read([3, 5])
    for i, image in zip((3, 5), permuted, strict=True):
        assert torch.equal(image.flatten().sort().values, images.images[i].flatten().sort().values)
        assert not torch.equal(image, images.images[i])
    assert torch.equal(Permuted(images).read([5]), permuted[1:])
    mixed = Mixed(images)
    partner = mixed.partners()
    assert (images.labels[partner] != images.labels).all()
    torch.testing.assert_close(mixed.read([7])[0], (images.images[7] + images.images[partner[7]]) / 2)
    assert noise_from(images).digest == noise_from(toy_images(20)).digest
