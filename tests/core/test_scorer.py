"""A scorer edits the network if it says what the edited logits are."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from oodbench.core.errors import UserError
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


class _Fits(Scorer):
    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        self.offset = 1.0

    def score(self, outputs: Outputs) -> Tensor:
        return outputs.logits[:, 0] + self.offset

    @property
    def broken(self) -> int:
        raise AttributeError("its own reason")


def test_scores_before_the_fit_are_an_error_that_says_so() -> None:
    outputs = Outputs(torch.tensor([[3.0, 0.0]]))
    made = _Fits()
    with pytest.raises(UserError, match=r"^scorer _Fits has no 'offset'; was it fitted\?"):
        made.score(outputs)
    assert not hasattr(made, "offset")
    made.fit(None, None)
    assert made.score(outputs).tolist() == copy.deepcopy(made).score(outputs).tolist() == [4.0]


def test_an_error_within_a_property_stays_what_it_is() -> None:
    with pytest.raises(AttributeError, match=r"^its own reason$"):
        _ = _Fits().broken
