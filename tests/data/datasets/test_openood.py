"""OpenOOD's folder: its lists, its validation, what is wrong in either."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import MissingData, UserError
from oodbench.data.datasets.openood import official_lists
from tests.data.written import build, write_images

# Short lists stand in for OpenOOD's long ones here, and are said not to be them.
pytestmark = pytest.mark.filterwarnings("ignore:.*is not OpenOOD v1.5's list")


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
        match=r"'cifar-10' with benchmark_imglist/cifar10/ \(train_cifar10\) is not .*--datasets cifar-10 ",
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


def test_the_counts_and_digests_are_those_of_the_real_lists(shared: Path) -> None:
    for benchmark, files in official_lists().items():
        for name, (lines, sha256) in files.items():
            content = (shared / "openood_imglists" / benchmark / name).read_bytes()
            assert (content.count(b"\n"), hashlib.sha256(content).hexdigest()) == (lines, sha256)
