"""A leaderboard and verdicts as text."""

from __future__ import annotations

import numpy as np
import pytest

from oodbench.evaluation import leaderboard
from oodbench.evaluation.verdicts import judge
from oodbench.report import formats
from oodbench.report.text import claims_to_text, to_text
from tests.evaluation.frames import make_rows
from tests.evaluation.stated import FAMILIES, claim_of, rows_of


@pytest.mark.parametrize("style", formats.FORMATS)
def test_text_of_a_board_in_every_format(style: str) -> None:
    rows = make_rows(methods=("ce", "a_b|c<script>&\\"))
    text = to_text(leaderboard.over_trials(rows), style)
    if style == "csv":
        assert text.splitlines()[0].startswith("rank,suite,pair,")
    else:
        assert "±" in text or r"$\pm$" in text
    if style in ("md", "html"):
        assert "<script>" not in text
    if style == "md":
        assert len({line.replace(r"\|", "").count("|") for line in text.splitlines()}) == 1
    if style == "latex":
        assert r"a\_b\textbar{}c\textless{}script\textgreater{}\&\textbackslash{}" in text
    if style == "table":
        assert len(text.splitlines()) == 2 + 4


def test_one_trial_is_printed_without_a_spread() -> None:
    assert "±" not in to_text(leaderboard.over_trials(make_rows(splits=1, seeds=1)))


def test_verdicts_as_text_name_each_claim_and_each_cell() -> None:
    d = np.stack([np.full((5, 1), -0.05), np.random.default_rng(5).normal(0, 0.01, (5, 1))], axis=2)
    verdicts = judge(rows_of(d), [claim_of(scorers=("s0", "s1"))], FAMILIES)
    said = claims_to_text(verdicts).splitlines()
    assert said[:2] == ["c: SUPPORTED", "  A differs from B."]
    assert said[3].startswith("    p n near s0: A - B = -0.0500 [")
    assert said[3].endswith(": supported")
    assert said[4].endswith(f": undecided, {verdicts.iloc[1]['needed']:.0f} needed")
