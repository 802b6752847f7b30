"""Cells of the page: what an opened one says of the best of its board."""

from __future__ import annotations

import pandas as pd

from oodbench.report.formats import signed
from tests.report.page.pages import data_of


def test_a_cell_is_compared_with_the_best_on_common_trials(rows: pd.DataFrame, text: str) -> None:
    from oodbench.evaluation import statistics
    from oodbench.evaluation.leaderboard import trials

    cells = data_of(text)["cells"]
    best, other = cells[0], cells[3]
    assert "vs" not in best
    t = trials(rows)
    mine, top = (
        t[(t["method"] == c["k"]["method"]) & (t["scorer"] == c["k"]["scorer"])] for c in (other, best)
    )
    paired = statistics.paired_trials(mine, top, "near_auroc")
    assert other["vs"][0] == f"{best['k']['method']} + {best['k']['scorer']}"
    assert other["vs"][1].startswith(
        f"{signed(paired.difference)} (95 % {signed(paired.low)} to {signed(paired.high)}"
    )
