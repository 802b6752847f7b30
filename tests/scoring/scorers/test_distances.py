"""Distances to classes against slow references. Against other libraries: tests/whole/test_parity.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from oodbench.core import registry
from tests.scoring.scorers.references import Arrays, follows, mahalanobis

registry.load_builtin()


def ref_mds(a: Arrays) -> np.ndarray:
    return mahalanobis(a.f, a.y, a.x)


def ref_mds_pp(a: Arrays) -> np.ndarray:
    f, x = a.unit
    return mahalanobis(f, a.y, x)


def ref_rmds(a: Arrays) -> np.ndarray:
    return mahalanobis(a.f, a.y, a.x) - mahalanobis(a.f, np.zeros_like(a.y), a.x)


def ref_she(a: Arrays) -> np.ndarray:
    right = a.z.argmax(axis=1) == a.y
    means = [a.f[right & (a.y == c)].mean(axis=0) for c in a.classes]
    return np.array([-x @ means[t.argmax()] for x, t in zip(a.x, a.t, strict=True)])


def ref_ctm(a: Arrays) -> np.ndarray:
    means = [a.f[a.y == c].mean(axis=0) for c in a.classes]
    return np.array([-max(x @ m / np.linalg.norm(x) / np.linalg.norm(m) for m in means) for x in a.x])


def ref_fdbd(a: Arrays) -> np.ndarray:
    out = []
    for x, t in zip(a.x, a.t, strict=True):
        y = t.argmax()
        far = sum(abs(t[c] - t[y]) / np.linalg.norm(a.w[c] - a.w[y]) for c in a.classes if c != y)
        out.append(-far / np.linalg.norm(x - a.f.mean(axis=0)))
    return np.array(out)


def ref_nci(a: Arrays) -> np.ndarray:
    mean = a.f.mean(axis=0)
    return np.array(
        [
            -(a.w[t.argmax()] @ (x - mean) / np.linalg.norm(x - mean) + 0.01 * np.abs(x).sum())
            for x, t in zip(a.x, a.t, strict=True)
        ]
    )


REFERENCES: dict[str, tuple[object, Callable[[Arrays], np.ndarray]]] = {
    "mds": ("mds", ref_mds),
    "mds++": ("mds++", ref_mds_pp),
    "rmds": ("rmds", ref_rmds),
    "she": ("she", ref_she),
    "ctm": ("ctm", ref_ctm),
    "fdbd": ("fdbd", ref_fdbd),
    "nci": ({"nci": {"alpha": 0.01}}, ref_nci),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_scores_are_the_formulas(name: str) -> None:
    follows(*REFERENCES[name])
