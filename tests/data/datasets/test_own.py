"""A user's own images: folders, CSV files, arrays; the suite that the documentation shows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodbench.core.errors import MissingData, UserError
from tests.conftest import ROOT
from tests.data.written import build, write_images


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


def test_links_that_lead_back_are_no_classes_and_no_images(tmp_path: Path) -> None:
    write_images(tmp_path / "set", [f"{c}/{i}.png" for c in "ab" for i in range(4)])
    for link, target in (("a/again", "."), ("a/up", ".."), ("round", "../set"), ("b/other", "../a")):
        (tmp_path / "set" / link).symlink_to(target)
    for split in ("none", "random"):
        data = build({"folder": {"root": str(tmp_path / "set"), "split": split}})
        assert data.classes == ("a", "b")
        names = {n for s in ("train", "val", "test") for n in data[s].ids}
        assert names == {f"{c}/{i}.png" for c in "ab" for i in range(4)}
    (tmp_path / "set/c").symlink_to("a")
    assert len(build({"folder": {"root": str(tmp_path / "set"), "split": "none"}})["test"]) == 8
    with pytest.raises(UserError, match="'c' is a link to a folder that is read already"):
        build({"folder": {"root": str(tmp_path / "set"), "split": "random"}})["test"]


def test_train_and_test_are_no_classes(tmp_path: Path) -> None:
    write_images(
        tmp_path, [f"{part}/{c}/{i}.png" for part in ("train", "test") for c in "ab" for i in range(4)]
    )
    with pytest.raises(UserError, match="holds train and test; write `split: given` to use them"):
        build({"folder": {"root": str(tmp_path), "split": "random"}})
    assert len(build({"folder": {"root": str(tmp_path), "split": "none"}})["test"]) == 16


def test_a_class_whose_name_is_no_text_is_shown_by_its_escapes(tmp_path: Path) -> None:
    write_images(tmp_path / "set", [f"{c}/{i}.png" for c in "ab" for i in range(4)])
    os.rename(tmp_path / "set/b", os.fsencode(tmp_path / "set") + b"/\xfc")
    data = build({"folder": {"root": str(tmp_path / "set"), "split": "random"}})
    assert data.classes == ("a", "\\xfc")
    assert data["train"].read([0, len(data["train"]) - 1]).shape == (2, 3, 8, 8)


def test_a_folder_that_is_not_there_or_not_split(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"there is no folder .*nowhere"):
        build({"folder": {"root": str(tmp_path / "nowhere")}})
    write_images(tmp_path, ["owl/a.png"])
    with pytest.raises(
        UserError, match="has no folder train; write `split: random` to have it split, or `split: none`"
    ):
        build({"folder": {"root": str(tmp_path)}})


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
    with pytest.raises(UserError, match=r"has no column 'split' \(it has 'file', 'y'\); write `split: ran"):
        build({"csv": spec})
    data = build({"csv": spec | {"split": "none"}})
    assert data.classes == ("0", "1", "10")
    assert data["test"].labels.tolist() == [0, 1, 2]
    unlabelled = {k: v for k, v in spec.items() if k != "label"} | {"split": "none"}
    assert build({"csv": unlabelled})["test"].labels.tolist() == [0, 0, 0]
    with pytest.raises(UserError, match="has no column 'z'; it has 'file', 'y'; name that of the classes"):
        build({"csv": spec | {"split": "none", "label": "z"}})
    with pytest.raises(UserError, match="there is no column 'path'; it has 'file', 'y'"):
        build({"csv": {**spec, "path": "path", "split": "none"}})["test"]


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
