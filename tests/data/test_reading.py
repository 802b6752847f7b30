"""Batches are the samples in order, and the next one is read while this one is used."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.data.reading import batches, in_parts, read_ahead
from oodbench.data.samples import TensorSamples
from tests.data.made import samples


def test_parts_cover_every_place_once() -> None:
    assert [list(p) for p in in_parts(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [*in_parts(0, 3)] == []


def test_batches_are_the_samples_in_order_as_fractions() -> None:
    whole, geometry = samples(10), Geometry((3, 6, 5))
    found = [*batches(whole, geometry, 4, "cpu")]
    assert [len(b) for b in found] == [4, 4, 2]
    assert torch.equal(torch.cat(found), whole.images.float() / 255)


class _Watched(TensorSamples):
    """Says when the second batch is being read."""

    def __init__(self, of: TensorSamples) -> None:
        super().__init__(of.images, of.labels)
        self.second = threading.Event()

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        if 4 in list(indices):
            self.second.set()
        return super().read(indices, geometry)


def test_the_next_batch_is_read_while_this_one_is_used() -> None:
    watched = _Watched(samples(8))
    found = read_ahead(watched, None, in_parts(8, 4))
    first = next(found)
    # Nobody has asked for the second batch, and yet it is being read.
    assert watched.second.wait(timeout=60)
    assert torch.equal(torch.cat([first, *found]), watched.images)


def test_places_may_be_in_any_order() -> None:
    whole = samples(8)
    order = torch.tensor([5, 0, 7, 2])
    assert torch.equal(torch.cat([*read_ahead(whole, None, order.split(3))]), whole.images[order])
