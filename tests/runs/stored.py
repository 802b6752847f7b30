"""What a store holds of one run, read without the code under test but for its keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from oodbench.runs.held import Held
from oodbench.runs.measure import rows_of
from oodbench.runs.reopen import reopened
from tests.unpacked import unpacked


class Stored:
    """One run of a results folder: the files of its store, unpacked, by hand, and the rows that the package
    makes of them."""

    def __init__(self, folder: Path, place: int, plugins: Sequence[Path] = ()) -> None:
        self.root = unpacked(folder.parent / ".store")
        held = list(reopened(folder, plugins=plugins).held())[place]
        assert isinstance(held, Held)
        self.run, self.rows = held.run, rows_of(held)

    def file(self, kind: str, key: str) -> dict[str, Tensor]:
        return load_file(self.root / kind / key[:2] / key / f"{kind}.safetensors")

    def outputs(self, *names: str) -> tuple[Tensor, Tensor]:
        """Logits and labels of some sets together."""
        each = [self.file("outputs", self.run.outputs_key(n)) for n in names]
        return torch.cat([e["logits"] for e in each]), torch.cat([e["labels"] for e in each])

    def scores(self, label: str, *names: str, what: str = "scores") -> Tensor:
        scorer = next(s for s in self.run.scorers if s.label == label)
        return torch.cat([self.file("scores", self.run.scores_key(scorer, n))[what] for n in names])

    def attacked(self, of: str | None, direction: str) -> str:
        """The label of a scorer under attack."""
        (found,) = (
            s.label
            for s in self.run.scorers
            if s.attack
            and s.spec.params["direction"] == direction
            and getattr(s.spec.params["of"], "label", None) == of
        )
        return found

    def row(self, **keys: str) -> dict[str, Any]:
        keys = {"condition": "clean", "id_set": "id", "tune": "none"} | keys
        (found,) = (r for r in self.rows if all(r[k] == v for k, v in keys.items()))
        return found
