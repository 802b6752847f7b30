"""A suite once it is resolved: written out and read again, restricted, its recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from tests.suite.written import FAMILY, SUITES, mistakes, written


@pytest.mark.parametrize("file", sorted(SUITES.rglob("*.yaml")), ids=lambda f: str(f.relative_to(SUITES)))
def test_every_committed_suite_loads_and_loads_again_from_its_resolved_form(
    file: Path, tmp_path: Path
) -> None:
    suite = load_suite(file)
    again = tmp_path / file.name
    again.write_text(suite.dump())
    for plugin in suite.plugins:
        (tmp_path / plugin.name).write_text(plugin.read_text())
    second = load_suite(again)
    assert [(p.label, p.split) for p in second.pairs] == [(p.label, p.split) for p in suite.pairs]
    assert [m.label for m in second.methods] == [m.label for m in suite.methods]
    assert [(s.label, s.identity) for s in second.scorers] == [(s.label, s.identity) for s in suite.scorers]
    assert second.recipe == suite.recipe


def test_a_dump_of_a_dump_is_the_same_text() -> None:
    """Every key but plugins, which is a file beside the suite; a grid, aliases, recipes by name."""
    arpl = {"als": {"lam": {"grid": [1, 2]}}, "recipe": "osr-arpl", "start": "cross-entropy"}
    claim = {"id": "a", "says": "x", "compare": ["A", "cross-entropy"], "expect": {"equal-within": 0.01}}
    inline = {
        "recipe": {"lr": 0.4}, "name": "two", "far": [{"noise": {"kind": "uniform"}}],
        "id": {"digits": {"classes": [0, 1, 2]}}, "near": {"six": {"digits": {"classes": [6]}}},
        "geometry": {"resize": 8, "shape": [1, 8, 8]}, "ood_val": "noise",
    }  # fmt: skip
    suite = parse_suite(written(
        pairs=[{"digits": {"split": {"grid": [0, 1]}}, "as": "D", "recipe": {"lr": 0.2}}, inline],
        networks=["mlp", {"mlp": {"hidden": [8]}, "as": "small"}],
        methods=["cross-entropy", arpl, {"als": {}, "as": "A"}],
        scorers=["msp", {"knn": {"k": {"grid": [1, 5]}}}], seeds=[3, 1], tune="id", inapplicable="skip",
        recipe={"openood-cifar": {"epochs": 1}}, attacks=[{"pgd": {"eps": 0.1}, "as": "weak"}, "fgsm"],
        claims=[claim], reference=[{"source": "mine", "method": "A", "id_accuracy": 90}],
    ))  # fmt: skip
    text = suite.dump()
    again = parse_suite(yaml.safe_load(text))
    assert again.dump() == text
    assert "&id" not in text  # no anchors: each entry can be read by itself
    assert [(p.label, p.split, p.pair, p.recipe) for p in again.pairs] == [
        (p.label, p.split, p.pair, p.recipe) for p in suite.pairs
    ]
    assert [a.label for a in again.attacks] == ["weak", "fgsm"]  # their names stand in the rows
    assert [(m.label, m.start) for m in again.methods] == [(m.label, m.start) for m in suite.methods]
    for key in ("networks", "scorers", "seeds", "recipe", "tune", "claims", "reference"):
        assert getattr(again, key) == getattr(suite, key), key
    newer = ("fit", "store", "extract")  # than the first results: written where they are used
    assert list(yaml.safe_load(text)) == [k for k in type(suite).model_fields if k not in newer]


def test_keys_that_are_seldom_used_are_written_where_used() -> None:
    assert list(yaml.safe_load(parse_suite(written()).dump())) == [
        "name", "pairs", "networks", "methods", "scorers", "seeds", "recipe", "plugins", "inapplicable",
        "tune",
    ]  # fmt: skip


def test_a_suite_of_ready_outputs_loads_again_without_a_network() -> None:
    suite = parse_suite(written(networks=None, methods=[{"outputs": {"folder": "here"}}]))
    assert yaml.safe_load(suite.dump())["networks"] == []
    assert parse_suite(yaml.safe_load(suite.dump())).networks == ()


def test_recipe_keys_of_pair_and_method_override_the_suites() -> None:
    suite = parse_suite(written(
        recipe={"epochs": 5, "lr": 0.1, "batch_size": 32},
        pairs=[{"digits": {}, "recipe": {"epochs": 6, "lr": 0.2}}],
        methods=["cross-entropy", {"als": {}, "recipe": {"lr": 0.3}}],
    ))  # fmt: skip
    pair, (plain, als) = suite.pairs[0], suite.methods
    assert [suite.recipe_of(pair, plain).model_dump()[k] for k in ("epochs", "lr", "batch_size")] == [
        6,
        0.2,
        32,
    ]
    assert [suite.recipe_of(pair, als).model_dump()[k] for k in ("epochs", "lr", "batch_size")] == [
        6,
        0.3,
        32,
    ]


def test_recipe_keys_that_do_not_go_together_are_named() -> None:
    lines = mistakes(written(
        pairs=[{"digits": {}, "recipe": {"optimizer": "sam"}}],
        methods=["cross-entropy", {"als": {}, "recipe": {"accumulate": 2}}],
    ))  # fmt: skip
    assert lines == [
        "suite: recipe: with the keys of method 'als': optimizer sam takes a step on one batch: accumulate"
        " should be 1, got 2"
    ]
    (line,) = mistakes(written(pairs=[{"digits": {}, "recipe": {"world_size": 100}}]))
    assert line.startswith("suite: recipe: with the keys of pair 'digits split 0': batch_size should be at")
    parse_suite(written(recipe={"batch_size": 200}, pairs=[{"digits": {}, "recipe": {"world_size": 100}}]))


def test_seeds_and_splits_can_be_restricted() -> None:
    suite = parse_suite(written(pairs=[{"digits": {"split": {"grid": [0, 1]}}}]))
    assert [p.split for p in suite.restricted(splits=[1]).pairs] == [1]
    assert suite.restricted(seeds=[4, 5]).seeds == (4, 5)
    with pytest.raises(UserError, match="it has 0, 1"):
        suite.restricted(splits=[7])


def test_a_restricted_suite_keeps_its_file(tiny: Path) -> None:
    assert load_suite(tiny).restricted(seeds=[4]).file == tiny


def test_splits_of_a_suite_without_splits() -> None:
    with pytest.raises(UserError, match="it has no splits"):
        parse_suite(FAMILY).restricted(splits=[0])


@pytest.mark.parametrize("attack", ["rankfeat", {"perturbation": {}}])
def test_a_view_is_no_attack(attack: object) -> None:
    (line,) = mistakes(written(attacks=[attack]))
    assert line.endswith("is no attack; allowed: fgsm, pgd")
    assert line.startswith("suite: attacks[0]: ")


def test_how_networks_are_run_is_written_out_where_it_is_not_the_default() -> None:
    suite = parse_suite(written(extract={"precision": "bf16", "channels_last": False, "batch_size": 64}))
    data = yaml.safe_load(suite.dump())
    assert data["extract"] == {"precision": "bf16", "batch_size": 64}
    assert parse_suite(data).extract == suite.extract


@pytest.mark.parametrize(
    ("extract", "said"),
    [
        ({"precision": "fp8"}, "extract.precision: should be fp32, bf16 or fp16, got 'fp8'"),
        ({"batch_size": 0}, "extract.batch_size: should be auto, or a number of samples from 1"),
        ({"batch_size": True}, "extract.batch_size: should be auto, or"),
        ({"batch_size": "many"}, "extract.batch_size: .* got 'many'"),
        (
            {"precison": "bf16"},
            "extract.precison: unknown key; did you mean 'precision'[?] allowed: batch",
        ),
        ("bf16", "extract: should be a mapping, got 'bf16'"),
    ],
)
def test_a_way_of_running_networks_that_cannot_be(extract: object, said: str) -> None:
    lines = mistakes(written(extract=extract))
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines


@pytest.mark.parametrize("train", [0, -1, 1.5, 0.0, True, "0.1", float("nan"), [1]])
def test_a_part_to_fit_on_that_cannot_be_is_one_line(train: object) -> None:
    (line,) = mistakes(written(fit={"train": train}))
    assert "fit.train: should be a share of each class (0.1), or a number of images (50), got" in line
