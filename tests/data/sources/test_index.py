"""Indices of large folders: made once, made again when a file changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources import index, roots
from oodbench.data.sources.index import NotIndexed, index_of, kept
from oodbench.data.sources.listing import Item, Lines


def _files(root: Path, n: int = 20) -> list[Item]:
    root.mkdir(exist_ok=True)
    for i in range(n):
        (root / f"{i}.bin").write_bytes(os.urandom(16))
    return [Item(f"{i}.bin", i % 3, f"list:{i + 1}") for i in range(n)]


def test_lines_hold_any_text() -> None:
    texts = ["a", "", "ä/ß.png", "x" * 1000, os.fsdecode(b"caf\xe9.png"), "a\nb"]
    lines = Lines.of(texts)
    assert list(lines) == texts
    assert lines[-1] == texts[-1]
    assert lines[1:3] == texts[1:3]
    with pytest.raises(IndexError):
        lines[6]
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
    for file in (tmp_path / "cache" / "index").iterdir():
        file.unlink()
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
    items = _files(tmp_path / "set", 300)
    index_of("set", tmp_path / "set", "s", lambda: iter(items))
    looked: list[str] = []
    real = os.stat
    monkeypatch.setattr(index, "ALL_CHECKED", 100)
    monkeypatch.setattr(index, "SOME_CHECKED", 10)
    monkeypatch.setattr(os, "stat", lambda p, *a, **k: (looked.append(str(p)), real(p, *a, **k))[1])
    found = index_of("set", tmp_path / "set", "s", lambda: pytest.fail("listed again"))
    assert len([p for p in looked if p.endswith(".bin")]) == 10
    assert len(found.labels) == 300


def test_how_far_a_kept_index_is_believed_is_a_setting(tmp_path: Path) -> None:
    items = _files(tmp_path / "set")

    def listed() -> Iterator[Item]:
        calls.append(1)
        return iter(items)

    calls: list[int] = []
    with roots.settings(trust="presence"), pytest.raises(NotIndexed, match="has not been read yet"):
        index_of("set", tmp_path / "set", "s", listed)
    assert calls == []
    first = index_of("set", tmp_path / "set", "s", listed)
    with roots.settings(trust="presence"):
        assert index_of("set", tmp_path / "set", "s", listed).digest == first.digest
    assert calls == [1]
    # A file whose content alone has changed, which size and time do not tell.
    file = tmp_path / "set" / items[3].path
    before = file.stat()
    file.write_bytes(bytes(b ^ 1 for b in file.read_bytes()))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert index_of("set", tmp_path / "set", "s", listed).digest == first.digest
    with roots.settings(trust="nothing"):
        assert index_of("set", tmp_path / "set", "s", listed).digest != first.digest
    assert calls == [1, 1]


def test_names_of_any_bytes_are_indexed_and_found_again(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    name = os.fsdecode(b"caf\xe9.bin")
    (tmp_path / "set" / name).write_bytes(b"x")
    calls: list[int] = []

    def listed() -> Iterator[Item]:
        calls.append(1)
        yield Item(name, 0, "list:1")

    first = index_of("set", tmp_path / "set", "s", listed)
    again = index_of("set", tmp_path / "set", "s", listed)
    assert list(again.paths) == list(first.paths) == [name]
    assert calls == [1]
    content = hashlib.sha256(b"x").hexdigest().encode()
    assert first.digest == hashlib.sha256(b"caf\xe9.bin\x000\0" + content + b"\n").hexdigest()
    assert first.contents.tobytes() == hashlib.sha256(b"x").digest()[:16]


def test_what_was_skipped_is_looked_at_again_when_it_comes(tmp_path: Path) -> None:
    items = _files(tmp_path / "set", 4)
    (tmp_path / "set/2.bin").unlink()
    with pytest.warns(UserWarning, match="1 samples skipped"):
        assert len(index_of("set", tmp_path / "set", "s", lambda: iter(items), skip=True).paths) == 3
    with pytest.warns(UserWarning, match="1 samples skipped"):
        index_of("set", tmp_path / "set", "s", lambda: pytest.fail("listed again"), skip=True)
    (tmp_path / "set/2.bin").write_bytes(b"here")
    assert len(index_of("set", tmp_path / "set", "s", lambda: iter(items), skip=True).paths) == 4


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set/pipe")
    (tmp_path / "set/zero").symlink_to("/dev/zero")
    for name, what in (("pipe", "a named pipe"), ("zero", "a device"), ("", "a folder")):
        item = Item(name, 0, "list:7")
        with pytest.raises(UserError, match=f"^list:7: .*{name}: is {what}, no image file$"):
            index_of("set", tmp_path / "set", "s", lambda item=item: iter([item]))  # type: ignore[misc]


def test_what_is_kept_is_read_again_and_made_anew_where_it_is_damaged(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(3)

    assert kept("x", make).tolist() == kept("x", make).tolist() == [0, 1, 2]
    assert made == [1]
    (file,) = (tmp_path / "cache/arrays").iterdir()
    for content in (b"", file.read_bytes()[:-1], b"no array"):
        file.write_bytes(content)
        assert kept("x", make).tolist() == [0, 1, 2]
    assert len(made) == 4


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "file" / "cache"))
    items = _files(tmp_path / "set", 2)
    assert len(index_of("set", tmp_path / "set", "s", lambda: iter(items)).paths) == 2
    assert kept("x", lambda: np.arange(3)).tolist() == [0, 1, 2]
