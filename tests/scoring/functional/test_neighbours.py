"""Unit features and cosine similarities to the training set, copied or mapped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench.core.outputs import Outputs
from oodbench.scoring import functional
from oodbench.scoring.functional import streams


def _features(n: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=rng) * torch.logspace(-2, 2, n).unsqueeze(1)


def _cosines(x: torch.Tensor, f: torch.Tensor) -> np.ndarray:
    a, b = x.double().numpy(), f.double().numpy()
    return np.array([[p @ q / np.linalg.norm(p) / np.linalg.norm(q) for q in b] for p in a])


def test_rows_have_norm_one_and_zero_stays_zero() -> None:
    x = _features(9, 0)
    x[4] = 0
    unit = functional.normalised(x)
    norms = unit.norm(dim=1)
    torch.testing.assert_close(norms, (torch.arange(9) != 4).float())
    assert functional.normalised(x.half()).dtype == torch.float32
    assert functional.normalised(x.double()).dtype == torch.float64


@pytest.mark.parametrize("copied", [True, False])
def test_similarities_are_cosines(copied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not copied:
        monkeypatch.setattr(functional.Bank, "COPY", 0)
    train, test = (Outputs(torch.zeros(n, 2), _features(n, s)) for n, s in ((50, 1), (7, 2)))
    bank = functional.bank(train)
    assert functional.bank(train) is bank
    assert (bank.unit is not None) == copied
    assert len(bank) == 50
    found = functional.similarities(test, bank)
    np.testing.assert_allclose(found, _cosines(test.features, train.features), atol=1e-5)
    assert functional.similarities(test, bank) is found
    index = torch.tensor([3, 0, 49])
    torch.testing.assert_close(bank.rows(index), functional.normalised(train.features[index]))
    assert streams.BLOCK > 50  # in one block here; several are tested in test_streams


def test_another_device_gets_the_copy_and_leaves_what_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    features = _features(5, 1)
    moved = functional.Bank(features).to(torch.device("meta"))
    assert moved.unit is not None
    assert moved.unit.device.type == "meta"
    monkeypatch.setattr(functional.Bank, "COPY", 0)
    mapped = functional.Bank(features)
    assert mapped.to(torch.device("meta")) is mapped
