"""No training: outputs that were computed elsewhere, read from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oodbench.core.errors import BadValue, MissingData, NotFinite, UserError, one_line
from oodbench.core.identity import file_sha256, fingerprint
from oodbench.core.method import Method
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.registry import method
from oodbench.training.methods.array_files import SUFFIXES, as_int64, finite_float32, read_arrays, real


@method("outputs", source="oodbench's own")
class ReadyOutputs(Method):
    """A user's arrays: no network, no training. `folder` holds `<set>.npz` or `<set>.safetensors` for test
    and each OOD set, and train and val for scorers that fit.

    Each file has `logits` (N, C), and optionally `features` (N, D), `labels` (N,) from 0 to C - 1 (which ID
    sets need), `head.weight` (C, D) and `head.bias` (C,), with logits = features @ head.weight.T + head.bias,
    and `extras.<name>` (N, ...); the head may also stand alone in `head.npz` or `head.safetensors`, as
    `weight` and `bias`. Numbers of any real type become float32, labels of any integer type int64. What the
    files hold is the identity, not where they are."""

    provides = "outputs"

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder

    def _file(self, name: str) -> Path | None:
        found = [f for s in SUFFIXES if (f := self.folder / f"{name}{s}").is_file()]
        if len(found) > 1:
            raise UserError(
                f"outputs {self.folder}: {name}.npz and {name}.safetensors are both there; keep one"
            )
        return found[0] if found else None

    def _found(self, name: str) -> Path:
        file = self._file(name)
        if file is None:
            files = self.folder.glob("*") if self.folder.is_dir() else ()
            there = sorted(f.stem for f in files if f.suffix in SUFFIXES and f.is_file())
            raise MissingData(
                f"outputs {self.folder}: no {name}.npz or {name}.safetensors; there: {_listed(there)}"
            )
        return file

    def digest(self, name: str) -> str:
        head = self._file("head")
        return fingerprint([file_sha256(self._found(name)), file_sha256(head) if head else None])

    def outputs(self, name: str) -> Outputs:
        """The outputs of a set. Raises UserError, one line with the file, where it does not hold what it
        should; NotFinite where all that is wrong is that some values are not finite."""
        file = self._found(name)
        arrays = read_arrays(file, _ours)
        if "logits" not in arrays:
            raise UserError(f"outputs {file}: 'logits' is missing; there: {_listed(sorted(arrays))}")
        try:
            return self._outputs(name, arrays)
        except BadValue as error:
            raise type(error)(f"outputs {file}: {error}") from None

    def _outputs(self, name: str, arrays: dict[str, Any]) -> Outputs:
        given = {key: real(key, value) for key, value in arrays.items() if _ours(key)}
        logits, features, labels = given["logits"], given.get("features"), given.get("labels")
        known = None if labels is None else as_int64("labels", labels.reshape(-1))
        extras = {k: v for k, v in given.items() if k.startswith(_EXTRAS)}
        wrong = _wrong_shapes(logits, features, labels) or _wrong_labels(known, logits, name in _ID)
        wrong = wrong or _wrong_extras(extras, len(logits))
        if wrong:
            raise BadValue(wrong)
        head = None if features is None else self._head(given, (logits.shape[1], features.shape[1]))
        values, not_finite = {}, []
        for key, value in {"logits": logits, "features": features, **extras}.items():
            if value is not None:
                try:
                    values[key] = finite_float32(key, value)
                except NotFinite as error:  # said last: all else that is wrong matters more
                    not_finite.append(str(error))
        if not_finite:
            raise NotFinite("; ".join(not_finite))
        extras = {k.removeprefix(_EXTRAS): values[k] for k in extras}
        return Outputs(values["logits"], values.get("features"), known, head, extras)

    def _head(self, given: Mapping[str, Tensor], due: tuple[int, int]) -> Head | None:
        """The head among a set's arrays, or the one that stands alone, which must be the same; None where
        there is none."""
        file = self._file("head")
        alone = None if file is None else _lone_head(file, due)
        if "head.weight" not in given:
            if "head.bias" in given:
                raise BadValue("head.bias stands without head.weight")
            return alone
        own = _head_of(given["head.weight"], given.get("head.bias"), due)
        if file is not None and alone is not None and not all(map(torch.equal, own, alone)):
            raise BadValue(f"the head is another one than in {file.name}; keep one")
        return own


_ID = ("train", "val", "test")
_EXTRAS = "extras."


def _ours(key: str) -> bool:
    return key in ("logits", "features", "labels", "head.weight", "head.bias") or key.startswith(_EXTRAS)


def _listed(names: Sequence[str]) -> str:
    return one_line(", ".join(names) or "nothing")


def _lone_head(file: Path, due: tuple[int, int]) -> Head:
    """The head of a file that holds nothing else."""
    found = read_arrays(file, lambda key: key.removeprefix("head.") in ("weight", "bias"))
    given = {key.removeprefix("head."): value for key, value in found.items() if value is not None}
    if "weight" not in given:
        raise UserError(f"outputs {file}: 'weight' is missing; there: {_listed(sorted(found))}")
    try:
        return _head_of(given["weight"], given.get("bias"), due)
    except BadValue as error:
        raise UserError(f"outputs {file}: {error}") from None


def _head_of(weight: Any, bias: Any, due: tuple[int, int]) -> Head:
    """A head of the shapes that logits and features ask for; a missing bias is zero."""
    made = []
    bias = torch.zeros(due[0]) if bias is None else bias
    for key, value, shape in (("head.weight", weight, due), ("head.bias", bias, due[:1])):
        value = real(key, value)
        if value.shape != shape:
            raise BadValue(f"{key} should have the shape {shape}, got {tuple(value.shape)}")
        try:
            made.append(finite_float32(key, value))
        except NotFinite as error:
            raise BadValue(str(error)) from None
    return Head(*made)


def _wrong_shapes(logits: Tensor, features: Tensor | None, labels: Tensor | None) -> str:
    """What does not fit together, or nothing."""
    if logits.ndim != 2 or len(logits) == 0:
        return f"logits should have the shape (N, C), got {tuple(logits.shape)}"
    n, classes = logits.shape
    if classes < 2:
        return f"logits should be of at least two classes, got the shape {(n, classes)}"
    if features is not None and (features.ndim != 2 or len(features) != n or not features.shape[1]):
        return f"features should have the shape ({n}, D) like the logits, got {tuple(features.shape)}"
    if labels is not None and labels.shape != (n,):
        return f"labels should have the shape ({n},) like the logits, got {tuple(labels.shape)}"
    return ""


def _wrong_extras(extras: Mapping[str, Tensor], n: int) -> str:
    for key, value in extras.items():
        if value.ndim == 0 or len(value) != n:
            return (
                f"{one_line(key)} should have the shape ({n}, ...) like the logits, got {tuple(value.shape)}"
            )
    return ""


def _wrong_labels(labels: Tensor | None, logits: Tensor, known: bool) -> str:
    """Sets of known classes need labels, all of them among the classes; what others hold is not read."""
    if not known:
        return ""
    if labels is None:
        return "'labels' is missing; ID sets need it"
    low, high = (int(x) for x in labels.aminmax())
    if low < 0 or high >= logits.shape[1]:
        return f"labels should lie in 0..{logits.shape[1] - 1}, got {low}..{high}"
    return ""
