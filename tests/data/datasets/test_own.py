"""A user's own images and sets made from other sets: folders, CSV files, arrays, the hub; corruptions, long
tails, wrong labels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core import registry
from oodbench.core.dataset import Dataset, Geometry
from oodbench.core.errors import MissingData, SpecError, UserError
from oodbench.data.corruptions import KINDS, LIBRARY_KINDS, corrupt
from oodbench.data.images import fit
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))


def build(spec: Any) -> Dataset:
    return registry.build("dataset", spec)


def write_images(root: Path, names: list[str], size: tuple[int, int] = (8, 8)) -> None:
    rng = np.random.default_rng(len(names))
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name)


# ---------------------------------------------------------------- folders


def test_a_folder_with_train_and_test(tmp_path: Path) -> None:
    write_images(
        tmp_path,
        [f"train/{c}/{i}.png" for c in ("owl", "auk") for i in range(10)]
        + ["test/owl/a.png", "test/auk/b.png"],
    )
    data = build({"folder": {"root": str(tmp_path)}})
    assert data.classes == ("auk", "owl")
    assert [len(data[s]) for s in ("train", "val", "test")] == [18, 2, 2]
    assert list(data["test"].ids) == ["auk/b.png", "owl/a.png"]
    assert not set(data["train"].ids) & set(data["val"].ids)
    write_images(tmp_path, ["val/auk/c.png", "val/owl/d.png"])
    data = build({"folder": {"root": str(tmp_path)}})
    assert list(data["val"].ids) == ["auk/c.png", "owl/d.png"]
    assert len(data["train"]) == 20
    write_images(tmp_path, ["test/emu/c.png"])
    with pytest.raises(UserError, match="has the class 'emu', which train does not have"):
        build({"folder": {"root": str(tmp_path)}})["test"]
    (tmp_path / "test/emu/c.png").unlink()
    (tmp_path / "test/emu").rmdir()
    (tmp_path / "test/owl/a.png").unlink()
    with pytest.raises(UserError, match="class 'owl' has no image"):
        build({"folder": {"root": str(tmp_path)}})["test"]


def test_a_folder_split_at_random_is_the_same_each_time(tmp_path: Path) -> None:
    write_images(tmp_path, [f"{c}/{i}.png" for c in ("owl", "auk") for i in range(10)])
    spec = {"folder": {"root": str(tmp_path), "split": "random", "val": 0.25}}
    data, again = build(spec), build(spec)
    assert [data[s].labels.bincount().tolist() for s in ("train", "val", "test")] == [[6, 6], [2, 2], [2, 2]]
    names = [n for s in ("train", "val", "test") for n in data[s].ids]
    assert sorted(names) == sorted(f"{c}/{i}.png" for c in ("owl", "auk") for i in range(10))
    assert [again[s].digest for s in again.splits] == [data[s].digest for s in data.splits]


def test_a_flat_folder_is_one_ood_set(tmp_path: Path) -> None:
    write_images(tmp_path, ["b.png", "a.JPG"])
    data = build({"folder": {"root": str(tmp_path), "split": "none"}})
    assert list(data["test"].ids) == ["a.JPG", "b.png"]
    assert data["val"].digest == data["test"].digest
    write_images(tmp_path, ["sub/c.png"])
    with pytest.raises(UserError, match="holds class folders and loose images"):
        build({"folder": {"root": str(tmp_path), "split": "none"}})


def test_a_folder_that_is_not_there_or_not_split(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"there is no folder .*nowhere"):
        build({"folder": {"root": str(tmp_path / "nowhere")}})
    write_images(tmp_path, ["owl/a.png"])
    with pytest.raises(
        UserError, match="has no folder train; write `split: random` to have it split, or `split: none`"
    ):
        build({"folder": {"root": str(tmp_path)}})


# ---------------------------------------------------------------- CSV


def write_csv(root: Path, rows: list[str], header: str = "path,label,split") -> Path:
    (root / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    write_images(root / "images", [r.split(",")[0] for r in rows])
    return root / "list.csv"


def test_a_csv_file_with_a_split_column(tmp_path: Path) -> None:
    rows = [f"{c}{i}.png,{c},train" for c in ("owl", "auk") for i in range(10)] + [
        "x.png,owl,test",
        "y.png,auk,test",
    ]
    file = write_csv(tmp_path, rows)
    data = build({"csv": {"file": str(file), "root": str(tmp_path / "images")}})
    assert data.classes == ("auk", "owl")
    assert data["test"].labels.tolist() == [1, 0]
    assert [len(data[s]) for s in ("train", "val", "test")] == [18, 2, 2]
    with open(file, "a") as f:
        f.write("x.png,owl,test\n")
    with pytest.raises(UserError, match=r"list\.csv:24: 'x\.png' stands there already in line 22"):
        build({"csv": {"file": str(file), "root": str(tmp_path / "images")}})["test"]
    with pytest.warns(UserWarning, match=r"1 samples skipped, the first: .*list\.csv:24"):
        kept = build({"csv": {"file": str(file), "root": str(tmp_path / "images"), "on_error": "skip"}})[
            "test"
        ]
    assert len(kept) == 2
    with pytest.warns(
        UserWarning, match="1 samples skipped"
    ):  # at the second start too, where nothing is listed again
        assert (
            len(
                build({"csv": {"file": str(file), "root": str(tmp_path / "images"), "on_error": "skip"}})[
                    "test"
                ]
            )
            == 2
        )


def test_a_csv_row_with_a_wrong_split_or_a_field_too_few(tmp_path: Path) -> None:
    file = write_csv(
        tmp_path, ["a.png,owl,train", "b.png,auk,tets", "c.png,owl", "d.png,auk,test"], "path,label,split"
    )
    write_images(tmp_path / "images", ["a.png", "d.png"])
    spec = {"file": str(file), "root": str(tmp_path / "images")}
    with pytest.raises(
        UserError, match=r"list\.csv:3: the column 'split' should say train, val or test, says 'tets'"
    ):
        build({"csv": spec})["test"]
    with pytest.warns(UserWarning, match=r"2 samples skipped, the first: .*list\.csv:3"):
        assert list(build({"csv": spec | {"on_error": "skip"}})["test"].ids) == ["d.png"]


def test_a_damaged_image_of_a_list_is_said_with_its_line(tmp_path: Path) -> None:
    file = write_csv(tmp_path, ["a.png,owl", "b.png,auk"], "path,label")
    write_images(tmp_path / "images", ["a.png", "b.png"])
    (tmp_path / "images" / "b.png").write_bytes(b"no image")
    data = build({"csv": {"file": str(file), "root": str(tmp_path / "images"), "split": "none"}})
    with pytest.raises(UserError, match=r"list\.csv:3: .*b\.png: cannot be decoded as an image"):
        data["test"].read([0, 1])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            [0, 1, 2],
            [0, 7, 1],
            r"the ID set 'test' has the label 7 for 'test\.npz\[1\]'; labels should be from 0 to 2",
        ),
        ([0, -1, 1], [0, 1, 1], r"the ID set 'train' has the label -1 for 'train\.npz\[1\]'"),
        ([0, 1, 1], [0, -1, 1], r"the ID set 'test' has the label -1"),
        ([0, 2, 2], [0, 2, 2], r"class 1 of 3 has no training image"),
    ],
)
def test_labels_out_of_range_and_empty_classes_stop_the_plan(
    tmp_path: Path, train: list[int], test: list[int], message: str
) -> None:
    from oodbench.suite.load import load_suite
    from oodbench.suite.plan import make_plan

    (tmp_path / "set").mkdir()
    rng = np.random.default_rng(0)
    for name, labels in (("train", train * 10), ("val", sorted({abs(v) for v in train}) * 2), ("test", test)):
        images = rng.integers(0, 256, (len(labels), 3, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / "set" / f"{name}.npz", images=images, labels=np.array(labels))
    (tmp_path / "own.yaml").write_text(
        "name: own\npairs: [{name: own, id: {arrays: {file: set}}, far: {noise: noise}}]\n"
        "networks: [mlp]\nmethods: [cross-entropy]\nscorers: [msp]\n"
    )
    with pytest.raises(UserError, match=message):
        make_plan(load_suite(tmp_path / "own.yaml"))


def test_csv_files_without_splits_or_labels(tmp_path: Path) -> None:
    file = write_csv(tmp_path, ["a.png,0", "b.png,1", "c.png,10"], "file,y")
    spec = {"file": str(file), "root": str(tmp_path / "images"), "path": "file", "label": "y"}
    with pytest.raises(UserError, match="it has no column 'split'; write `split: random`"):
        build({"csv": spec})
    data = build({"csv": spec | {"split": "none"}})
    assert data.classes == ("0", "1", "10")
    assert data["test"].labels.tolist() == [0, 1, 2]
    assert build({"csv": spec | {"split": "none", "label": "z"}})["test"].labels.tolist() == [0, 0, 0]
    with pytest.raises(UserError, match="there is no column 'path'; it has 'file', 'y'"):
        build({"csv": {**spec, "path": "path", "split": "none"}})["test"]


# ---------------------------------------------------------------- arrays


def _save(file: Path, **arrays: np.ndarray) -> Path:
    if file.suffix == ".npz":
        np.savez(file, **arrays)
    elif file.suffix == ".npy":
        np.save(file, arrays["images"])
    else:
        from safetensors.numpy import save_file

        save_file(arrays, file)
    return file


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".npy"])
@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 3), (6, 3, 5, 4), (6, 5, 4, 1)])
def test_arrays_of_any_layout(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    file = _save(tmp_path / f"set{suffix}", images=images, labels=np.arange(6))
    samples = build({"arrays": {"file": str(file), "split": "none"}})["test"]
    first = images[2]
    expected = first[None] if first.ndim == 2 else first if first.shape[0] == 3 else np.moveaxis(first, 2, 0)
    assert np.array_equal(samples.read([2])[0].numpy(), expected)
    assert samples.labels.tolist() == ([0] * 6 if suffix == ".npy" else list(range(6)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros((2, 4, 4), np.uint8)}, "should hold an array 'images', holds 'pictures'"),
        (
            {"images": np.zeros((2, 4, 4), np.int64)},
            "'images' should be uint8 or floats in \\[0, 1\\], is int64",
        ),
        (
            {"images": np.full((2, 4, 4), 255.0)},
            "floats in 'images' should be in \\[0, 1\\], are in \\[255, 255\\]",
        ),
        ({"images": np.full((2, 4, 4), np.nan)}, "'images' is not finite"),
        ({"images": np.zeros((2, 4, 4, 4), np.uint8)}, "with 1 or 3 channels, is \\(2, 4, 4, 4\\)"),
        ({"images": np.zeros((2, 3, 4, 3), np.uint8)}, "may be either; write `layout: channels-first`"),
        (
            {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.arange(3)},
            "'labels' should be 2 whole numbers, is int64 \\(3,\\)",
        ),
        (
            {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, -2])},
            "'labels' should be -1 \\(unknown\\) or more, holds -2",
        ),
    ],
)
def test_wrong_arrays_are_one_line(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    file = _save(tmp_path / "set.npz", **arrays)
    with pytest.raises(UserError, match=f"set.npz: .*{message}"):
        build({"arrays": {"file": str(file), "split": "none"}})["test"]


def test_pickles_and_damaged_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.array([{"a": 1}], dtype=object))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04cut")
    for name in ("set.npz", "cut.npz"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            build({"arrays": {"file": str(tmp_path / name), "split": "none"}})["test"]


def test_a_folder_of_arrays(tmp_path: Path) -> None:
    for part, n in (("train", 20), ("test", 4)):
        _save(tmp_path / f"{part}.npz", images=np.zeros((n, 4, 4), np.float32), labels=np.arange(n) % 2)
    data = build({"arrays": {"file": str(tmp_path)}})
    assert [len(data[s]) for s in ("train", "val", "test")] == [18, 2, 4]
    (tmp_path / "test.npz").unlink()
    with pytest.raises(UserError, match="has no file test"):
        build({"arrays": {"file": str(tmp_path)}})


# ---------------------------------------------------------------- Hugging Face


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


# ---------------------------------------------------------------- made from other sets


def test_a_long_tail_is_ldams_profile() -> None:
    whole = build("mnist-5k")
    tail = build({"long-tailed": {"of": "mnist-5k", "imbalance": 0.1}})
    # github.com/kaidic/LDAM-DRW: int(img_max * imb_factor ** (cls_idx / (cls_num - 1.0)))
    assert tail["train"].labels.bincount().tolist() == [int(300 * 0.1 ** (i / 9)) for i in range(10)]
    assert tail["test"].digest == whole["test"].digest
    assert tail["val"].digest == whole["val"].digest
    assert set(tail["train"].ids) <= set(whole["train"].ids)
    again = build({"long-tailed": {"of": "mnist-5k", "imbalance": 0.1, "seed": 0}})
    other = build({"long-tailed": {"of": "mnist-5k", "imbalance": 0.1, "seed": 1}})
    assert again["train"].digest == tail["train"].digest != other["train"].digest
    assert build({"long-tailed": {"of": "digits", "imbalance": 0.0001}})["train"].labels.bincount().min() == 1


def test_sampled_draws_training_images_once_and_for_all() -> None:
    whole, part = build("digits"), build({"sampled": {"of": "digits", "count": 200}})
    assert len(part["train"]) == 200
    assert len(set(part["train"].ids)) == 200
    assert set(part["train"].ids) <= set(whole["train"].ids)
    assert len(part["train"].labels.unique()) == 10
    assert part["val"].digest == whole["val"].digest
    assert part["test"].digest == whole["test"].digest
    again, other = (build({"sampled": {"of": "digits", "count": 200, "seed": seed}}) for seed in (0, 1))
    assert again["train"].digest == part["train"].digest != other["train"].digest
    assert build({"sampled": {"of": "digits"}})["train"].digest == whole["train"].digest  # it has no 10,000


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_label_noise_is_in_training_alone_and_at_its_rate(kind: str) -> None:
    whole = build("mnist-5k")
    noisy = build({"label-noise": {"of": "mnist-5k", "rate": 0.3, "kind": kind}})
    true, given = whole["train"].labels, noisy["train"].labels
    wrong = true != given
    assert abs(float(wrong.float().mean()) - 0.3) < 0.03  # 3.6 standard errors at 3,000 labels
    shifts = ((given - true) % 10)[wrong].bincount(minlength=10)
    if kind == "pair":
        assert shifts.tolist() == [0, int(wrong.sum())] + [0] * 8
    else:
        expected = float(wrong.sum()) / 9
        assert (
            float(((shifts[1:] - expected) ** 2 / expected).sum()) < 26.1
        )  # chi-squared, 8 degrees of freedom, p = 0.001
    assert noisy["test"].digest == whole["test"].digest
    assert noisy["val"].digest == whole["val"].digest
    assert torch.equal(noisy["train"].read([7]), whole["train"].read([7]))


def test_joined_sets_keep_or_number_on_their_classes() -> None:
    parts = [{"subset": {"of": "digits", "classes": [c]}} for c in (3, 5)]
    plain, distinct = build({"joined": {"of": parts}}), build({"joined": {"of": parts, "distinct": True}})
    a, b = (build(p)["test"] for p in parts)
    assert plain["test"].labels.unique().tolist() == [0]
    assert distinct["test"].labels.tolist() == [0] * len(a) + [1] * len(b)
    assert distinct.classes == ("3", "5")
    mixed = [len(a), 0, len(a) + 1]
    assert torch.equal(distinct["test"].read(mixed), torch.cat([b.read([0]), a.read([0]), b.read([1])]))
    with pytest.raises(SpecError, match="at least one"):
        build({"joined": {"of": []}})


# ---------------------------------------------------------------- corruptions


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    """Three real photographs' worth of patches, 32x32 RGB."""
    from sklearn.datasets import load_sample_images

    photo = load_sample_images().images[0]
    return (
        torch.from_numpy(np.stack([photo[t : t + 32, 100:132] for t in (0, 100, 200)]))
        .permute(0, 3, 1, 2)
        .contiguous()
    )


@pytest.mark.parametrize("scale", ["small", "large"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_is_each_images_own(kind: str, scale: Any, photos: torch.Tensor) -> None:
    """The same alone and in a batch, different at every severity, farther from the clean image at 5 than at
    1; dtype and shape kept."""
    one = corrupt(photos, kind, 5, [4, 7, 9], scale=scale)
    assert one.dtype == torch.uint8
    assert one.shape == photos.shape
    assert torch.equal(corrupt(photos[1:2], kind, 5, [7], scale=scale), one[1:2])
    weak = corrupt(photos, kind, 1, [4, 7, 9], scale=scale)
    assert len({bytes(corrupt(photos, kind, s, [4, 7, 9], scale=scale).numpy()) for s in range(1, 6)}) == 5

    def far(x: torch.Tensor) -> float:
        return float((x.float() - photos.float()).square().mean())

    assert (
        far(one) > far(weak) or kind == "saturate"
    )  # whose severities 1 and 2 grey the image and 3 to 5 colour it
    grey = corrupt(photos[:, :1], kind, 3, [4, 7, 9], scale=scale)
    assert grey.shape == photos[:, :1].shape
    floats = corrupt(photos.float() / 255, kind, 3, [4, 7, 9], scale=scale)
    assert floats.dtype == torch.float32
    assert 0 <= float(floats.min()) <= float(floats.max()) <= 1


def test_corruptions_against_their_formulas(photos: torch.Tensor) -> None:
    x = photos[0].permute(1, 2, 0).numpy() / 255

    def got(kind: str, severity: int, images: torch.Tensor = photos) -> np.ndarray:
        return corrupt(images[:1], kind, severity, [0])[0].permute(1, 2, 0).numpy()

    mean = x.mean(axis=(0, 1))
    assert np.array_equal(
        got("contrast", 5), (np.clip((x - mean) * 0.15 + mean, 0, 1) * 255 + 1e-6).astype(np.uint8)
    )
    packed = io.BytesIO()
    Image.fromarray(photos[0].permute(1, 2, 0).numpy()).save(packed, "JPEG", quality=40)
    assert np.array_equal(got("jpeg", 5), np.asarray(Image.open(packed)))
    small = Image.fromarray(photos[0].permute(1, 2, 0).numpy()).resize((20, 20), Image.Resampling.BOX)
    assert np.array_equal(got("pixelate", 5), np.asarray(small.resize((32, 32), Image.Resampling.BOX)))
    import colorsys

    bright, dull = got("brightness", 5), got("saturate", 2)
    for r, c in ((0, 0), (10, 20), (31, 31)):
        h, s, v = colorsys.rgb_to_hsv(*x[r, c])
        assert np.abs(bright[r, c] - 255 * np.array(colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1)))).max() <= 1
        assert np.abs(dull[r, c] - 255 * np.array(colorsys.hsv_to_rgb(h, s * 0.1, v))).max() <= 1


def test_noise_has_the_strength_that_its_table_says() -> None:
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    places = range(20)

    def std(kind: str, severity: int, scale: Any = "small") -> float:
        return float(corrupt(grey, kind, severity, places, scale=scale).float().std()) / 255

    assert std("gaussian-noise", 5) == pytest.approx(0.10, rel=0.02)
    assert std("gaussian-noise", 1, "large") == pytest.approx(0.08, rel=0.02)
    assert std("shot-noise", 5) == pytest.approx((0.5 / 50) ** 0.5, rel=0.02)
    assert std("speckle-noise", 5) == pytest.approx(0.1, rel=0.02)
    hit = corrupt(grey, "impulse-noise", 5, places, scale="large") != 128
    assert float(hit.float().mean()) == pytest.approx(0.27, rel=0.03)


def test_blurs_keep_the_mean_and_spread_a_point() -> None:
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1
    for kind, severity in (("gaussian-blur", 4), ("defocus-blur", 3)):
        blurred = corrupt(point, kind, severity, [0], scale="large")[0, 0]
        assert float(blurred.sum()) == pytest.approx(1, abs=1e-3)
        assert torch.allclose(blurred, blurred.T, atol=1e-6)
        assert torch.allclose(blurred, blurred.flip(0), atol=1e-6)
    yy, xx = torch.meshgrid(torch.arange(33) - 16, torch.arange(33) - 16, indexing="ij")
    gauss = corrupt(point, "gaussian-blur", 4, [0], scale="large")[0, 0]
    assert float((gauss * (xx**2)).sum()) == pytest.approx(
        16, rel=0.01
    )  # the variance of standard deviation 4
    disk = corrupt(point, "defocus-blur", 3, [0], scale="large")[0, 0]
    assert float(disk[yy**2 + xx**2 > 8**2].sum()) == pytest.approx(0, abs=1e-3)
    assert float(disk[16, 16]) == pytest.approx(1 / 113, rel=0.01)  # pixels of a disk of radius 6


def test_corrupted_sets_are_read_at_the_networks_size() -> None:
    clean = build("mnist-5k")["test"]
    spec = {"of": "mnist-5k", "kind": "contrast", "severity": 4}
    small = build({"corrupted": spec})["test"]
    geometry = Geometry((3, 14, 14))
    expected = corrupt(clean.read([3, 5], geometry), "contrast", 4, [3, 5])
    assert torch.equal(small.read([3, 5], geometry), expected)
    assert torch.equal(small.labels, clean.labels)
    digests = {
        build({"corrupted": spec | more})["test"].digest
        for more in ({}, {"severity": 5}, {"kind": "fog"}, {"scale": "large"})
    }
    assert len(digests | {clean.digest}) == 5
    with pytest.raises(SpecError, match="severity"):
        build({"corrupted": spec | {"severity": 6}})


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
def test_kinds_of_the_library_are_each_images_own(kind: str, photos: torch.Tensor) -> None:
    pytest.importorskip("imagecorruptions")
    images = fit(photos[:3], Geometry((3, 40, 48)))
    strength = []
    for severity in (1, 5):
        one = corrupt(images, kind, severity, [4, 5, 6], scale="large")
        state = np.random.get_state()[1].tolist()
        assert torch.equal(corrupt(images[1:2], kind, severity, [5], scale="large"), one[1:2])
        assert np.random.get_state()[1].tolist() == state  # the global generator is left as it was
        assert one.dtype == torch.uint8
        assert one.shape == images.shape
        strength.append(float((one.float() - images.float()).abs().mean()))
    assert strength[1] > strength[0]
    assert corrupt(fit(images, Geometry((1, 40, 48))), kind, 3, [0, 1, 2], scale="large").shape == (
        3,
        1,
        40,
        48,
    )
    with pytest.raises(UserError, match="32x32 or more, got 28x28"):
        corrupt(images[..., :28, :28], kind, 1, [0, 1, 2], scale="large")


def test_kinds_of_the_library_have_constants_for_large_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(SpecError, match=r"corrupted.scale: should be large for snow"):
        build({"corrupted": {"of": "digits", "kind": "snow"}})
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    snow = build({"corrupted": {"of": "digits", "kind": "snow", "scale": "large"}})
    with pytest.raises(MissingData, match=r"pip install 'oodbench\[corruptions\]'"):
        snow["test"]


# ---------------------------------------------------------------- the documentation


def _own_images(page: str) -> str:
    text = (ROOT / page).read_text()
    return text.split("## Your own images")[1].split("```yaml\n")[1].split("```")[0]


def test_the_readme_and_the_documentation_show_one_suite() -> None:
    import yaml

    assert yaml.safe_load(_own_images("README.md")) == yaml.safe_load(_own_images("docs/data.md"))


def test_the_suite_of_the_readme_runs_on_folders_of_pictures(tmp_path: Path) -> None:
    from oodbench.runs.runner import run

    (tmp_path / "birds.yaml").write_text(_own_images("README.md"))
    rng = np.random.default_rng(0)
    for c, colour in (("owl", (200, 40, 40)), ("auk", (40, 40, 200)), ("emu", (40, 200, 40))):
        (tmp_path / "birds" / c).mkdir(parents=True)
        for i in range(30):
            pixels = np.clip(np.array(colour) + rng.normal(0, 20, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "birds" / c / f"{i}.png")
    write_images(tmp_path / "moths", [f"{i}.png" for i in range(12)], size=(30, 20))
    done = run(tmp_path / "birds.yaml", results=tmp_path / "results", device="cpu")
    assert done.failed == 0
    rows = done.rows
    assert set(rows["ood"].dropna()) >= {"moths", "noise"}
    assert set(rows["status"]) == {"ok"}
    assert set(rows.loc[rows["ood"] == "moths", "n_ood"]) == {12}
    assert set(rows.loc[rows["ood"] == "moths", "n_id"]) == {18}
