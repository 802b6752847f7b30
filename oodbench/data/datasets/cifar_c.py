"""CIFAR-10-C and CIFAR-100-C as their archives hold them: one array per corruption, five severities one after
the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from oodbench.core.dataset import Dataset
from oodbench.core.errors import UserError, one_line
from oodbench.core.files import readable
from oodbench.core.registry import dataset
from oodbench.data.samples import TensorSamples
from oodbench.data.sources.archives import unpacked
from oodbench.data.sources.download import downloads
from oodbench.data.sources.local_copy import through_copy
from oodbench.data.sources.roots import find

Corruption = Literal[
    "brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_blur",
    "gaussian_noise", "glass_blur",
    "impulse_noise", "jpeg_compression", "motion_blur", "pixelate", "saturate", "shot_noise", "snow",
    "spatter", "speckle_noise",
    "zoom_blur",
]  # fmt: skip
Severity = Annotated[int, Field(ge=1, le=5)]
_SOURCE = (
    "the archive's layout, as pytorch-ood 0.4.0 dataset/img/cifar.py reads it (Hendrycks and Dietterich, ICLR"
    " 2019)"
)


def _test(name: str, archive: str, corruption: str, severity: int, root: Path | None) -> Dataset:
    def read() -> TensorSamples:
        place = find(
            name, [f"{name}/{archive}", archive, name], get=f"oodbench data download {name}", root=root,
            is_it=lambda p: (p / f"{corruption}.npy").is_file() and (p / "labels.npy").is_file(),
        )  # fmt: skip
        file = place / f"{corruption}.npy"
        images, labels = _loaded(file, mmap_mode="r"), _loaded(place / "labels.npy")
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or images.dtype != np.uint8:
            raise UserError(f"{file}: should hold uint8 images, and labels.npy whole numbers (N,)")
        if images.ndim != 4 or images.shape[-1] != 3 or len(images) % 5 or len(labels) != len(images):
            raise UserError(
                f"{file}: should hold five times N images (5N, 32, 32, 3) and labels.npy 5N labels, holds"
                f" {images.shape}"
            )
        n = len(images) // 5
        part = slice((severity - 1) * n, severity * n)
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images[part], 3, 1)))
        return TensorSamples(
            x,
            torch.from_numpy(labels[part].astype(np.int64)),
            [f"{corruption}/{severity}/{i}" for i in range(n)],
        )

    return Dataset({"test": read})


def _loaded(file: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    try:
        return through_copy(
            readable(file), lambda place: np.load(place, mmap_mode=mmap_mode, allow_pickle=False)
        )
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}); get it again") from None


@dataset("cifar10-c", source=_SOURCE)
def cifar10_c(
    *, corruption: Corruption = "gaussian_noise", severity: Severity = 3, root: Path | None = None
) -> Dataset:
    """CIFAR-10's test images under one `corruption` at one `severity`: covariate-shifted ID."""
    return _test("cifar10-c", "CIFAR-10-C", corruption, severity, root)


@dataset("cifar100-c", source=_SOURCE)
def cifar100_c(
    *, corruption: Corruption = "gaussian_noise", severity: Severity = 3, root: Path | None = None
) -> Dataset:
    """CIFAR-100's test images under one `corruption` at one `severity`: covariate-shifted ID."""
    return _test("cifar100-c", "CIFAR-100-C", corruption, severity, root)


downloads["cifar10-c"] = unpacked(
    "https://zenodo.org/record/2535967/files/CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499"
)
downloads["cifar100-c"] = unpacked(
    "https://zenodo.org/record/3555552/files/CIFAR-100-C.tar", "11f0ed0f1191edbf9fa23466ae6021d3"
)
