"""State dicts that others saved: found in a file whatever wraps them, and put under a network's own names."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oodbench.core.errors import UserError, one_line, shown
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
        raise UserError(f"checkpoint {file}: {_why(file, error)}") from None


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


def _why(file: Path, error: Exception) -> str:
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


class Fit(NamedTuple):
    """A state dict under a network's own names, and what is wrong with it: empty where it fits."""

    state: State
    wrong: str
    hits: int
    """Tensors of the network that were found, in its shapes."""


def fitted(state: State, wanted: Mapping[str, Tensor]) -> Fit:
    """A state dict as a network with the tensors `wanted` would hold it: without a prefix that its names
    share (``module.``, ``encoder.``), a body's tensors with or without ``body.``, and one layer of a head's
    shapes as the head. Tensors outside the prefix that the network does not have are left out."""
    prefix = max(_prefixes(state), key=lambda p: (_hits(_named(state, p, wanted), wanted), -len(p)))
    named = _with_head(_named(state, prefix, wanted), wanted)
    # old files lack these counters, and nothing reads them
    named = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")} | named
    outside = {k for k in named if prefix and k in state and k not in wanted}
    if not set(wanted) - set(named):
        named = {k: v for k, v in named.items() if k not in outside}
    return Fit(named, _objection(named, wanted), _hits(named, wanted))


def _prefixes(state: State) -> list[str]:
    """No prefix, and each that some name begins with, shortest first."""
    parts = {"", *(k[: m.end()] for k in state for m in re.finditer(r"\.", k))}
    return sorted(parts, key=len)


def _named(state: State, prefix: str, wanted: Mapping[str, Tensor]) -> State:
    """The tensors without the prefix, those of a body with ``body.``; what lacks the prefix keeps its
    name."""
    named = {k: v for k, v in state.items() if not k.startswith(prefix)}
    named |= {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    return {k if k in wanted or f"body.{k}" not in wanted else f"body.{k}": v for k, v in named.items()}


def _hits(named: State, wanted: Mapping[str, Tensor]) -> int:
    return sum(k in named and named[k].shape == v.shape for k, v in wanted.items())


def _with_head(named: State, wanted: Mapping[str, Tensor]) -> State:
    """With the one layer left over that has a head's shapes as the head."""
    head = {k.removeprefix("head."): v for k, v in wanted.items() if k.startswith("head.")}
    if not head or any(f"head.{k}" in named for k in head):
        return named
    layers = sorted({k.rpartition(".")[0] for k in named if k not in wanted})
    fits = [
        layer
        for layer in layers
        if all(f"{layer}.{k}" in named and named[f"{layer}.{k}"].shape == v.shape for k, v in head.items())
    ]
    if len(fits) != 1:
        return named
    own = {f"{fits[0]}.{k}": f"head.{k}" for k in head}
    return {own.get(k, k): v for k, v in named.items()}


def _objection(named: State, wanted: Mapping[str, Tensor]) -> str:
    missing, unknown = sorted(set(wanted) - set(named)), sorted(set(named) - set(wanted))
    if missing or unknown:
        what = [_of_head(named, wanted, missing, unknown)]
        if not what[0]:
            what = [f"{_some(missing)} missing"] if missing else []
            what += [f"{_some(unknown)} not in the network"] if unknown else []
        return f"{'; '.join(what)}; it should hold the {len(wanted)} tensors of this network"
    for k, v in wanted.items():
        if named[k].shape != v.shape:
            return f"{k!r} has the shape {tuple(named[k].shape)}, the network's has {tuple(v.shape)}"
    broken = [k for k, v in named.items() if not bool(torch.isfinite(v).all())]
    return f"{broken[0]!r} is not finite" if broken else ""


def _of_head(named: State, wanted: Mapping[str, Tensor], missing: list[str], unknown: list[str]) -> str:
    """What is wrong where the body fits and the head alone does not; empty where there is more to it."""
    layers = {k.rpartition(".")[0] for k in unknown}
    weight = wanted.get("head.weight")
    if weight is None or len(layers) != 1 or any(not k.startswith("head.") for k in missing):
        return ""
    layer = layers.pop()
    own = named.get(f"{layer}.weight")
    if own is None or own.ndim != 2 or own.shape[1] != weight.shape[1]:
        return ""
    if own.shape[0] != weight.shape[0]:
        return f"its head {layer!r} gives {own.shape[0]} classes, the network's {weight.shape[0]}"
    return f"its head {layer!r} has no bias" if f"{layer}.bias" not in named else ""


def _some(names: list[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + rest + (" is" if len(names) == 1 else " are")
