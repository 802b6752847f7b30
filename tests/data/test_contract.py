"""The contract of data sets and pairs notices what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Geometry, Pair
from oodbench.data.contract import of_dataset, of_pair, toy_images
from oodbench.data.samples import TensorSamples


class _Shuffled(TensorSamples):
    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        return super().read(sorted(torch.as_tensor(indices).tolist()), geometry)


def _images(n: int = 6, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def _complaints(make: Callable[[], object], classes: Sequence[str] = ("a", "b")) -> str:
    @registry.dataset("t-broken", source="test")
    def broken() -> Dataset:
        """Broken."""
        return Dataset({"test": make}, classes)  # type: ignore[dict-item]

    return " / ".join(of_dataset(registry.resolve("dataset", "t-broken")))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: torch.zeros(3), "test: is no Samples"),
        (lambda: TensorSamples(_images(), torch.zeros(6), ["a"]), "6 samples, 6 labels, 1 ids"),
        (lambda: TensorSamples(_images(), torch.zeros(6), digest="me"), "no sha256 of the content alone"),
        (lambda: TensorSamples(torch.rand(6, 1, 16, 16), torch.zeros(6)), "no sha256 of the content alone"),
        (lambda: TensorSamples(_images().double(), torch.zeros(6)), "read gives torch.float64"),
        (lambda: _Shuffled(_images(), torch.zeros(6)), "does not keep the order"),
        (lambda: TensorSamples(_images(high=2), torch.zeros(6)), r"float images leave [0, 1]"),
        (lambda: TensorSamples(_images(), torch.full((6,), 2)), "a label is outside 0..1"),
    ],
)  # fmt: skip
def test_a_broken_set_is_found_out(make: Callable[[], object], complaint: str) -> None:
    assert complaint in _complaints(make)


def test_a_set_in_order_has_no_complaint() -> None:
    assert _complaints(lambda: TensorSamples(_images(), torch.arange(6) % 2)) == ""


def test_a_broken_pair_is_found_out() -> None:
    made = {
        "t-twice": Pair("digits", near={"test": "noise"}),
        "t-alone": Pair("digits", shifted={"c": "digits"}),
        "t-whole": Pair("digits", near={"c": "noise"}),
    }
    for name, pair in made.items():

        def built(pair: Pair = pair) -> Pair:
            """A pair."""
            return pair

        registry.pair(name, source="test")(built)
    found = {name: [*of_pair(registry.resolve("pair", name))] for name in made}
    assert found == {
        "t-twice": ["has two sets named 'test'"], "t-alone": ["has no OOD set"], "t-whole": [],
    }  # fmt: skip


def test_toy_images_show_their_class() -> None:
    images = toy_images(40)
    quadrants = images.images.unfold(2, 4, 4).unfold(3, 4, 4).mean((1, 4, 5)).flatten(1)
    assert torch.equal(quadrants.argmax(dim=1), images.labels)
    assert float(images.images.min()) >= 0
    assert float(images.images.max()) <= 1
    assert toy_images(40, ood=True).labels.tolist() == [0] * 40
