"""A page and what is in it, for tests."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report.page import cells as pagedata
from oodbench.report.page import page as report

EVIL = "<script>document.title='owned'</script>"


def pictures(pair: str, split: str, ood: str, indices: Sequence[int]) -> list[np.ndarray]:
    return [np.full((8, 8, 1), 10 * i % 255, dtype=np.uint8) for i in indices]


def make_page(rows: pd.DataFrame, samples: pd.DataFrame | None = None, **more: Any) -> str:
    return report.render(rows, over_trials(rows), samples, **more)


def data_of(page: str) -> dict[str, Any]:
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    return data | {"cells": pagedata.cells_of(page)}
