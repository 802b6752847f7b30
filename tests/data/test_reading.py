"""Batches are the samples in order, and the next ones are read while this one is used."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.data import reading
from oodbench.data.reading import AHEAD, batches, in_parts, read_ahead
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
    """Counts its reads, and fails at one place."""

    def __init__(self, of: TensorSamples, wrong: int = -1) -> None:
        super().__init__(of.images, of.labels)
        self.reads, self.wrong, self.changed = 0, wrong, threading.Condition()

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        with self.changed:
            self.reads += 1
            self.changed.notify_all()
        if self.wrong in list(indices):
            raise UserError(f"place {self.wrong} is damaged")
        return super().read(indices, geometry)

    def come_to(self, reads: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.reads >= reads, timeout=60)


def test_several_batches_are_read_while_one_is_used() -> None:
    watched = _Watched(samples(40))
    found = read_ahead(watched, None, in_parts(40, 2))
    first, second = next(found), next(found)
    # Nobody has asked for more than two, and yet the next ones are there, but not all.
    assert watched.come_to(2 + AHEAD)
    assert watched.reads == 2 + AHEAD
    assert torch.equal(torch.cat([first, second, *found]), watched.images)


def test_fewer_are_read_ahead_where_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(samples(40))
    monkeypatch.setattr(reading, "AHEAD_BYTES", 2 * watched.images[:2].nbytes)
    found = read_ahead(watched, None, in_parts(40, 2))
    for _ in range(3):
        next(found)
    assert watched.come_to(5)
    monkeypatch.setattr(reading, "AHEAD_BYTES", 1)
    for _ in range(3):
        next(found)
    assert watched.come_to(7)
    assert watched.reads == 7  # one at least


def test_what_is_wrong_with_a_batch_is_said_when_it_is_its_turn() -> None:
    watched = _Watched(samples(40), wrong=7)
    found = read_ahead(watched, None, in_parts(40, 2))
    assert len([next(found) for _ in range(3)]) == 3
    with pytest.raises(UserError, match="place 7"):
        next(found)
    assert watched.reads <= 4 + AHEAD


def test_who_stops_early_waits_for_no_more_than_the_read_in_hand() -> None:
    watched = _Watched(samples(40))
    found = read_ahead(watched, None, in_parts(40, 1))
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert watched.reads <= 1 + AHEAD


def test_places_may_be_in_any_order() -> None:
    whole = samples(8)
    order = torch.tensor([5, 0, 7, 2])
    assert torch.equal(torch.cat([*read_ahead(whole, None, order.split(3))]), whole.images[order])


def test_some_places_of_a_set() -> None:
    whole, geometry = samples(10), Geometry((3, 6, 5))
    found = [*batches(whole, geometry, 4, "cpu", range(4, 9))]
    assert [len(b) for b in found] == [4, 1]
    assert torch.equal(torch.cat(found), whole.images[4:9].float() / 255)
    assert [*batches(whole, geometry, 4, "cpu", range(0))] == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_batches_are_the_same() -> None:
    whole, geometry = samples(10), Geometry((3, 6, 5))
    found = torch.cat([*batches(whole, geometry, 3, "cuda")])
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), whole.images.float() / 255)
