"""The size of images is known without decoding them, and one for all or said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.data.altered import Permuted
from oodbench.data.datasets.derived import Corrupted
from oodbench.data.samples import Joined, Subset, TensorSamples
from oodbench.data.sizes import common_geometry, sizes_of
from oodbench.data.sources import files
from oodbench.data.sources.files import folder
from tests.data.made import samples
from tests.data.written import build, write_images


def _mixed(root: Path) -> files.FileSamples:
    write_images(root, ["a.png", "b.bmp"], size=(4, 5))
    write_images(root, ["c.png"], size=(7, 6))
    return folder("set", root, flat=True)


def test_files_tell_their_size_by_their_header_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _mixed(tmp_path / "set")
    monkeypatch.setattr(files, "decode", lambda *a: pytest.fail("decoded"))
    assert sizes_of(found).tolist() == [[3, 4, 5], [3, 4, 5], [3, 7, 6]]
    monkeypatch.setattr("PIL.Image.open", lambda *a: pytest.fail("opened again"))
    assert sizes_of(folder("set", tmp_path / "set", flat=True)).tolist()[2] == [3, 7, 6]


def test_grey_files_have_one_channel(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png"], size=(4, 5))
    assert sizes_of(folder("set", tmp_path, flat=True, color="grey")).tolist() == [[1, 4, 5]]


def test_sets_of_sets_know_the_size_of_their_images(tmp_path: Path) -> None:
    mixed, small = _mixed(tmp_path / "set"), samples(2, shape=(3, 6, 5))
    assert sizes_of(Subset(mixed, torch.tensor([2, 0]))).tolist() == [[3, 7, 6], [3, 4, 5]]
    assert sizes_of(Joined([small, mixed])).tolist() == [[3, 6, 5]] * 2 + sizes_of(mixed).tolist()
    assert sizes_of(Permuted(mixed)).tolist() == sizes_of(mixed).tolist()
    assert sizes_of(Corrupted(small, "fog", 1, "small")).tolist() == [[3, 6, 5]] * 2


class _Own:
    """A user's samples, which say nothing of sizes: the last one is another."""

    kind, digest = "image", "0" * 64

    def __init__(self, count: int) -> None:
        self.labels = torch.zeros(count, dtype=torch.int64)
        self.ids = [str(i) for i in range(count)]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        shapes = {(1, 4, 4 + (int(i) == len(self) - 1)) for i in indices}
        if len(shapes) > 1:
            raise UserError("images differ in size")
        return torch.zeros(len(indices), *shapes.pop())


def test_others_are_read(tmp_path: Path) -> None:
    assert sizes_of(_Own(300)).tolist() == [[1, 4, 4]] * 299 + [[1, 4, 5]]


def test_one_size_is_the_geometry_and_several_are_named(tmp_path: Path) -> None:
    one = samples(4, shape=(3, 6, 5))
    assert common_geometry({"train": one, "test": samples(2, shape=(3, 6, 5))}) == Geometry((3, 6, 5))
    with pytest.raises(UserError, match=(
        r"^the ID images differ in size: 4 of 3x6x5 \(such as img/0 of train\), 2 of 3x4x5 \(such as a.png of"
        r" test\), 1 of 3x7x6 \(such as c.png of test\); give the pair a `geometry: \{shape: \[channels,"
        r" height, width\]\}`$"
    )):  # fmt: skip
        common_geometry({"train": one, "test": _mixed(tmp_path / "set")})
    many = Joined([TensorSamples(torch.zeros(1, 1, 1, n), torch.zeros(1)) for n in range(1, 9)])
    with pytest.raises(UserError, match=r", and 5 sizes more; give"):
        common_geometry({"train": many})


def test_a_damaged_header_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png"])
    (tmp_path / "b.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"b\.png: cannot be decoded as an image"):
        sizes_of(folder("set", tmp_path, flat=True))


def test_sets_of_hugging_face_tell_the_size_of_their_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write_images(tmp_path, ["a.png"], size=(4, 5))
    write_images(tmp_path, ["b.png"], size=(7, 6))
    images = [{"bytes": (tmp_path / f).read_bytes(), "path": None} for f in ("a.png", "b.png")]
    table = datasets.Dataset.from_dict({"image": images, "label": [0, 1]})
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "set"))
    test = build({"huggingface": {"name": str(tmp_path / "set")}})["test"]
    assert sizes_of(test).tolist() == [[3, 4, 5], [3, 7, 6]]
    assert np.array_equal(sizes_of(test), sizes_of(test))
