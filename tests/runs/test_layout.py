"""Where rows lie in a file of tensors, and their checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from oodbench.runs.layout import layout_in, layout_of, stored_sha256

ROWS = {"b": torch.arange(12, dtype=torch.int64).view(6, 2), "a": torch.rand(6, 3), "c": torch.rand(6) > 0.5}


def test_a_layout_is_read_as_it_was_made(tmp_path: Path) -> None:
    """By the library that owns the format, too, which orders its tensors in its own way."""
    made = layout_of({k: t[:2] for k, t in ROWS.items()}, 6)
    (tmp_path / "x").write_bytes(made.head)
    assert layout_in(tmp_path / "x") == made
    assert made.bytes == len(made.head) + 6 * (2 * 8 + 3 * 4 + 1)
    save_file(ROWS, tmp_path / "y")
    theirs = layout_in(tmp_path / "y")
    assert theirs.n == 6
    assert {k: (p.width, p.dtype, p.shape) for k, p in theirs.places.items()} == {
        k: (p.width, p.dtype, p.shape) for k, p in made.places.items()
    }
    assert theirs.bytes == (tmp_path / "y").stat().st_size


def test_the_checksum_of_rows_is_over_the_sums_of_each_tensors_rows(tmp_path: Path) -> None:
    save_file(ROWS, tmp_path / "y")
    layout = layout_in(tmp_path / "y")
    order = list(layout.places)
    expected = hashlib.sha256(
        b"".join(hashlib.sha256(ROWS[name][2:5].numpy().tobytes()).digest() for name in order)
    ).hexdigest()
    with open(tmp_path / "y", "rb") as f:
        assert stored_sha256(f.fileno(), layout, range(2, 5)) == expected


@pytest.mark.parametrize(
    "content", [b"", b"\x05", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x01" + b"\0" * 7 + b"x"]
)
def test_what_has_no_layout_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        layout_in(tmp_path / "x")
