"""Cells of the page: which are drawn."""

from __future__ import annotations

import json

import pytest

from oodbench.evaluation.leaderboard import over_trials
from oodbench.report.page import cells
from tests.evaluation.frames import make_rows
from tests.report.page.pages import make_page


def test_a_page_draws_the_best_cells_where_not_all_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(methods=tuple(f"m{i}" for i in range(80)), splits=2, seeds=1)
    rows.loc[rows["method"] == "m3", "status"] = "failed"
    board = over_trials(rows)
    whole = make_page(rows)
    monkeypatch.setattr(cells, "FEW_CELLS", 5)
    assert make_page(rows) == whole, "all fit"
    monkeypatch.setattr(cells, "MOST_BYTES", 30_000)
    page = make_page(rows)
    drawn = cells.cells_of(page)
    kept = cells.drawn(board)
    assert 3 < len(kept) < len(board)
    assert [c["r"] for c in drawn] == kept["rank"].tolist() == list(range(1, len(kept) + 1))
    assert f'["{len(kept)}","of them, the best of each board, are drawn here; ' in page
    assert f'["{len(board)}","cells: method' in page
    assert len(page) < len(whole)
    of_all = {json.dumps(c["k"]): c for c in cells.cells_of(whole)}
    opened = [c for c in drawn if "sets" in c]
    assert opened
    for c in opened:
        other = of_all[json.dumps(c["k"])]
        assert (c["sets"], c["t"], c.get("vs")) == (other["sets"], other["t"], other.get("vs"))
