"""From the bytes of an image file to pixels, and to what a network sees of them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from oodbench.core.dataset import Geometry
from oodbench.data.images import fit

Color = Literal["rgb", "grey"]

_JPEG = (".jpg", ".jpeg")


def decode(file: Path | str, color: Color = "rgb", data: bytes | None = None) -> np.ndarray:
    """An image file (or its bytes, `data`) as uint8 (H, W, 3) or (H, W); transparency is dropped, palettes
    and CMYK become RGB, 16 bits of grey become 8, and the orientation that a camera noted is left alone.
    OSError if damaged, ValueError for pixels of 32 bits, whose range nobody knows.

    The pixels are Pillow's. JPEGs are decoded by simplejpeg where it is installed, which is faster and gives
    the same."""
    from PIL import Image

    if str(file).lower().endswith(_JPEG) and (quick := _quick()) is not None:
        pixels = quick(Path(file).read_bytes() if data is None else data, color)
        if pixels is not None:
            return pixels
    mode = "RGB" if color == "rgb" else "L"
    with Image.open(file if data is None else io.BytesIO(data)) as image:
        if image.mode.startswith("I;16"):  # Pillow's own conversion makes everything above 255 white
            grey = (np.asarray(image).astype(np.uint32) + 128) // 257
            pixels = grey.astype(np.uint8)
            return pixels if color == "grey" else np.repeat(pixels[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise ValueError("it has pixels of 32 bits; save it with 8 or 16")
        return np.asarray(
            image if image.mode == mode else image.convert(mode)
        )  # convert copies even where nothing changes


def as_seen(file: Path | str, color: Color, geometry: Geometry) -> np.ndarray:
    """An image file as a network of that geometry sees it, uint8 (C, H, W). Raises what `decode` does."""
    return shaped(decode(file, color), geometry)


def shaped(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Pixels (H, W, 3) or (H, W) as a network of that geometry sees them, uint8 (C, H, W)."""
    image = channels_first(pixels)
    if image.shape == geometry.shape:
        return image
    if image.shape[0] != geometry.shape[0]:
        image = image.copy(order="C")  # in which order three colours are added up changes digits
    elif not image.flags.writeable:  # as Pillow gives it, torch does not want it
        image = image.copy(order="K")
    return fit(torch.from_numpy(image)[None], geometry)[0].numpy()


def channels_first(image: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) or (H, W) as (C, H, W), without a copy."""
    return image.transpose(2, 0, 1) if image.ndim == 3 else image[None]


# ---------------------------------------------------------------- JPEG


@lru_cache(1)
def _quick() -> Callable[[bytes, Color], np.ndarray | None] | None:
    """simplejpeg's decoder; None where it is not installed, or where the libraries behind it and Pillow do
    not give the same pixels."""
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        return None
    return _by_simplejpeg if _agrees() else None


def _by_simplejpeg(data: bytes, color: Color) -> np.ndarray | None:
    """A JPEG's pixels; None for what is left to Pillow: other colours, sizes that may be an attack, and every
    irregularity, of which Pillow knows which are damage."""
    import simplejpeg
    from PIL import Image

    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        if color == "grey":
            return simplejpeg.decode_jpeg(data, "GRAY")[..., 0] if space == "Gray" else None
        return simplejpeg.decode_jpeg(data, "RGB") if space in ("YCbCr", "RGB", "Gray") else None
    except Exception:  # KeyError, for one, for a subsampling that it has no name for
        return None


def _agrees() -> bool:
    """Whether simplejpeg gives Pillow's pixels here: both bring, or find, a libjpeg of their own."""
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).resize((77, 61)))
    for subsampling, progressive, mode in itertools.product((0, 1, 2), (False, True), ("RGB", "L")):
        file = io.BytesIO()
        picture = Image.fromarray(pixels).convert(mode)
        picture.save(file, "JPEG", quality=85, subsampling=subsampling, progressive=progressive)
        quick = _by_simplejpeg(file.getvalue(), "rgb")
        with Image.open(file) as image:
            if quick is None or not np.array_equal(quick, np.asarray(image.convert("RGB"))):
                return False
    return True
