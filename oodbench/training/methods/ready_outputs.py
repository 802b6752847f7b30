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
        head_file = self._file("head")
        head_arrays = arrays if head_file is None or "head.weight" in arrays else _read_arrays(head_file)
        weight = head_arrays.get("head.weight", head_arrays.get("weight"))
        bias = head_arrays.get("head.bias", head_arrays.get("bias"))
        logits, features, labels = arrays["logits"], arrays.get("features"), arrays.get("labels")
        if logits.ndim != 2 or len(logits) == 0:
            raise UserError(f"outputs {file}: logits should have the shape (N, C), got {tuple(logits.shape)}")
        n, classes = logits.shape
        if features is not None and (features.ndim != 2 or len(features) != n):
            raise UserError(
                f"outputs {file}: features should have the shape ({n}, D) like the logits, got"
                f" {tuple(features.shape)}"
            )
        if labels is not None and labels.shape != (n,):
            raise UserError(
                f"outputs {file}: labels should have the shape ({n},) like the logits, got"
                f" {tuple(labels.shape)}"
            )
        if name in ("train", "val", "test"):
            if labels is None:
                raise UserError(f"outputs {file}: 'labels' is missing; ID sets need it")
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= classes:
                raise UserError(f"outputs {file}: labels should lie in 0..{classes - 1}, got {low}..{high}")
        head = None
        if weight is not None and features is not None:
            if weight.shape != (classes, features.shape[1]):
                want = (classes, features.shape[1])
                raise UserError(
                    f"outputs {file}: head.weight should have the shape {want}, got {tuple(weight.shape)}"
                )
            head = Head(weight.float(), torch.zeros(len(weight)) if bias is None else bias.float())
        extras = {k.removeprefix("extras."): v for k, v in arrays.items() if k.startswith("extras.")}
        for what, values in (("logits", logits), ("features", features)):
            if values is not None and not bool(torch.isfinite(values).all()):
                raise UserError(f"outputs {file}: {what} are not all finite")
        features = None if features is None else features.float()
        return Outputs(logits.float(), features, None if labels is None else labels.long(), head, extras)


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
