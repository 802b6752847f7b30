"""From a stored image to a network's input: resizing, cropping, the range [0, 1], statistics per channel."""

from __future__ import annotations

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry


def fit(images: Tensor, geometry: Geometry) -> Tensor:
    """Images (B, C, H, W) as a network of that geometry sees them, dtype kept: grey from RGB by the ITU-R 601
    luma, RGB from grey by repetition; a bilinear or bicubic resize (of the shorter edge, then a centre crop,
    where `geometry.resize` is given). The same for ID and OOD."""
    channels, height, width = geometry.shape
    if images.shape[1] != channels:
        if channels == 1 and images.shape[1] == 3:
            luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
            grey = (images.float() * luma).sum(dim=1, keepdim=True)
            images = grey.round().to(torch.uint8) if images.dtype == torch.uint8 else grey
        elif channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        else:
            raise ValueError(f"cannot turn {images.shape[1]} channels into {channels}")
    if geometry.resize is not None:
        # As torchvision's Resize and CenterCrop do it: the longer edge is cut off to a whole number, the
        # margins are rounded to even.
        h, w = images.shape[-2:]
        edge, short = max(geometry.resize, min(height, width)), min(h, w)
        images = _resize(images, max(edge * h // short, height), max(edge * w // short, width), geometry)
        top, left = round((images.shape[-2] - height) / 2), round((images.shape[-1] - width) / 2)
        return images[..., top : top + height, left : left + width]
    return _resize(images, height, width, geometry)


def _resize(images: Tensor, height: int, width: int, how: Geometry) -> Tensor:
    if images.shape[-2:] == (height, width):
        return images
    # uint8 has a path of its own in torch, several times faster than by way of float32 and equal to Pillow's
    # to one grey level.
    resized = torch.nn.functional.interpolate(
        images.contiguous(), (height, width), mode=how.interpolation, antialias=how.antialias,
        align_corners=False,
    )  # fmt: skip
    # bicubic weights overshoot; of uint8 torch has cut that off already
    return resized.clamp_(0, 1) if how.interpolation == "bicubic" and resized.is_floating_point() else resized


def to_float(images: Tensor) -> Tensor:
    """uint8 images to float32 in [0, 1]; float32 as it is."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images (N, C, H, W) in [0, 1]; a constant channel gets
    standard deviation 1."""
    x = to_float(images).double()
    mean, std = x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3), correction=0)
    return tuple(mean.tolist()), tuple(torch.where(std > 0, std, torch.ones_like(std)).tolist())
