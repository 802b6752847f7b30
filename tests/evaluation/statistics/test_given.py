"""What statistics are handed. (Every case of a user's stands in tests/whole/test_bad_calls.py.)"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from oodbench.evaluation.statistics.given import numbers, share, vector, with_columns


def test_what_is_right_comes_out_as_it_is() -> None:
    assert np.isnan(vector([1, float("nan")], "x")).tolist() == [False, True]
    assert vector(torch.tensor([1.5]).bfloat16(), "x").tolist() == [1.5]
    assert share(np.float64(0.95), "x") == 0.95
    frame = pd.DataFrame({"a": [1], "b": [True]})
    assert with_columns(frame, ["a"], "x") is frame
    assert numbers(frame, "x").tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("bad", [0, 1, -1, 95, True, "0.95", None, float("nan")])
def test_a_share_lies_between_0_and_1(bad: object) -> None:
    with pytest.raises(ValueError, match=r"^x: should be a number between 0 and 1, got "):
        share(bad, "x")


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"^x: should have the shape \(n,\), got \(1, 1\)$"):
        vector([[1]], "x")
    with pytest.raises(ValueError, match=r"^x: the column 'b' is missing; there: a$"):
        with_columns(pd.DataFrame({"a": [1]}), ["a", "b"], "x")
    with pytest.raises(ValueError, match=r"^x: should be a DataFrame, got dict$"):
        numbers({}, "x")
    with pytest.raises(ValueError, match=r"^x: should hold numbers alone"):
        numbers(pd.DataFrame({"a": ["one"]}), "x")
