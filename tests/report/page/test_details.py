"""What an opened cell says of the best of its board."""

from __future__ import annotations

import pandas as pd

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report.formats import signed
from oodbench.report.page.details import rows_of
from tests.evaluation.frames import make_rows
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


def test_the_rows_of_some_cells_are_all_of_them() -> None:
    rows = make_rows(methods=("a", "b", "c"))
    board = over_trials(rows).iloc[[0, 3]]
    found = rows_of(rows, board)
    wanted = rows.merge(board[["method", "scorer"]], on=["method", "scorer"])
    assert 0 < len(found) < len(rows)
    assert found.equals(wanted[list(found)])
    assert rows_of(rows.astype({"method": "category", "scorer": "category"}), board).equals(found)
