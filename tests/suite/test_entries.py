"""What stands in a list of a suite: variants, names, recipe keys, the method that training starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oodbench.core.errors import UserError
from oodbench.suite.entries import MethodEntry, override, variants
from oodbench.suite.parse import parse_suite
from tests.suite.written import FAMILY, mistakes, written


def test_grids_become_variants_with_labels() -> None:
    suite = parse_suite(
        written(
            methods=[
                {"als": {"lam": {"grid": [0.1, 10]}}},
                {"label-smoothing": {"epsilon": 0.2}, "as": "ls"},
            ],
            pairs=[{"digits": {"split": {"grid": [0, 3]}}}],
        )
    )
    assert [m.label for m in suite.methods] == ["als(lam=0.1)", "als(lam=10)", "ls"]
    assert [(p.label, p.split) for p in suite.pairs] == [("digits", 0), ("digits", 3)]


def test_a_grid_with_one_alias_needs_more_names() -> None:
    assert "stands twice" in mistakes(written(methods=[{"als": {"lam": {"grid": [1, 2]}}, "as": "a"}]))[0]


@pytest.mark.parametrize("key", ["pairs", "networks", "methods", "scorers", "attacks"])
@pytest.mark.parametrize("alias", [3, "", "  ", ["a"]])
def test_an_alias_is_a_name_in_every_list(key: str, alias: Any) -> None:
    component = {"pairs": "digits", "networks": "mlp", "methods": "als", "scorers": "msp", "attacks": "fgsm"}
    (line,) = mistakes(written(**{key: [{component[key]: {}, "as": alias}]}))
    quoted = " ".join(repr(alias).split())
    assert line == f"suite: {key}[0].as: should be a name, got {quoted}"


def test_a_component_and_what_stands_beside_it_are_told_together() -> None:
    lines = mistakes(
        written(methods=["cross-entropy", {"als": {"lam": -1}, "recipe": {"lr": 0}, "start": "cross"}])
    )
    assert [line.split(": ")[1] for line in lines] == [
        "methods[1].als.lam", "methods[1].recipe.lr", "methods[1].start",
    ]  # fmt: skip


def test_a_key_for_methods_alone_is_refused_elsewhere() -> None:
    assert (
        "scorers[0]: a scorer should be a name or"
        in mistakes(written(scorers=[{"msp": {}, "recipe": {"lr": 0.1}}]))[0]
    )


def test_an_entry_is_written_as_it_was_read_with_defaults_filled_in() -> None:
    raw = {"als": {"lam": 2.0}, "as": "two", "recipe": {"lr": 0.3}, "start": "cross-entropy"}
    (entry,) = variants(MethodEntry, "method", raw)
    plain = entry.plain
    assert list(plain) == ["als", "as", "recipe", "start"]
    assert plain["als"]["lam"] == 2.0
    assert list(plain["start"]) == ["cross-entropy"]
    assert variants(MethodEntry, "method", plain) == [entry]
    assert list(variants(MethodEntry, "method", "als")[0].plain) == ["als"]


def test_labels_of_methods() -> None:
    start = {"als": {}, "start": "cross-entropy"}
    assert variants(MethodEntry, "method", start)[0].label == "als from cross-entropy"
    assert variants(MethodEntry, "method", start | {"as": "warm"})[0].label == "warm"


def test_recipe_keys_beside_a_component_are_checked_one_by_one() -> None:
    assert override({"world_size": 100}) == {"world_size": 100}  # whether the batch is large enough: later
    assert override("osr-arpl")["batch_size"] == 64
    with pytest.raises(UserError, match="lrr"):
        override({"lrr": 1})
    with pytest.raises(UserError, match=r"augment\[1\]: unknown augmentation 'flop'"):
        override({"augment": ["flip", "flop"]})
    with pytest.raises(UserError, match=r"augment: .*tuple"):
        override({"augment": 3})


def test_mistakes_of_starts_and_members_are_named() -> None:
    with pytest.raises(UserError, match=r"methods\[0\]\.start: unknown method 'cross'"):
        parse_suite(FAMILY | {"methods": [{"als": {}, "start": "cross"}]})
    with pytest.raises(UserError, match="members"):
        parse_suite(FAMILY | {"methods": [{"ensemble": {"members": 1}}]})


ACTING = {
    "escape": ("a\x1b[31mb", "holds U+001B"),
    "line end": ("a\nb", "holds U+000A"),
    "carriage return": ("a\rb", "holds U+000D"),
    "C1": ("a\x9bb", "holds U+009B"),
    "delete": ("a\x7fb", "holds U+007F"),
    "right to left": ("a\u202eb", "holds U+202E (right-to-left override)"),
    "isolate": ("a\u2066b", "holds U+2066"),
    "zero width": ("a\u200bb", "holds U+200B"),
    "line separator": ("a\u2028b", "holds U+2028"),
    "byte-order mark": ("a\ufeffb", "holds U+FEFF"),
    "formula": ("=1+1", "begins with '='"),
    "sum": ("@SUM(A1)", "begins with '@'"),
    "minus": ("-1+cmd", "begins with '-'"),
    "plus": ("+1", "begins with '+'"),
    "wide": ("＝1", "begins with '＝'"),
    "space": (" a", "begins or ends with a space"),
    "long": ("a" * 201, "has 201 characters"),
}


@pytest.mark.parametrize("key", ["pairs", "networks", "methods", "scorers", "attacks"])
@pytest.mark.parametrize("case", ACTING)
def test_a_name_is_text_that_acts_nowhere(key: str, case: str) -> None:
    component = {"pairs": "digits", "networks": "mlp", "methods": "als", "scorers": "msp", "attacks": "fgsm"}
    alias, why = ACTING[case]
    (line,) = mistakes(written(**{key: [{component[key]: {}, "as": alias}]}))
    assert line.startswith(f"suite: {key}[0].as: the name ")
    assert why in line
    assert line.isprintable()


def test_a_label_made_of_parameters_is_a_name_too(tmp_path: Path) -> None:
    file = tmp_path / "w\x1b[31m.pt"
    file.write_bytes(b"")
    lines = mistakes(written(methods=[{"checkpoint": {"file": str(file)}}]))
    assert any("holds U+001B" in line and "as:" in line for line in lines), lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "name", ["\u03b1-smoothing", "als (ours)", "80 %", "a-b", "n\u00e4he", "\u6570\u5b57"]
)
def test_other_names_are_the_users_choice(name: str) -> None:
    assert parse_suite(written(methods=[{"als": {}, "as": name}])).methods[0].label == name
