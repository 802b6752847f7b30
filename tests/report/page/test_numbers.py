"""Numbers as short as the page needs them."""

from __future__ import annotations

import pandas as pd

from oodbench.report.page.numbers import number, shortened, tuples


def test_page_shows_the_digits_that_the_command_prints() -> None:
    # 0.00204950 is 0.20 %; shortened to five places first it would become 0.21 %
    made = shortened(pd.DataFrame({"x": [0.0020452]}))[0][0]
    assert f"{100 * made:.2f}" == "0.20"


def test_what_is_no_number_is_none() -> None:
    frame = pd.DataFrame({"a": [0.123456789, float("nan")], "b": [float("inf"), 2.0]})
    assert shortened(frame, 3) == [[0.123, None], [None, 2.0]]
    assert (number(1 / 3), number(float("nan")), number(2, 0)) == (0.33333, None, 2.0)
    assert tuples(frame, ["b"]) == [(float("inf"),), (2.0,)]
