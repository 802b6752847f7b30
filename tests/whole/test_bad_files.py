"""Bad files of users, by the dozen: images, folders, lists, arrays, archives, downloads. Each is refused in
one line that says what is wrong, or gives what it should."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import http.server
import io
import itertools
import lzma
import os
import socket
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.data.sources.download import fetch
from oodbench.data.sources.idx import read_pair
from oodbench.data.sources.unpacking import unpack
from oodbench.suite.parse import parse_suite
from oodbench.suite.sets import PairSets
from tests.suite.written import written


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("OODBENCH_OFFLINE", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)


def refused(work: Callable[[], Any], said: str) -> None:
    """`work` ends in one readable line that says `said`."""
    with pytest.raises(UserError) as caught:
        work()
    text = str(caught.value)
    assert said in text
    assert text.isprintable()  # one line, no escape codes, no raw bytes
    assert len(text) < 900


_numbers = itertools.count()


def png(size: tuple[int, int] = (8, 8)) -> bytes:
    """Another image each time."""
    file = io.BytesIO()
    pixels = np.random.default_rng(next(_numbers)).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(size))
    return root


def classes(root: Path, names: str = "ab", each: int = 10) -> Path:
    return write(root, *(f"{c}/{i}.png" for c in names for i in range(each)))


def planned(known: Any, ood: Any = None, **more: Any) -> PairSets:
    ood = ood or {"static": {"noise": {"count": 4, "size": 8}}}
    pair = {"name": "p", "id": known, "far": ood} | more
    return PairSets(parse_suite(written(pairs=[pair])).pairs[0], {}, skip_missing=False)


def read_all(spec: Any) -> Any:
    samples = registry.build("dataset", spec)["test"]
    return samples, samples.read(range(len(samples)))


def flat(root: Path) -> dict[str, Any]:
    return {"folder": {"root": str(root), "split": "none"}}


# ---------------------------------------------------------------- damaged images


def _tiff(mode: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (4, 4)).save(file, "TIFF")
    return file.getvalue()


def _as(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(file, kind)
    return file.getvalue()


def _huge_png() -> bytes:
    """A header of 10^10 pixels, and no more."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk


IMAGES = {
    "empty": b"",
    "text": b"no image",
    "page": b"<!DOCTYPE html><html><body>404</body></html>",
    "pointer of git lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "zip": b"PK\x03\x04cut",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "png signature": b"\x89PNG\r\n\x1a\n",
    "cut png": png((64, 64))[:300],
    "cut jpeg": _as("JPEG")[:400],
    "jpeg start": b"\xff\xd8\xff\xe0",
    "cut gif": _as("GIF")[:500],
    "cut bmp": _as("BMP")[:100],
    "cut webp": _as("WEBP")[:60],
    "32 bits": _tiff("I"),
    "float": _tiff("F"),
    "10^10 pixels": _huge_png(),
    "wrong checksum": png()[:40] + b"\0\0\0\0" + png()[44:],
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_damaged_image_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "set", "a.png")
    (tmp_path / "set/b.png").write_bytes(IMAGES[name])
    spec = flat(tmp_path / "set")
    refused(lambda: read_all(spec), "b.png: cannot be decoded as an image")
    spec["folder"]["on_error"] = "skip"
    with pytest.warns(UserWarning, match="1 samples skipped"):
        assert list(read_all(spec)[0].ids) == ["a.png"]


# ---------------------------------------------------------------- what is no file is never waited for


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may not be long
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.bind(path.name)
    os.chdir(here)


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (os.mkfifo, "a named pipe"),
    "socket": (_socket, "a socket"),
    "endless device": (lambda p: p.symlink_to("/dev/zero"), "a device"),
    "link to nothing": (lambda p: p.symlink_to("nowhere"), "a file that is not there"),
    "link to itself": (lambda p: p.symlink_to(p.name), "a link to a file that is not there"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("place", ["flat", "class", "deep"])
def test_in_folders_what_is_no_file_is_named(tmp_path: Path, kind: str, place: str) -> None:
    make, said = NO_FILES[kind]
    root = tmp_path / "set"
    below = {"flat": "", "class": "a/", "deep": "a/x/"}[place]
    write(root, f"{below}0.png")
    make(root / f"{below}z.png")
    refused(lambda: read_all(flat(root)), f"{below}z.png: is ")
    refused(lambda: read_all(flat(root)), said)


@pytest.mark.parametrize("kind", [*NO_FILES, "folder"])
def test_in_lists_what_is_no_file_is_named(tmp_path: Path, kind: str) -> None:
    make = NO_FILES[kind][0] if kind in NO_FILES else Path.mkdir
    write(tmp_path, "0.png")
    make(tmp_path / "z.png")
    (tmp_path / "list.csv").write_text("path\n0.png\nz.png\n")
    spec = {"csv": {"file": str(tmp_path / "list.csv"), "split": "none"}}
    refused(lambda: read_all(spec), "list.csv:3: ")


@pytest.mark.parametrize("kind", [*NO_FILES, "folder"])
@pytest.mark.parametrize("door", ["csv", "arrays"])
def test_a_door_to_what_is_no_file_is_refused(tmp_path: Path, kind: str, door: str) -> None:
    file = tmp_path / "set.npz"
    (NO_FILES[kind][0] if kind in NO_FILES else Path.mkdir)(file)
    refused(lambda: read_all({door: {"file": str(file), "split": "none"}}), f"there is no file {file}")


# ---------------------------------------------------------------- folders


def _given(root: Path) -> dict[str, Any]:
    return {"folder": {"root": str(root)}}


def _random(root: Path) -> dict[str, Any]:
    return {"folder": {"root": str(root), "split": "random"}}


def _parts(root: Path, below: str = "") -> Path:
    for part in ("train", "test"):
        classes(root / part / below)
    return root


def _damaged(d: Path) -> Any:
    (classes(d / "set") / "a/0.png").write_bytes(b"")
    return _random(d / "set")


def _linked_twin(d: Path) -> Any:
    classes(d / "set")
    (d / "set/c").symlink_to("a")
    return _random(d / "set")


def _split_sizes(d: Path) -> Any:
    for part, side in (("train", 8), ("test", 9)):
        write(d / "set", *(f"{part}/{c}/{i}.png" for c in "ab" for i in range(9)), size=(side, side))
    return _given(d / "set")


def _with(*names: str, each: int = 10, known: Callable[[Path], Any] = _random) -> Callable[[Path], Any]:
    """Classes a and b, and these files."""

    def make(d: Path) -> Any:
        write(classes(d / "set", each=each), *(n for n in names if n.endswith(".png")))
        for n in names:
            if not n.endswith(".png"):
                (d / "set" / n).parent.mkdir(parents=True, exist_ok=True)
                (d / "set" / n).write_bytes(b"\0\0\0\x18ftypheic" if n.endswith("heic") else b"x")
        return known(d / "set")

    return make


FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing there": (lambda d: _random(d / "nowhere"), "there is no folder"),
    "a file": (lambda d: _random(write(d, "x.png") / "x.png"), "but a file"),
    "a pipe": (lambda d: os.mkfifo(d / "x") or _random(d / "x"), "but a named pipe"),
    "a link to itself": (lambda d: (d / "x").symlink_to("x") or _random(d / "x"), "there is no folder"),
    "a name of 3000 characters": (lambda d: _random(d / ("x" * 3000)), "there is no folder"),
    "empty": (lambda d: (d / "set").mkdir() or _random(d / "set"), "there is no image in it"),
    "texts alone": (lambda d: _with("c/readme.txt")(d), "class 'c' has no image"),
    "unread images alone": (_with("c/0.heic", "c/1.heic"), "not read: 2 .heic"),
    "hidden images alone": (_with("c/.0.png"), "class 'c' has no image"),
    "an empty class": (
        lambda d: (classes(d / "set") / "c").mkdir() or _random(d / "set"),
        "class 'c' has no",
    ),
    "flat": (
        lambda d: _random(write(d / "set", *(f"{i}.png" for i in range(9)))),
        "its ID set has one class",
    ),
    "one class": (lambda d: _random(classes(d / "set", "a")), "its ID set has one class ('a')"),
    "one level too high": (
        lambda d: _random(classes(d / "set/images").parent),
        "('images'), that of 'images/a/",
    ),
    "one level too high, given": (lambda d: _given(_parts(d / "set", "x")), "one class ('x')"),
    "given, but not split": (lambda d: _given(classes(d / "set")), "has no folder train"),
    "split, but random": (lambda d: _random(_parts(d / "set")), "split: given"),
    "loose images": (_with("loose.png"), "holds class folders and loose images (loose.png)"),
    "a loose photograph": (_with("loose.heic"), "loose images (loose.heic)"),
    "a strange class in test": (lambda d: _given(write(_parts(d / "set"), "test/c/0.png")), "the class 'c'"),
    "a class that test lacks": (lambda d: _given(write(_parts(d / "set"), "train/c/0.png")), "'c' has no"),
    "a class twice by a link": (_linked_twin, "'c' is a link to a folder that is read already"),
    "several sizes": (
        lambda d: _random(write(classes(d / "set"), "a/x.png", size=(9, 7))),
        "20 of 3x8x8 (such as ",
    ),
    "several sizes of the parts": (_split_sizes, "differ in size: 18 of 3x8x8"),
    "a class of one image": (
        lambda d: _random(write(classes(d / "set"), "c/0.png")),
        "class 2 of 3 has no training image ('c')",
    ),
    "a damaged header": (_damaged, "a/0.png: cannot be decoded"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_the_id_set_is_refused_before_training(tmp_path: Path, name: str) -> None:
    make, said = FOLDERS[name]
    refused(lambda: planned(make(tmp_path)), said)


# ---------------------------------------------------------------- CSV files and image lists

ROWS = "".join(f"{c}{i}.png,{c},{s}\n" for c in "ab" for i, s in enumerate(["train"] * 8 + ["test"] * 2))
HEAD = "path,label,split\n"
CSV: dict[str, tuple[bytes | str, dict[str, Any], str]] = {
    "empty": ("", {}, "it has no column 'split' (it has none)"),
    "header alone": (HEAD, {}, "should say train and test"),
    "header alone, random": (HEAD, {"split": "random"}, "is empty"),
    "no path": (HEAD.replace("path", "file") + ROWS, {}, "no column 'path'; it has 'file', 'label', 'split'"),
    "label misspelt": (HEAD + ROWS, {"label": "lable"}, "no column 'lable'; it has 'path', 'label', 'split'"),
    "label missing": (
        HEAD.replace("label", "species") + ROWS,
        {"split": "random"},
        "it has 'path', 'species', 'split'",
    ),
    "label missing, given": (HEAD.replace("label", "species") + ROWS, {}, "its ID set has one class"),
    "a column twice": (
        "path,label,label\na0.png,a,a\n",
        {"split": "random"},
        "'label' stands twice in the header",
    ),
    "one class": (HEAD + ROWS.replace(",b,", ",a,"), {}, "its ID set has one class ('a')"),
    "no test": (HEAD + ROWS.replace(",test", ",train"), {}, "should say train and test"),
    "split unknown": (
        HEAD + ROWS.replace("b1.png,b,train", "b1.png,b,trian"),
        {},
        "list.csv:13: the column 'split'",
    ),
    "utf-16": ((HEAD + ROWS).encode("utf-16"), {}, "UTF-16"),
    "utf-16 big end": (b"\xfe\xff" + (HEAD + ROWS).encode("utf-16-be"), {}, "UTF-16"),
    "utf-16 without mark": ((HEAD + ROWS).encode("utf-16-le"), {}, "zero byte"),
    "utf-32": ((HEAD + ROWS).encode("utf-32"), {}, "UTF-16"),
    "latin-1": ((HEAD + ROWS + "é.png,a,test\n").encode("latin-1"), {}, "the byte 0xe9 in line 22"),
    "binary": (os.urandom(64) + b"\xff\xff", {}, "is not a text file"),
    "semicolons": ((HEAD + ROWS).replace(",", ";"), {}, "(it has 'path;label;split')"),
    "too few fields": (
        HEAD + ROWS + "x.png,a\n",
        {"split": "random"},
        "list.csv:22: has 2 fields, the header has 3",
    ),
    "too many fields": (HEAD + ROWS + "x.png,a,test,1\n", {"split": "random"}, "list.csv:22: has 4 fields"),
    "a quotation mark left open": (HEAD + '"' + ROWS, {"split": "random"}, "has 1 fields"),
    "a field of 200 kB": (
        HEAD + ROWS + f"{'x' * 200_000},a,test\n",
        {},
        "is no CSV (field larger than field limit",
    ),
    "an open quotation mark of 200 kB": (HEAD + '"' + ROWS * 999, {}, "is a quotation mark left open?"),
    "a path of 5000 characters": (HEAD + ROWS + f"{'x' * 5000}.png,a,test\n", {}, "list.csv:22: "),
    "a label of 5000 characters": (
        HEAD + ROWS + f"x.png,{'9' * 5000},test\n",
        {},
        "list.csv:22: no such file",
    ),
    "a path twice": (
        HEAD + ROWS + "a9.png,a,test\n",
        {},
        "list.csv:22: 'a9.png' stands there already in line 11",
    ),
    "no such file": (HEAD + ROWS + "x.png,a,test\n", {}, "list.csv:22: no such file"),
    "a path outside": (HEAD + ROWS + "../x.png,a,test\n", {}, "should be a path below the images' folder"),
    "an absolute path": (
        HEAD + ROWS + "/etc/passwd,a,test\n",
        {},
        "should be a path below the images' folder",
    ),
    "no path in a row": (HEAD + ROWS + ",a,test\n", {}, "list.csv:22: the column 'path' is empty"),
    "no label in a row": (HEAD + ROWS + "x.png,,test\n", {}, "list.csv:22: unknown label ''"),
    "a line break in a path": (HEAD + ROWS + '"x\ny.png",a,test\n', {}, "list.csv:23: no such file"),
    "an escape code in a path": (HEAD + ROWS + "\x1b[31mx.png,a,test\n", {}, "list.csv:22: no such file"),
    "a class of one image": (HEAD + ROWS + "c0.png,c,test\n", {}, "class 2 of 3 has no training image"),
}


@pytest.mark.parametrize("name", CSV)
def test_a_bad_csv_file_is_refused(tmp_path: Path, name: str) -> None:
    content, params, said = CSV[name]
    write(tmp_path, *(f"{c}{i}.png" for c in "ab" for i in range(10)), "c0.png")
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "list.csv").write_bytes(data)
    refused(lambda: planned({"csv": {"file": str(tmp_path / "list.csv"), **params}}), said)


LISTS: dict[str, tuple[bytes, str]] = {
    "no label": (b"0.png\n", "test_x.txt:1: should be `path label` with a whole number"),
    "a word as label": (b"0.png cat\n", "test_x.txt:1: should be `path label` with a whole number"),
    "no path": (b" 3\n", "test_x.txt:1: should be `path label`"),
    "label below -1": (b"0.png -2\n", "label -2 should be -1"),
    "label of 20 digits": (b"0.png 99999999999999999999\n", "label 99999999999999999999 should be"),
    "label of 5000 digits": (b"0.png " + b"9" * 5000, "with a whole number as label"),
    "a line of 100 kB": (b"x" * 100_000, "with a whole number as label"),
    "no such file": (b"0.png 1\n\n1.png 1\n", "test_x.txt:2: should be"),
    "twice": (b"0.png 1\n0.png 2\n", "'0.png' stands there already in line 1"),
    "outside": (b"../0.png 1\n", "below the images' folder"),
    "utf-16": ("0.png 1\n".encode("utf-16"), "UTF-16"),
    "latin-1": (b"\xe9.png 1\n", "the byte 0xe9 in line 1"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_bad_image_list_is_refused(tmp_path: Path, name: str) -> None:
    content, said = LISTS[name]
    folder = tmp_path / "data/benchmark_imglist/cifar10"
    folder.mkdir(parents=True)
    write(tmp_path / "data/images_classic", "0.png")
    (folder / "test_x.txt").write_bytes(content)
    refused(lambda: read_all({"openood": {"benchmark": "cifar10", "name": "x"}}), said)


# ---------------------------------------------------------------- arrays

X, Y = np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2
ARRAYS: dict[str, tuple[Any, str]] = {
    "no images": ({"x": X}, "should hold an array 'images', holds 'x'"),
    "nothing": ({}, "should hold an array 'images', holds none"),
    "int64": ({"images": X.astype(int)}, "should be uint8 or floats in [0, 1], is int64"),
    "complex": ({"images": X + 0j}, "is complex128"),
    "bool": ({"images": X > 0}, "is bool"),
    "text": ({"images": np.full((4, 8, 8), "a")}, "is <U1"),
    "objects": ({"images": np.array([None] * 4)}, "cannot be read"),
    "records": ({"images": np.zeros((4, 8, 8), [("r", "u1")])}, "should be uint8 or floats"),
    "NaN": ({"images": np.full((4, 8, 8), np.nan)}, "'images' is not finite"),
    "infinity": ({"images": np.full((4, 8, 8), np.inf)}, "'images' is not finite"),
    "1e300": ({"images": np.full((4, 8, 8), 1e300)}, "'images' is not finite"),
    "above 1": ({"images": X + 255.0}, "are in [255, 255]"),
    "below 0": ({"images": X - 1.0}, "are in [-1, -1]"),
    "2 dimensions": ({"images": X[0]}, "is (8, 8)"),
    "5 dimensions": ({"images": X[None, None]}, "is (1, 1, 4, 8, 8)"),
    "4 channels": ({"images": np.zeros((4, 4, 8, 8), np.uint8)}, "with 1 or 3 channels"),
    "either layout": ({"images": np.zeros((4, 3, 8, 3), np.uint8)}, "may be either"),
    "no pixels": ({"images": X[:, :0]}, "have no pixels"),
    "one label too many": ({"images": X, "labels": np.arange(5)}, "'labels' should be 4 whole numbers"),
    "labels (4, 1)": ({"images": X, "labels": Y[:, None]}, "'labels' should be 4 whole numbers"),
    "one label for all": ({"images": X, "labels": np.int64(1)}, "'labels' should be 4 whole numbers"),
    "float labels": ({"images": X, "labels": Y + 0.5}, "'labels' should be 4 whole numbers, is float64"),
    "text labels": ({"images": X, "labels": Y.astype(str)}, "'labels' should be 4 whole numbers"),
    "bool labels": ({"images": X, "labels": Y > 0}, "'labels' should be 4 whole numbers, is bool"),
    "label -2": ({"images": X, "labels": Y - 2}, "'labels' should be -1 (unknown) or more, holds -2"),
    "label 2^63 + 1": (
        {"images": X, "labels": np.array([0, 1, 2, 2**63 + 1], np.uint64)},
        "should be at most",
    ),
    "empty file": (b"", "cannot be read"),
    "text file": (b"hello\n", "cannot be read"),
    "cut zip": (b"PK\x03\x04cut", "cannot be read"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_arrays_are_refused(tmp_path: Path, name: str) -> None:
    content, said = ARRAYS[name]
    file = tmp_path / "set.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.savez(file, **content)
    refused(lambda: read_all({"arrays": {"file": str(file), "split": "none"}}), said)


def _npy_header(shape: str) -> bytes:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


OTHER_ARRAYS: dict[str, tuple[str, bytes, str]] = {
    "npy that promises 10^15 bytes": ("set.npy", _npy_header("(10000000, 10000, 10000)"), "cannot be read"),
    "npy cut short": ("set.npy", _npy_header("(4, 8, 8)") + b"\0" * 9, "cannot be read"),
    "npy of nonsense": ("set.npy", _npy_header("hello"), "cannot be read"),
    "safetensors of nonsense": ("set.safetensors", b"\xff" * 64, "cannot be read"),
    "safetensors, empty": ("set.safetensors", b"", "cannot be read"),
    "another suffix": ("set.pkl", b"", "should end in .npz, .safetensors, .npy"),
}


@pytest.mark.parametrize("name", OTHER_ARRAYS)
def test_bad_array_files_are_refused(tmp_path: Path, name: str) -> None:
    file, content, said = OTHER_ARRAYS[name]
    (tmp_path / file).write_bytes(content)
    refused(lambda: read_all({"arrays": {"file": str(tmp_path / file), "split": "none"}}), said)


SPLITS: dict[str, tuple[dict[str, Any], str]] = {
    "one class": ({"labels": np.zeros(40, int)}, "its ID set has one class"),
    "no labels": ({}, "its ID set has one class"),
    "a gap in the labels": ({"labels": np.arange(40) % 2 * 2}, "class 1 of 3 has no training image"),
    "a label of a billion": ({"labels": np.arange(40) % 2 * 10**9}, "class 1 of 1000000001 has no"),
    "unknown labels": ({"labels": np.arange(40) % 3 - 1}, "has the label -1"),
    "no images": ({"images": np.zeros((0, 8, 8), np.uint8), "labels": np.zeros(0, int)}, "is empty"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_arrays_that_cannot_be_the_id_set_are_refused(tmp_path: Path, name: str) -> None:
    changes, said = SPLITS[name]
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / f"{part}.npz", **({"images": images} | changes))
    refused(lambda: planned({"arrays": {"file": str(tmp_path)}}), said)


# ---------------------------------------------------------------- IDX files


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES_IDX, LABELS_IDX = idx(X), idx(Y.astype(np.uint8))
PACKED = gzip.compress(IMAGES_IDX)
IDX: dict[str, tuple[bytes, bytes, str]] = {
    "empty": (b"", LABELS_IDX, "is not an IDX file"),
    "text": (b"hello", LABELS_IDX, "is not an IDX file"),
    "unknown type": (b"\0\0\7\1\0\0\0\0", LABELS_IDX, "is not an IDX file"),
    "no dimension": (b"\0\0\x08\0x", LABELS_IDX, "has 0 dimensions"),
    "255 dimensions": (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x", LABELS_IDX, "has 255 dimensions"),
    "header cut": (IMAGES_IDX[:10], LABELS_IDX, "hold no header of 3 dimensions"),
    "cut": (IMAGES_IDX[:-1], LABELS_IDX, "but the file holds 271"),
    "too long": (IMAGES_IDX + b"x", LABELS_IDX, "but the file holds 273"),
    "10^18 bytes promised": (b"\0\0\x08\3" + b"\0\x0f\x42\x40" * 3, LABELS_IDX, "but the file holds 16"),
    "two dimensions": (idx(X[0]), LABELS_IDX, "should hold uint8 images (N, H, W)"),
    "floats": (idx(X.astype(">f4"), 0x0D), LABELS_IDX, "should hold uint8 images"),
    "a label too few": (IMAGES_IDX, idx(Y[:3].astype(np.uint8)), "should hold 4 labels"),
    "labels of two dimensions": (IMAGES_IDX, IMAGES_IDX, "should hold 4 labels"),
    "gzip cut": (PACKED[:-9], LABELS_IDX, "cannot be read"),
    "gzip with a wrong checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], LABELS_IDX, "cannot be read"),
    "gzip that is none": (b"\x1f\x8b\x08garbage", LABELS_IDX, "cannot be read"),
    "gzip of 10^18 bytes promised": (
        gzip.compress(b"\0\0\x08\3" + b"\0\x0f\x42\x40" * 3),
        LABELS_IDX,
        "holds",
    ),
}


@pytest.mark.parametrize("name", IDX)
def test_a_bad_idx_file_is_refused(tmp_path: Path, name: str) -> None:
    images, labels, said = IDX[name]
    x, y = tmp_path / ("x.gz" if name.startswith("gzip") else "x"), tmp_path / "y"
    x.write_bytes(images)
    y.write_bytes(labels)
    refused(lambda: read_pair(x, y), said)


OTHER_DOORS: dict[str, tuple[str, Callable[[Path], Any], Any, str]] = {
    "cifar10: junk": ("cifar10/cifar-10-batches-py/test_batch", Path.touch, "cifar10", "is not here"),
    "usps: junk": ("usps/usps.t.bz2", lambda p: p.write_bytes(b"junk"), "usps", "torchvision cannot read it"),
    "usps: pipe": ("usps/usps.t.bz2", os.mkfifo, "usps", "usps.t.bz2: is a named pipe"),
    "svhn: junk": ("svhn/test_32x32.mat", lambda p: p.write_bytes(b"junk"), "svhn", "is not here"),
    "mnist: pipe": ("mnist/t10k-images-idx3-ubyte", os.mkfifo, "mnist", "is not here"),
    "cub: one list alone": ("cub/images.txt", lambda p: p.write_text("1 a.png\n"), "cub", "no such file"),
    "cub: pipe": ("cub/images.txt", os.mkfifo, "cub", "is not here"),
    "isun: empty": ("iSUN/readme.txt", Path.touch, "isun", "there is no image in it"),
    "isun: pipe": ("iSUN/z.png", os.mkfifo, "isun", "z.png: is a named pipe"),
    "imagenet-r: empty class": (
        "imagenet-r/n1/readme.txt",
        Path.touch,
        "imagenet-r",
        "class 'n1' has no image",
    ),
    "cifar10-c: pipe": ("cifar10-c/fog.npy", os.mkfifo, {"cifar10-c": {"corruption": "fog"}}, "is not here"),
}


@pytest.mark.parametrize("name", OTHER_DOORS)
def test_a_well_known_set_that_is_not_what_it_should_be(tmp_path: Path, name: str) -> None:
    file, make, spec, said = OTHER_DOORS[name]
    (tmp_path / "data" / file).parent.mkdir(parents=True)
    make(tmp_path / "data" / file)
    refused(lambda: read_all(spec), said)


# ---------------------------------------------------------------- archives

Entry = tuple[str, bytes | None, dict[str, Any]]


def tar(*entries: Entry, mode: str = "w") -> bytes:
    """Members (name, content or None, fields of the header)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as t:  # type: ignore[call-overload]
        for name, content, fields in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content or b"")
            for field, value in fields.items():
                setattr(info, field, value)
            t.addfile(info, io.BytesIO(content or b""))
    return file.getvalue()


def zipped(*entries: tuple[str, bytes, int], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Members (name, content, mode of the file)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as z:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = kind
            z.writestr(info, content)
    return file.getvalue()


def _patched(data: bytes, at: tuple[int, int], value: int) -> bytes:
    """A zip of one member with two bytes of its local and its central header changed."""
    local, central = data.index(b"PK\3\4") + at[0], data.index(b"PK\1\2") + at[1]
    changed = bytearray(data)
    for place in (local, central):
        changed[place : place + 2] = struct.pack("<H", value)
    return bytes(changed)


def _escape() -> bytes:
    """CVE-2025-4517: a link whose target grows beyond what realpath looks at, then a file through it."""
    deep, members = "d" * 200, []
    path = ""
    for i in range(16):
        path = f"{path}{deep}/"
        members.append((path.rstrip("/"), None, {"type": tarfile.DIRTYPE}))
        members.append((f"l{i}", None, {"type": tarfile.SYMTYPE, "linkname": path.rstrip("/")}))
    members.append(("out", None, {"type": tarfile.SYMTYPE, "linkname": path + "../" * 17 + "outside"}))
    members.append(("out/evil", b"evil", {}))
    return tar(*members)


FILE: Entry = ("a/x.png", b"x" * 2000, {})
LINK, HARD = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
ONE = zipped(("a/x.png", b"x" * 2000, 0o100644))
GOOD, TWO = tar(FILE), tar(FILE, ("b", b"y" * 999, {}))
PACKED_TAR = gzip.compress(GOOD)
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cannot be unpacked"),
    "text": (b"hello\n" * 200, "no tar, or a damaged one"),
    "page": (b"<!DOCTYPE html><html>404</html>", "cannot be unpacked"),
    "rar": (b"Rar!\x1a\x07\0" + b"\0" * 99, "packed by RAR"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + b"\0" * 99, "packed by 7z"),
    "zstandard": (b"\x28\xb5\x2f\xfd" + b"\0" * 99, "packed by zstandard"),
    "tar: ..": (tar(("../evil", b"x", {})), "lies outside the folder"),
    "tar: .. within": (tar(("a/../../evil", b"x", {})), "lies outside the folder"),
    "tar: absolute": (tar(("/tmp/evil", b"x", {})), "lies outside the folder"),
    "tar: backslashes": (tar(("..\\evil", b"x", {})), "lies outside the folder"),
    "tar: drive": (tar(("C:\\evil", b"x", {})), "lies outside the folder"),
    "tar: link out": (tar(FILE, ("l", None, LINK | {"linkname": "../../evil"})), "lies outside the folder"),
    "tar: absolute link": (tar(("l", None, LINK | {"linkname": "/etc/passwd"})), "lies outside the folder"),
    "tar: hard link out": (tar(("l", None, HARD | {"linkname": "../evil"})), "lies outside the folder"),
    "tar: link to a folder": (tar(FILE, ("l", None, LINK | {"linkname": "a"})), "no file of the archive"),
    "tar: link to itself": (tar(("l", None, LINK | {"linkname": "l"})), "no file of the archive"),
    "tar: link to nothing": (tar(("l", None, HARD | {"linkname": "b"})), "no file of the archive"),
    "tar: through a link": (
        tar(("l", None, LINK | {"linkname": "/tmp"}), ("l/evil", b"x", {})),
        "lies outside the folder",
    ),
    "tar: CVE-2025-4517": (_escape(), "cannot be unpacked"),
    "tar: device": (tar(("d", None, {"type": tarfile.CHRTYPE})), "is a device, a pipe or the like"),
    "tar: pipe": (tar(("d", None, {"type": tarfile.FIFOTYPE})), "is a device, a pipe or the like"),
    "tar: a file where a folder is": (tar(FILE, ("a", b"x", {})), "stands where another has"),
    "tar: a folder where a file is": (tar(("a", b"x", {}), FILE), "stands where another has"),
    "tar: a name of 300 characters": (tar(("x" * 300, b"x", {})), "File name too long"),
    "tar: 200 folders deep": (tar(("d/" * 200 + "x", b"x", {})), "at most 100 are allowed"),
    "tar: no name": (tar((".", b"x", {})), "has no name"),
    "tar: cut": (GOOD[:1000], "cannot be unpacked"),
    "tar: a damaged header in the middle": (
        TWO[:2560] + b"\xff" * 512 + TWO[3072:],
        "no tar, or a damaged one",
    ),
    "tar: 40 MB of zeros": (tar(("z", bytes(40_000_000), {}), mode="w:gz"), "holds more than"),
    "tar.xz: 40 MB of zeros": (tar(("z", bytes(40_000_000), {}), mode="w:xz"), "holds more than"),
    "tar: 50 MB in a header": (
        tar(("z", b"", {"pax_headers": {"comment": "0" * 50_000_000}}), mode="w:gz"),
        "holds more than",
    ),
    "tar: a file linked 99 times": (
        tar(
            ("z", bytes(1_000_000), {}),
            *((f"l{i}", None, HARD | {"linkname": "z"}) for i in range(99)),
            mode="w:gz",
        ),
        "holds more than",
    ),
    "gzip: cut": (PACKED_TAR[:-20], "cannot be unpacked"),
    "gzip: wrong checksum": (PACKED_TAR[:-8] + b"\0\0\0\0" + PACKED_TAR[-4:], "cannot be unpacked"),
    "gzip: damaged": (gzip.compress(os.urandom(5000) + GOOD)[:3000], "cannot be unpacked"),
    "bzip2: cut": (bz2.compress(GOOD)[:-20], "cannot be unpacked"),
    "xz: cut": (lzma.compress(GOOD)[:-20], "cannot be unpacked"),
    "gzip of no tar": (gzip.compress(b"hello" * 300), "no tar, or a damaged one"),
    "zip: ..": (zipped(("../evil", b"x", 0)), "lies outside the folder"),
    "zip: absolute": (zipped(("/tmp/evil", b"x", 0)), "lies outside the folder"),
    "zip: backslashes": (zipped(("..\\evil", b"x", 0)), "lies outside the folder"),
    "zip: link out": (zipped(("l", b"../../evil", 0o120777)), "lies outside the folder"),
    "zip: pipe": (zipped(("p", b"", 0o010644)), "is a device, a pipe or the like"),
    "zip: encrypted": (_patched(ONE, (6, 8), 1), "is encrypted"),
    "zip: unknown compression": (_patched(ONE, (8, 10), 77), "cannot be unpacked"),
    "zip: cut": (ONE[:-30], "cannot be unpacked"),
    "zip: wrong checksum": (
        ONE.replace(struct.pack("<I", zlib.crc32(b"x" * 2000)), b"\1\2\3\4"),
        "Bad CRC-32",
    ),
    "zip: 40 MB of zeros": (zipped(("z", bytes(40_000_000), 0)), "holds more than"),
    "zip: a file where a folder is": (zipped(("a/x", b"x", 0), ("a", b"x", 0)), "stands where another has"),
    "zip: a name of 300 characters": (zipped(("x" * 300, b"x", 0)), "File name too long"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_bad_archive_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    content, said = ARCHIVES[name]
    (tmp_path / "archive").write_bytes(content)
    refused(lambda: unpack(tmp_path / "archive", tmp_path / "in/out"), said)
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "in/out").exists()


# ---------------------------------------------------------------- downloads

BODY = bytes(range(256)) * 40
TAG = {"ETag": '"1"'}


def _head(code: int = 200, length: object = len(BODY), **more: object) -> bytes:
    fields = {"Content-Length": length, "Connection": "close", **more}
    lines = [f"{k.replace('_', '-')}: {v}" for k, v in fields.items() if v is not None]
    return "\r\n".join([f"HTTP/1.1 {code} X", *lines, "", ""]).encode()


ANSWERS: dict[str, tuple[bytes, str]] = {
    "not found": (_head(404, 0), "404"),
    "forbidden": (_head(403, 0), "403"),
    "server error": (_head(500, 0), "500"),
    "no content": (_head(204, 0), "the server answers 204"),
    "no answer": (b"", "cut short, or not of the web"),
    "garbage": (b"GARBAGE\r\n\r\n", "cut short, or not of the web"),
    "a bad status": (b"HTTP/1.1 abc OK\r\n\r\n", "cut short, or not of the web"),
    "headers without end": (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 70_000, "cut short, or not of the web"),
    "200 headers": (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n", "cut short, or not of the web"),
    "length abc": (_head(length="abc") + BODY, "says a length that is none (abc)"),
    "length -5": (_head(length=-5) + BODY, "says a length that is none (-5)"),
    "two lengths": (_head(length="7\r\nContent-Length: 9") + BODY, "says a length that is none (7 and 9)"),
    "length 0": (_head(length=0), "does not say how long the file is"),
    "no length": (_head(length=None) + BODY, "does not say how long the file is"),
    "no length, cut": (_head(length=None) + BODY[:9], "does not say how long the file is"),
    "cut": (_head() + BODY[:9], "connection lost after 9 of 10240 bytes"),
    "chunks": (
        _head(length=None, Transfer_Encoding="chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        "does not say how long",
    ),
    "cut chunks": (_head(length=None, Transfer_Encoding="chunked") + b"fff\r\nhe", "does not say how long"),
    "a part, unasked": (
        _head(206, 9, Content_Range="bytes 100-108/10240") + BODY[:9],
        "sends a part of the file",
    ),
    "a part, and not which": (_head(206, 9) + BODY[:9], "sends a part of the file"),
    "a beginning as all": (
        _head(206, 9, Content_Range="bytes 0-8/10240") + BODY[:9],
        "after 9 of 10240 bytes",
    ),
    "to a file": (_head(302, 0, Location="file:///etc/passwd"), "'file:///etc/passwd' is not allowed"),
    "to ftp": (_head(302, 0, Location="ftp://127.0.0.1/x"), "is no address of the web"),
    "round and round": (_head(302, 0, Location="/round and round"), "302"),
}
HASHED: dict[str, tuple[bytes, str]] = {
    "other bytes": (_head() + BODY[::-1], f"has md5 {hashlib.md5(BODY[::-1]).hexdigest()}, expected"),
    "no length, cut": (
        _head(length=None) + BODY[:9],
        f"has md5 {hashlib.md5(BODY[:9]).hexdigest()}, expected",
    ),
    "cut chunks": (
        _head(length=None, Transfer_Encoding="chunked") + b"fff\r\nhe",
        "cut short, or not of the web",
    ),
    "a page": (_head(length=7) + b"<html/>", "expected"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Answers as the path asks for, byte for byte."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, _, name = self.path.strip("/").replace("%20", " ").partition("/")
            table = {"plain": ANSWERS, "hashed": HASHED}.get(kind)
            self.wfile.write(ANSWERS["round and round"][0] if table is None else table[name][0])
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_bad_answer_is_refused(tmp_path: Path, server: str, name: str) -> None:
    url = f"{server}/plain/{name}".replace(" ", "%20")
    refused(lambda: fetch(url, tmp_path / "set.tar"), ANSWERS[name][1])
    assert not (tmp_path / "set.tar").exists()


@pytest.mark.parametrize("name", HASHED)
def test_a_bad_answer_is_refused_by_its_hash(tmp_path: Path, server: str, name: str) -> None:
    url = f"{server}/hashed/{name}".replace(" ", "%20")
    refused(lambda: fetch(url, tmp_path / "set.tar", md5=hashlib.md5(BODY).hexdigest()), HASHED[name][1])
    assert not (tmp_path / "set.tar").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is no address of the web"),
        ("nowhere", "is no address of the web"),
        ("file:///etc/passwd", "is no address of the web"),
        ("FILE:///etc/passwd", "is no address of the web"),
        ("ftp://127.0.0.1/x", "is no address of the web"),
        ("data:text/plain,hello", "is no address of the web"),
        ("javascript:0", "is no address of the web"),
        ("http:/x", "http:/x: "),
        ("http://", "http://: "),
        ("http://127.0.0.1:port/x", "port"),
        ("http://127.0.0.1:99999/x", "99999"),
        ("http://[::1/x", "http://[::1/x: "),
        ("http://127.0.0.1:9/a b", "a b: URL can't contain control characters"),
        ("http://127.0.0.1:9/\x1b[31m", "URL can't contain control characters"),
        ("http://127.0.0.1:9/ü", "http://127.0.0.1:9/ü: "),
        ("http://127.0.0.1:9/x", "run again to go on"),
        ("http://" + "x" * 300 + ".invalid/x", "http://xxx"),
    ],
)
def test_a_bad_address_is_refused(tmp_path: Path, url: str, said: str) -> None:
    refused(lambda: fetch(url, tmp_path / "x"), said)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("place", ["folder", "part is a link", "part is a folder", "parent is a file"])
def test_a_bad_place_for_a_download_is_refused(tmp_path: Path, place: str) -> None:
    target, other = tmp_path / "x", tmp_path / "precious"
    other.write_text("mine")
    if place == "folder":
        target.mkdir()
    elif place == "part is a link":
        (tmp_path / "x.part").symlink_to(other)
    elif place == "part is a folder":
        (tmp_path / "x.part").mkdir()
    else:
        target = other / "x"
    refused(
        lambda: fetch("http://127.0.0.1:9/x", target),
        str(tmp_path) if place != "parent is a file" else "127.0.0.1",
    )
    assert other.read_text() == "mine"


# ---------------------------------------------------------------- Hugging Face's folders

HUB: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no such column of images": ({}, {"image": "img"}, "there is no column 'img'; it has 'image', 'label'"),
    "no such column of labels": ({}, {"label": "y"}, "there is no column 'y'; it has 'image', 'label'"),
    "no such split": ({}, {"test": "exam"}, "split 'exam'"),
    "numbers as images": ({"image": [1, 2, 3, 4]}, {}, "holds no images"),
    "paths to nothing": ({"image": ["/nowhere/a.png"] * 4}, {}, "/nowhere/a.png: no such file"),
    "no image in a row": ({"image": [{"bytes": None, "path": None}] * 4}, {}, "image 0 is missing"),
    "names as labels": (
        {"label": ["a", "b", "a", "b"]},
        {},
        "should hold whole numbers from -1 (unknown), holds 'a'",
    ),
    "floats as labels": ({"label": [0.5, 1, 0, 1]}, {}, "should hold whole numbers"),
    "a missing label": ({"label": [0, None, 0, 1]}, {}, "holds None"),
    "a label below": ({"label": [0, -7, 0, 1]}, {}, "holds -7"),
    "one class": ({"label": [0, 0, 0, 0]}, {}, "its ID set has one class"),
    "damaged images": (
        {"image": [{"bytes": b"no image", "path": None}] * 4},
        {},
        "image 0 cannot be decoded",
    ),
}


@pytest.mark.parametrize("name", HUB)
def test_a_bad_set_of_hugging_face_is_refused(tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    columns, params, said = HUB[name]
    parts = {}
    for part in ("train", "test"):
        images = [{"bytes": png(), "path": None} for _ in range(4)]
        parts[part] = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0, 1]} | columns)
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
    refused(lambda: planned({"huggingface": {"name": str(tmp_path / "set"), **params}}), said)


@pytest.mark.parametrize("place", ["nothing", "file", "empty folder", "other folder", "pipe"])
def test_a_folder_that_hugging_face_did_not_save_is_refused(tmp_path: Path, place: str) -> None:
    pytest.importorskip("datasets")
    root = tmp_path / "set"
    if place == "file":
        root.write_bytes(b"")
    elif place != "nothing":
        root.mkdir()
    if place == "other folder":
        (root / "dataset_dict.json").write_text("{broken")
    if place == "pipe":
        os.mkfifo(root / "dataset_dict.json")
    refused(lambda: read_all({"huggingface": {"name": str(root)}}), "data set 'huggingface'")


# ---------------------------------------------------------------- what works


def _looped(d: Path) -> None:
    (d / "a/again").symlink_to(".")
    (d / "a/up").symlink_to("..")
    (d / "round").symlink_to("../set")


def _linked_out(d: Path) -> None:
    write(d.parent / "elsewhere", "7.png")
    (d / "a/more").symlink_to(d.parent / "elsewhere")
    (d / "b/more").symlink_to(d.parent / "elsewhere")  # the same images: once


WORKS: dict[str, tuple[Callable[[Path], Any], int]] = {
    "links that lead back": (_looped, 8),
    "a folder that two links lead to": (_linked_out, 9),
    "a link to a sibling": (lambda d: (d / "a/sibling").symlink_to("../b"), 8),
    "a class that is a link to another": (lambda d: (d / "c").symlink_to("a"), 8),
    "a name that is no text": (lambda d: os.rename(d / "a/0.png", os.fsencode(d / "a") + b"/caf\xe9.png"), 8),
    "a name with an escape code": (lambda d: (d / "a/0.png").rename(d / "a/\x1b[31m\n.png"), 8),
    "another suffix of jpeg": (lambda d: (d / "a/new.JFIF").write_bytes(_as("JPEG")), 9),
    "hidden files and folders": (lambda d: write(d, "a/._0.png", ".thumbs/1.png", "a/.x/2.png"), 8),
}


@pytest.mark.parametrize("name", WORKS)
def test_odd_folders_are_read_each_image_once(tmp_path: Path, name: str) -> None:
    change, count = WORKS[name]
    change(classes(tmp_path / "set", each=4))
    samples, images = (
        read_all(flat(tmp_path / "set") | {})
        if name != "another suffix of jpeg"
        else (
            registry.build("dataset", flat(tmp_path / "set"))["test"],
            None,
        )
    )
    assert len(samples) == count == len(set(samples.ids))
    assert all(i.isprintable() for i in samples.ids)
    assert images is None or images.shape == (count, 3, 8, 8)
    sets = planned(
        _random(classes(tmp_path / "id")), {"odd": flat(tmp_path / "set")}, geometry={"shape": [3, 8, 8]}
    )
    assert len(sets.sets["odd"].samples or ()) == count


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + HEAD + ROWS,
        (HEAD + ROWS).replace("\n", "\r\n"),
        HEAD.replace(",", " , ") + ROWS,
        (HEAD + ROWS).replace("\n", "\r"),
        '"path","label","split"\n' + ROWS + "\n\n",
    ],
    ids=["byte-order mark", "windows", "padded", "old mac", "quoted"],
)
def test_csv_files_of_all_kinds_are_read(tmp_path: Path, content: str) -> None:
    write(tmp_path, *(f"{c}{i}.png" for c in "ab" for i in range(10)))
    (tmp_path / "list.csv").write_bytes(content.encode())
    sets = planned({"csv": {"file": str(tmp_path / "list.csv")}})
    assert sets.classes == 2
    assert list(sets.sets["test"].samples.ids) == ["a8.png", "a9.png", "b8.png", "b9.png"]  # type: ignore[union-attr]
