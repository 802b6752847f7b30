"""Draws of ID and OOD scores, ordinary and extreme, for tests of metrics."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)


DRAWS = {
    "continuous": (RNG.normal(size=301), RNG.normal(0.7, 1.2, size=157)),
    "ties": (RNG.normal(size=301).round(1), RNG.normal(0.7, 1.2, size=157).round(1)),
    "few values": (RNG.integers(0, 3, 200).astype(float), RNG.integers(0, 4, 90).astype(float)),
    "all tied": (np.zeros(40), np.zeros(20)),
    "separated": (np.arange(30.0), np.arange(100.0, 140.0)),
    "reversed": (np.arange(100.0, 140.0), np.arange(30.0)),
    "one each": (np.array([0.3]), np.array([0.2])),
    "tiny differences": (1 - RNG.random(200) * 1e-12, 1 - RNG.random(100) * 2e-12),
    "huge": (RNG.normal(size=50) * 1e300, RNG.normal(size=60) * 1e300),
}
