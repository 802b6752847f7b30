"""OpenOOD's benchmarks: its own lists, its near and far sets, its validation.

Everywhere `root` is OpenOOD's data folder. `validation` (in each row's pair_params) says where ID validation
is from: the official test set, as OpenOOD's lists have it, or a tenth of each class of train, which is then
not trained on. `full_spectrum` adds the covariate- shifted ID sets of the benchmark (CIFAR-10-C; ImageNet-V2,
-C, -R; SVHN for MNIST), whose lists and images are not all part of OpenOOD's download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from oodbench.core.dataset import Geometry, Pair
from oodbench.core.registry import pair

_SOURCE = "github.com/Jingkang50/OpenOOD, evaluation_api/datasets.py (v1.5) and configs/datasets/"
_NOTES = {
    "test": "ID validation is carved from the official test set, as OpenOOD does",
    "train": "ID validation is carved from the training set, which OpenOOD does not",
}
Validation = Literal["test", "train"]


def _pair(
    benchmark: str, known: str, folder: str, near: Sequence[str], far: Sequence[str], shifted: dict[str, str],
    ood_val: str,
    outliers: str, geometry: Geometry, root: Path | None, validation: Validation,
) -> Pair:  # fmt: skip

    def spec(name: str, where: str = folder, **more: Any) -> dict[str, Any]:
        given = {"benchmark": benchmark, "name": name, "folder": where, **more}
        return {"openood": given | ({"root": str(root)} if root is not None else {})}

    return Pair(
        id=spec(known, known=True, **({} if validation == "test" else {"validation": "train"})),
        near={n: spec(n) for n in near},
        far={n: spec(n, "classic" if n == "textures" else folder) for n in far},
        shifted={n: spec(listed, known=True) for n, listed in shifted.items()},
        ood_val=spec(ood_val), outliers=spec(outliers) if outliers else None, geometry=geometry,
        note=_NOTES[validation],
    )  # fmt: skip


_SMALL_FAR = ("mnist", "svhn", "texture", "places365")
_LARGE_NEAR, _LARGE_FAR = ("ssb_hard", "ninco"), ("inaturalist", "textures", "openimage_o")
_SMALL, _LARGE = Geometry((3, 32, 32), 32), Geometry((3, 224, 224), 256)


@pair("openood-cifar10", source=_SOURCE)
def openood_cifar10(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
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
        validation,
    )


@pair("openood-cifar100", source=_SOURCE)
def openood_cifar100(*, root: Path | None = None, validation: Validation = "test") -> Pair:
    """OpenOOD v1.5 CIFAR-100: near cifar10, tin; far mnist, svhn, texture, places365; outliers tin597."""
    return _pair(
        "cifar100",
        "cifar100",
        "classic",
        ("cifar10", "tin"),
        _SMALL_FAR,
        {},
        "tin",
        "tin597",
        _SMALL,
        root,
        validation,
    )


@pair("openood-imagenet200", source=_SOURCE)
def openood_imagenet200(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
    """OpenOOD v1.5 ImageNet-200: near ssb_hard, ninco; far inaturalist, textures, openimage_o; outliers
    ImageNet-800."""
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
        validation,
    )


@pair("openood-imagenet1k", source=_SOURCE)
def openood_imagenet1k(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
    """OpenOOD v1.5 ImageNet-1K: near ssb_hard, ninco; far inaturalist, textures, openimage_o.

    Shifted sets are those of the published leaderboard; OpenOOD's present configuration adds ImageNet-ES
    (list ``imagenet_es``)."""
    shifted = {f"imagenet_{v}": f"imagenet_{v}" for v in ("v2", "c", "r") if full_spectrum}
    return _pair(
        "imagenet",
        "imagenet",
        "largescale",
        _LARGE_NEAR,
        _LARGE_FAR,
        shifted,
        "openimage_o",
        "",
        _LARGE,
        root,
        validation,
    )


@pair("openood-mnist", source=_SOURCE + "mnist (not part of v1.5)")
def openood_mnist(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
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
        validation,
    )
