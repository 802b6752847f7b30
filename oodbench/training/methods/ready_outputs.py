"""No training: outputs that were computed elsewhere, read from arrays."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from oodbench.core.errors import MissingData, UserError
from oodbench.core.identity import file_sha256, fingerprint
from oodbench.core.method import Method
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.core.registry import method


@method("outputs", source="oodbench's own")
class ReadyOutputs(Method):
    """A user's arrays: no network, no training. `folder` holds `<set>.npz` or `<set>.safetensors` for test
    and each OOD set, and train and val for scorers that fit.

    Each file has `logits` (N, C), and optionally `features` (N, D), `labels` (N,), `head.weight` (C, D) and
    `head.bias` (C,); the head may also stand alone in `head.npz` or `head.safetensors`. What the files hold
    is the identity, not where they are."""

    provides = "outputs"

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder

    def _file(self, name: str) -> Path | None:
        return next(
            (f for s in (".npz", ".safetensors") if (f := self.folder / f"{name}{s}").is_file()), None
        )

    def _found(self, name: str) -> Path:
        file = self._file(name)
        if file is None:
            there = (
                sorted(f.stem for f in self.folder.glob("*") if f.suffix in (".npz", ".safetensors"))
                if self.folder.is_dir()
                else []
            )
            raise MissingData(
                f"outputs {self.folder}: no {name}.npz or {name}.safetensors; there:"
                f" {', '.join(there) or 'nothing'}"
            )
        return file

    def digest(self, name: str) -> str:
        head = self._file("head")
        return fingerprint([file_sha256(self._found(name)), file_sha256(head) if head else None])

    def outputs(self, name: str) -> Outputs:
        file = self._found(name)
        arrays = _read_arrays(file)
        if "logits" not in arrays:
            raise UserError(
                f"outputs {file}: 'logits' is missing; there: {', '.join(sorted(arrays)) or 'nothing'}"
            )
        logits, features, labels = arrays["logits"], arrays.get("features"), arrays.get("labels")
        known = name in ("train", "val", "test")
        wrong = _wrong_shapes(logits, features, labels) or _wrong_labels(labels, logits.shape[1], known)
        if wrong:
            raise UserError(f"outputs {file}: {wrong}")
        head = None if features is None else self._head(file, arrays, (logits.shape[1], features.shape[1]))
        for what, values in (("logits", logits), ("features", features)):
            if values is not None and not bool(torch.isfinite(values).all()):
                raise UserError(f"outputs {file}: {what} are not all finite")
        return Outputs(
            logits.float(),
            None if features is None else features.float(),
            None if labels is None else labels.long(),
            head,
            {k.removeprefix("extras."): v for k, v in arrays.items() if k.startswith("extras.")},
        )

    def _head(self, file: Path, arrays: dict[str, Tensor], due: tuple[int, int]) -> Head | None:
        """The head among a set's arrays, else the one that stands alone; None where there is none."""
        alone = self._file("head")
        if alone is not None and "head.weight" not in arrays:
            arrays = _read_arrays(alone)
        weight = arrays.get("head.weight", arrays.get("weight"))
        bias = arrays.get("head.bias", arrays.get("bias"))
        if weight is None:
            return None
        if weight.shape != due:
            got = tuple(weight.shape)
            raise UserError(f"outputs {file}: head.weight should have the shape {due}, got {got}")
        return Head(weight.float(), torch.zeros(len(weight)) if bias is None else bias.float())


def _wrong_shapes(logits: Tensor, features: Tensor | None, labels: Tensor | None) -> str:
    """What does not fit together, or nothing."""
    if logits.ndim != 2 or len(logits) == 0:
        return f"logits should have the shape (N, C), got {tuple(logits.shape)}"
    n = len(logits)
    if features is not None and (features.ndim != 2 or len(features) != n):
        return f"features should have the shape ({n}, D) like the logits, got {tuple(features.shape)}"
    if labels is not None and labels.shape != (n,):
        return f"labels should have the shape ({n},) like the logits, got {tuple(labels.shape)}"
    return ""


def _wrong_labels(labels: Tensor | None, classes: int, known: bool) -> str:
    """Sets of known classes need labels, all of them among the classes; what others hold is not read."""
    if not known:
        return ""
    if labels is None:
        return "'labels' is missing; ID sets need it"
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        return f"labels should lie in 0..{classes - 1}, got {low}..{high}"
    return ""


def _read_arrays(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            import safetensors

            with safetensors.safe_open(file, framework="pt") as f:
                return {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
        import numpy as np

        with np.load(file, allow_pickle=False) as data:
            return {k: torch.from_numpy(np.ascontiguousarray(data[k])) for k in data.files}
    except Exception as error:
        raise UserError(f"outputs {file}: cannot be read ({str(error).splitlines()[0]})") from None
