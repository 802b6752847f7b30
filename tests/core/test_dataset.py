"""A data set reads a split when it is first asked for, and once."""

from __future__ import annotations

import pytest
import torch

from oodbench.core.dataset import Dataset, Samples
from oodbench.data.samples import TensorSamples


def test_a_split_is_read_when_first_asked_for_and_once() -> None:
    asked: list[str] = []

    def read(name: str) -> Samples:
        asked.append(name)
        return TensorSamples(torch.zeros(2, 1, 4, 4), torch.zeros(2))

    data = Dataset({"train": lambda: read("train"), "test": lambda: read("test")}, ["a", "b"])
    assert data.splits == ("train", "test")
    assert data.classes == ("a", "b")
    assert "val" not in data
    assert asked == []
    assert data["test"] is data["test"]
    assert asked == ["test"]
    with pytest.raises(KeyError):
        data["val"]


def test_what_is_no_samples_is_told_apart() -> None:
    assert isinstance(TensorSamples(torch.zeros(2, 1, 4, 4), torch.zeros(2)), Samples)
    assert not isinstance(torch.zeros(2), Samples)
