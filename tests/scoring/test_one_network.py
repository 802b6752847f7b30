"""Sets of one network: shapes, head and logits agree, up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.scoring.one_network import OneNetwork, not_of_head, off_its_head


def _network(width: int, classes: int = 10, seed: int = 0) -> Head:
    rng = torch.Generator().manual_seed(seed)
    return Head(
        torch.randn(classes, width, generator=rng) / width**0.5, torch.randn(classes, generator=rng) / 20
    )


def _features(n: int, width: int) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(1)).clamp(min=0)


@pytest.mark.parametrize("width", [1, 8, 512, 2048])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_rounding_is_allowed_and_another_head_is_not(width: int, kind: torch.dtype) -> None:
    """All that half precision rounds: weights, features, and the logits that come of them."""
    head, f = _network(width), _features(200, width)
    rounded = Head(*(t.to(kind).float() for t in head))
    z = rounded(f.to(kind).float()).to(kind).float()
    assert not_of_head(z, f, head) == ""
    assert not_of_head(z, f.to(kind).float(), head) == ""
    assert "they are off by" in not_of_head(z, f, _network(width, seed=5))
    if width > 1:
        assert "they are off by" in not_of_head(z, f.flip(0), head)


def test_a_missing_bias_is_seen_in_float32() -> None:
    head, f = _network(64), _features(200, 64)
    assert not_of_head(head(f), f, head) == ""
    assert not_of_head(head(f), f, head._replace(bias=torch.zeros(10)))


def test_samples_that_are_not_finite_are_left_out() -> None:
    head, f = _network(8), _features(20, 8)
    z = head(f)
    z[3] = torch.nan
    assert not_of_head(z, f, head) == ""
    assert not_of_head(z * torch.nan, f, head) == ""


def test_a_set_is_asked_on_evenly_spaced_samples() -> None:
    head, f = _network(8), _features(3000, 8)
    assert off_its_head(Outputs(head(f), f, None, head)) == ""
    assert off_its_head(Outputs(head(f).roll(1, 0), f, None, head))
    assert off_its_head(Outputs(head(f) + 1, f)) == off_its_head(Outputs(head(f) + 1, None, None, head)) == ""
    assert off_its_head(Outputs(head(f), f, None, head)[:0]) == ""


def test_what_was_shown_first_is_what_others_are_held_against() -> None:
    head, f = _network(8, 3), _features(20, 8)
    network = OneNetwork()
    assert network.objection("test", Outputs(head(f))) == ""
    assert network.objection("train", Outputs(head(f), f, None, head)) == ""
    assert network.objection("ood", Outputs(head(f), f, None, head, {"x": torch.ones(20, 2)})) == ""
    wide = Outputs(torch.randn(5, 4))
    assert network.objection("w", wide) == "logits have the shape (N, 4), but (N, 3) in test"
    narrow = Outputs(head(f), f[:, 1:])
    assert network.objection("n", narrow) == "features have the shape (N, 7), but (N, 8) in train"
    flat = Outputs(head(f), extras={"x": torch.ones(20)})
    assert network.objection("f", flat) == "extras 'x' have the shape (N,), but (N, 2) in ood"
    other = head._replace(bias=head.bias + 1)
    assert "the head is another one than in train" in network.objection(
        "o", Outputs(other(f), f, None, other)
    )


def test_probabilities_are_no_logits() -> None:
    p = torch.softmax(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    assert OneNetwork().objection("test", Outputs(p)) == "logits are probabilities; give log p or logits"
    assert OneNetwork().objection("test", Outputs(p.log())) == ""
