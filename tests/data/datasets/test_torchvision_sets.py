"""Sets in torchvision's formats: small ones written to disk, and the real one that Debian brings."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from oodbench.core.errors import MissingData
from oodbench.data.sources.roots import settings
from tests.data.written import build, write_idx, write_mnist

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


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


def test_cifar10_from_a_copy_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_cifar10(tmp_path / "data" / "cifar10", monkeypatch)
    (tmp_path / "data" / "cifar10" / "something else").touch()
    digest = build("cifar10")["test"].digest
    with settings(local=tmp_path / "local"):
        assert build("cifar10")["test"].digest == digest
        copies = [f for f in (tmp_path / "local").rglob("*") if f.is_file() and f.suffix != ".lock"]
        assert len(copies) == 7
        for file in (tmp_path / "data" / "cifar10" / "cifar-10-batches-py").iterdir():
            looks = file.stat()
            file.write_bytes(bytes(looks.st_size))
            os.utime(file, ns=(looks.st_atime_ns, looks.st_mtime_ns))
        assert build("cifar10")["test"].digest == digest


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
