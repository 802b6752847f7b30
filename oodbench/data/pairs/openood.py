"""OpenOOD's benchmarks: its own lists, its near and far sets, its validation.

Everywhere `root` is OpenOOD's data folder. `validation` (in each row's pair_params) says where ID validation
is from: the official test set, as OpenOOD's lists have it, or a tenth of each class of train, which is then
not trained on. `full_spectrum` adds the covariate- shifted ID sets of the benchmark (CIFAR-10-C; ImageNet-V2,
-C, -R; SVHN for MNIST), whose lists and images are not all part of OpenOOD's download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from oodbench.core.dataset import Geometry, Pair
from oodbench.core.registry import pair

_SOURCE = "github.com/Jingkang50/OpenOOD, evaluation_api/datasets.py (v1.5) and configs/datasets/"
_NOTES = {
    "test": "ID validation is carved from the official test set, as OpenOOD does",
    "train": "ID validation is carved from the training set, which OpenOOD does not",
}
Validation = Literal["test", "train"]


class _Benchmark(NamedTuple):
    """The sets of one benchmark under OpenOOD's names; `folder` is where their images lie. The known set has
    the benchmark's name. `shifted` maps the names of the full spectrum to those of the lists."""

    name: str
    folder: str
    geometry: Geometry
    near: tuple[str, ...]
    far: tuple[str, ...]
    ood_val: str
    outliers: str = ""
    shifted: Mapping[str, str] = MappingProxyType({})

    def pair(self, root: Path | None, validation: Validation, full_spectrum: bool = False) -> Pair:
        def spec(name: str, folder: str = self.folder, **more: Any) -> dict[str, Any]:
            given = {"benchmark": self.name, "name": name, "folder": folder, **more}
            return {"openood": given | ({"root": str(root)} if root is not None else {})}

        return Pair(
            id=spec(self.name, known=True, **({} if validation == "test" else {"validation": "train"})),
            near={n: spec(n) for n in self.near},
            far={n: spec(n, "classic" if n == "textures" else self.folder) for n in self.far},
            shifted={n: spec(listed, known=True) for n, listed in self.shifted.items() if full_spectrum},
            ood_val=spec(self.ood_val),
            outliers=spec(self.outliers) if self.outliers else None,
            geometry=self.geometry,
            note=_NOTES[validation],
        )


_SMALL, _LARGE = Geometry((3, 32, 32), 32), Geometry((3, 224, 224), 256)
_SMALL_FAR = ("mnist", "svhn", "texture", "places365")
_LARGE_NEAR, _LARGE_FAR = ("ssb_hard", "ninco"), ("inaturalist", "textures", "openimage_o")
_CIFAR10 = _Benchmark(
    "cifar10", "classic", _SMALL, ("cifar100", "tin"), _SMALL_FAR, "tin", "tin597", {"cifar10c": "cifar10c"}
)
_CIFAR100 = _Benchmark("cifar100", "classic", _SMALL, ("cifar10", "tin"), _SMALL_FAR, "tin", "tin597")
_IMAGENET200 = _Benchmark(
    "imagenet200", "largescale", _LARGE, _LARGE_NEAR, _LARGE_FAR, "openimage_o", "imagenet800",
    {f"imagenet_{v}": f"imagenet200_{v}" for v in ("v2", "c", "r")},
)  # fmt: skip
_IMAGENET = _Benchmark(
    "imagenet", "largescale", _LARGE, _LARGE_NEAR, _LARGE_FAR, "openimage_o",
    shifted={f"imagenet_{v}": f"imagenet_{v}" for v in ("v2", "c", "r")},
)  # fmt: skip
_MNIST = _Benchmark(
    "mnist", "classic", Geometry((3, 28, 28), 28), ("notmnist", "fashionmnist"),
    ("texture", "cifar10", "tin", "places365"), "notmnist", shifted={"svhn": "svhn"},
)  # fmt: skip


@pair("openood-cifar10", source=_SOURCE)
def openood_cifar10(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
    """OpenOOD v1.5 CIFAR-10: near cifar100, tin; far mnist, svhn, texture, places365; outliers tin597."""
    return _CIFAR10.pair(root, validation, full_spectrum)


@pair("openood-cifar100", source=_SOURCE)
def openood_cifar100(*, root: Path | None = None, validation: Validation = "test") -> Pair:
    """OpenOOD v1.5 CIFAR-100: near cifar10, tin; far mnist, svhn, texture, places365; outliers tin597."""
    return _CIFAR100.pair(root, validation)


@pair("openood-imagenet200", source=_SOURCE)
def openood_imagenet200(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
    """OpenOOD v1.5 ImageNet-200: near ssb_hard, ninco; far inaturalist, textures, openimage_o; outliers
    ImageNet-800."""
    return _IMAGENET200.pair(root, validation, full_spectrum)


@pair("openood-imagenet1k", source=_SOURCE)
def openood_imagenet1k(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
    """OpenOOD v1.5 ImageNet-1K: near ssb_hard, ninco; far inaturalist, textures, openimage_o.

    Shifted sets are those of the published leaderboard; OpenOOD's present configuration adds ImageNet-ES
    (list ``imagenet_es``)."""
    return _IMAGENET.pair(root, validation, full_spectrum)


@pair("openood-mnist", source=_SOURCE + "mnist (not part of v1.5)")
def openood_mnist(
    *, root: Path | None = None, full_spectrum: bool = False, validation: Validation = "test"
) -> Pair:
    """OpenOOD MNIST: near notmnist, fashionmnist; far texture, cifar10, tin, places365."""
    return _MNIST.pair(root, validation, full_spectrum)
