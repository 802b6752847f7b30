"""Outputs: every tensor of a sample goes along, and what was worked out once is not worked out again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oodbench.core.network import Head
from oodbench.core.outputs import Outputs, are_probabilities


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


def test_slices_do_not_pay_for_checks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _outputs()

    def checked(*given: object, **more: object) -> None:
        raise AssertionError("checked again")

    monkeypatch.setattr(Outputs, "__init__", checked)
    assert [len(p) for p in whole.chunks(3)] == [3, 3, 1]
    assert whole[:2].extras["more"].tolist() == [0, 1]


def test_what_is_given_becomes_float32_and_int64() -> None:
    whole = _outputs()
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        again = Outputs(
            whole.logits.to(kind), whole.features.to(kind), whole.labels.to(torch.uint8), whole.head
        )
        assert {again.logits.dtype, again.features.dtype} == {torch.float32}
        assert again.labels.dtype == torch.int64
    assert Outputs(whole.logits, whole.features).logits is whole.logits
    kept = Outputs(whole.logits, extras={"x": torch.ones(7, dtype=torch.float64)})
    assert kept.extras["x"].dtype == torch.float64, "a view's scores keep what tells them apart"


def test_what_is_missing_is_said_when_asked_for() -> None:
    with pytest.raises(ValueError, match="hold no head"):
        _ = Outputs(torch.zeros(4, 2)).required_head
    with pytest.raises(ValueError, match="hold no extra 'less'; there: more"):
        _ = _outputs().extras["less"]
    assert _outputs().extras.get("less") is None
    assert _outputs()[:2].required_head.weight.shape == (3, 5)


def test_probabilities_are_told_from_logits() -> None:
    rng = torch.Generator().manual_seed(0)
    for classes in (2, 3, 1000):
        z = 4 * torch.randn(300, classes, generator=rng)
        p = torch.softmax(z, dim=1)
        for said in (p, 100 * p, p.half(), p.bfloat16(), p.double(), (z == z.amax(1, keepdim=True)).float()):
            assert are_probabilities(said)
        for logits in (
            z,
            z.abs(),
            p.log(),
            p - 1 / classes,
            2 * p,
            torch.sigmoid(z) if classes > 2 else z,
            z * 0,
        ):
            assert not are_probabilities(logits)
        off = p.clone()
        off[299, 0] += 0.5
        assert not are_probabilities(off)
    assert not are_probabilities(torch.eye(3)), "three rows may be so by chance"
