"""Common corruptions in five severities: the kinds of CIFAR-C and ImageNet-C.

Formulas and constants: github.com/hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py (``small``) and
ImageNet-C/imagenet_c/ corruptions.py (``large``), of Hendrycks and Dietterich, ICLR 2019. Six kinds that need
OpenCV or photographs (glass and motion blur, snow, frost, spatter, elastic transform) are those of the
package imagecorruptions-imaug, with ImageNet-C's constants only. Each image's randomness is its own: a
function of seed and place, not of the batch."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import MissingData, UserError
from oodbench.data.images import fit

Array = np.ndarray
Rng = np.random.Generator
Scale = Literal["small", "large"]


class _Kind(NamedTuple):
    """A corruption: what it does to one image (H, W, C) in [0, 1], and its parameter at severities 1 to 5,
    small and large."""

    apply: Callable[[Array, float, Rng], Array]
    small: tuple[float, ...]
    large: tuple[float, ...]


def _gaussian_noise(x: Array, c: float, rng: Rng) -> Array:
    return x + rng.normal(scale=c, size=x.shape)


def _shot_noise(x: Array, c: float, rng: Rng) -> Array:
    return rng.poisson(x * c) / c


def _impulse_noise(x: Array, c: float, rng: Rng) -> Array:
    """Each value becomes 1 or 0, evenly, with probability `c` (scikit-image's salt and pepper)."""
    hit = rng.random(x.shape) < c
    return np.where(hit, (rng.random(x.shape) < 0.5).astype(x.dtype), x)


def _speckle_noise(x: Array, c: float, rng: Rng) -> Array:
    return x + x * rng.normal(scale=c, size=x.shape)


def _gaussian_blur(x: Array, c: float, rng: Rng) -> Array:
    return ndimage.gaussian_filter(x, sigma=(c, c, 0), mode="nearest", truncate=4)


def _defocus_blur(x: Array, c: float, rng: Rng) -> Array:
    """Mean over a disk whose edge is softened by a narrow Gaussian; `c` is a place in the table of radii and
    standard deviations."""
    radius, soft = _DISKS[int(c)]
    reach = max(8, int(radius))
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line[None, :] ** 2 <= radius**2).astype(np.float64)
    # The authors' filter has 3 taps, or 5 for radii above 8.
    taps = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    edge = np.exp(-(taps**2) / (2 * soft**2))
    edge /= edge.sum()
    kernel = ndimage.convolve1d(
        ndimage.convolve1d(disk / disk.sum(), edge, axis=0, mode="mirror"), edge, axis=1, mode="mirror"
    )
    return np.stack([ndimage.correlate(x[..., d], kernel, mode="mirror") for d in range(x.shape[2])], axis=2)


_SMALL_DISKS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
_LARGE_DISKS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
_DISKS = dict(enumerate(_SMALL_DISKS + _LARGE_DISKS))


def _zoom_blur(x: Array, c: float, rng: Rng) -> Array:
    stop, step = _ZOOMS[int(c)]
    factors = np.arange(1, stop, step)
    total = x.copy()
    for factor in factors:
        total += _zoomed(x, float(factor))
    return total / (len(factors) + 1)


_SMALL_ZOOMS = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
_LARGE_ZOOMS = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
_ZOOMS = dict(enumerate(_SMALL_ZOOMS + _LARGE_ZOOMS))


def _zoomed(x: Array, factor: float) -> Array:
    """The middle of an image, enlarged to its size."""
    crops = [int(np.ceil(n / factor)) for n in x.shape[:2]]
    tops = [(n - m) // 2 for n, m in zip(x.shape[:2], crops, strict=True)]
    part = x[tops[0] : tops[0] + crops[0], tops[1] : tops[1] + crops[1]]
    large = ndimage.zoom(part, (factor, factor, 1), order=1)
    trims = [(m - n) // 2 for n, m in zip(x.shape[:2], large.shape[:2], strict=True)]
    return large[trims[0] : trims[0] + x.shape[0], trims[1] : trims[1] + x.shape[1]]


def _fog(x: Array, c: float, rng: Rng) -> Array:
    strength, decay = _FOGS[int(c)]
    top = x.max()
    size = 1 << (max(x.shape[:2]) - 1).bit_length()
    cloud = _plasma(size, decay, rng)[: x.shape[0], : x.shape[1], None]
    return (x + strength * cloud) * top / (top + strength)


_SMALL_FOGS = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))
_LARGE_FOGS = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))
_FOGS = dict(enumerate(_SMALL_FOGS + _LARGE_FOGS))


def _plasma(size: int, decay: float, rng: Rng) -> Array:
    """A height map in [0, 1] by the diamond-square algorithm on a torus: random parts shrink by `decay` with
    each halving."""
    grid = np.zeros((size, size))
    step, wobble = size, 100.0

    def middle(total: Array) -> Array:
        return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = grid[::step, ::step]
        rows = corners + np.roll(corners, -1, axis=0)
        grid[half::step, half::step] = middle(rows + np.roll(rows, -1, axis=1))
        centres = grid[half::step, half::step]
        grid[::step, half::step] = middle(
            centres + np.roll(centres, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        )
        grid[half::step, ::step] = middle(
            centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        )
        step, wobble = half, wobble / decay
    grid -= grid.min()
    return grid / max(grid.max(), 1e-12)


def _brightness(x: Array, c: float, rng: Rng) -> Array:
    """`c` added to the value of HSV (to the grey itself where there is no colour)."""
    if x.shape[2] == 1:
        return x + c
    hue, saturation, value = _to_hsv(x)
    return _to_rgb(hue, saturation, np.clip(value + c, 0, 1))


def _contrast(x: Array, c: float, rng: Rng) -> Array:
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * c + mean


def _saturate(x: Array, c: float, rng: Rng) -> Array:
    factor, shift = _SATURATIONS[int(c)]
    hue, saturation, value = _to_hsv(x)
    return _to_rgb(hue, np.clip(saturation * factor + shift, 0, 1), value)


_SMALL_SATURATIONS = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))
_LARGE_SATURATIONS = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))
_SATURATIONS = dict(enumerate(_SMALL_SATURATIONS + _LARGE_SATURATIONS))


def _to_hsv(x: Array) -> tuple[Array, Array, Array]:
    value, low = x.max(axis=2), x.min(axis=2)
    spread = value - low
    safe = np.where(spread > 0, spread, 1)
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    hue = (
        np.where(value == r, (g - b) / safe, np.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
        / 6
        % 1
    )
    return hue, np.where(value > 0, spread / np.where(value > 0, value, 1), 0), value


def _to_rgb(hue: Array, saturation: Array, value: Array) -> Array:
    def channel(n: float) -> Array:
        k = (n + hue * 6) % 6
        return value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)

    return np.stack([channel(5), channel(3), channel(1)], axis=2)


def _jpeg(x: Array, c: float, rng: Rng) -> Array:
    from PIL import Image

    packed = io.BytesIO()
    _image(x).save(packed, "JPEG", quality=int(c))
    with Image.open(packed) as image:
        return np.asarray(image, np.float64).reshape(x.shape) / 255


def _pixelate(x: Array, c: float, rng: Rng) -> Array:
    from PIL import Image

    height, width = x.shape[:2]
    small = _image(x).resize((int(width * c), int(height * c)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX), np.float64).reshape(x.shape) / 255


def _image(x: Array) -> Any:
    from PIL import Image

    pixels = (x * 255).round().astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if x.shape[2] == 1 else pixels)


_FIRST, _SECOND = tuple(map(float, range(5))), tuple(map(float, range(5, 10)))  # places in a table of pairs
_KINDS = {
    "gaussian-noise": _Kind(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot-noise": _Kind(_shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse-noise": _Kind(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle-noise": _Kind(_speckle_noise, (0.06, 0.1, 0.12, 0.16, 0.2), (0.15, 0.2, 0.35, 0.45, 0.6)),
    "gaussian-blur": _Kind(_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1), (1, 2, 3, 4, 6)),
    "defocus-blur": _Kind(_defocus_blur, _FIRST, _SECOND),
    "zoom-blur": _Kind(_zoom_blur, _FIRST, _SECOND),
    "fog": _Kind(_fog, _FIRST, _SECOND),
    "brightness": _Kind(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": _Kind(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "saturate": _Kind(_saturate, _FIRST, _SECOND),
    "jpeg": _Kind(_jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
    "pixelate": _Kind(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
}
KINDS = tuple(_KINDS)
LIBRARY_KINDS = ("glass-blur", "motion-blur", "snow", "frost", "spatter", "elastic-transform")


def library() -> Any:
    """The package that makes `LIBRARY_KINDS`. MissingData with the command that gets it."""
    try:
        return importlib.import_module("imagecorruptions")
    except ImportError as error:
        raise MissingData(
            f"the corruptions {', '.join(LIBRARY_KINDS)} are made by the Python package"
            f" imagecorruptions-imaug, which cannot be imported ({error}); to get it: pip install"
            " 'oodbench[corruptions]'"
        ) from None


def _of_library(x: Array, kind: str, severity: int, seed: int) -> Array:
    """A corruption of one image (H, W, C) in [0, 1] by the library, which works on uint8 RGB and draws from
    numpy's global generator."""
    if min(x.shape[:2]) < 32:
        raise UserError(
            f"the corruption {kind!r} needs images of 32x32 or more, got {x.shape[0]}x{x.shape[1]}"
        )
    name = kind.replace("-", "_")
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        # glass blur draws inside compiled code, out of the global generator's reach
        made = library().corrupt(
            (x * 255).round().astype(np.uint8), severity=severity, corruption_name=name,
            **({"seed": seed} if kind == "glass-blur" else {}),
        )  # fmt: skip
    finally:
        np.random.set_state(before)
    if x.shape[2] == 1:
        made = (
            fit(torch.from_numpy(made).permute(2, 0, 1)[None], Geometry((1, *x.shape[:2])))[0]
            .permute(1, 2, 0)
            .numpy()
        )
    return made / 255


def corrupt(
    images: Tensor, kind: str, severity: int, places: Sequence[int], *, scale: Scale = "small", seed: int = 0
) -> Tensor:
    """uint8 or float images (B, C, H, W) under a corruption, dtype kept. `places` are the images' own numbers
    in their set."""
    about = _KINDS.get(kind)
    c = 0.0 if about is None else getattr(about, scale)[severity - 1]
    as_float = images.dtype != torch.uint8
    out = torch.empty_like(images, memory_format=torch.contiguous_format)
    for i, place in enumerate(places):
        x = images[i].permute(1, 2, 0).numpy().astype(np.float64)
        x = x if as_float else x / 255
        rng = np.random.default_rng([seed, place])
        if about is None:
            y = _of_library(
                x, kind, severity, int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
            )
        elif kind == "saturate" and x.shape[2] == 1:
            y = x  # grey has no saturation to change
        else:
            y = np.clip(about.apply(x, c, rng), 0, 1)
        # The authors cut to whole numbers; rounding first undoes the error of the division above.
        pixels = y if as_float else np.floor(np.round(y * 255, 6))
        out[i] = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).to(images.dtype)
    return out
