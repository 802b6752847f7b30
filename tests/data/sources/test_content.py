"""What a file holds, told by all of its bytes or by a few of them."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodbench.core.errors import UserError
from oodbench.data.sources.content import PIECE, Budget, hashes_of, mark, marks_of, read_content


def by_hand(data: bytes) -> bytes:
    if len(data) <= 12288:
        return hashlib.sha256(data).digest()[:16]
    middle = (len(data) - 4096) // 2
    pieces = data[:4096] + data[middle : middle + 4096] + data[-4096:]
    return hashlib.sha256(str(len(data)).encode() + b"\0" + pieces).digest()[:16]


@pytest.mark.parametrize("size", [0, 1, 4096, 12287, 12288, 12289, 50_000, 200_001])
def test_a_mark_is_of_the_size_and_three_pieces(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    read = read_content(str(tmp_path / "x"), Budget(-1))
    assert read.mark == mark(data) == by_hand(data)
    assert read.sha256 == ""
    assert (read.size, read.time) == (size, (tmp_path / "x").stat().st_mtime_ns)
    assert read_content(str(tmp_path / "x"), Budget(size)).sha256 == hashlib.sha256(data).hexdigest()
    assert marks_of(tmp_path, ["x"]).tobytes() == by_hand(data)
    assert hashes_of(tmp_path, ["x"]).tobytes() == hashlib.sha256(data).digest()[:16]


def test_of_a_large_file_three_pieces_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(os.urandom(10**6))
    opened, read = [], []
    real_open, real_pread = os.open, os.pread
    monkeypatch.setattr(os, "open", lambda *a: (opened.append(a[0]), real_open(*a))[1])
    monkeypatch.setattr(os, "pread", lambda fd, n, at: (read.append(n), real_pread(fd, n, at))[1])
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("read on"))
    read_content(str(tmp_path / "x"), Budget(0))
    assert len(opened) == 1
    assert read == [PIECE] * 3


@pytest.mark.parametrize(("format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_an_image_that_is_painted_in_has_another_mark(format: str, suffix: str) -> None:
    """One pixel's worth in the middle of photographs of several kilobytes, encoded as usual."""
    import skimage.data

    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        pixels = getattr(skimage.data, name)()
        other = pixels.copy()
        h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
        other[h : h + 4, w : w + 4] = 255 - other[h : h + 4, w : w + 4]
        files = []
        for p in (pixels, other):
            file = io.BytesIO()
            Image.fromarray(p).save(file, format)
            files.append(file.getvalue())
        assert len(files[0]) > 3 * PIECE
        assert mark(files[0]) != mark(files[1]), (name, suffix)


def test_a_budget_is_of_all_files_together() -> None:
    budget = Budget(10)
    assert [budget.takes(n) for n in (4, 6, 0, 1, 0)] == [True, True, True, False, False]
    assert budget.total == 11


def test_many_are_read_in_their_order(tmp_path: Path) -> None:
    names = [f"{i}" for i in range(5)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 10_000)
    found = hashes_of(tmp_path, names)
    assert found.dtype == np.dtype("S16")
    expected = [hashlib.sha256(n.encode() * 10_000).digest()[:16].rstrip(b"\0") for n in names]
    assert found.tolist() == expected
    assert hashes_of(tmp_path, []).shape == (0,)


def test_a_file_that_is_gone_is_told_and_equals_no_other(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for read in (hashes_of, marks_of):
        with pytest.raises(UserError, match=r"no such file: .*gone$"):
            read(tmp_path, ["x", "gone"])
