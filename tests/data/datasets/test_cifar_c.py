"""CIFAR-10-C and CIFAR-100-C in the authors' arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodbench.core.errors import MissingData, UserError
from tests.data.written import build


def test_cifar_c_arrays(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "CIFAR-10-C"
    folder.mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "fog.npy", x)
    np.save(folder / "labels.npy", np.tile(np.arange(10), 5).astype(np.uint8))
    data = build({"cifar10-c": {"corruption": "fog", "severity": 4}})
    assert data["test"].labels.tolist() == list(range(10))
    assert np.array_equal(data["test"].read([3])[0].permute(1, 2, 0).numpy(), x[33])
    with pytest.raises(MissingData, match="oodbench data download cifar10-c"):
        build({"cifar10-c": {"corruption": "snow"}})["test"]
    np.save(folder / "labels.npy", np.arange(7))
    with pytest.raises(UserError, match=r"fog\.npy: should hold five times N images"):
        build({"cifar10-c": {"corruption": "fog"}})["test"]
