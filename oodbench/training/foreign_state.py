"""State dicts that others saved: found in a file whatever wraps them, and put under a network's own names."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oodbench.core.errors import UserError, one_line
from oodbench.core.files import readable

State = dict[str, Tensor]

_DEPTH = 4
"""Mappings inside mappings that are looked into: a trainer's, a model's, a state dict's, and one to spare."""


def state_dicts(file: Path) -> dict[str, State]:
    """Every mapping {name: tensor} in a file of torch or safetensors, by the keys that lead to it ("" for the
    whole file); what else stands in it is left out. Nothing in the file is executed.

    Raises UserError in one line where it cannot be read, or holds none."""
    loaded = _loaded(file)
    found = dict(_mappings(loaded, ""))
    if not found:
        raise UserError(f"checkpoint {file}: holds no tensors by name, but {_contents(loaded)}")
    return found


def _loaded(file: Path) -> Any:
    try:
        with open(readable(file), "rb") as opened:
            start = opened.read(512)
    except OSError as error:
        what = (
            "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        raise UserError(f"checkpoint {file}: {what}") from None
    wrong = _no_checkpoint(start)
    if wrong:
        raise UserError(f"checkpoint {file}: {wrong}")
    try:
        if start[8:9] == b"{":
            from safetensors.torch import load_file

            return load_file(file)
        # opened, since torch would guess the format from the name
        with torch.serialization.safe_globals(_numpy_scalars()), open(file, "rb") as opened:
            return torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"checkpoint {file}: {why_unread(file, error)}") from None


def _no_checkpoint(start: bytes) -> str:
    """What a file is that only looks like a checkpoint, by its first bytes; empty where it may be one."""
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself; `git lfs pull` fetches that"
    if start.lstrip().startswith(b"<"):
        return "is a web page, not a checkpoint; download the file itself"
    return ""


def _numpy_scalars() -> list[Any]:
    """What numbers and arrays of numpy are pickled with, under the names of either major version."""
    import numpy as np

    scalar, rebuild = np.float64(0).__reduce__()[0], np.empty(0).__reduce__()[0]
    kinds = [type(np.dtype(k)) for k in "?bBhHiIlLqQefdFDSUmM"]
    old: list[Any] = [
        (f, f"numpy.core.multiarray.{n}") for f, n in ((scalar, "scalar"), (rebuild, "_reconstruct"))
    ]
    return [scalar, rebuild, np.ndarray, np.dtype, *kinds, *old]


def why_unread(file: Path, error: Exception) -> str:
    """Why a file could not be read, in our words: theirs tell a developer to read it unsafely."""
    if "TorchScript" in str(error):
        return "is a TorchScript archive; save the `state_dict()` of the module instead"
    objects: list[str] = []
    with contextlib.suppress(Exception):
        objects = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    objects = objects or re.findall(r"GLOBAL ([\w.]+)", str(error))[:1]
    if objects:
        return (
            f"holds Python objects besides tensors ({one_line(', '.join(objects), 100)}), which are not"
            " loaded; save the `state_dict()` alone"
        )
    if isinstance(error, (pickle.UnpicklingError, EOFError)):
        return "is no checkpoint of torch or safetensors, or damaged"
    return f"is no checkpoint of torch or safetensors, or damaged ({one_line(error, 100)})"


def _mappings(value: Any, place: str) -> Iterator[tuple[str, State]]:
    if not isinstance(value, Mapping) or place.count("\0") > _DEPTH:
        return
    tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield place.replace("\0", "."), tensors
    for key, inner in value.items():
        if isinstance(key, str):
            yield from _mappings(inner, f"{place}\0{key}" if place else key)


def _contents(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return f"a value of type {type(loaded).__name__}"
    return one_line(", ".join(f"{k} ({type(v).__name__})" for k, v in loaded.items()), 200) or "nothing"
