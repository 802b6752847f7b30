"""What any pair must do."""

from __future__ import annotations

import pytest

from oodbench.core import registry
from oodbench.core.dataset import Pair
from tests.data.pairs.built import pair_of

SPLITS = {"osr-mnist": 5, "osr-mnist-5k": 5, "osr-fashion-mnist": 5, "digits": 5}


def specs(pair: Pair) -> list[object]:
    found = [
        pair.id,
        *pair.near.values(),
        *pair.far.values(),
        *pair.shifted.values(),
        pair.ood_val,
        pair.outliers,
    ]
    return [s for s in found if s is not None]


@pytest.mark.parametrize("name", list(registry.pairs))
def test_every_data_set_that_a_pair_names_resolves(name: str) -> None:
    for split in range(SPLITS.get(name, 1)):
        for spec in specs(pair_of(name, **({"split": split} if name in SPLITS else {}))):
            registry.resolve("dataset", spec)
