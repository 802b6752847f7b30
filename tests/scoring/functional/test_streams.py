"""Statistics in blocks are NumPy's of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodbench.scoring import functional
from oodbench.scoring.functional import streams


@pytest.mark.parametrize("q", [0, 12.5, 90, 100])
def test_percentile_is_numpys(q: float) -> None:
    x = torch.randn(37, 11, generator=torch.Generator().manual_seed(0))
    assert functional.percentile(x, q) == pytest.approx(float(np.percentile(x.numpy(), q)), rel=1e-6)


@pytest.mark.parametrize("q", [0.0, 0.1, 37.0, 90.0, 99.9, 100.0])
def test_the_streamed_percentile_is_the_exact_one(q: float, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(997, 7, generator=torch.Generator().manual_seed(0))
    values *= torch.tensor([1e-6, 1.0, 1e6, 0.0, 1.0, 3.0, 1.0])
    exact = np.percentile(values.double().numpy(), q)
    monkeypatch.setattr(streams, "BLOCK", 64)
    rank = (values.numel() - 1) * q / 100
    ordered = values.flatten().sort().values
    found = functional.order_statistics(values, (int(rank), math.ceil(rank)))
    assert found == [float(ordered[int(rank)]), float(ordered[math.ceil(rank)])]
    assert functional.percentile(values, q) == pytest.approx(exact, rel=1e-6)


def test_column_percentiles_are_numpys() -> None:
    values = torch.randn(301, 5, generator=torch.Generator().manual_seed(0))
    low, high = functional.column_percentiles(values, (10.0, 95.0), 1000)
    np.testing.assert_allclose(low, np.percentile(values.numpy(), 10, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(high, np.percentile(values.numpy(), 95, axis=0), rtol=1e-5, atol=1e-5)
    assert len(functional.evenly_spaced(values, 100)) <= 100


def test_training_sets_mapped_from_a_file_are_read_block_by_block() -> None:
    big = torch.randn(functional.BLOCK + 10, 4, dtype=torch.bfloat16)
    sizes = [len(b) for b in functional.blocks(big)]
    assert sizes == [functional.BLOCK, 10]
    assert all(b.dtype == torch.float32 for b in functional.blocks(big))
