"""The semantic-shift benchmark on birds, aircraft and cars (Vaze et al., ICLR 2022).

Class numbers of the pickles in github.com/sgvaze/osr_closed_set_all_you_need, data/open_set_splits/: known,
then unknown easy, medium and hard. As its methods/tests/openset_test_fine_grained.py does, medium counts as
hard. Numbers start at 0 in each set's own order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oodbench.core.dataset import Geometry, Pair
from oodbench.core.registry import pair

# fmt: off
_CUB = (
    [150, 70, 34, 178, 199, 131, 129, 147, 134, 11, 26, 93, 95, 121, 123, 99, 149, 167, 18, 31, 69, 198, 116,
     158, 126, 17, 5, 179, 111, 163, 184, 81, 174, 42, 53, 89, 77, 55, 23, 48, 43, 44, 56, 28, 193, 143, 0,
     176, 84, 15, 38, 154, 141, 190, 172, 124, 189, 19, 80, 157, 12, 9, 79, 30, 94, 67, 197, 97, 168, 137,
     119, 76, 98, 88, 40, 106, 171, 87, 166, 186, 27, 51, 144, 135, 161, 64, 177, 7, 146, 61, 50, 162, 133,
     82, 39, 74, 72, 91, 196, 136],
    [20, 159, 173, 148, 1, 57, 113, 165, 52, 109, 14, 4, 180, 6, 182, 68, 33, 108, 46, 35, 75, 188, 187, 100,
     47, 105, 41, 86, 16, 54, 139, 138],
    [152, 195, 132, 83, 22, 192, 153, 175, 191, 155, 49, 194, 73, 66, 170, 151, 169, 96, 103, 37, 181, 127,
     78, 21, 10, 164, 62, 2, 183, 85, 45, 60, 92, 185],
    [29, 110, 3, 8, 13, 58, 142, 25, 145, 63, 59, 65, 24, 140, 120, 32, 114, 107, 160, 130, 118, 101, 115,
     128, 117, 71, 156, 112, 36, 122, 104, 102, 90, 125],
)
_AIRCRAFT = (
    [0, 1, 2, 3, 4, 5, 10, 11, 14, 16, 17, 19, 21, 22, 23, 24, 27, 28, 29, 30, 33, 36, 37, 38, 39, 41, 43, 44,
     45, 46, 47, 48, 52, 53, 56, 57, 58, 63, 64, 65, 66, 67, 71, 73, 76, 77, 79, 92, 95, 99],
    [80, 81, 42, 84, 40, 90, 74, 75, 97, 98, 34, 35, 93, 94, 96, 72, 91, 83, 62, 89],
    [78, 82, 51, 49, 50, 54, 55, 59, 60, 61, 68, 69, 70, 85, 86, 87, 88],
    [6, 7, 8, 9, 12, 13, 31, 32, 25, 26, 18, 20, 15],
)
_SCARS = (
    [1, 11, 25, 38, 46, 50, 53, 75, 84, 100, 105, 117, 123, 129, 133, 134, 135, 136, 137, 138, 140, 144, 145,
     146, 147, 149, 150, 151, 153, 160, 161, 162, 163, 164, 167, 168, 169, 174, 175, 180, 185, 186, 187, 192,
     193, 0, 81, 97, 104, 122, 139, 141, 142, 143, 148, 152, 154, 155, 156, 157, 158, 159, 165, 166, 170, 171,
     172, 173, 176, 177, 181, 184, 188, 191, 194, 195, 2, 7, 9, 16, 20, 26, 28, 44, 54, 95, 98, 102, 127, 178,
     182, 22, 41, 82, 93, 112, 125, 189],
    [4, 5, 6, 12, 13, 14, 15, 18, 19, 24, 30, 31, 32, 33, 34, 35, 36, 37, 39, 40, 43, 47, 48, 49, 51, 52, 56,
     57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 76, 77, 78, 79, 80, 85, 86, 87,
     88, 89, 90, 91, 92, 101, 106, 107, 108, 109, 110, 111, 114, 115, 116, 118, 119, 120, 121, 124, 130, 131,
     132],
    [3, 8, 10, 17, 21, 27, 29, 45, 55, 96, 99, 103, 128, 179, 183],
    [23, 42, 83, 94, 113, 126, 190],
)
# fmt: on

_SOURCE = "github.com/sgvaze/osr_closed_set_all_you_need, data/open_set_splits/*.pkl (Vaze et al., ICLR 2022)"
_GEOMETRY = Geometry((3, 448, 448), 512)


def _pair(name: str, lists: Sequence[list[int]]) -> Pair:
    known, easy, medium, hard = lists
    noise = {"noise": {"kind": "rademacher", "size": 112, "count": 400}}

    def unknown(classes: list[int]) -> dict[str, Any]:
        return {"subset": {"of": name, "classes": classes, "relabel": False}}

    return Pair(
        id={"subset": {"of": name, "classes": known}}, near={"hard": unknown(hard + medium)},
        far={"easy": unknown(easy)},
        ood_val=noise, outliers=noise, geometry=_GEOMETRY,
    )  # fmt: skip


@pair("ssb-cub", source=_SOURCE)
def ssb_cub() -> Pair:
    """Semantic-shift benchmark on CUB-200-2011: 100 known birds; near: 68 hard, far: 32 easy unknown ones."""
    return _pair("cub", _CUB)


@pair("ssb-aircraft", source=_SOURCE)
def ssb_aircraft() -> Pair:
    """Semantic-shift benchmark on FGVC-Aircraft: 50 known variants; near: 30 hard, far: 20 easy unknown
    ones."""
    return _pair("aircraft", _AIRCRAFT)


@pair("ssb-scars", source=_SOURCE)
def ssb_scars() -> Pair:
    """Semantic-shift benchmark on Stanford Cars: 98 known cars; near: 22 hard, far: 76 easy unknown ones."""
    return _pair("stanford-cars", _SCARS)
