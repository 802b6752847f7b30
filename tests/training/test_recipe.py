"""Named recipes: what they spell out, and how a suite names, changes and mixes them."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
import torch

from oodbench.core.errors import SpecError, UserError
from oodbench.core.identity import fingerprint
from oodbench.core.spec import identity_value, plain_value
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.schema import json_schema
from oodbench.training.recipe import NAMED, Recipe, recipe_keys
from oodbench.training.schedule import learning_rate
from tests.suite.written import runs_of

BASE: dict[str, Any] = {
    "name": "s",
    "pairs": ["digits"],
    "networks": ["mlp"],
    "methods": ["cross-entropy"],
    "scorers": ["msp"],
}


def suite(**keys: Any) -> Any:
    return parse_suite({**BASE, **keys})


@pytest.mark.parametrize("name", NAMED)
def test_every_named_recipe_is_whole_and_says_where_it_was_read(name: str) -> None:
    assert NAMED[name].source
    keys = recipe_keys(name)
    assert set(keys) == set(Recipe.model_fields)
    recipe = suite(recipe=name).recipe
    assert [a.name for a in recipe.augment] == [
        a if isinstance(a, str) else next(iter(a)) for a in NAMED[name].keys["augment"]
    ]
    for key, value in NAMED[name].keys.items():
        if key != "augment":
            assert plain_value(getattr(recipe, key)) == plain_value(value)


def test_a_key_younger_than_stored_weights_is_in_their_key_only_where_it_is_used() -> None:
    """The keys of a recipe when batch norm could not be synchronised."""
    before = set(Recipe.model_fields) - {"sync_batchnorm"}
    for recipe in (Recipe(), Recipe(world_size=4), Recipe(sync_batchnorm=False)):
        assert set(recipe.identity) == before
        assert recipe.identity == {k: getattr(recipe, k) for k in before}
    assert Recipe(sync_batchnorm=True, world_size=4).identity["sync_batchnorm"] is True
    assert set(recipe_keys("osr-arpl")) > before, "a named recipe sets it all the same"
    keys = [runs_of(recipe={"epochs": 2, **more})[0].key for more in ({}, {"sync_batchnorm": False})]
    assert keys[0] == keys[1] != runs_of(recipe={"epochs": 2, "sync_batchnorm": True})[0].key


def test_a_name_is_its_keys_and_changes_go_inside() -> None:
    named, spelled = suite(recipe="openood-cifar").recipe, suite(recipe=recipe_keys("openood-cifar")).recipe
    assert named == spelled
    assert fingerprint(identity_value(dict(named))) == fingerprint(identity_value(dict(spelled)))
    changed = suite(recipe={"openood-cifar": {"epochs": 7, "augment": ["flip"]}}).recipe
    assert (changed.epochs, changed.lr, len(changed.augment)) == (7, 0.1, 1)
    assert suite(recipe={"openood-cifar": None}).recipe == named


def test_a_named_recipe_of_a_method_replaces_the_suites_whole() -> None:
    mixed = suite(
        recipe={"epochs": 3, "clip": 1.0}, methods=["cross-entropy", {"als": {}, "recipe": "osr-arpl"}]
    )
    plain, als = (mixed.recipe_of(mixed.pairs[0], m) for m in mixed.methods)
    assert (plain.epochs, plain.clip) == (3, 1.0)
    assert (als.epochs, als.clip, als.batch_size, als.nesterov) == (100, 0.0, 64, False)
    pair = suite(recipe={"epochs": 3}, pairs=[{"digits": {}, "recipe": {"osr-arpl": {"epochs": 9}}}])
    assert pair.recipe_of(pair.pairs[0], pair.methods[0]).epochs == 9


def test_a_resolved_suite_with_named_recipes_loads_again(tmp_path: Any) -> None:
    first = suite(recipe="openood-cifar", pairs=[{"digits": {}, "recipe": "osr-arpl"}])
    (tmp_path / "again.yaml").write_text(first.dump())
    again = load_suite(tmp_path / "again.yaml")
    assert again.recipe == first.recipe
    assert again.recipe_of(again.pairs[0], again.methods[0]) == first.recipe_of(
        first.pairs[0], first.methods[0]
    )


def test_the_schema_knows_the_names() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    for recipe in ("openood-cifar", {"osr-arpl": {"epochs": 3}}, {"epochs": 3}):
        jsonschema.validate({**BASE, "recipe": recipe}, schema)
    for recipe in ("openood", {"osr-arpl": {"epoch": 3}}, 5):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**BASE, "recipe": recipe}, schema)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("openood-cifra", "recipe: unknown recipe 'openood-cifra'; did you mean 'openood-cifar'"),
        ({"openood-cifar": {"epocs": 3}}, "recipe: unknown parameter 'epocs'; did you mean 'epochs'"),
        ({"openood-cifar": {}, "epochs": 3}, "'epochs' stands beside the recipe 'openood-cifar'"),
        ({"openood-cifar": 3}, "recipe.openood-cifar: should be a mapping of recipe keys, got 3"),
        ([1], "should be a recipe's name or a mapping"),
    ],
)
def test_mistakes_are_one_line_with_their_place(raw: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        suite(recipe=raw)
    with pytest.raises(UserError, match=r"methods\[0\].recipe|methods.cross-entropy.recipe"):
        suite(methods=[{"cross-entropy": {}, "recipe": raw}])
    with pytest.raises(UserError, match="pairs"):
        suite(pairs=[{"digits": {}, "recipe": raw}])


def test_keys_refuse_what_is_neither() -> None:
    with pytest.raises(SpecError):
        recipe_keys(None)


def test_rates_of_the_protocols() -> None:
    """OpenOOD's cosine to 1e-6 step by step; ARPL's tenfold drops after epochs 30, 60 and 90; Vaze's cycles
    of 200 epochs."""
    cifar = suite(recipe="openood-cifar").recipe
    assert learning_rate(cifar, 0, 391) == pytest.approx(0.1)
    assert learning_rate(cifar, 39100 - 1, 391) == pytest.approx(1e-6, rel=1e-2)
    arpl = suite(recipe="osr-arpl").recipe
    assert [round(learning_rate(arpl, e * 10, 10), 9) for e in (0, 29, 30, 59, 60, 89, 90, 99)] == [
        0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001,
    ]  # fmt: skip
    vaze = suite(recipe="osr-vaze").recipe
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 200, eta_min=1e-4)
    for epoch in range(600):
        if epoch >= 10:
            assert learning_rate(vaze, epoch, 1) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert learning_rate(vaze, 4, 1) == pytest.approx(0.5 * learning_rate(vaze, 10, 1))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": "sam", "accumulate": 2}, "accumulate should be 1, got 2"),
        ({"optimizer": "sam", "precision": "fp16"}, "fp32 or bf16, got fp16"),
        ({"ema": 1.0}, "less than 1"),
        ({"accumulate": 0}, "greater than or equal to 1"),
        ({"precision": "fp8"}, "'fp32', 'bf16' or 'fp16'"),
        ({"accumulate": True}, "should be a int, got true"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        Recipe(**keys)
