"""Files of named arrays (.npz, .safetensors) as tensors, or in one line why they are none."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oodbench.core.errors import BadValue, NotFinite, UserError, one_line, shown
from oodbench.core.files import readable
from oodbench.core.outputs import as_float32

SUFFIXES = (".npz", ".safetensors")


def read_arrays(file: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Every array of a file by its name: a Tensor, or where it is none a text that says what it is; None, and
    not read, where it is not `wanted`.

    Raises UserError, one line, where the file cannot be read or holds a name twice."""
    try:
        readable(file)
        return dict(_safetensors(file, wanted) if file.suffix == ".safetensors" else _npz(file, wanted))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"outputs {file}: cannot be read ({one_line(error)})") from None


def _safetensors(file: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    import safetensors

    with safetensors.safe_open(file, framework="pt") as f:
        with open(file, "rb") as header:  # whose reader would keep the last of two of one name
            size = int.from_bytes(header.read(8), "little")
            _once(file, [key for key, _ in json.loads(header.read(size), object_pairs_hook=list)])
        for key in f.keys():  # noqa: SIM118
            yield key, f.get_tensor(key) if wanted(key) else None


def _npz(file: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    if not zipfile.is_zipfile(file):
        raise UserError(f"outputs {file}: cannot be read (it is no .npz archive; numpy.savez writes one)")
    with np.load(file, allow_pickle=False) as data:
        _once(file, data.files)
        for key in data.files:
            yield key, _of_numpy(data, key) if wanted(key) else None


def _once(file: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"outputs {file}: {shown(twice[0])} stands in it twice")


def _of_numpy(data: Any, key: str) -> Any:
    """One array of an archive as a tensor, or what it is instead of numbers."""
    try:
        array = data[key]
    except ValueError as error:
        if "allow_pickle" in str(error):
            return "Python objects"
        raise
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiubc":
        return str(array.dtype) if isinstance(array, np.ndarray) else "no array"
    kind = {"f": np.float64 if array.dtype.itemsize > 8 else None, "u": np.int64}.get(array.dtype.kind)
    # in the machine's byte order, contiguous, of a type that torch works with
    return torch.from_numpy(np.asarray(array, kind or array.dtype.newbyteorder("="), order="C"))


def real(key: str, value: Any) -> Tensor:
    """An array of real numbers; ValueError where it is of another kind."""
    if isinstance(value, Tensor) and not value.is_complex() and value.dtype != torch.bool:
        with contextlib.suppress(RuntimeError):  # of a type that PyTorch stores and cannot work with
            value.reshape(-1)[:1].float()
            return value
    got = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else value
    raise BadValue(f"{key} should be real numbers, got {got}")


def finite_float32(key: str, value: Tensor) -> Tensor:
    """Real numbers (N, ...) as float32. Raises ValueError where that cannot hold them, NotFinite where some
    are NaN or infinite."""
    wide = as_float32(key, value)
    if not bool(torch.isfinite(wide.sum())):  # one cheap pass: a sum is finite only where every value is
        bad = int((~torch.isfinite(wide)).reshape(len(wide), -1).any(dim=1).sum())
        if bad:
            raise NotFinite(f"{key} are not all finite ({bad} of {len(wide)} rows)")
    return wide


def as_int64(key: str, value: Tensor) -> Tensor:
    """Integers as int64; floating-point numbers are taken where each is whole. Raises ValueError for
    others."""
    if value.is_floating_point():
        wide = value.double()
        wrong = wide[~torch.isfinite(wide) | (wide != wide.round())]
        if len(wrong):
            raise BadValue(f"{key} should be whole numbers, got {float(wrong[0]):g}")
    return value.to(torch.int64)
