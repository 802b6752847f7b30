"""Rows and samples of one small run, for every test of pictures."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.evaluation.frames import make_rows, make_samples


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_rows(splits=2)


@pytest.fixture(scope="module")
def samples(rows: pd.DataFrame) -> pd.DataFrame:
    return make_samples(rows)
