"""Lists of files that are together large: told by a few bytes of each, and by all where it counts."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.data import duplicates
from oodbench.data.duplicates import in_common
from oodbench.data.samples import Joined, Subset, TensorSamples
from oodbench.data.sources import content, files, index, listing, roots
from oodbench.data.sources.files import FileSamples, folder
from oodbench.data.sources.index import index_of
from oodbench.data.sources.listing import Index, Item

N, SIZE = 12, 20_000


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 240 kB are together large."""
    for module in (content, listing, index):
        monkeypatch.setattr(module, "WHOLE", 200_000)


def write(root: Path, n: int = N, seed: int = 0) -> list[Item]:
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    for i in range(n):
        (root / f"{i}.jpg").write_bytes(rng.bytes(SIZE))
    return [Item(f"{i}.jpg", i % 3, f"list:{i + 1}") for i in range(n)]


def listed(root: Path, items: list[Item], stamp: str = "s") -> Index:
    return index_of("set", root, stamp, lambda: iter(items))


def flip(file: Path, at: int, keep_time: bool = True) -> None:
    seen, data = file.stat(), bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    if keep_time:
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.usefixtures("large")
def test_a_large_list_is_told_by_size_and_pieces(tmp_path: Path) -> None:
    items = write(tmp_path / "a")
    found = listed(tmp_path / "a", items)
    expected = hashlib.sha256(b"brief\n")
    for i in items:
        data = (tmp_path / "a" / i.path).read_bytes()
        expected.update(f"{i.path}\0{i.label}\0{SIZE}\0{content.mark(data).hex()}\n".encode())
    assert found.brief
    assert found.digest == expected.hexdigest()
    assert found.hashes is None
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert listed(tmp_path / "b", items).digest == found.digest, "wherever it lies"
    for change in (
        lambda: items.__setitem__(3, items[3]._replace(label=9)),
        lambda: flip(tmp_path / "b/5.jpg", 17),
        lambda: flip(tmp_path / "b/5.jpg", SIZE // 2),
        lambda: flip(tmp_path / "b/5.jpg", SIZE - 17),
        lambda: (tmp_path / "b/6.jpg").write_bytes((tmp_path / "b/6.jpg").read_bytes() + b"x"),
        lambda: items.__setitem__(0, items[0]._replace(path="1.jpg")),
    ):
        before = listed(tmp_path / "b", items, "u" * len(os.listdir(tmp_path / "cache/index"))).digest
        change()
        again = listed(tmp_path / "b", items, "v" * len(os.listdir(tmp_path / "cache/index"))).digest
        assert again != before


def every_byte(root: Path, items: Sequence[Item]) -> str:
    """The digest of a set that is read whole, as it always was."""
    found = hashlib.sha256()
    for i in items:
        sha = hashlib.sha256((root / i.path).read_bytes()).hexdigest()
        found.update(f"{i.path}\0{i.label}\0{sha}\n".encode())
    return found.hexdigest()


def test_a_small_list_is_told_by_every_byte_as_ever(tmp_path: Path) -> None:
    items = write(tmp_path / "a")
    found, expected = listed(tmp_path / "a", items), every_byte(tmp_path / "a", items)
    assert (found.digest, found.brief) == (expected, False)
    with roots.settings(trust="nothing", whole=True):
        assert listed(tmp_path / "a", items).digest == expected


@pytest.mark.parametrize("limit", [N * SIZE - 1, N * SIZE])
def test_the_limit_is_of_all_files_whatever_order_they_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for module in (content, listing, index):
        monkeypatch.setattr(module, "WHOLE", limit)
    items = write(tmp_path / "a")
    assert {listed(tmp_path / "a", o, f"{i}").brief for i, o in enumerate((items, items[::-1]))} == {
        limit < N * SIZE
    }


@pytest.mark.usefixtures("large")
def test_the_rest_of_a_large_list_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, read = write(tmp_path / "a", 60), []
    monkeypatch.setattr(listing, "THREADS", 1)
    real, real_at = os.read, os.pread
    monkeypatch.setattr(os, "read", lambda fd, n: (d := real(fd, n), read.append(len(d)))[0])
    monkeypatch.setattr(os, "pread", lambda fd, n, at: (d := real_at(fd, n, at), read.append(len(d)))[0])
    listed(tmp_path / "a", items)
    assert sum(read) <= 200_000 + 60 * 3 * content.PIECE


@pytest.mark.usefixtures("large")
def test_every_byte_is_read_by_who_is_told_to(tmp_path: Path) -> None:
    """Paranoid, the digest is the same; a byte that no piece shows is found against what was read before."""
    items = write(tmp_path / "a")
    usual = listed(tmp_path / "a", items)
    with roots.settings(trust="nothing"):
        read = listed(tmp_path / "a", items)
        assert read.digest == usual.digest
        assert read.hashes is not None
        assert listed(tmp_path / "a", items).digest == usual.digest
    flip(tmp_path / "a/7.jpg", 6000)
    assert listed(tmp_path / "a", items).digest == usual.digest
    with (
        roots.settings(trust="nothing"),
        pytest.raises(UserError, match=r"7\.jpg: is not what it was") as said,
    ):
        listed(tmp_path / "a", items)
    assert "\n" not in str(said.value)
    flip(tmp_path / "a/7.jpg", 6000)
    with roots.settings(trust="nothing"):
        assert listed(tmp_path / "a", items).digest == usual.digest
    flip(tmp_path / "a/7.jpg", 5, keep_time=False)
    with roots.settings(trust="nothing"):
        assert listed(tmp_path / "a", items).digest != usual.digest, "what a digest tells is not refused"


@pytest.mark.usefixtures("large")
def test_verification_is_by_every_byte_as_that_of_small_sets(tmp_path: Path) -> None:
    items = write(tmp_path / "a")
    usual, every = listed(tmp_path / "a", items), every_byte(tmp_path / "a", items)
    with roots.settings(trust="nothing", whole=True):
        assert listed(tmp_path / "a", items).digest == every
    assert listed(tmp_path / "a", items).digest == usual.digest
    flip(tmp_path / "a/7.jpg", 6000)
    with roots.settings(trust="nothing", whole=True):
        assert listed(tmp_path / "a", items).digest != every


@pytest.mark.usefixtures("large")
def test_what_every_byte_said_outlives_a_start_that_saw_other_times(tmp_path: Path) -> None:
    """A change in the middle, then a usual run, then one that trusts nothing."""
    items = write(tmp_path / "a")
    with roots.settings(trust="nothing"):
        usual = listed(tmp_path / "a", items)
    flip(tmp_path / "a/7.jpg", 6000)
    os.utime(tmp_path / "a/7.jpg", ns=(1, 1))
    assert listed(tmp_path / "a", items).digest == usual.digest
    with roots.settings(trust="nothing"), pytest.raises(UserError, match=r"7\.jpg: is not what it was"):
        listed(tmp_path / "a", items)
    flip(tmp_path / "a/7.jpg", 100, keep_time=False)  # this is seen: another set
    assert listed(tmp_path / "a", items).digest != usual.digest
    with roots.settings(trust="nothing"):
        listed(tmp_path / "a", items)


def test_an_index_of_a_large_set_of_before_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = write(tmp_path / "a")
    old = listed(tmp_path / "a", items)
    for module in (content, listing, index):
        monkeypatch.setattr(module, "WHOLE", 200_000)
    new = listed(tmp_path / "a", items)
    assert (old.brief, new.brief) == (False, True)
    assert listed(tmp_path / "a", items).digest == new.digest


@pytest.mark.usefixtures("large")
def test_what_is_no_file_is_said_as_ever(tmp_path: Path) -> None:
    items = write(tmp_path / "a")
    (tmp_path / "a/11.jpg").unlink()
    with pytest.raises(UserError, match=r"^list:12: no such file: "):
        listed(tmp_path / "a", items)
    with pytest.warns(UserWarning, match="1 samples skipped, the first: list:12: no such file"):
        found = index_of("set", tmp_path / "a", "s", lambda: iter(items), skip=True)
    assert (len(found.paths), found.brief) == (11, True)


def test_a_long_list_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, said = write(tmp_path / "a"), list[str]()
    monkeypatch.setattr(listing, "TOLD_EVERY", -1.0)
    with roots.settings(watch=said.append):
        listed(tmp_path / "a", items)
    assert said == [f"data set 'set': 12 files listed in {tmp_path / 'a'}"]
    said.clear()
    with roots.settings(watch=said.append):
        listed(tmp_path / "a", items)
    assert said == []


# ---------------------------------------------------------------- images in two sets


def sets(root: Path, monkeypatch: pytest.MonkeyPatch, *, brief: tuple[bool, bool]) -> list[FileSamples]:
    """Two folders of image files that share three files; of each it is said whether it is large."""
    write(root / "a")
    write(root / "b", 8, seed=1)
    for i in (1, 4, 9):
        shutil.copy(root / f"a/{i}.jpg", root / f"b/copy{i}.jpg")
    made = []
    for name, large in zip("ab", brief, strict=True):
        for module in (content, listing, index):
            monkeypatch.setattr(module, "WHOLE", 100 if large else 10**9)
        made.append(folder(name, root / name, flat=True))
        assert made[-1].brief == large
    monkeypatch.setattr(duplicates, "DECODED", 2)
    monkeypatch.setattr(files, "decode", lambda *_: pytest.fail("decoded"))
    return made


@pytest.mark.parametrize("brief", [(False, False), (True, False), (False, True), (True, True)])
def test_shared_files_are_found_between_sets_of_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief: tuple[bool, bool]
) -> None:
    a, b = sets(tmp_path, monkeypatch, brief=brief)
    g = Geometry((3, 8, 8))
    shared = [name.startswith("copy") for name in b.paths]
    assert sum(shared) == 3
    assert in_common(a, b, g).tolist() == shared
    assert [a.paths[i] for i in np.flatnonzero(in_common(b, a, g))] == ["1.jpg", "4.jpg", "9.jpg"]
    last = torch.arange(len(b) - 1, -1, -1)
    assert in_common(a, Subset(b, last), g).tolist() == shared[::-1]
    assert in_common(Joined([Subset(b, last), a]), a, g).all()
    both = in_common(a, Joined([b, Subset(a, torch.tensor([3]))]), g)
    assert both.tolist() == [*shared, True]
    assert in_common(Subset(a, torch.tensor([1, 2])), b, g).tolist() == [n == "copy1.jpg" for n in b.paths]
    assert not in_common(a, TensorSamples(torch.zeros(1, 3, 8, 8), torch.zeros(1)), g).any()


@pytest.mark.parametrize("brief", [(True, False), (False, True), (True, True)])
def test_files_that_agree_in_size_and_pieces_alone_are_not_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief: tuple[bool, bool]
) -> None:
    """As uncompressed pictures with a border may. They alone are read whole."""
    a, b = sets(tmp_path, monkeypatch, brief=brief)
    flip(tmp_path / "b/copy4.jpg", 6000)
    if not brief[1]:
        b = folder("b again", tmp_path / "b", flat=True)
    read: list[str] = []

    def counted(root: Path, paths: list[str]) -> np.ndarray:
        read.extend(f"{root.name}/{p}" for p in paths)
        return content.hashes_of(root, paths)

    monkeypatch.setattr(files, "hashes_of", counted)
    found = in_common(a, b, Geometry((3, 8, 8)))
    assert [b.paths[i] for i in np.flatnonzero(found)] == ["copy1.jpg", "copy9.jpg"]
    assert {r.split("/")[1] for r in read} <= {f"{k}{i}.jpg" for k in ("", "copy") for i in (1, 4, 9)}


def test_every_hash_of_a_large_set_is_known_once_all_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: Iterator[None]
) -> None:
    write(tmp_path / "a")
    with roots.settings(trust="nothing"):
        a = folder("a", tmp_path / "a", flat=True)
    expected = [hashlib.sha256((tmp_path / "a" / p).read_bytes()).digest()[:16] for p in a.paths]
    monkeypatch.setattr(files, "hashes_of", lambda *_: pytest.fail("read"))
    assert [h.ljust(16, b"\0") for h in a.file_hashes().tolist()] == expected
    assert a.file_hashes(np.array([3]))[0].ljust(16, b"\0") == expected[3]
    again = folder("a", tmp_path / "a", flat=True)
    assert again.file_hashes().tolist() == a.file_hashes().tolist()
