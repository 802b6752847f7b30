"""Error lines name what was meant and what is allowed."""

from __future__ import annotations

from oodbench.core.errors import MissingData, NotApplicable, SpecError, UserError, meant, reason_of


def test_the_nearest_name_is_suggested_and_all_are_listed() -> None:
    assert meant("ennergy", ["msp", "energy"]) == "; did you mean 'energy'? allowed: energy, msp"
    assert meant("zzz", ["msp", "energy"]) == "; allowed: energy, msp"
    assert meant("zzz", []) == "; allowed: none"


def test_every_mistake_stands_on_its_own_line_with_its_place() -> None:
    error = SpecError([("scorers[0].knn.k", "should be a number"), ("", "is no mapping")])
    assert str(error) == "scorers[0].knn.k: should be a number\nis no mapping"
    assert error.problems == [("scorers[0].knn.k", "should be a number"), ("", "is no mapping")]


def test_the_command_line_shows_all_of_them_as_one_line() -> None:
    assert all(issubclass(kind, UserError) for kind in (SpecError, MissingData, NotApplicable))


def test_a_reason_has_words_whatever_the_error() -> None:
    assert reason_of(UserError("data: not here")) == "data: not here"
    assert reason_of(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero"
    for silent in (UserError(""), MemoryError(), KeyError(), ValueError("  \n")):
        assert reason_of(silent) in (type(silent).__name__, f"{type(silent).__name__}: ")
        assert reason_of(silent).splitlines()[0].strip()
    assert reason_of(ValueError("\nfirst\nsecond")).splitlines()[0] == "ValueError: first"
