"""OpenOOD's benchmarks: its own lists, its near and far sets, its validation.

Everywhere `root` is OpenOOD's data folder, and `full_spectrum` adds the covariate-shifted ID sets of the benchmark (CIFAR-10-C;
ImageNet-V2, -C, -R; SVHN for MNIST), whose lists and images are not all part of OpenOOD's download.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oodbench.base import Geometry, Pair
from oodbench.registry import pair

_SOURCE = "github.com/Jingkang50/OpenOOD, evaluation_api/datasets.py (v1.5) and configs/datasets/"
_VAL = "ID validation is carved from the official test set, as OpenOOD does"


def _pair(
    benchmark: str, known: str, folder: str, near: Sequence[str], far: Sequence[str], shifted: dict[str, str], ood_val: str,
    outliers: str, geometry: Geometry, root: Path | None,
) -> Pair:  # fmt: skip
    def spec(name: str, where: str = folder, **more: Any) -> dict[str, Any]:
        given = {"benchmark": benchmark, "name": name, "folder": where, **more}
        return {"openood": given | ({"root": str(root)} if root is not None else {})}

    return Pair(
        id=spec(known, known=True), near={n: spec(n) for n in near},
        far={n: spec(n, "classic" if n == "textures" else folder) for n in far},
        shifted={n: spec(listed, known=True) for n, listed in shifted.items()},
        ood_val=spec(ood_val), outliers=spec(outliers) if outliers else None, geometry=geometry, note=_VAL,
    )  # fmt: skip


_SMALL_FAR = ("mnist", "svhn", "texture", "places365")
_LARGE_NEAR, _LARGE_FAR = ("ssb_hard", "ninco"), ("inaturalist", "textures", "openimage_o")
_SMALL, _LARGE = Geometry((3, 32, 32), 32), Geometry((3, 224, 224), 256)


@pair("openood-cifar10", source=_SOURCE)
def openood_cifar10(*, root: Path | None = None, full_spectrum: bool = False) -> Pair:
    """OpenOOD v1.5 CIFAR-10: near cifar100, tin; far mnist, svhn, texture, places365; outliers tin597."""
    return _pair(
        "cifar10",
        "cifar10",
        "classic",
        ("cifar100", "tin"),
        _SMALL_FAR,
        {"cifar10c": "cifar10c"} if full_spectrum else {},
        "tin",
        "tin597",
        _SMALL,
        root,
    )


@pair("openood-cifar100", source=_SOURCE)
def openood_cifar100(*, root: Path | None = None) -> Pair:
    """OpenOOD v1.5 CIFAR-100: near cifar10, tin; far mnist, svhn, texture, places365; outliers tin597."""
    return _pair("cifar100", "cifar100", "classic", ("cifar10", "tin"), _SMALL_FAR, {}, "tin", "tin597", _SMALL, root)


@pair("openood-imagenet200", source=_SOURCE)
def openood_imagenet200(*, root: Path | None = None, full_spectrum: bool = False) -> Pair:
    """OpenOOD v1.5 ImageNet-200: near ssb_hard, ninco; far inaturalist, textures, openimage_o; outliers ImageNet-800."""
    shifted = {f"imagenet_{v}": f"imagenet200_{v}" for v in ("v2", "c", "r") if full_spectrum}
    return _pair(
        "imagenet200",
        "imagenet200",
        "largescale",
        _LARGE_NEAR,
        _LARGE_FAR,
        shifted,
        "openimage_o",
        "imagenet800",
        _LARGE,
        root,
    )


@pair("openood-imagenet1k", source=_SOURCE)
def openood_imagenet1k(*, root: Path | None = None, full_spectrum: bool = False) -> Pair:
    """OpenOOD v1.5 ImageNet-1K: near ssb_hard, ninco; far inaturalist, textures, openimage_o."""
    shifted = {f"imagenet_{v}": f"imagenet_{v}" for v in ("v2", "c", "r") if full_spectrum}
    return _pair(
        "imagenet", "imagenet", "largescale", _LARGE_NEAR, _LARGE_FAR, shifted, "openimage_o", "", _LARGE, root
    )


@pair("openood-mnist", source=_SOURCE + "mnist (not part of v1.5)")
def openood_mnist(*, root: Path | None = None, full_spectrum: bool = False) -> Pair:
    """OpenOOD MNIST: near notmnist, fashionmnist; far texture, cifar10, tin, places365."""
    far = ("texture", "cifar10", "tin", "places365")
    geometry = Geometry((3, 28, 28), 28)
    return _pair(
        "mnist",
        "mnist",
        "classic",
        ("notmnist", "fashionmnist"),
        far,
        {"svhn": "svhn"} if full_spectrum else {},
        "notmnist",
        "",
        geometry,
        root,
    )
