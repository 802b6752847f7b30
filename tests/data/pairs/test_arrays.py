"""A pair of arrays is names alone."""

from __future__ import annotations

import pytest

from oodbench.core.errors import SpecError
from tests.data.pairs.built import pair_of


def test_each_name_is_a_set_of_its_own_and_nothing_is_known() -> None:
    pair = pair_of("arrays", near=["cifar100", "tin"], far=["svhn"], shifted=["cifar10c"])
    assert pair.id is None
    assert list(pair.near) == ["cifar100", "tin"]
    assert list(pair.far) == ["svhn"]
    assert list(pair.shifted) == ["cifar10c"]
    assert not pair_of("arrays").near


def test_a_name_stands_once() -> None:
    with pytest.raises(SpecError, match=r"arrays\.far: names 'svhn' twice"):
        pair_of("arrays", far=["svhn", "tin", "svhn"])
