"""Densities of features against slow references; covariances that memory cannot hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch

from oodbench.core import registry
from oodbench.scoring.scorers import densities
from tests.scoring.outputs import fitted, world
from tests.scoring.scorers.references import Arrays, follows, mahalanobis, softmax

registry.load_builtin()


def ref_ssd(a: Arrays) -> np.ndarray:
    f, x = a.unit
    mean, std = f.mean(axis=0), f.std(axis=0)
    f, x = (f - mean) / std, (x - mean) / std
    return np.min(
        [mahalanobis(f[a.y == c], np.zeros((a.y == c).sum(), dtype=int), x) for c in a.classes], axis=0
    )


def ref_gmm(a: Arrays) -> np.ndarray:
    densities = [
        (a.y == c).mean()
        * scipy.stats.multivariate_normal.pdf(
            a.x, a.f[a.y == c].mean(axis=0), np.cov(a.f[a.y == c].T, bias=True) + 1e-6 * np.eye(16)
        )
        for c in a.classes
    ]
    return -np.log(np.sum(densities, axis=0))


def ref_nac(a: Arrays) -> np.ndarray:
    """The authors' thresholds, compared one by one."""
    half = np.log(np.linspace(1, np.sqrt(1000), 25)) / np.log(1000)
    edges = np.concatenate([half[:-1], (1 - half)[::-1]])
    edges[-1] += 0.01
    edges = np.append(edges, 1.2)

    def states(f: np.ndarray, z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-5.0 * f * ((softmax(z) - 1 / z.shape[1]) @ a.w)))

    train, test = states(a.f, a.z), states(a.x, a.t)
    out = np.zeros(len(test))
    for i in range(a.f.shape[1]):
        for low, high in itertools.pairwise(edges):
            n = ((train[:, i] >= low) & (train[:, i] < high)).sum()
            out[(test[:, i] >= low) & (test[:, i] < high)] -= min(n / 8, 1)
    return out / a.f.shape[1]


REFERENCES: dict[str, tuple[object, Callable[[Arrays], np.ndarray]]] = {
    "ssd": ("ssd", ref_ssd),
    "gmm": ("gmm", ref_gmm),
    "nac": ({"nac": {"slope": 5.0, "fill": 8, "samples": None}}, ref_nac),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_scores_are_the_formulas(name: str) -> None:
    follows(*REFERENCES[name])


def test_covariances_too_many_to_hold_are_of_principal_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, test = world()
    monkeypatch.setattr(densities, "MEMORY", 8 * 4 * 9**2)
    for name in ("ssd", "gmm"):
        with pytest.raises(ValueError, match=rf"set {name}'s dim to at most 9"):
            fitted({name: {"dim": 16}}, train)
        nine = fitted({name: {"dim": 9}}, train).score(test)
        assert len(nine.unique()) == len(test)
        assert torch.equal(fitted(name, train).score(test), nine)
    one = fitted({"ssd": {"clusters": "one"}}, train)
    assert one.reduce.directions is None  # a single covariance has room for all
