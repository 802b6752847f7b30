"""Sets of the Hugging Face hub, saved on disk by its own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from oodbench.core.dataset import Geometry
from oodbench.core.errors import MissingData, UserError
from oodbench.data.sources.roots import settings
from tests.data.written import build


def test_a_set_that_hugging_faces_library_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    arrays = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)

    def table(n: int) -> Any:
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
        )
        rows = {"image": [Image.fromarray(a) for a in arrays[:n]], "label": [i % 2 for i in range(n)]}
        return datasets.Dataset.from_dict(rows, features=features)

    datasets.DatasetDict({"train": table(20), "test": table(6)}).save_to_disk(str(tmp_path / "set"))
    data = build({"huggingface": {"name": str(tmp_path / "set")}})
    assert [len(data[s]) for s in ("train", "val", "test")] == [18, 2, 6]
    assert np.array_equal(data["test"].read([5])[0].permute(1, 2, 0).numpy(), arrays[5])
    assert data["test"].labels.tolist() == [0, 1] * 3
    assert data["test"].read([1], Geometry((1, 3, 3))).shape == (1, 1, 3, 3)
    assert data["test"].digest == build({"huggingface": {"name": str(tmp_path / "set")}})["test"].digest
    with pytest.raises(UserError, match="there is no column 'img'; it has 'image', 'label'"):
        build({"huggingface": {"name": str(tmp_path / "set"), "image": "img"}})["test"]
    with pytest.raises(MissingData, match="split 'validation'"):
        build({"huggingface": {"name": str(tmp_path / "set"), "validation": "validation"}})["val"]


def test_a_saved_set_is_read_from_a_copy_on_this_machine(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [Image.new("RGB", (5, 6), (i, 0, 0)) for i in range(4)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0, 1]}, features=features)
    datasets.DatasetDict({"test": table}).save_to_disk(str(tmp_path / "set"))
    plain = build({"huggingface": {"name": str(tmp_path / "set")}})["test"]
    with settings(local=tmp_path / "local"):
        copied = build({"huggingface": {"name": str(tmp_path / "set")}})["test"]
    assert (copied.digest, list(copied.ids)) == (plain.digest, list(plain.ids))
    files = [f["filename"] for f in copied._table.cache_files]  # type: ignore[attr-defined]
    assert files
    assert all(f.startswith(str(tmp_path / "local")) for f in files)


def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    asked: list[str] = []

    def nobody(host: str, *rest: Any, **more: Any) -> None:
        asked.append(host)
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.getaddrinfo", nobody)
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")
    with pytest.raises(MissingData, match="'huggingface' \\(no-one/nothing, split 'test'\\)"):
        build({"huggingface": {"name": "no-one/nothing"}})["test"]
    assert not asked


def test_without_the_library_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        MissingData, match="needs the package datasets, which is not installed; pip install datasets"
    ):
        build({"huggingface": {"name": "cifar10"}})["test"]
