"""Sources: where data lie, lists and indices, downloads that go on and are whole or absent."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import MissingData, UserError
from oodbench.data.sources import download, roots
from oodbench.data.sources.download import fetch, staged, through_fetch, watcher
from oodbench.data.sources.files import FileSamples, folder
from oodbench.data.sources.index import Item, Lines, index_of
from oodbench.data.sources.lists import csv_column, csv_list, image_list


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OODBENCH_DATA", raising=False)


# ---------------------------------------------------------------- places


def test_roots_are_the_variable_or_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert roots.data_roots() == [Path("data")]
    monkeypatch.setenv("OODBENCH_DATA", f"/a{os.pathsep} {os.pathsep}/b")
    assert roots.data_roots() == [Path("/a"), Path("/b")]


def test_the_first_root_that_holds_it_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_DATA", os.pathsep.join(str(tmp_path / d) for d in "ab"))
    (tmp_path / "b" / "set").mkdir(parents=True)
    assert roots.find("set", ["x", "set"], get="?") == tmp_path / "b" / "set"
    (tmp_path / "a" / "set").mkdir(parents=True)
    assert roots.find("set", ["x", "set"], get="?") == tmp_path / "a" / "set"
    with pytest.raises(
        MissingData, match=r"'other' is not here; looked for it in .*/a/x, .*/b/x, /opt/x; to get it: ask me"
    ):
        roots.find("other", ["x"], get="ask me", also=[Path("/opt/x")])


# ---------------------------------------------------------------- indices


def _files(root: Path, n: int = 20) -> list[Item]:
    root.mkdir(exist_ok=True)
    for i in range(n):
        (root / f"{i}.bin").write_bytes(os.urandom(16))
    return [Item(f"{i}.bin", i % 3, f"list:{i + 1}") for i in range(n)]


def test_lines_hold_any_text() -> None:
    texts = ["a", "", "ä/ß.png", "x" * 1000]
    lines = Lines.of(texts)
    assert list(lines) == texts
    assert lines[-1] == texts[-1]
    assert lines[1:3] == texts[1:3]
    with pytest.raises(IndexError):
        lines[4]
    assert list(Lines.of([])) == []


def test_an_index_is_made_once_and_again_when_a_file_changes(tmp_path: Path) -> None:
    items = _files(tmp_path / "set")
    calls = []

    def listed() -> Iterator[Item]:
        calls.append(1)
        return iter(items)

    first = index_of("set", tmp_path / "set", "stamp", listed)
    again = index_of("set", tmp_path / "set", "stamp", listed)
    assert len(calls) == 1
    assert (again.digest, list(again.paths), again.labels.tolist()) == (
        first.digest,
        [i.path for i in items],
        [i.label for i in items],
    )
    (tmp_path / "set" / "7.bin").write_bytes(b"changed")
    changed = index_of("set", tmp_path / "set", "stamp", listed)
    assert len(calls) == 2
    assert changed.digest != first.digest
    assert index_of("set", tmp_path / "set", "other list", listed).digest == changed.digest
    for kept in (tmp_path / "cache" / "index").iterdir():
        kept.unlink()
    index_of("set", tmp_path / "set", "stamp", listed)
    assert len(calls) == 4


def test_the_digest_is_of_content_names_and_labels_not_of_place(tmp_path: Path) -> None:
    items = _files(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for i in items:
        (tmp_path / "b" / i.path).write_bytes((tmp_path / "a" / i.path).read_bytes())
    a, b = (index_of(n, tmp_path / n, "s", lambda: iter(items)).digest for n in "ab")
    assert a == b
    relabelled = [items[0]._replace(label=9), *items[1:]]
    assert index_of("a", tmp_path / "a", "t", lambda: iter(relabelled)).digest != a
    expected = hashlib.sha256()
    for i in items:
        content = hashlib.sha256((tmp_path / "a" / i.path).read_bytes()).hexdigest()
        expected.update(f"{i.path}\0{i.label}\0{content}\n".encode())
    assert a == expected.hexdigest()


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    items = _files(tmp_path / "set")
    first = index_of("set", tmp_path / "set", "s", lambda: iter(items))
    (file,) = (tmp_path / "cache" / "index").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    assert index_of("set", tmp_path / "set", "s", lambda: iter(items)).digest == first.digest


def test_the_second_start_of_a_long_list_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a number of files only some are looked at: here the limit is lowered and the looks are
    counted."""
    from oodbench.data.sources import index

    items = _files(tmp_path / "set", 300)
    index_of("set", tmp_path / "set", "s", lambda: iter(items))
    looked: list[str] = []
    real = os.stat
    monkeypatch.setattr(index, "_ALL_CHECKED", 100)
    monkeypatch.setattr(index, "_SOME_CHECKED", 10)
    monkeypatch.setattr(index.os, "stat", lambda p, *a, **k: (looked.append(str(p)), real(p, *a, **k))[1])
    found = index_of("set", tmp_path / "set", "s", lambda: pytest.fail("listed again"))
    assert len([p for p in looked if p.endswith(".bin")]) == 10
    assert len(found.labels) == 300


# ---------------------------------------------------------------- lists


def test_image_lists_take_paths_with_spaces(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"a dog/1 2.png 4\r\nb.png -1\n")
    assert [(i.path, i.label, i.problem) for i in image_list(file)] == [
        ("a dog/1 2.png", 4, ""),
        ("b.png", -1, ""),
    ]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a text file"):
        list(image_list(file))


def test_csv_files_say_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(
        'path,label,split\n"a,'
        ' b.png",cat,train\nc.png,dog,test\n\nd.png,eel,test\nc.png,cat,test\n,cat,test\n'
    )
    names = {"cat": 0, "dog": 1}
    got = list(csv_list(file, path="path", label="label", split="split", only="test", names=names))
    assert [(i.path, i.label) for i in got[:1]] == [("c.png", 1)]
    assert [f"{i.where}: {i.problem}" for i in got[1:]] == [
        f"{file}:5: unknown label 'eel'", f"{file}:6: 'c.png' stands there already in line 3",
        f"{file}:7: the column 'path' is empty",
    ]  # fmt: skip
    (train,) = csv_list(file, path="path", label="label", split="split", only="train", names=None)
    assert (train.path, train.label) == ("a, b.png", 0)
    assert csv_column(file, "label") == ["cat", "dog", "eel"]
    file.write_text("path,label\na.png,10\nb.png,9\n")
    assert csv_column(file, "label") == ["9", "10"]
    with pytest.raises(UserError, match=r"list\.csv:1: there is no column 'file'; it has 'path', 'label'"):
        list(csv_list(file, path="file", label="label", split="", only="", names=None))
    file.write_text("path,label\na.png\n")
    (short,) = csv_list(file, path="path", label="label", split="", only="", names=None)
    assert f"{short.where}: {short.problem}" == f"{file}:2: has 1 fields, the header has 2"


# ---------------------------------------------------------------- image files


def _png(file: Path, array: np.ndarray) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


def test_grey_palette_and_transparent_files_become_rgb_and_back(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    grey, rgb, rgba = (rng.integers(0, 256, (6, 5, *c), dtype=np.uint8) for c in ((), (3,), (4,)))
    _png(tmp_path / "set/a.png", grey)
    _png(tmp_path / "set/b.png", rgb)
    _png(tmp_path / "set/c.png", rgba)
    Image.fromarray(rgb).quantize(8).save(tmp_path / "set/d.png")
    samples = folder("set", tmp_path / "set", flat=True)
    got = samples.read(range(4))
    assert got.shape == (4, 3, 6, 5)
    assert np.array_equal(got[0].numpy(), np.stack([grey] * 3))
    assert np.array_equal(got[1].permute(1, 2, 0).numpy(), rgb)
    assert np.array_equal(got[2].permute(1, 2, 0).numpy(), rgba[..., :3])
    assert len(np.unique(got[3].flatten(1).T.numpy(), axis=0)) <= 8
    as_grey = folder("set", tmp_path / "set", flat=True, color="grey")
    assert as_grey.read([1]).shape == (1, 1, 6, 5)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(as_grey.read([1])[0, 0].numpy() - luma).max() <= 1
    assert as_grey.digest != samples.digest


def test_sixteen_bits_become_eight_and_thirty_two_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    wide = np.array([[0, 255, 257, 32_896], [65_535, 30_000, 128, 129]], np.uint16)
    _png(tmp_path / "set/a.png", wide)
    expected = np.round(wide / 257).astype(np.uint8)
    assert np.array_equal(
        folder("set", tmp_path / "set", flat=True).read([0])[0].numpy(), np.stack([expected] * 3)
    )
    assert np.array_equal(
        folder("set", tmp_path / "set", flat=True, color="grey").read([0])[0, 0].numpy(), expected
    )
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "set/b.tif")
    with pytest.raises(UserError, match=r"b\.tif: cannot be decoded as an image \(it has pixels of 32 bits"):
        folder("set", tmp_path / "set", flat=True).read([1])


def test_images_of_different_size_ask_for_a_geometry(tmp_path: Path) -> None:
    from oodbench.core.dataset import Geometry

    _png(tmp_path / "set/a.png", np.zeros((6, 5, 3), np.uint8))
    _png(tmp_path / "set/b.png", np.zeros((7, 5, 3), np.uint8))
    samples: FileSamples = folder("set", tmp_path / "set", flat=True)
    with pytest.raises(UserError, match="images differ in size"):
        samples.read([0, 1])
    assert samples.read([0, 1], Geometry((1, 4, 4))).shape == (2, 1, 4, 4)


def test_an_empty_class_and_an_empty_folder_are_said(tmp_path: Path) -> None:
    _png(tmp_path / "set/cat/a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "set/dog").mkdir()
    (tmp_path / "set/dog/readme.txt").write_text("no image")
    with pytest.raises(UserError, match="class 'dog' has no image"):
        folder("set", tmp_path / "set", classes=["cat", "dog"])
    with pytest.raises(UserError, match="there is no image in it"):
        folder("set", tmp_path / "set/dog", flat=True)


# ---------------------------------------------------------------- downloads

CONTENT = bytes(range(256)) * 4096  # one MiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Server(http.server.BaseHTTPRequestHandler):
    cut_at = 0  # bytes after which the connection breaks, once,
    cut_in = 1  # in the answer of this number
    ranges = True
    asked: list[str] = []

    def do_GET(self) -> None:
        start = 0
        wanted = self.headers.get("Range", "")
        type(self).asked.append(wanted)
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT)
        if self.cut_at and len(self.asked) == self.cut_in:
            end, type(self).cut_at = type(self).cut_at, 0
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.cut_at, _Server.cut_in, _Server.ranges, _Server.asked = 0, 1, True, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/set.tar"
        httpd.shutdown()


def test_an_interrupted_download_goes_on_and_takes_its_name_at_the_end(tmp_path: Path, server: str) -> None:
    target = tmp_path / "set.tar"
    _Server.cut_at = 300_000
    with pytest.raises(UserError, match="run again to go on"):
        fetch(server, target, md5=MD5)
    assert not target.exists()
    part = tmp_path / "set.tar.part"
    assert part.stat().st_size == 300_000
    told: list[tuple[str, int, int]] = []
    token = watcher.set(lambda *progress: told.append(progress))
    try:
        assert fetch(server, target, md5=MD5).read_bytes() == CONTENT
    finally:
        watcher.reset(token)
    assert told[0][1] > 300_000, "what was there already counts"
    assert told[-1] == ("set.tar", len(CONTENT), len(CONTENT))
    assert _Server.asked == ["", "bytes=300000-"]
    assert not part.exists()
    fetch(server, target, md5=MD5)
    assert len(_Server.asked) == 2  # what is right already is not asked for again


def test_a_server_without_ranges_starts_over(tmp_path: Path, server: str) -> None:
    _Server.ranges = False
    (tmp_path / "set.tar.part").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path / "set.tar", md5=MD5).read_bytes() == CONTENT


def test_a_damaged_beginning_is_thrown_away_and_fetched_again(tmp_path: Path, server: str) -> None:
    (tmp_path / "set.tar.part").write_bytes(b"x" * 1000)
    assert fetch(server, tmp_path / "set.tar", md5=MD5).read_bytes() == CONTENT
    assert _Server.asked == ["bytes=1000-", ""]


def test_a_wrong_file_is_refused_with_both_digests(tmp_path: Path, server: str) -> None:
    with pytest.raises(UserError, match=f"has md5 {MD5}, expected {'0' * 32}"):
        fetch(server, tmp_path / "set.tar", md5="0" * 32)
    assert list(tmp_path.glob("set*")) == []


def test_a_complete_part_needs_no_more_bytes(tmp_path: Path, server: str) -> None:
    (tmp_path / "set.tar.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "set.tar", md5=MD5).read_bytes() == CONTENT
    assert _Server.asked == [f"bytes={len(CONTENT)}-"]


def test_offline_asks_nobody(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")
    with pytest.raises(UserError, match="offline"):
        fetch(server, tmp_path / "set.tar", md5=MD5)
    assert _Server.asked == []


def test_a_stage_takes_the_name_only_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "set"

    def fails() -> None:
        with staged(target) as stage:
            (stage / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not target.exists()
    with staged(target) as stage:
        assert (stage / "half").exists()  # gone on with
    assert (target / "half").exists()
    with pytest.raises(UserError, match="is there already"), staged(target):
        pass


def test_torchvision_downloads_go_through_fetch(tmp_path: Path, server: str) -> None:
    from torchvision.datasets.utils import download_url

    _Server.cut_at, _Server.cut_in = (
        300_000,
        2,
    )  # torchvision follows redirects with a request of its own first
    with pytest.raises(UserError, match="run again to go on"), through_fetch():
        download_url(server, str(tmp_path), "set.tar", MD5)
    assert not (tmp_path / "set.tar").exists()
    with through_fetch():
        download_url(server, str(tmp_path), "set.tar", MD5)
    assert (tmp_path / "set.tar").read_bytes() == CONTENT
    assert _Server.asked[-1] == "bytes=300000-"
    assert download.downloads  # the components have entered theirs
