"""Open-set recognition: five trials each of known and unknown classes of one data set (CIFAR+N: unknown ones
of a second).

Trials of 2020: github.com/sgvaze/osr_closed_set_all_you_need, data/open_set_splits/osr_splits.py (Vaze et
al., ICLR 2022), equal to github.com/iCGY96/ARPL, split.py. Labels of known classes are 0..K-1 in the order of
the list. The MNIST trials are in `grey.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from oodbench.core.dataset import Geometry, Pair
from oodbench.core.registry import pair

# fmt: off
_SVHN = (
    [5, 3, 7, 2, 8, 6],
    [3, 8, 7, 6, 2, 5],
    [8, 9, 4, 7, 2, 1],
    [3, 8, 2, 5, 0, 6],
    [4, 9, 2, 7, 1, 0],
)
_CIFAR10 = (
    [0, 6, 4, 9, 1, 7],
    [7, 6, 4, 9, 0, 1],
    [1, 5, 7, 3, 9, 4],
    [8, 6, 1, 9, 0, 7],
    [2, 4, 1, 7, 9, 6],
)
_CIFAR_PLUS = (
    [4, 7, 9, 1],
    [6, 7, 1, 9],
    [9, 6, 1, 7],
    [6, 4, 9, 1],
    [1, 0, 9, 8],
)
_CIFAR_PLUS_10 = (
    [30, 25, 1, 9, 8, 0, 46, 52, 49, 71],
    [41, 9, 49, 40, 73, 60, 48, 30, 95, 71],
    [8, 9, 49, 40, 73, 60, 48, 95, 30, 71],
    [95, 60, 30, 73, 46, 49, 68, 99, 8, 71],
    [33, 2, 3, 97, 46, 21, 64, 63, 88, 43],
)
_CIFAR_PLUS_50 = (
    [27, 94, 29, 77, 88, 26, 69, 48, 75, 5, 59, 93, 39, 57, 45, 40, 78, 20, 98, 47, 66, 70, 91, 76, 41, 83,
     99, 32, 53, 72, 2, 95, 21, 73, 84, 68, 35, 11, 55, 60, 30, 25, 1, 9, 8, 0, 46, 52, 49, 71],
    [65, 97, 86, 24, 45, 67, 2, 3, 91, 98, 79, 29, 62, 82, 33, 76, 0, 35, 5, 16, 54, 11, 99, 52, 85, 1, 25,
     66, 28, 84, 23, 56, 75, 46, 21, 72, 55, 68, 8, 69, 41, 9, 49, 40, 73, 60, 48, 30, 95, 71],
    [20, 83, 65, 97, 94, 2, 93, 16, 67, 29, 62, 33, 24, 98, 5, 86, 35, 54, 0, 91, 52, 66, 85, 84, 56, 11, 1,
     76, 25, 55, 21, 99, 72, 41, 23, 75, 28, 68, 69, 46, 8, 9, 49, 40, 73, 60, 48, 95, 30, 71],
    [92, 82, 77, 64, 5, 33, 62, 56, 70, 0, 20, 28, 67, 14, 84, 53, 91, 29, 85, 2, 52, 83, 75, 35, 11, 21, 72,
     98, 55, 1, 41, 76, 25, 66, 69, 9, 48, 54, 40, 23, 95, 60, 30, 73, 46, 49, 68, 99, 8, 71],
    [47, 6, 19, 0, 62, 93, 59, 65, 54, 70, 34, 55, 23, 38, 72, 76, 53, 31, 78, 96, 77, 27, 92, 18, 82, 50, 98,
     32, 1, 75, 83, 4, 51, 35, 80, 11, 74, 66, 36, 42, 33, 2, 3, 97, 46, 21, 64, 63, 88, 43],
)
_TINY = (
    [108, 147, 17, 58, 193, 123, 72, 144, 75, 167, 134, 14, 81, 171, 44, 197, 152, 66, 1, 133],
    [198, 161, 91, 59, 57, 134, 61, 184, 90, 35, 29, 23, 199, 38, 133, 19, 186, 18, 85, 67],
    [177, 0, 119, 26, 78, 80, 191, 46, 134, 92, 31, 152, 27, 60, 114, 50, 51, 133, 162, 93],
    [98, 36, 158, 177, 189, 157, 170, 191, 82, 196, 138, 166, 43, 13, 152, 11, 75, 174, 193, 190],
    [95, 6, 145, 153, 0, 143, 31, 23, 189, 81, 20, 21, 89, 26, 36, 170, 102, 177, 108, 169],
)
# Unknown classes of the trials of 2018, the same for CIFAR-10 and SVHN:
# github.com/lwneal/counterfactual-open-set, generativeopenset/datasets/download_cifar10.py and
# download_svhn.py (Neal et al., ECCV 2018).
_UNKNOWN_2018 = ([3, 6, 7, 8], [1, 2, 4, 6], [2, 3, 4, 9], [0, 1, 2, 6], [4, 5, 6, 9])
# fmt: on

_SOURCE = "github.com/sgvaze/osr_closed_set_all_you_need, osr_splits.py (Vaze et al., ICLR 2022)"
_BOTH = _SOURCE + "; github.com/lwneal/counterfactual-open-set (Neal et al., ECCV 2018)"
_SMALL, _TINY_SHAPE = Geometry((3, 32, 32)), Geometry((3, 64, 64))
Split = Annotated[int, Field(ge=0, lt=5)]
Trials = Literal["2020", "2018"]


def _pair(name: str, known: list[int], classes: int, geometry: Geometry, note: str = "") -> Pair:
    unknown = [c for c in range(classes) if c not in known]
    return _between(name, known, name, unknown, geometry, note)


def _between(
    name: str, known: list[int], other: str, unknown: list[int], geometry: Geometry, note: str = ""
) -> Pair:
    noise = {"noise": {"kind": "rademacher", "size": geometry.shape[1], "count": 2000}}
    return Pair(
        id={"subset": {"of": name, "classes": known}},
        near={"unknown-classes": {"subset": {"of": other, "classes": unknown, "relabel": False}}},
        ood_val=noise, outliers=noise, geometry=geometry, note=note,
    )  # fmt: skip


def _of_trial(trials: Trials, split: int, lists: tuple[list[int], ...]) -> list[int]:
    return lists[split] if trials == "2020" else [c for c in range(10) if c not in _UNKNOWN_2018[split]]


@pair("osr-cifar10", source=_BOTH)
def osr_cifar10(*, split: Split = 0, trials: Trials = "2020") -> Pair:
    """Open-set CIFAR-10: six known classes by `split`, near: the other four. Papers mix the `trials` of 2020
    and 2018.

    Trials 0 and 1 of 2020 are the same set of classes in another order, so the five are not five different
    tasks."""
    return _pair("cifar10", _of_trial(trials, split, _CIFAR10), 10, _SMALL, f"trials of {trials}")


@pair("osr-svhn", source=_BOTH)
def osr_svhn(*, split: Split = 0, trials: Trials = "2020") -> Pair:
    """Open-set SVHN: six known digits by `split`, near: the other four. Papers mix the `trials` of 2020 and
    2018."""
    return _pair("svhn", _of_trial(trials, split, _SVHN), 10, _SMALL, f"trials of {trials}")


@pair("osr-cifar+10", source=_SOURCE)
def osr_cifar_plus_10(*, split: Split = 0) -> Pair:
    """CIFAR+10: four known classes of CIFAR-10 by `split`, near: ten of CIFAR-100 (its test images)."""
    return _between("cifar10", _CIFAR_PLUS[split], "cifar100", _CIFAR_PLUS_10[split], _SMALL)


@pair("osr-cifar+50", source=_SOURCE)
def osr_cifar_plus_50(*, split: Split = 0) -> Pair:
    """CIFAR+50: four known classes of CIFAR-10 by `split`, near: fifty of CIFAR-100 (its test images)."""
    return _between("cifar10", _CIFAR_PLUS[split], "cifar100", _CIFAR_PLUS_50[split], _SMALL)


@pair("osr-tinyimagenet", source=_SOURCE)
def osr_tinyimagenet(*, split: Split = 0) -> Pair:
    """Open-set Tiny-ImageNet: 20 known classes by `split`, near: the other 180. Class numbers: the order of
    the sorted WordNet ids."""
    return _pair("tiny-imagenet", _TINY[split], 200, _TINY_SHAPE)
