"""ID sets in the folders that their archives unpack to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import MissingData, UserError
from tests.data.written import build, write_images

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
    (top / "image_class_labels.txt").unlink()
    with pytest.raises(UserError, match=r"image_class_labels.txt: no such file"):
        build("cub")["test"]
    (top / "image_class_labels.txt").write_text(labels)
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
