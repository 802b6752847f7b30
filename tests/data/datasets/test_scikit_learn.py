"""The images that scikit-learn carries, split once and for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images

from oodbench.core.errors import SpecError
from tests.data.written import build


def test_digits_are_scikit_learns_each_in_one_split() -> None:
    data, theirs = build("digits"), load_digits()
    seen: list[int] = []
    for split in data.splits:
        places = [int(i.rpartition("/")[2]) for i in data[split].ids]
        images = data[split].read(range(len(places)))[:, 0].numpy() * 16
        np.testing.assert_allclose(images, theirs.images[places])
        assert data[split].labels.tolist() == theirs.target[places].tolist()
        seen += places
    assert sorted(seen) == list(range(1797))
    share = len(data["test"]) / 1797
    assert share == pytest.approx(0.25, abs=0.01)


def test_classes_are_numbered_in_the_order_given() -> None:
    data = build({"digits": {"classes": [7, 2]}})
    whole = build("digits")["test"]
    by_id = dict(zip(whole.ids, whole.labels.tolist(), strict=True))
    assert data.classes == ("7", "2")
    assert [[7, 2][c] for c in data["test"].labels.tolist()] == [by_id[i] for i in data["test"].ids]


def test_photo_patches_are_the_photographs_cut_up() -> None:
    data = build({"photo-patches": {"size": 32}})
    photos = load_sample_images().images
    count = 0
    for split in data.splits:
        for i, name in enumerate(data[split].ids):
            photo, _, corner = name.partition("/")
            top, left = map(int, corner.split(","))
            expected = photos[int(photo[-1])][top : top + 32, left : left + 32]
            assert torch.equal(data[split].read([i])[0].permute(1, 2, 0), torch.from_numpy(expected.copy()))
        count += len(data[split])
    assert count == 2 * (427 // 32) * (640 // 32)
    assert not set(data["train"].ids) & set(data["test"].ids)
    with pytest.raises(SpecError, match="at most 427"):
        build({"photo-patches": {"size": 500}})["test"]
