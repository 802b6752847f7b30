"""The first part of a page: ranks, costs, facts."""

from __future__ import annotations

import pandas as pd
import pytest

from oodbench.evaluation import costs
from oodbench.evaluation.leaderboard import over_trials, trials
from oodbench.report.page import overview
from tests.evaluation.frames import make_rows


def spent(**more: object) -> pd.DataFrame:
    line = dict.fromkeys(costs.COLUMNS, 1.0) | {"network": "mlp", "method": "ce", "scorer": "knn"}
    return pd.DataFrame([line | {"tune": "none", "reads": "train"} | more])


def test_ranks_are_those_of_each_shift_and_few_blocks_are_told() -> None:
    rows = make_rows(scorers=("msp", "knn", "vim"), splits=4)
    found = overview.ranks(trials(rows))
    assert [(r["what"], r["shift"]) for r in found] == [
        ("methods", "near"), ("methods", "far"), ("scorers", "near"), ("scorers", "far"),
    ]  # fmt: skip
    far = rows[rows["shift"] == "far"].groupby(["split", "scorer"])["auroc"].mean().unstack()
    wanted = (-far).rank(axis=1).mean()
    assert dict(zip(found[3]["names"], found[3]["ranks"], strict=True)) == pytest.approx(
        wanted.to_dict(), abs=1e-3
    )
    assert "fewer than ten blocks" in found[3]["text"]
    assert "Conover" not in found[3]["text"]  # of four blocks it takes agreement for certainty
    assert overview.ranks(trials(make_rows(splits=1))) == []


def test_costs_are_medians_over_methods_and_what_is_read_is_said() -> None:
    table = pd.concat([
        spent(fit_seconds=2.0), spent(method="als", fit_seconds=3.0),
        spent(method="oe", fit_seconds=20.0, reads="train, outliers"),
        spent(method="gone", fit_seconds=4.0, reads=costs.UNKNOWN),
        spent(scorer="msp", reads=""), spent(scorer="mine", reads=costs.UNKNOWN),
        spent(scorer="odin", tune="noise", reads="noise"),
    ])  # fmt: skip
    found = overview.cost_table(table)
    named = {row[1]: row for row in found["rows"]}
    assert named["knn"][2] == "3.5"  # of 2, 3, 4 and 20
    assert [named[s][-1] for s in ("knn", "msp", "mine", "odin [noise]")] == [
        "train", "nothing", "unknown", "noise",
    ]  # fmt: skip
    assert {row[1]: row[3] for row in found["training"]} == {
        "ce": "nothing", "als": "nothing", "oe": "outliers", "gone": "unknown",
    }  # fmt: skip
    assert overview.cost_table(None)["rows"] == []
    assert overview.scoring_seconds(spent(fit_seconds=0.25)) == {("mlp", "ce", "knn", "none"): [0.25, 1.0]}


def test_facts_count_networks_cells_and_what_failed() -> None:
    rows = make_rows().assign(run_key="one")
    facts = overview.facts(rows, over_trials(rows))
    assert facts == [["1", "trained network"], ["4", "cells: method × scorer on a pair"]]
    rows.loc[rows.index[:3], "status"] = "failed"
    assert overview.facts(rows, over_trials(rows))[-1][0] == "3 / 0"
