"""Names of a user's are text, wherever they come to stand."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from oodbench.core.names import FORMULA, no_formula, objection, visible


def test_no_character_that_is_not_seen_can_stand_in_a_name() -> None:
    """By Unicode's own table: control, format, surrogate, unassigned, line and paragraph separators."""
    for code in range(sys.maxunicode + 1):
        hidden = unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        if hidden or code in range(32, 127):
            assert bool(objection(f"a{chr(code)}b")) == hidden, hex(code)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a\x1b[31m", "holds U+001B (a control character), which is not seen"),
        ("a\u202eb", "holds U+202E (right-to-left override), which is not seen"),
        ("a\u200bb", "holds U+200B (zero width space), which is not seen"),
        ("=1", "begins with '=', which makes a formula of it in a spreadsheet"),
        ("a ", "begins or ends with a space"),
        ("a" * 201, "has 201 characters; at most 200 are allowed"),
    ],
)
def test_it_says_what_is_wrong_in_what_can_be_seen(name: str, why: str) -> None:
    assert objection(name) == why
    assert objection(name).isprintable()


@pytest.mark.parametrize("name", ["als(lam=10)", "α", "a=b", "5 %", "名前", "naïve", "a-1", "(x)"])
def test_other_names_are_free(name: str) -> None:
    assert objection(name) == ""
    assert no_formula(name) == visible(name) == name


@pytest.mark.parametrize("first", sorted(FORMULA))
def test_a_formula_becomes_text_and_a_number_stays_one(first: str) -> None:
    assert no_formula(f"{first}SUM(A1)") == f"'{first}SUM(A1)"
    for number in ("1", "0.5", "1e-5", ".5", "12.", "1E+10"):
        assert no_formula(f"-{number}") == f"-{number}"
        assert no_formula(f"+{number}") == f"+{number}"
    assert no_formula("-1+cmd") == "'-1+cmd"
    assert no_formula("") == ""


def test_what_is_not_seen_is_left_out_and_the_rest_kept() -> None:
    assert visible("a  b") == "a  b"
    assert visible("a\x1b[31m\nb\u202e") == "a b\ufffd"
    assert visible("") == ""
    assert len(visible("\n" + "x" * 5000)) <= 1000
