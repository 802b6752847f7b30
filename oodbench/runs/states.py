"""The resumable state of a training in progress: one file, replaced as a whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from oodbench.core.errors import one_line
from oodbench.core.files import remove_left, replacing

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and the rest as JSON has it."""


class States:
    """The states of one store, by the keys of the weights. `report` is told, in one line, of what a kill
    would cost: a state that cannot be kept, or read."""

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._folder, self._report = folder, report

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"

    def save(self, key: str, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Replace a state."""
        copies = {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}
        try:
            with replacing(self._file(key)) as draft:
                save_file(copies, draft, metadata={"scalars": json.dumps(scalars)})
        except (OSError, safetensors.SafetensorError) as error:
            self._report(
                f"training state {key[:12]} cannot be saved, a kill would cost it: {one_line(error)}"
            )

    def load(self, key: str) -> State | None:
        """A state, None where there is none that can be read."""
        try:
            with safetensors.safe_open(self._file(key), framework="pt") as file:
                tensors = {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
                return tensors, json.loads(file.metadata()["scalars"])
        except FileNotFoundError:
            return None
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            self._report(f"damaged training state {key[:12]}: {error}; training starts again")
            self.drop(key)
            return None

    def drop(self, key: str) -> None:
        """A training is done. What another process is writing of it (without a lock, two may train the same)
        is its own."""
        with contextlib.suppress(OSError):
            self._file(key).unlink(missing_ok=True)
            remove_left(self._file(key))
