"""Indices of large folders: made once, made again when a file changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oodbench.data.sources import index, roots
from oodbench.data.sources.index import Item, Lines, NotIndexed, index_of


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
    items = _files(tmp_path / "set", 300)
    index_of("set", tmp_path / "set", "s", lambda: iter(items))
    looked: list[str] = []
    real = os.stat
    monkeypatch.setattr(index, "ALL_CHECKED", 100)
    monkeypatch.setattr(index, "SOME_CHECKED", 10)
    monkeypatch.setattr(index.os, "stat", lambda p, *a, **k: (looked.append(str(p)), real(p, *a, **k))[1])
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
