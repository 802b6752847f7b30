"""From a stored image to a network's input: resizing, cropping, the range [0, 1], statistics per channel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry


def fit(images: Tensor, geometry: Geometry) -> Tensor:
    """Images (B, C, H, W) as a network of that geometry sees them, dtype kept: grey from RGB by the ITU-R 601
    luma, RGB from grey by repetition; a bilinear or bicubic resize (of the shorter edge, then a centre crop,
    where `geometry.resize` is given). The same for ID and OOD.

    Bytes are resized bicubically by Pillow itself, so that they are what a library's transform makes on the
    same machine. Pillow 13 takes the columns of some tall images first, where earlier versions begin with the
    rows: other values by up to some levels at sharp edges."""
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
    if geometry.resize is None:
        return _resize(images, height, width, geometry)
    h, w = images.shape[-2:]
    if isinstance(geometry.resize, int):  # the longer edge is cut off to a whole number
        edge, short = max(geometry.resize, min(height, width)), min(h, w)
        scaled = edge * h // short, edge * w // short
    else:
        scaled = geometry.resize
    images = _resize(images, max(scaled[0], height), max(scaled[1], width), geometry)
    halve = round if geometry.margin == "rounded" else int
    top, left = halve((images.shape[-2] - height) / 2), halve((images.shape[-1] - width) / 2)
    return images[..., top : top + height, left : left + width]


def _resize(images: Tensor, height: int, width: int, how: Geometry) -> Tensor:
    if images.shape[-2:] == (height, width):
        return images
    if how.interpolation == "bicubic" and how.antialias and images.dtype == torch.uint8:
        return _by_pillow(images, height, width)
    mode = how.interpolation.removesuffix("-torch")
    if images.dtype != torch.uint8 or not images.is_contiguous(memory_format=torch.channels_last):
        images = images.contiguous()  # bytes as decoders give them, channels last, are as good, and faster
    # uint8 has a path of its own in torch, several times faster than by way of float32 and equal to Pillow's
    # to one grey level.
    resized = torch.nn.functional.interpolate(
        images, (height, width), mode=mode, antialias=how.antialias, align_corners=False
    )
    # bicubic weights overshoot; of uint8 torch has cut that off already
    return resized.clamp_(0, 1) if mode == "bicubic" and resized.is_floating_point() else resized


def _by_pillow(images: Tensor, height: int, width: int) -> Tensor:
    """uint8 images resized by Pillow's bicubic filter, each channel as a picture.

    Torch's weights have 16 bits. That is one grey level in either direction, and two levels where bicubic
    weights, of which some are negative, add them up."""
    from PIL import Image

    made = [
        np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC))
        for channel in images.flatten(0, 1).contiguous().numpy()
    ]
    return torch.from_numpy(np.array(made, np.uint8)).reshape(*images.shape[:2], height, width)


def to_float(images: Tensor) -> Tensor:
    """uint8 images to float32 in [0, 1]; float32 as it is."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def statistics(batches: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images in [0, 1] that come in batches (B, C, H, W); a
    constant channel gets standard deviation 1."""
    count, mean, spread = 0, torch.zeros(()), torch.zeros(())
    for images in batches:  # means and squared deviations of parts are put together, which loses no digits
        x = to_float(images).double()
        n = x.numel() // x.shape[1]
        own = x.mean(dim=(0, 2, 3))
        away, count = own - mean, count + n
        mean = mean + away * (n / count)
        spread = spread + x.var(dim=(0, 2, 3), correction=0) * n + away.square() * (n * (count - n) / count)
    variance = spread / count
    std = torch.where(variance > 1e-20, variance.sqrt(), 1.0)  # a constant channel's is rounding
    return tuple(mean.tolist()), tuple(std.tolist())
