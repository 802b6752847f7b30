"""Operations on images that augmentation policies draw from, each sample with its own strength. No
augmentation is registered here.

Images are (N, C, H, W) in [0, 1]; what Pillow does in grey levels (posterize, solarize, equalize) is done in
255ths. torchvision's functions serve where they need no strength: theirs is one for the whole batch, ours one
for each image (docs/decisions/own-augmentations.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def operate(
    images: Tensor,
    names: Sequence[str],
    strengths: Sequence[float],
    rng: torch.Generator,
    mode: str = "nearest",
) -> Tensor:
    """Each image through its own operation with its own strength; all geometric ones share one resampling."""
    out = images.clone()
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault("geometric" if name in GEOMETRIC else name, []).append(i)
    for name, members in groups.items():
        if name == "identity":
            continue
        at = torch.tensor(members, device=images.device)
        if name == "geometric":
            matrices = [GEOMETRIC[names[i]](strengths[i], *images.shape[-2:]) for i in members]
            out[at] = warp(images[at], torch.tensor(matrices, device=images.device, dtype=images.dtype), mode)
        else:
            values = torch.tensor([strengths[i] for i in members], device=images.device, dtype=images.dtype)
            out[at] = PHOTOMETRIC[name](images[at], values.view(-1, 1, 1, 1), rng)
    return out


# ---------------------------------------------------------------- geometry

Matrix = tuple[float, float, float, float, float, float]


def warp(images: Tensor, matrices: Tensor, mode: str) -> Tensor:
    """Each output pixel at (x, y) from the input at (a x + b y + c, d x + e y + f), in pixels from the
    corner, black outside: Pillow's AFFINE."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=images.dtype) + 0.5
    y = torch.arange(height, device=images.device, dtype=images.dtype).unsqueeze(1) + 0.5
    a, b, c, d, e, f = matrices.view(-1, 6, 1, 1).unbind(dim=1)
    grid = torch.stack([2 * (a * x + b * y + c) / width - 1, 2 * (d * x + e * y + f) / height - 1], dim=-1)
    return torch.nn.functional.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _rotation(degrees: float, height: int, width: int) -> Matrix:
    cos, sin, cx, cy = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), width / 2, height / 2
    return cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy


GEOMETRIC: dict[str, Callable[[float, int, int], Matrix]] = {
    "shear-x": lambda v, h, w: (1, v, 0, 0, 1, 0),
    "shear-y": lambda v, h, w: (1, 0, 0, v, 1, 0),
    "translate-x": lambda v, h, w: (1, 0, v, 0, 1, 0),
    "translate-y": lambda v, h, w: (1, 0, 0, 0, 1, v),
    "rotate": _rotation,
}
"""Strengths: slopes, pixels, degrees against the clock."""


# ---------------------------------------------------------------- colour


def luma(images: Tensor) -> Tensor:
    """Grey of the ITU-R 601 weights, (N, 1, H, W); grey images as they are."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def blend(other: Tensor, images: Tensor, share: Tensor) -> Tensor:
    """other + share * (images - other), kept in [0, 1]; share 1 is the image, more goes beyond it."""
    return torch.lerp(other.expand_as(images), images, share).clamp(0, 1)


def smooth(images: Tensor) -> Tensor:
    """Pillow's SMOOTH: a 3x3 mean whose centre counts five times; border pixels stay."""
    if min(images.shape[-2:]) < 3:
        return images
    kernel = torch.ones(3, 3, device=images.device, dtype=images.dtype)
    kernel[1, 1] = 5
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 3, 3)
    out = images.clone()
    out[..., 1:-1, 1:-1] = torch.nn.functional.conv2d(images, kernel, groups=images.shape[1])
    return out


def levels(images: Tensor) -> Tensor:
    """Grey levels 0..255, int64."""
    return (images * 255).round().long()


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper `bits` bits of 8."""
    step = torch.exp2(8 - bits.clamp(0, 8)).long()
    return (levels(images) // step * step).to(images.dtype) / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is at least `threshold` (0..256)."""
    return torch.where(images * 255 >= threshold - 1e-3, 1 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to [0, 1]; a flat one stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = high - low < 0.5 / 255
    return torch.where(flat, images, (images - low) / (high - low).masked_fill(flat, 1)).clamp(0, 1)


def equalize(images: Tensor) -> Tensor:
    """Histogram equalisation of each channel, as Pillow's, in grey levels."""
    from torchvision.transforms.v2 import functional

    return functional.equalize(levels(images).to(torch.uint8)).to(images.dtype) / 255


def solarize_add(images: Tensor, addition: Tensor) -> Tensor:
    """Add grey levels, then invert what is at least 128."""
    return solarize((images + addition.floor() / 255).clamp(0, 1), torch.full_like(addition, 128.0))


def cut(images: Tensor, length: Tensor, rng: torch.Generator) -> Tensor:
    """A square of about `length` pixels becomes grey (125, 123, 114), from a uniform centre, cut off at the
    border."""
    n, channels, height, width = images.shape
    inside = torch.ones(n, 1, height, width, dtype=torch.bool, device=images.device)
    for size, axis in ((height, 2), (width, 3)):
        centre = size * torch.rand(n, 1, 1, 1, generator=rng, device=images.device)
        start = (centre - length / 2).clamp(min=0).floor()
        place = torch.arange(size, device=images.device).view([-1 if d == axis else 1 for d in range(4)])
        inside = inside & (place >= start) & (place <= start + length)
    colour = images.new_tensor([125.0, 123.0, 114.0]).view(1, 3, 1, 1) / 255
    return torch.where(inside, colour if channels == 3 else luma(colour), images)


PHOTOMETRIC: dict[str, Operation] = {
    "brightness": lambda x, v, _: blend(torch.zeros_like(x), x, v),
    "color": lambda x, v, _: blend(luma(x), x, v),
    "contrast": lambda x, v, _: blend(luma(x).mean(dim=(1, 2, 3), keepdim=True), x, v),
    "sharpness": lambda x, v, _: blend(smooth(x), x, v),
    "posterize": lambda x, v, _: posterize(x, v),
    "solarize": lambda x, v, _: solarize(x, v),
    "solarize-add": lambda x, v, _: solarize_add(x, v),
    "autocontrast": lambda x, v, _: autocontrast(x),
    "equalize": lambda x, v, _: equalize(x),
    "invert": lambda x, v, _: 1 - x,
    "cutout": cut,
}
"""Strengths: 1 for the image itself in the first four, bits, grey levels, pixels; none for the others."""
