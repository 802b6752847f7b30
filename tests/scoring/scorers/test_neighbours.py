"""Nearest neighbours against slow references, also where features collapse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from oodbench.core import registry
from oodbench.core.outputs import Outputs
from tests.scoring.outputs import fitted, world
from tests.scoring.scorers.references import Arrays, follows, softmax

registry.load_builtin()


def ref_knn(a: Arrays) -> np.ndarray:
    f, x = a.unit
    return np.array([np.sort(np.linalg.norm(f - r, axis=1))[6] for r in x])


def ref_nnguide(a: Arrays) -> np.ndarray:
    f, x = a.unit
    energy = np.log(np.exp(a.z).sum(axis=1))
    return np.array(
        [
            -np.log(np.exp(t).sum()) * np.sort(energy * (f @ r))[-7:].mean()
            for r, t in zip(x, a.t, strict=True)
        ]
    )


def ref_relation(a: Arrays) -> np.ndarray:
    f, x = a.unit
    p, q = softmax(a.z), softmax(a.t)
    kernels = [np.maximum(f @ r, 0) * (p @ s) for r, s in zip(x, q, strict=True)]
    return np.array([-(k[k > 0.2] ** 2).sum() for k in kernels])


REFERENCES: dict[str, tuple[object, Callable[[Arrays], np.ndarray]]] = {
    "knn": ({"knn": {"k": 7}}, ref_knn),
    "nnguide": ({"nnguide": {"k": 7}}, ref_nnguide),
    "relation": ({"relation": {"power": 2, "threshold": 0.2}}, ref_relation),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_scores_are_the_formulas(name: str) -> None:
    follows(*REFERENCES[name])


def test_nnguides_bank_is_a_random_part_that_its_seed_fixes() -> None:
    train, _, test = world()
    one, again, other = (fitted({"nnguide": {"fraction": 0.1, "k": 5, "seed": s}}, train) for s in (0, 0, 1))
    assert one.drawn is not None
    assert len(one.drawn.unique()) == 30
    assert len(train.labels[one.drawn].unique()) == 4
    assert torch.equal(one.score(test), again.score(test))
    assert not torch.equal(one.score(test), other.score(test))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"nnguide": {"fraction": 0.1}}, r"k is 100, .* 30 of 300 .* fraction .* 0\.3334, or k .* 30$"),
        ({"nnguide": {"fraction": 0.001, "k": 2}}, r"k is 2, .* 1 of 300 .* fraction .* 0\.0067, or k .* 1$"),
        ({"nnguide": {"k": 301}}, r"k is 301, .* 300 .*; set k to at most 300$"),
        ({"nnguide": {"k": 301, "fraction": 0.5}}, r"k is 301, .* 150 of 300 .*; set k to at most 150$"),
        ({"knn": {"k": 301}}, r"k is 301, .* 300 .*; set k to at most 300$"),
    ],
    ids=str,
)  # fmt: skip
def test_more_neighbours_than_the_bank_has_are_refused(spec: dict[str, object], says: str) -> None:
    """With k cut to what is there, NNGuide is a mean over its bank, and another score than its row says."""
    with pytest.raises(ValueError, match=says) as found:
        fitted(spec, world()[0])
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("k", [2, 7, 99, 100, 149, 150, 299, 300])
def test_the_fraction_that_a_refusal_names_is_enough(k: int) -> None:
    train, _, test = world()
    with pytest.raises(ValueError, match="at least") as found:
        fitted({"nnguide": {"k": k, "fraction": 1e-9}}, train)
    least = float(str(found.value).split("at least ")[1].split(",")[0])
    made = fitted({"nnguide": {"k": k, "fraction": least}}, train)
    assert torch.isfinite(made.score(test)).all()
    assert fitted({"knn": {"k": k}}, train).score(test).shape == (len(test),)


def test_knn_does_not_cancel_where_features_collapse() -> None:
    """Where features differ by 1e-3 of their norm, 2 - 2 cos in float32 is wrong by several per cent."""
    rng = torch.Generator().manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn(1, 64, generator=rng), dim=1)
    f, x = (direction + 5e-5 * torch.randn(n, 64, generator=rng) for n in (400, 100))
    made = fitted({"knn": {"k": 400}}, Outputs(torch.zeros(400, 3), f))
    score = made.score(Outputs(torch.zeros(100, 3), x)).double()
    unit, query = (torch.nn.functional.normalize(t.double(), dim=1) for t in (f, x))
    expected = torch.cdist(query, unit, compute_mode="donot_use_mm_for_euclid_dist").amax(dim=1)
    naive = (2 - 2 * (query.float() @ unit.float().T)).amax(dim=1).clamp(min=0).sqrt().double()
    assert float((score / expected - 1).abs().median()) < 0.5 * float((naive / expected - 1).abs().median())
