"""Files of arrays: read whole, refused in one line, and no number changed on the way."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from oodbench.core.errors import NotFinite, UserError
from oodbench.training.methods.array_files import as_int64, finite_float32, read_arrays, real


def test_arrays_of_both_forms_are_tensors(tmp_path: Path) -> None:
    held = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(3, dtype="u2"), "c": np.float32(2)}
    np.savez(tmp_path / "x.npz", **held)
    save_file({k: torch.from_numpy(np.asarray(v)) for k, v in held.items()}, tmp_path / "x.safetensors")
    for file in (tmp_path / "x.npz", tmp_path / "x.safetensors"):
        found = read_arrays(file, lambda key: key != "b")
        assert found["b"] is None
        assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert found["c"].shape == ()


@pytest.mark.parametrize(
    "kind", ["<f2", ">f2", ">f4", ">f8", "g", "<i2", ">i2", ">u2", "u4", "u8", ">i8", "i1", "u1"]
)
def test_any_order_of_bytes_and_any_width(kind: str, tmp_path: Path) -> None:
    values = np.array([[0, 1, 2], [3, 4, 100]])
    np.savez(tmp_path / "x.npz", a=values.astype(kind), turned=values.astype(kind).T)
    found = read_arrays(tmp_path / "x.npz", lambda key: True)
    assert found["a"].tolist() == values.tolist()
    assert found["turned"].tolist() == values.T.tolist()


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", o=np.array([{}]), s=np.array(["ab"]), d=np.array(["2020"], "M8[Y]"))
    found = read_arrays(tmp_path / "x.npz", lambda key: True)
    assert found == {"o": "Python objects", "s": "<U2", "d": "datetime64[Y]"}
    for value, said in (
        ("<U2", "<U2"),
        (torch.ones(1, dtype=torch.bool), "bool"),
        (torch.ones(1) + 0j, "complex64"),
    ):
        with pytest.raises(ValueError, match=f"^a should be real numbers, got {said}$"):
            real("a", value)


def _safetensors(kind: str, shape: list[int], names: int = 1) -> bytes:
    """A file of 24 bytes of zeros under one name, or under it several times."""
    one = '"logits":' + json.dumps({"dtype": kind, "shape": shape, "data_offsets": [0, 24]})
    header = ("{" + ",".join([one] * names) + "}").encode()
    return struct.pack("<Q", len(header)) + header + bytes(24)


def test_a_name_stands_once(tmp_path: Path) -> None:
    """NumPy and safetensors would keep the last one without a word."""
    (tmp_path / "x.safetensors").write_bytes(_safetensors("F32", [2, 3], names=2))
    with pytest.raises(UserError, match=r"x.safetensors: 'logits' stands in it twice$"):
        read_arrays(tmp_path / "x.safetensors", lambda key: True)


def _read(file: Path, kind: str, shape: list[int]) -> torch.Tensor:
    file.write_bytes(_safetensors(kind, shape))
    return finite_float32("logits", real("logits", read_arrays(file, lambda key: True)["logits"]))


@pytest.mark.parametrize(("kind", "shape"), [("F8_E5M2", [8, 3]), ("U16", [4, 3]), ("BF16", [4, 3])])
def test_types_that_numpy_lacks_are_read(kind: str, shape: list[int], tmp_path: Path) -> None:
    assert _read(tmp_path / "x.safetensors", kind, shape).tolist() == np.zeros(shape).tolist()


@pytest.mark.parametrize(("kind", "shape"), [("C64", [1, 3]), ("F4", [16, 3]), ("BOOL", [8, 3])])
def test_types_that_are_no_real_numbers_are_named(kind: str, shape: list[int], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        _read(tmp_path / "x.safetensors", kind, shape)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for name, content in (("x.npz", b""), ("y.npz", b"\x80\x04N."), ("z.safetensors", b"12345678{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"^outputs .*{name}: cannot be read \([^\n]+\)$") as caught:
            read_arrays(tmp_path / name, lambda key: True)
        assert "allow_pickle" not in str(caught.value)


def test_float32_holds_what_it_can() -> None:
    assert finite_float32("a", torch.tensor([1, 2])).dtype == torch.float32
    assert finite_float32("a", torch.tensor([1e38, 3e38], dtype=torch.float64)).tolist()[1] == pytest.approx(
        3e38
    )
    assert finite_float32("a", torch.full((5,), 3e38)).shape == (5,)  # the sum alone is beyond
    with pytest.raises(ValueError, match=r"^a hold values beyond float32 \(3.4e\+38\), up to 1e\+39$"):
        finite_float32("a", torch.tensor([1.0, -1e39], dtype=torch.float64))
    with pytest.raises(NotFinite, match=r"^a are not all finite \(2 of 3 rows\)$"):
        finite_float32("a", torch.tensor([[1.0, torch.nan], [0, 0], [torch.inf, -torch.inf]]))


def test_whole_numbers_are_whole() -> None:
    assert as_int64("a", torch.tensor([1.0, -2.0])).tolist() == [1, -2]
    assert as_int64("a", torch.tensor([1, 2], dtype=torch.uint8)).dtype == torch.int64
    for bad, said in ((0.5, "0.5"), (torch.nan, "nan"), (torch.inf, "inf")):
        with pytest.raises(ValueError, match=f"^a should be whole numbers, got {said}$"):
            as_int64("a", torch.tensor([0.0, bad]))
