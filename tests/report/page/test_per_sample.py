"""The page's per-sample views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tests.evaluation.frames import make_rows, make_samples
from tests.report.page.pages import data_of, make_page


def test_hardest_images_of_many_pairs_leave_the_page_small() -> None:
    def noisy(pair: str, split: str, ood: str, indices: Sequence[int]) -> list[np.ndarray]:
        return list(
            np.random.default_rng(0).integers(0, 256, (len(indices), 64, 64, 3), dtype=np.uint8)
        )  # as a PNG no smaller than raw

    many = pd.concat([make_rows(splits=1, seeds=1, pair=f"p{i}") for i in range(9)])
    samples = pd.concat([make_samples(rows) for _, rows in many.groupby("pair")])
    samples["index"] = [np.arange(len(v)) for v in samples["value"]]
    page = make_page(many, samples, pictures=noisy)
    assert len(page) < 5_000_000
    shown = data_of(page)["hard"]
    assert len(shown) == 9 * 4
    assert all(h["images"] for h in shown)
