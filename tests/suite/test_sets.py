"""The sets of a pair as a run uses them: roles, what is refused, what a network must fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Geometry
from oodbench.core.errors import MissingData, NotApplicable, UserError
from oodbench.core.network import Input
from oodbench.suite.parse import parse_suite
from oodbench.suite.sets import PairSets
from tests.suite.written import written


def _images(count: int, seed: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def _save(folder: Path, name: str, images: np.ndarray, labels: Any = None) -> None:
    folder.mkdir(exist_ok=True)
    labels = np.arange(len(images)) % 2 if labels is None else np.array(labels)
    np.savez(folder / f"{name}.npz", images=images, labels=labels)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """An ID set of two classes with all three splits, and an OOD set of one."""
    for i, (name, count) in enumerate((("train", 20), ("val", 6), ("test", 8))):
        _save(tmp_path / "id", name, _images(count, i))
    _save(tmp_path / "ood", "test", _images(5, 9))
    _save(tmp_path / "ood", "val", _images(4, 10))
    _save(tmp_path / "ood", "train", _images(3, 11))
    return tmp_path


def _data(folder: Path, *, skip_missing: bool = False, **changes: Any) -> PairSets:
    def arrays(name: str) -> dict[str, Any]:
        return {"arrays": {"file": str(folder / name)}}

    made = {"name": "own", "id": "id", "near": {"other": "ood"}} | changes
    for key in ("id", "ood_val", "outliers"):
        if isinstance(made.get(key), str):
            made[key] = arrays(made[key])
    for key in ("near", "far", "shifted"):
        made[key] = {n: arrays(f) if isinstance(f, str) else f for n, f in made.get(key, {}).items()}
    return PairSets(parse_suite(written(pairs=[made])).pairs[0], {}, skip_missing)


def test_sets_are_found_by_role(own: Path) -> None:
    data = _data(own, far={"static": {"noise": {"count": 3, "size": 8}}}, shifted={"again": "ood"})
    assert {n: (s.role, len(s.samples or ())) for n, s in data.sets.items()} == {
        "train": ("train", 20), "val": ("val", 6), "test": ("test", 8),
        "other": ("near", 5), "static": ("far", 3), "again": ("shifted", 5),
    }  # fmt: skip
    assert data.sets["other"].digest == data.sets["again"].digest != data.sets["test"].digest
    assert data.classes == 2
    assert not data.missing


def test_the_task_has_the_statistics_of_the_training_images(own: Path) -> None:
    task = _data(own).task(Input())
    pixels = np.load(own / "id" / "train.npz")["images"].astype(np.float64) / 255
    assert (task.kind, task.shape, task.classes) == ("image", (3, 8, 8), 2)
    np.testing.assert_allclose(task.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(task.std, pixels.std(axis=(0, 2, 3)), rtol=1e-2)
    assert _data(own).blank_task()._replace(mean=task.mean, std=task.std) == task


def test_the_task_names_the_classes(own: Path) -> None:
    data = _data(own)
    data.names = ("cat", "dog")
    assert data.task(Input()).names == data.blank_task().names == ("cat", "dog")


def test_a_network_that_brings_its_own_statistics_reads_no_image(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data(own)
    train = data.sets["train"].samples
    assert train is not None
    monkeypatch.setattr(train, "read", lambda *a: pytest.fail("an image was read"))
    task = data.task(Input(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)))
    assert (task.mean, task.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


def test_the_geometry_is_the_pairs_or_that_of_the_images(own: Path) -> None:
    assert _data(own).geometry == Geometry((3, 8, 8))
    small = _data(own, geometry={"shape": [3, 4, 4]})
    assert small.task(Input()).shape == (3, 4, 4)
    assert small.task(Input(crop=(6, 5))).shape == (3, 6, 5), "a network's own comes first"


def test_all_that_is_missing_is_said_at_once_or_left_out(own: Path) -> None:
    (own / "id" / "val.npz").unlink()
    far = {"gone": {"fractals-file": {}}}

    @registry.dataset("fractals-file", source="a test")
    def gone() -> Dataset:
        def read() -> Any:
            raise MissingData("not here; get it elsewhere")

        return Dataset({"test": read})

    with pytest.raises(MissingData, match="not here; get it elsewhere"):
        _data(own, far=far)
    data = _data(own, far=far, skip_missing=True)
    assert data.missing == {"gone": ("far", "not here; get it elsewhere")}
    assert "gone" not in data.sets


def test_an_id_set_that_is_missing_is_never_left_out(own: Path) -> None:
    @registry.dataset("t-gone", source="a test")
    def gone() -> Dataset:
        raise MissingData("not here")

    with pytest.raises(MissingData, match="not here"):
        _data(own, id={"t-gone": {}}, skip_missing=True)


def test_a_set_without_the_split_of_its_role_is_one_line(own: Path) -> None:
    known = registry.build("dataset", {"arrays": {"file": str(own / "id")}})

    @registry.dataset("t-train", source="a test")
    def only_train() -> Dataset:
        return Dataset({"train": lambda: known["train"]}, known.classes)

    with pytest.raises(UserError, match="pair 'own': the ID set has no test images"):
        _data(own, id={"t-train": {}})
    with pytest.raises(UserError, match="data set 't-train' has no test images; it has train"):
        _data(own, near={"other": {"t-train": {}}})
    with pytest.raises(UserError, match="data set 't-train' has no val images; it has train"):
        _data(own, ood_val={"t-train": {}}).tuning_set("ood-val")


@pytest.mark.parametrize(
    ("place", "copy", "message"),
    [
        ("id/train", "id/test", "its ID train and test sets are the same images; give a set with splits"),
        ("id/val", "id/test", "its ID val and test sets are the same images"),
        ("ood/test", "id/test", "the OOD set 'other' is the ID test set, image for image"),
        ("ood/test", "id/train", "the OOD set 'other' is the ID train set, image for image"),
        ("ood/test", "id/val", "the OOD set 'other' is the ID val set, image for image"),
    ],
)
def test_a_set_that_is_the_id_test_set_is_refused(own: Path, place: str, copy: str, message: str) -> None:
    (own / f"{place}.npz").write_bytes((own / f"{copy}.npz").read_bytes())
    with pytest.raises(UserError, match=message):
        _data(own)


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("train", [0, 0, 0], "class 1 of 2 has no training image"),
        ("test", [0, 1, 2], "the ID set 'test' has the label 2 for '.*'; labels should be from 0 to 1"),
        ("val", [0, -1, 1], "the ID set 'val' has the label -1"),
    ],
)  # fmt: skip
def test_labels_are_those_of_classes_with_images(
    own: Path, split: str, labels: list[int], message: str
) -> None:
    known = registry.build("dataset", {"arrays": {"file": str(own / "id")}})
    _save(own / "odd", "test", _images(3, 20), labels)
    odd = registry.build("dataset", {"arrays": {"file": str(own / "odd" / "test.npz"), "split": "none"}})

    @registry.dataset("t-odd", source="a test")
    def make() -> Dataset:
        there = {s: (lambda s=s: known[s]) for s in known.splits}  # type: ignore[misc]
        return Dataset(there | {split: lambda: odd["test"]}, ("a", "b"))

    with pytest.raises(UserError, match=message):
        _data(own, id={"t-odd": {}})


def test_an_id_set_of_one_class_is_refused(own: Path) -> None:
    for name in ("train", "val", "test"):
        _save(own / "id", name, _images(6, 50), [0] * 6)
    with pytest.raises(
        UserError, match=r"its ID set has one class, that of 'train\.npz\[0\]'; it needs two: "
    ):
        _data(own)


def test_a_class_is_called_by_its_name(own: Path) -> None:
    known = registry.build("dataset", {"arrays": {"file": str(own / "id")}})

    @registry.dataset("t-named", source="a test")
    def named() -> Dataset:
        return Dataset({s: (lambda s=s: known[s]) for s in known.splits}, ("auk", "owl", "emu"))  # type: ignore[misc]

    with pytest.raises(UserError, match=r"class 2 of 3 has no training image \('emu'\)"):
        _data(own, id={"t-named": {}})


def test_id_images_of_several_sizes_need_a_geometry(own: Path) -> None:
    _save(own / "id", "val", _images(6, 51, size=9))
    with pytest.raises(
        UserError, match=r"pair 'own': the ID images differ in size: 28 of 3x8x8 .*, 6 of 3x9x9"
    ):
        _data(own)
    assert _data(own, geometry={"shape": [3, 8, 8]}).task(Input()).shape == (3, 8, 8)


def test_a_name_of_a_set_that_is_there_is_never_taken_again(own: Path) -> None:
    """Loading refuses it; a pair that was made otherwise is refused here."""
    data = _data(own)
    entry = replace(data.entry, pair=replace(data.entry.pair, far={"test": "noise"}))
    with pytest.raises(UserError, match="pair 'own': there are two sets 'test'"):
        PairSets(entry, {}, skip_missing=False)


def test_an_empty_set_is_refused(own: Path) -> None:
    known = registry.build("dataset", {"arrays": {"file": str(own / "ood")}})

    class Empty:
        def __len__(self) -> int:
            return 0

    assert len(known["test"]) == 5

    @registry.dataset("t-empty", source="a test")
    def empty() -> Dataset:
        return Dataset({"test": lambda: Empty()})  # type: ignore[return-value, arg-type]

    with pytest.raises(UserError, match="pair 'own': the set 'nothing' is empty"):
        _data(own, far={"nothing": {"t-empty": {}}})


def test_outliers_that_hold_an_ood_image_are_refused_when_they_are_asked_for(own: Path) -> None:
    assert _data(own).outliers is None
    for name in ("clean", "extra"):
        _save(own / name, "val", _images(2, 27))
        _save(own / name, "test", _images(2, 28))
    _save(own / "clean", "train", _images(7, 29))
    clean = _data(own, outliers="clean").outliers
    assert clean is not None
    assert len(clean) == 7
    shared = np.load(own / "ood" / "test.npz")["images"][3:4]
    _save(own / "extra", "train", np.concatenate([_images(4, 30), shared]))
    data = _data(own, outliers="extra")
    with pytest.raises(UserError, match="outliers: hold images of the OOD test set 'other'"):
        _ = data.outliers


def test_outliers_and_sets_to_tune_on_are_no_id_images(own: Path) -> None:
    train = np.load(own / "id" / "train.npz")["images"]
    for split in ("train", "val"):
        _save(own / "extra", split, train[::-1][:9])
    _save(own / "extra", "test", _images(3, 60))
    data = _data(own, outliers="extra", ood_val="extra")
    with pytest.raises(UserError, match=r"the OOD set 'outliers' has 9 ID images among its 9 \(9 in train\)"):
        _ = data.outliers
    with pytest.raises(UserError, match=r"the OOD set 'ood_val' has 9 ID images among its 9 \(9 in train\)"):
        data.tuning_set("ood-val")


def test_sets_to_tune_on(own: Path) -> None:
    data = _data(own, ood_val="ood")
    assert data.tuning_set("noise") == data.tuning_set("noise") == "tune:noise"
    assert data.tuning_set("ood-val") == "tune:ood-val"
    noise, val = data.sets["tune:noise"], data.sets["tune:ood-val"]
    assert noise.role == val.role == "tune"
    assert len(val.samples or ()) == 4
    made = noise.samples.read([0]) if noise.samples else torch.zeros(0)
    assert made.shape == (1, 3, 8, 8)
    with pytest.raises(NotApplicable, match="names no OOD validation set"):
        _data(own).tuning_set("ood-val")


@pytest.mark.parametrize("tested", ["id", "ood"])
def test_tuning_on_test_images_is_refused(own: Path, tested: str) -> None:
    shared = np.load(own / tested / "test.npz")["images"][:2]
    _save(own / "ood", "val", np.concatenate([_images(3, 40), shared]))
    name = "test" if tested == "id" else "other"
    with pytest.raises(UserError, match=f"would tune on 2 images of the test set '{name}'"):
        _data(own, ood_val="ood").tuning_set("ood-val")


def test_a_pair_without_images_runs_on_arrays_alone(own: Path) -> None:
    entry = parse_suite(written(pairs=[{"arrays": {"near": ["x"]}}])).pairs[0]
    with pytest.raises(UserError, match="only the method 'outputs' can run on it"):
        PairSets(entry, {}, skip_missing=False)
