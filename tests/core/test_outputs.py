"""Outputs: every tensor of a sample goes along, and what was worked out once is not worked out again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oodbench.core.network import Head
from oodbench.core.outputs import Outputs


def _outputs(n: int = 7) -> Outputs:
    rng = torch.Generator().manual_seed(0)
    head = Head(torch.randn(3, 5, generator=rng), torch.zeros(3))
    features = torch.randn(n, 5, generator=rng)
    return Outputs(head(features), features, torch.arange(n) % 3, head, {"more": torch.arange(n).float()})


def test_lengths_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match=r"logits has 4 samples, but features has 3, extras\['x'\] has 5"):
        Outputs(torch.zeros(4, 2), torch.zeros(3, 2), extras={"x": torch.zeros(5)})


def test_what_was_not_given_is_said() -> None:
    bare = Outputs(torch.zeros(4, 2))
    assert bare.labels.tolist() == [-1] * 4
    assert not bare.has_features
    with pytest.raises(ValueError, match="hold no features, only logits"):
        _ = bare.features


def test_chunks_are_the_whole_in_order() -> None:
    whole = _outputs()
    parts = [*whole.chunks(3)]
    assert [len(p) for p in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([p.logits for p in parts]), whole.logits)
    assert torch.equal(torch.cat([p.features for p in parts]), whole.features)
    assert torch.equal(torch.cat([p.labels for p in parts]), whole.labels)
    assert torch.equal(torch.cat([p.extras["more"] for p in parts]), whole.extras["more"])
    assert all(p.head is whole.head for p in parts)


def test_some_samples_by_mask_or_by_places() -> None:
    whole = _outputs()
    assert whole[whole.labels == 1].extras["more"].tolist() == [1, 4]
    assert whole[torch.tensor([5, 0])].extras["more"].tolist() == [5, 0]


def test_what_is_memoised_is_made_once_and_not_for_other_samples() -> None:
    made: list[int] = []

    def make(outputs: Outputs) -> Tensor:
        def now() -> Tensor:
            made.append(len(outputs))
            return outputs.logits * 2

        return outputs.memo("twice", now)

    whole = _outputs()
    assert make(whole) is make(whole)
    assert len(make(whole[:2])) == 2
    assert made == [7, 2]


def test_probabilities_and_predictions_are_those_of_the_logits() -> None:
    whole = _outputs()
    torch.testing.assert_close(whole.probabilities.sum(dim=1), torch.ones(7))
    torch.testing.assert_close(
        whole.probabilities.log(), whole.logits - whole.logits.logsumexp(1, keepdim=True)
    )
    assert torch.equal(whole.predictions, whole.probabilities.argmax(dim=1))
    assert whole.classes == 3


def test_all_of_it_moves_to_another_device() -> None:
    moved = _outputs().to("meta")
    tensors = [moved.logits, moved.features, moved.labels, moved.extras["more"], *(moved.head or ())]
    assert {t.device.type for t in tensors} == {"meta"}
