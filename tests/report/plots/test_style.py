"""How every picture looks, and how names are made to fit."""

from __future__ import annotations

import pandas as pd

from oodbench.report import plots


def test_ink_stands_out_as_wcag_wants() -> None:
    assert (plots.ink((0, 0, 0)), plots.ink((1, 1, 1)), plots.ink((0.5, 0.5, 0.5)),
    plots.ink((0, 0.13, 0.3))) == (
        "white", "black", "black", "white",
    )  # fmt: skip


def test_nothing_is_left_behind_in_matplotlib(samples: pd.DataFrame) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.known_unknown(samples)
    assert dict(matplotlib.rcParams) == before


def test_each_method_is_shown_before_its_variants() -> None:
    names = ["ce", "ls(epsilon=0.05)", "ls", "als(lam=100)", "als(lam=10)", "maxsup", "ce"]
    assert plots.one_of_each(names, 4) == ["ce", "ls", "als(lam=100)", "maxsup"]
    assert plots.one_of_each(names, 5) == ["ce", "ls(epsilon=0.05)", "ls", "als(lam=100)", "maxsup"]
    assert plots.one_of_each(names, 9) == names[:-1]


def test_long_names_are_broken_or_shortened_in_their_middle() -> None:
    long = "outlier-exposure(lam=0.5, weight=10, temperature=4)"
    assert plots.wrapped("als(lam=10)") == "als(lam=10)"
    assert plots.wrapped(long).split("\n") == ["outlier-exposure", "(lam=0.5, weight=10,", "temperature=4)"]
    assert plots.short("als(lam=0.1, k=argmax)", 15) == "als(lam…argmax)"
    assert len(plots.short(long, 20)) == 20
