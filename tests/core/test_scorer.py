"""A scorer edits the network if it says what the edited logits are."""

from __future__ import annotations

import torch
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer


class _Plain(Scorer):
    def score(self, outputs: Outputs) -> Tensor:
        return -outputs.logits.amax(dim=1)


class _Edits(_Plain):
    def logits(self, outputs: Outputs) -> Tensor:
        return outputs.logits.clamp(max=1)


def test_who_overrides_the_logits_edits_the_network() -> None:
    outputs = Outputs(torch.tensor([[3.0, 0.0]]))
    assert not _Plain().edits
    assert torch.equal(_Plain().logits(outputs), outputs.logits)
    assert _Edits().edits
    assert _Edits().logits(outputs).tolist() == [[1.0, 0.0]]
