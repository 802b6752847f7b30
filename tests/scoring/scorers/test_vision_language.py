"""MCM, GL-MCM and NegLabel against their formulas, sample by sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs

RNG = torch.Generator().manual_seed(0)
FEATURES, WEIGHT = torch.randn(20, 8, generator=RNG), torch.randn(6, 8, generator=RNG)
NEGATIVES = torch.nn.functional.normalize(torch.randn(23, 8, generator=RNG), dim=1)
UNIT = (FEATURES / FEATURES.norm(dim=1, keepdim=True)).double().numpy()
KNOWN = (WEIGHT / WEIGHT.norm(dim=1, keepdim=True)).double().numpy()
COSINES = UNIT @ KNOWN.T


def outputs(scale: float = 1.0, **extras: Tensor) -> Outputs:
    head = Head(scale * WEIGHT, torch.zeros(6))
    return Outputs(head(FEATURES), FEATURES, head=head, extras=extras)


def score(spec: Any, given: Outputs) -> np.ndarray:
    found: Tensor = registry.build("scorer", spec).score(given)
    return found.double().numpy()


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.05, 1, 2])
def test_mcm(temperature: float) -> None:
    due = -softmax(COSINES / temperature).max(axis=1)
    for scale in (1.0, 100.0):
        found = score({"mcm": {"temperature": temperature}}, outputs(scale))
        np.testing.assert_allclose(np.expm1(found), due, atol=1e-6)


def test_mcm_at_a_hundredth_of_the_temperature_is_msp_of_logits_a_hundred_times_as_large() -> None:
    head = Head(torch.from_numpy(100 * KNOWN).float(), torch.zeros(6))
    unit = torch.from_numpy(UNIT).float()
    given = Outputs(head(unit), unit, head=head)
    np.testing.assert_allclose(score({"mcm": {"temperature": 0.01}}, given), score("msp", given), rtol=1e-4)


def test_gl_mcm_adds_the_best_patch() -> None:
    local = torch.rand(20, generator=RNG) * 0.9
    given = outputs(**{"local-features.mcm": torch.log1p(-local)})
    for weight in (0.0, 0.5, 1.0):
        found = score({"gl-mcm": {"weight": weight}}, given)
        theirs = -softmax(COSINES).max(axis=1) - weight * local.numpy()
        np.testing.assert_allclose(found - (1 + weight), theirs, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 4, 23, 100])
def test_neglabel_is_the_mean_over_groups_of_the_share_of_negatives(groups: int) -> None:
    negative = UNIT @ NEGATIVES.double().numpy().T
    given = outputs(negatives=torch.from_numpy(negative).float())
    found = score({"neglabel": {"groups": groups, "temperature": 0.1}}, given)
    parts = min(groups, 23)
    kept = 23 - 23 % parts
    order = torch.randperm(kept, generator=torch.Generator().manual_seed(0)).numpy().reshape(parts, -1)
    for i in range(20):
        known = sum(math.exp(c / 0.1) for c in COSINES[i])
        shares = []
        for members in order:
            unknown = sum(math.exp(negative[i, m] / 0.1) for m in members)
            shares.append(unknown / (known + unknown))
        assert found[i] == pytest.approx(np.mean(shares), abs=1e-5)


def test_neglabel_does_not_tie_where_its_code_does() -> None:
    """Shares of 1e-9: in float32 one minus them is one."""
    far = torch.full((20, 4), -0.2) + 1e-3 * torch.arange(20).unsqueeze(1)
    found = score({"neglabel": {"groups": 2}}, outputs(negatives=far))
    assert len(np.unique(found)) == 20
    assert found.min() > 0


def test_negatives_are_told_by_the_direction_of_the_score() -> None:
    near, far = (outputs(negatives=torch.full((20, 5), c)) for c in (0.9, -0.9))
    assert (score("neglabel", near) > score("neglabel", far)).all()
