"""Choosing among a suite's scorers and methods, and putting others beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

import oodbench
from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.suite.choose import chosen, names_in
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite

SUITE = {
    "name": "s", "pairs": [{"digits": {"split": 0}}], "networks": ["mlp"],
    "methods": ["cross-entropy", {"als": {"lam": {"grid": [1, 10]}}}],
    "scorers": ["msp", {"knn": {"k": {"grid": [5, 10]}}}, "energy"],
    "claims": [
        {"id": "a", "says": "x", "compare": ["als(lam=10)", "cross-entropy"], "expect": "higher"},
        {"id": "b", "says": "x", "compare": [{"als": {"select": "val_accuracy"}}, "cross-entropy"],
         "expect": "higher", "scorers": ["energy"]},
    ],
    "reference": [{"method": "als(lam=10)", "id_accuracy": 90, "source": "x"},
                  {"scorer": "energy", "near_auroc": 90, "source": "x"}],
}  # fmt: skip


def labels(suite: oodbench.Suite) -> tuple[list[str], list[str]]:
    return [s.label for s in suite.scorers], [m.label for m in suite.methods]


def test_nothing_chosen_is_everything() -> None:
    suite = parse_suite(SUITE)
    assert chosen(suite) == suite


def test_a_name_stands_for_its_variants_a_label_for_one_and_the_order_is_the_wanted_one() -> None:
    suite = chosen(parse_suite(SUITE), scorers=["energy", "knn", "knn(k=5)", "vim"], methods=["als"])
    assert labels(suite) == (["energy", "knn(k=5)", "knn(k=10)", "vim"], ["als"])


def test_what_speaks_of_what_is_left_out_is_left_out_and_the_rest_loads_again(tmp_path: Path) -> None:
    suite = chosen(parse_suite(SUITE), scorers=["energy"], methods=["als(lam=10)", "cross-entropy"])
    assert [c.id for c in suite.claims] == ["b"]
    assert [f.get("scorer") for f in suite.reference] == [None, "energy"]
    (tmp_path / "again.yaml").write_text(suite.dump())
    assert labels(load_suite(tmp_path / "again.yaml")) == labels(suite)
    assert chosen(suite, methods=["cross-entropy"]).claims == ()
    assert len(chosen(suite, methods=["cross-entropy"]).reference) == 1


def test_a_plugin_whose_components_the_suite_names_adds_them_once(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import oodbench\n"
        "@oodbench.scorer('t-own', source='t')\n"
        "class Own(oodbench.Scorer):\n"
        "    't'\n"
        "    def __init__(self, *, k: int = 1) -> None: ...\n"
        "@oodbench.method('t-needs', source='t')\n"
        "class Needs(oodbench.Method):\n"
        "    't'\n"
        "    def __init__(self, *, k: int) -> None: ...\n"
    )
    with registry.isolated():
        raw = SUITE | {"scorers": [{"t-own": {"k": 3}}, "msp", "energy"], "methods": ["cross-entropy"],
                       "claims": [], "reference": []}  # fmt: skip
        raw = {k: v for k, v in raw.items() if k not in ("claims", "reference")}
        suite = parse_suite(raw, plugins=[file])
        with pytest.raises(UserError, match=r"method 't-needs' cannot stand with its defaults alone .*'k'"):
            chosen(suite, plugins=[file])
        assert registry.registered_by(file, "scorer") == ["t-own"]
        assert labels(chosen(suite, plugins=[]))[0] == ["t-own(k=3)", "msp", "energy"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("msp", ("msp",)),
        ("msp, knn(k=5,p=2) ,x", ("msp", "knn(k=5,p=2)", "x")),
        ("mlp(hidden=[1,2]),a", ("mlp(hidden=[1,2])", "a")),
        (" , ", ()),
        ("", ()),
    ],
)
def test_commas_within_brackets_belong_to_a_label(text: str, names: tuple[str, ...]) -> None:
    assert names_in(text) == names
