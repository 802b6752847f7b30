"""The pair that needs no download: six known digits, four unknown ones."""

from __future__ import annotations

import pytest

from oodbench.core import registry
from tests.data.pairs.built import pair_of


@pytest.mark.parametrize("split", range(5))
def test_known_and_unknown_digits_never_meet(split: int) -> None:
    pair = pair_of("digits", split=split)
    known = registry.build("dataset", pair.id)
    (unknown,) = (registry.build("dataset", s)["test"] for s in pair.near.values())
    images = {s: {known[s].read([i]).numpy().tobytes() for i in range(len(known[s]))} for s in known.splits}
    assert len(known.classes) == 6
    assert set(known["train"].labels.tolist()) == set(range(6))
    others = {unknown.read([i]).numpy().tobytes() for i in range(len(unknown))}
    assert len(set(unknown.labels.tolist())) == 4
    assert not any(others & seen for seen in images.values())


def test_a_long_tail_is_of_training_images_alone() -> None:
    plain, tail = (
        registry.build("dataset", pair_of("digits", **given).id) for given in ({}, {"imbalance": 0.1})
    )
    counts = tail["train"].labels.bincount().tolist()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 0.2 * counts[0]
    assert tail["test"].digest == plain["test"].digest
