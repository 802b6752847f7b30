"""Images as arrays: .npz, .safetensors and .npy files, checked before anything is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from oodbench.core.errors import UserError, one_line, shown
from oodbench.core.files import readable
from oodbench.data.samples import TensorSamples
from oodbench.data.sources.lists import MOST_LABEL
from oodbench.data.sources.local_copy import through_copy
from oodbench.data.sources.roots import note
from oodbench.data.sources.shared import held_once

SUFFIXES = (".npz", ".safetensors", ".npy")
Layout = Literal["auto", "channels-first", "channels-last"]


def read_arrays(file: Path, layout: Layout) -> TensorSamples:
    """The images and labels of a file, in memory once for as long as somebody holds them.

    Args:
        file: holds ``images`` (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1], and perhaps
            ``labels`` (N,), whole numbers; without them every label is 0.
        layout: where the channels are; ``auto`` finds out where it can.

    Raises:
        UserError: the file cannot be read, or does not hold that.
    """
    note(file)
    return held_once(("arrays", layout), [file], lambda: _arrays(file, layout))


def _arrays(file: Path, layout: Layout) -> TensorSamples:
    found = _loaded(file)
    if "images" not in found:
        there = one_line(", ".join(map(shown, found)) or "none", 200)
        raise UserError(f"{file}: should hold an array 'images', holds {there}")
    images = _images(file, found["images"], layout)
    labels = found.get("labels", np.zeros(len(images), np.int64))
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{file}: 'labels' should be {len(images)} whole numbers, is {labels.dtype} {labels.shape}"
        )
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < -1:
        raise UserError(f"{file}: 'labels' should be -1 (unknown) or more, holds {low}")
    if high > MOST_LABEL:
        raise UserError(f"{file}: 'labels' should be at most {MOST_LABEL}, holds {high}")
    ids = [f"{file.name}[{i}]" for i in range(len(images))]
    return TensorSamples(images, torch.from_numpy(labels.astype(np.int64)), ids)


def _loaded(file: Path) -> dict[str, np.ndarray]:
    """Every array of a file."""
    if file.suffix not in SUFFIXES:
        raise UserError(f"{file}: should end in {', '.join(SUFFIXES)}")
    try:
        return through_copy(readable(file), _opened)
    except Exception as error:  # each of the three libraries has its own
        raise UserError(f"{file}: cannot be read ({one_line(error)})") from None


def _opened(file: Path) -> dict[str, np.ndarray]:
    if file.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(file)
    got = np.load(file, allow_pickle=False)
    if isinstance(got, np.ndarray):
        return {"images": got}
    with got as z:
        return {k: z[k] for k in z.files}


def _images(file: Path, array: np.ndarray, layout: Layout) -> Tensor:
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{file}: 'images' should be uint8 or floats in [0, 1], is {array.dtype}")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        array = _channels_first(file, array, layout)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise UserError(
            f"{file}: 'images' should be (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, is"
            f" {array.shape}"
        )
    if 0 in array.shape[2:]:
        raise UserError(f"{file}: 'images' {array.shape} have no pixels")
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        images = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    if not bool(torch.isfinite(images).all()):
        raise UserError(f"{file}: 'images' is not finite")
    if len(images) and (float(images.min()) < 0 or float(images.max()) > 1):
        raise UserError(
            f"{file}: floats in 'images' should be in [0, 1], are in [{float(images.min()):g},"
            f" {float(images.max()):g}]"
        )
    return images


def _channels_first(file: Path, array: np.ndarray, layout: Layout) -> np.ndarray:
    first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
    if layout == "auto" and first and last:
        raise UserError(
            f"{file}: 'images' {array.shape} may be either; write `layout: channels-first` or `layout:"
            " channels-last`"
        )
    return np.moveaxis(array, 3, 1) if layout == "channels-last" or (layout == "auto" and last) else array
