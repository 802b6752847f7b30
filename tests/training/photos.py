"""Fifty real photographs of many sizes, for tests of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


def photos(count: int = 50) -> list[Image.Image]:
    """Pictures of scikit-learn and scikit-image, whole and pieces: landscape, portrait, odd, small."""
    from sklearn.datasets import load_sample_images

    data = pytest.importorskip("skimage.data")
    whole = [*load_sample_images().images]
    names = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina")
    whole += [getattr(data, name)() for name in names]
    draws = np.random.default_rng(7)
    cut = list(whole)
    while len(cut) < count:
        of = whole[len(cut) % len(whole)]
        high, wide = of.shape[:2]
        h, w = int(draws.integers(33, high + 1)), int(draws.integers(33, wide + 1))
        top, left = int(draws.integers(0, high - h + 1)), int(draws.integers(0, wide - w + 1))
        cut.append(of[top : top + h, left : left + w])
    return [Image.fromarray(np.ascontiguousarray(p)) for p in cut]
