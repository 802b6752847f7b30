"""Rows of tensors written to one file as they come."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from oodbench.runs.tensor_file import RowWriter


@contextmanager
def writing(path: Path, n: int) -> Iterator[RowWriter]:
    writer = RowWriter(path, n)
    try:
        yield writer
        writer.finish()
    finally:
        writer.close()


def parts(tensors: Mapping[str, Tensor], *ends: int) -> Iterator[dict[str, Tensor]]:
    for start, end in zip((0, *ends), ends, strict=False):
        yield {name: t[start:end] for name, t in tensors.items()}


def test_rows_written_in_batches_equal_one_tensor(tmp_path: Path) -> None:
    """As the library that owns the format reads them, whatever types and shapes stand side by side."""
    tensors = {
        "bits": torch.rand(10, 3) > 0.5,
        "pixels": torch.arange(10, dtype=torch.uint8),
        "half": torch.randn(10, 5).half(),
        "features": torch.randn(10, 3, 2),
        "labels": torch.arange(10),
        "scores": torch.randn(10, dtype=torch.float64),
    }
    with writing(tmp_path / "x", 10) as writer:
        for batch in parts(tensors, 4, 8, 10):
            writer.put(batch)
    read = load_file(tmp_path / "x")
    assert set(read) == set(tensors)
    for name, t in tensors.items():
        assert read[name].dtype == t.dtype
        assert torch.equal(read[name], t), name


def test_every_tensor_starts_at_a_multiple_of_its_element(tmp_path: Path) -> None:
    """So that it can be mapped into memory: 8 bytes of length, the header, then the data."""
    with writing(tmp_path / "x", 3) as writer:
        writer.put({"a": torch.zeros(3, dtype=torch.uint8), "b": torch.zeros(3, dtype=torch.float64)})
    raw = (tmp_path / "x").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    assert length % 8 == 0
    assert raw[8 : 8 + length].index(b'"b"') < raw[8 : 8 + length].index(b'"a"'), "the widest first"
    assert len(raw) == 8 + length + 3 * 8 + 3


@pytest.mark.parametrize("rows", [3, 9])
def test_a_wrong_number_of_rows_is_refused(tmp_path: Path, rows: int) -> None:
    with pytest.raises(ValueError, match=f"{rows} rows were written where 6 were announced"):  # noqa: SIM117
        with writing(tmp_path / "x", 6) as writer:
            writer.put({"x": torch.zeros(rows, 2)})


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with writing(tmp_path / "x", 4) as writer:
        writer.put({"x": torch.zeros(2, 3)})
        with pytest.raises(ValueError, match=r"x: rows of \(4,\), torch.float32 do not fit"):
            writer.put({"x": torch.zeros(2, 4)})
        with pytest.raises(ValueError, match=r"x: rows of \(3,\), torch.float64 do not fit"):
            writer.put({"x": torch.ones(2, 3, dtype=torch.float64)})  # else 0, 0.7 would become 0, 0
        writer.put({"x": torch.ones(2, 3)})
    assert load_file(tmp_path / "x")["x"].tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2
    writer = RowWriter(tmp_path / "y", 1)
    with pytest.raises(ValueError, match=r"x: dtype torch\.complex64 cannot be stored"):
        writer.put({"x": torch.zeros(1, dtype=torch.complex64)})
    writer.close()


def test_a_system_that_writes_a_part_at_a_time_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may, without an error, where the disk is nearly full."""
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[: max(1, len(data) // 3)], at))
    x = torch.randn(7, 5)
    writer = RowWriter(tmp_path / "x.safetensors", 7)
    writer.put({"x": x[:4]})
    writer.put({"x": x[4:]})
    writer.finish()
    writer.close()
    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], x)
