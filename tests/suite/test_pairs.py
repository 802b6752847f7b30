"""The pairs of a suite: their names, splits and sets, and what is no pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Pair
from oodbench.suite.parse import parse_suite
from tests.suite.written import FAMILY, mistakes, written

FOUR = {"digits": {"classes": [0, 1, 2, 3]}}
OTHERS = {"digits": {"classes": [6, 7]}}


def test_inline_pairs_name_their_sets() -> None:
    suite = parse_suite(written(pairs=[{
        "name": "mine", "id": {"digits": {"classes": [0, 1, 2]}},
        "near": {"others": {"digits": {"classes": [3, 4]}}},
        "far": [{"noise": {"kind": "uniform"}}],
    }]))  # fmt: skip
    pair = suite.pairs[0].pair
    assert list(pair.near) == ["others"]
    assert list(pair.far) == ["noise(kind=uniform)"]


def _inline(**changes: Any) -> dict[str, Any]:
    return written(pairs=[{"name": "mine", "id": FOUR, "near": [OTHERS]} | changes])


def test_every_key_of_an_inline_pair_arrives() -> None:
    made = _inline(
        far={"static": "noise"}, shifted=[{"noise": {"kind": "blobs"}}], recipe={"lr": 0.3},
        ood_val={"noise": {"kind": "uniform"}}, outliers={"noise": {"kind": "rademacher"}},
        geometry={"shape": [1, 8, 8]},
    )  # fmt: skip
    (entry,) = parse_suite(made).pairs
    pair = entry.pair
    assert (entry.label, entry.split, entry.params, entry.recipe) == ("mine", None, {}, {"lr": 0.3})
    assert list(pair.far) == ["static"]
    assert list(pair.shifted) == ["noise(kind=blobs)"]
    assert [s.label for s in (pair.ood_val, pair.outliers) if s is not None] == [
        "noise(kind=uniform)", "noise(kind=rademacher)",
    ]  # fmt: skip
    assert pair.geometry == Geometry((1, 8, 8))


@pytest.mark.parametrize("geometry", [
    {"shape": [1, 8, 8], "resize": 10}, {"resize": 10, "shape": [1, 8, 8]}, [[1, 8, 8], 10],
])  # fmt: skip
def test_a_geometry_by_its_keys_in_any_order(geometry: Any) -> None:
    assert parse_suite(_inline(geometry=geometry)).pairs[0].pair.geometry == Geometry((1, 8, 8), 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": None}, "id: a dataset should be a name or {name: {parameter: value}}, got None"),
        ({"near": [], "far": None}, "near: a pair needs at least one near- or far-OOD set"),
        ({"near": "noise"}, "near: should be a list of data sets or a mapping {name: data set}, got 'noise'"),
        ({"near": ["noise", "nois"]}, "near[1]: unknown dataset 'nois'; did you mean 'noise'?"),
        ({"near": {"a": "noise", "b": "nois"}}, "near.b: unknown dataset 'nois'"),
        ({"near": ["noise", "noise"]}, "near[1]: the set name 'noise' stands twice in the pair"),
        ({"near": ["noise"], "far": ["noise"]}, "the set name 'noise' stands twice in the pair"),
        ({"near": {"again": FOUR}}, "near.again: the OOD set is the ID set (digits(classes=[0,1,2,3]))"),
        ({"far": {"again": FOUR}}, "far.again: the OOD set is the ID set"),
        ({"outliers": OTHERS}, "outliers: the outliers for training are the OOD set"),
        ({"ood_val": {"noise": {"kind": "red"}}}, "ood_val.noise.kind: "),
        ({"geometry": {"shape": [1, 8]}}, "geometry: should be {shape: [channels, height, width], resize"),
        ({"geometry": {"shape": [1, 8, 8], "size": 8}}, "geometry: should be {shape: "),
        ({"recipe": {"lr": 0}}, "recipe.lr: should be greater than 0, got 0"),
        ({"nears": []}, "nears: unknown key; did you mean 'near'?"),
        ({"name": "a b"}, "name: should be letters, digits and . _ + - only"),
    ],
)  # fmt: skip
def test_mistakes_of_an_inline_pair(changes: dict[str, Any], message: str) -> None:
    starts = (f"suite: pairs[0].{message}", f"suite: pairs[0]: {message}")
    found = mistakes(_inline(**changes))
    assert any(line.startswith(starts) for line in found), found


def test_a_shifted_set_may_be_the_id_set_and_outliers_may_not_be_tested() -> None:
    parse_suite(_inline(shifted={"same": FOUR}, outliers={"noise": {}}))
    assert len(mistakes(_inline(near={"a": FOUR, "b": OTHERS}, outliers=OTHERS))) == 2


def test_a_pair_by_name_that_is_wrong_in_itself() -> None:
    @registry.pair("t-twin", source="a test")
    def twin() -> Pair:
        return Pair("digits", near={"same": "digits"}, far={"typo": "nois"})

    lines = mistakes(written(pairs=["digits", "t-twin"]))
    assert [line.split(": ")[1] for line in lines] == ["pairs[1].far.typo", "pairs[1].near.same"]


def test_titles_tell_splits_of_one_pair_apart() -> None:
    suite = parse_suite(written(pairs=[{"digits": {"split": {"grid": [0, 3]}}}]))
    assert [p.title for p in suite.pairs] == ["digits split 0", "digits split 3"]
    assert parse_suite(_inline()).pairs[0].title == "mine"
    assert mistakes(written(pairs=["digits", "digits"])) == [
        "suite: pairs: 'digits split 0' stands twice; give one of them another name with `as:`"
    ]


def test_two_folders_are_two_data_sets(tmp_path: Path) -> None:
    """A path is no identity of a key; here it tells one set from another."""
    known, other, third = ({"folder": {"root": str(tmp_path / name)}} for name in ("a", "b", "c"))
    (entry,) = parse_suite(_inline(id=known, near={"other": other}, outliers=third)).pairs
    assert list(entry.pair.near) == ["other"]
    assert "near.same: the OOD set is the ID set" in mistakes(_inline(id=known, near={"same": known}))[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a\x1b[31m", "holds U+001B"),
        ("a\u202e", "holds U+202E"),
        ("=1+1", "makes a formula"),
        ("@x", "formula"),
    ],
)
@pytest.mark.parametrize("role", ["near", "far", "shifted"])
def test_a_sets_name_is_text_that_acts_nowhere(role: str, name: str, why: str) -> None:
    lines = mistakes(_inline(**{role: {name: OTHERS}}))
    assert any(why in line for line in lines), lines
    assert all(line.isprintable() for line in lines)


NAMES = [
    *(
        "train",
        "val",
        "test",
        "Test",
        "head",
        "outliers",
        "ood_val",
        "id",
        "tune",
        "tune:noise",
        "clean",
        "full",
    ),
    *(
        "../x",
        "a/../b",
        "/etc/x",
        "..",
        ".",
        "",
        "~/x",
        "\\\\host\\x",
        "a\x1b[31m",
        "a\nb",
        " a",
        "=1+1",
        "x" * 999,
    ),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["near", "far", "shifted"])
def test_a_set_is_not_called_as_a_role_or_a_path(role: str, name: str) -> None:
    for pair in (
        {"arrays": {"far": ["x"]} | {role: [name]}},
        _inline(far={"static": "noise"}, **({} if role == "far" else {role: {name: OTHERS}}))["pairs"][0]
        if role != "far"
        else _inline(far={name: "noise"})["pairs"][0],
    ):
        (line,) = mistakes(written(pairs=[pair]))
        assert "the set name" in line
        assert line.isprintable()
        assert len(line) < 400


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({}, "a pair needs at least one near- or far-OOD set"),
        ({"far": []}, "a pair needs at least one near- or far-OOD set"),
        ({"shifted": ["x"]}, "a pair needs at least one near- or far-OOD set"),
        ({"far": ["x", "x"]}, "arrays.far: names 'x' twice"),
        ({"near": ["y", "x", "y"]}, "arrays.near: names 'y' twice"),
        ({"shifted": ["y", "y"], "far": ["x"]}, "arrays.shifted: names 'y' twice"),
        ({"near": ["x"], "far": ["x"]}, "the set name 'x' stands twice in the pair"),
        ({"near": ["x"], "shifted": ["x"]}, "the set name 'x' stands twice in the pair"),
        ({"far": ["a/b"]}, "the set name 'a/b' is a path; give it a name"),
        ({"far": ["a\\b"]}, "is a path; give it a name"),
    ],
)
def test_arrays_are_named_once_and_are_some(sets: dict[str, Any], said: str) -> None:
    (line,) = mistakes(written(pairs=[{"arrays": sets}]))
    assert said in line


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"near": {"a": "noise", "b": "noise"}}, "near.b: is the data set of near.a again; name it once"),
        ({"near": {"a": "noise"}, "far": {"b": {"noise": {}}}}, "far.b: is the data set of near.a again"),
        ({"near": ["noise", {"noise": {}}]}, "the set name 'noise' stands twice in the pair"),
    ],
)
def test_a_data_set_is_ood_once(sets: dict[str, Any], said: str) -> None:
    lines = mistakes(_inline(**({"near": []} | sets)))
    assert any(said in line for line in lines), lines


def test_a_set_may_be_called_as_its_data_set_of_the_hub() -> None:
    (entry,) = parse_suite(_inline(far=[{"huggingface": {"name": "some/set"}}])).pairs
    assert list(entry.pair.far) == ["huggingface(name=some/set)"]


def test_a_written_out_pair_of_relative_folders_loads_again_from_another_folder(tmp_path: Path) -> None:
    """Whose resolved suite lies with the results."""
    strange = {"folder": {"root": "strange", "split": "none"}}
    pair = {
        "name": "own", "id": {"subset": {"of": {"folder": {"root": "known"}}, "classes": [0, 1]}},
        "near": [strange], "far": {"n": "noise"}, "ood_val": {"folder": {"root": "../val"}},
    }  # fmt: skip
    suite = parse_suite(FAMILY | {"pairs": [pair]}, file=tmp_path / "suite.yaml")
    again = yaml.safe_load(suite.dump())
    (made,) = again["pairs"]
    assert made["far"] == {"n": "noise"}
    assert made["near"][0]["folder"]["root"] == str(tmp_path / "strange")
    loaded = parse_suite(again, file=tmp_path / "results" / "family" / "suite.yaml")
    assert loaded.pairs[0].pair == suite.pairs[0].pair
    assert loaded.dump() == suite.dump()
