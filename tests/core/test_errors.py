"""Error lines name what was meant and what is allowed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from oodbench.core.errors import (
    BadValue,
    Lack,
    MissingData,
    NotApplicable,
    NotFinite,
    NotFitted,
    SpecError,
    UserError,
    lines_of_missing,
    meant,
    one_line,
    reason_of,
    shown,
)


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
    assert reason_of(ValueError("\nfirst\nsecond")) == "ValueError: first second"
    assert reason_of(SpecError([("a", "is wrong"), ("b", "is missing")])) == "a: is wrong; b: is missing"


def test_a_reason_names_the_place_in_a_file_of_the_user(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import json\ndef f():\n    return json.loads('{')\n")
    space: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    with pytest.raises(ValueError, match="Expecting") as caught:
        space["f"]()  # type: ignore[operator]
    assert reason_of(caught.value).endswith("(mine.py:3)"), "not the line in the library"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("\x1b[1mbold\x1b[0m and\nmore", "bold and more"),
        ("\x1b]0;title\x07shown", "shown"),
        ("a\rb\x00c\x85d\u2028e", "a b\ufffdc d e"),
        ("left \u202eto right\u200b", "left \ufffdto right\ufffd"),
        ("caf\udce9.png", "caf\ufffd.png"),
        (EOFError(), "EOFError"),
        (ValueError("x" * 900), "x" * 398 + " …"),
    ],
)
def test_what_is_said_is_one_printable_line(said: object, line: str) -> None:
    assert one_line(said) == line


def test_a_value_is_quoted_in_one_short_line() -> None:
    laughs: list[object] = ["x"]
    for _ in range(40):
        laughs = [laughs] * 9
    assert len(shown(laughs)) <= 120
    assert len(shown("y" * 10**6)) <= 120
    assert len(shown(10**4000)) <= 120
    assert len(shown({str(i): i for i in range(1000)})) <= 120
    assert shown("a\x1b[31mb") == "'a\\x1b[31mb'"
    assert shown([1, 0.5, None]) == "[1, 0.5, None]"


def test_a_bad_value_is_to_python_what_it_would_be_without_us() -> None:
    assert set(BadValue.__bases__) == {UserError, ValueError}
    assert set(NotFitted.__bases__) == {UserError, AttributeError}
    assert issubclass(NotFinite, BadValue)
    assert reason_of(BadValue("logits: some are not finite")) == "logits: some are not finite"


def _lack(whole: str, part: str = "", get: str = "a page") -> MissingData:
    return MissingData(lacks=[Lack(whole, part, ("here", "there"), get)])


def test_what_comes_in_one_download_is_one_line() -> None:
    error = MissingData.joined(
        [_lack("zip", "a"), _lack("data set 'x'"), _lack("zip", "b"), _lack("zip", "a")]
    )
    assert str(error).splitlines() == [
        "zip (a, b) is not here; looked for it in here, there; to get it: a page",
        "data set 'x' is not here; looked for it in here, there; to get it: a page",
    ]
    assert len(MissingData.joined([error, _lack("zip", "c")]).lacks) == 5
    assert len(str(MissingData.joined([_lack("zip", "a"), _lack("zip", "a", "another")])).splitlines()) == 2


def test_other_words_stand_as_they_are() -> None:
    error = MissingData.joined([MissingData("gone\nget it"), _lack("zip"), MissingData("gone\nget it")])
    assert str(error).splitlines()[:2] == ["gone", "get it"]
    assert len(str(error).splitlines()) == 3


def test_who_misses_a_download_stands_before_it() -> None:
    found = [(f"pair {n!r}", MissingData.joined([_lack("zip", n), MissingData("gone")])) for n in "abcde"]
    *own, last = lines_of_missing(found)
    assert own == [f"pair {n!r}: gone" for n in "abcde"]
    assert last.startswith("pair 'a', pair 'b', pair 'c' and 2 more: zip (a, b, c, d, e) is not here; ")


def test_missing_data_goes_through_a_pickle_whole() -> None:
    error = pickle.loads(pickle.dumps(_lack("zip", "a")))
    assert (str(error), error.lacks) == (str(_lack("zip", "a")), _lack("zip", "a").lacks)
