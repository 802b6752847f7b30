"""Batches for training: the same whether the set is held or read on the way, with all that a method asks
for."""

from __future__ import annotations

import pytest
import torch

from oodbench.training import reader as reader_module
from oodbench.training.reader import Reader
from oodbench.training.schedule import batches_in
from tests.training.common import GEOMETRY, Nosy, make_samples, recipe_of, run, same


@pytest.mark.parametrize("n", [1, 16, 17, 48, 53])
def test_a_large_set_read_batch_by_batch_equals_the_held_one(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_samples(n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    held = list(Reader(data, GEOMETRY, "cpu").batches(order, 16))
    monkeypatch.setattr(reader_module, "HELD_BYTES", 0)
    reader = Reader(data, GEOMETRY, "cpu")
    assert reader.held is None
    streamed = list(reader.batches(order, 16))
    assert len(held) == len(streamed) == batches_in(n, 16)
    for (a, la), (b, lb) in zip(held, streamed, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(la, lb)
    rngs = [torch.Generator().manual_seed(1) for _ in range(2)]
    monkeypatch.undo()
    assert torch.equal(Reader(data, GEOMETRY, "cpu").sample(5, rngs[0]), reader.sample(5, rngs[1]))


def test_a_training_from_a_large_set_ends_in_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    held, _ = run(recipe_of(epochs=2, augment=["flip"]))
    monkeypatch.setattr(reader_module, "HELD_BYTES", 0)
    streamed, _ = run(recipe_of(epochs=2, augment=["flip"]))
    assert same(held, streamed)


def test_outliers_views_and_progress_reach_the_method() -> None:
    method = Nosy()
    run(recipe_of(epochs=2, augment=["flip"]), method=method, outliers=make_samples(20, seed=5))
    first = method.batches[0]
    assert first.outliers is not None
    assert first.outliers.shape == first.inputs.shape
    assert len(first.views) == 2
    assert not torch.equal(first.views[0], first.views[1])
    assert [b.progress for b in method.batches] == pytest.approx([i / 8 for i in range(8)])
    assert all(float(b.inputs.min()) >= 0 and float(b.inputs.max()) <= 1 for b in method.batches)
