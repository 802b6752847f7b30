"""Mistakes are gathered with their places."""

from __future__ import annotations

from typing import Annotated

import pydantic
import pytest
from pydantic import AfterValidator

from oodbench.core.errors import SpecError, UserError
from oodbench.suite.problems import Problems, join, keys, validated
from tests.suite.written import mistakes, written


def test_all_mistakes_are_shown_at_once() -> None:
    lines = mistakes(written(scorers=[{"knn": {"k": 0}}, "mspp"], seeds=[], recipe={"lr": -1}, extra=1))
    assert len(lines) == 5


def test_names_from_a_list_that_is_wrong_are_no_second_mistake() -> None:
    """A claim names a scorer whose parameters are wrong: the parameters are the mistake."""
    claim = {
        "id": "a",
        "says": "x",
        "compare": ["cross-entropy", "als"],
        "expect": "higher",
        "scorers": ["k"],
    }
    (line,) = mistakes(
        written(methods=["cross-entropy", "als"], scorers=[{"knn": {"k": 0}, "as": "k"}], claims=[claim])
    )
    assert line.startswith("suite: scorers[0].knn.k:")


def test_paths_are_joined_by_a_dot_but_before_an_index() -> None:
    assert join("pairs[0]", "near[1]") == "pairs[0].near[1]"
    assert join("pairs", "[0].near") == "pairs[0].near"
    assert join("", "seeds") == "seeds"
    assert join("seeds", "") == "seeds"


def test_what_is_tried_is_told_once_and_together() -> None:
    def fails(error: Exception) -> int:
        raise error

    found = Problems()
    assert found.tried("a", int, "3") == 3
    assert found.tried("b", fails, UserError("is wrong")) is None
    assert found.tried("c", fails, SpecError([("", "x"), ("[1].d", "y")])) is None
    with pytest.raises(SpecError) as caught:
        found.stop()
    assert caught.value.problems == [("b", "is wrong"), ("c", "x"), ("c[1].d", "y")]
    Problems().stop()
    with pytest.raises(KeyError):  # a fault of ours is no mistake of the user's
        found.tried("d", fails, KeyError("k"))


def _even(value: int) -> int:
    if value % 2:
        raise SpecError([("", "should be even"), ("why", "it is odd")])
    return value


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    count: Annotated[int, AfterValidator(_even)]
    name: str = pydantic.Field("", alias="as")
    sizes: tuple[int, ...] = ()


def test_each_error_of_a_model_is_one_line_at_its_place() -> None:
    assert keys(_Model) == ["count", "as", "sizes"]
    assert validated(_Model, {"count": 2, "as": "x"}).name == "x"
    with pytest.raises(SpecError) as caught:
        validated(_Model, {"count": 3, "as": 4, "sizes": [1, "two"], "size": 5})
    assert caught.value.problems == [
        ("count", "should be even"),
        ("count.why", "it is odd"),
        ("as", "should be text, got 4"),
        ("sizes[1]", "should be a valid integer, unable to parse string as an integer, got 'two'"),
        ("size", "unknown key; did you mean 'sizes'? allowed: as, count, sizes"),
    ]
    with pytest.raises(SpecError, match=r"^count: is missing$"):
        validated(_Model, {})
