"""Identity: golden keys, and every field of everything that flows classed as identity or runtime, so that a
new one must choose."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Pair
from oodbench.core.identity import fingerprint
from oodbench.core.network import Input, Task
from oodbench.core.outputs import Outputs
from oodbench.core.spec import Spec, identity_value
from oodbench.runs.runner import run
from oodbench.suite.entries import MethodEntry, NetworkEntry
from oodbench.suite.pairs import PairEntry
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import artefacts, make_plan
from oodbench.suite.run import ArrayRun, TrainedRun
from oodbench.suite.suite import Suite
from oodbench.training.recipe import Recipe

BASE: dict[str, Any] = {
    "name": "golden", "networks": [{"mlp": {"hidden": [8]}}], "methods": ["cross-entropy"],
    "scorers": ["msp", "knn"],
    "recipe": {"epochs": 1, "lr": 0.05}, "pairs": [{"digits": {"split": 0}}],
}  # fmt: skip

# field -> does it reach a key?  True: identity; False: how or where the same numbers are made, or names for
# people
CLASSED: dict[type, dict[str, bool]] = {
    ArrayRun: {
        "suite": False, "pair": True, "method": True, "recipe": True, "seed": True, "sets": True,
        "scorers": True, "held": False, "stored": False, "fit": True,
    },
    TrainedRun: {
        "suite": False, "pair": True, "method": True, "recipe": True, "seed": True, "sets": True,
        "scorers": True,
        "network": True, "data": True, "parent": True, "members": True, "given": True, "stored": True,
        "fit": True, "fed": True, "extract": True,
    },
    Suite: {
        "name": False, "pairs": True, "networks": True, "methods": True, "scorers": True, "seeds": True,
        "recipe": True,
        "plugins": True, "inapplicable": False, "tune": True, "claims": False, "attacks": True,
        "reference": False, "store": True, "fit": True, "extract": True,
    },
    PairEntry: {"label": False, "pair": True, "params": True, "split": True, "recipe": True, "plain": False},
    NetworkEntry: {"alias": False, "spec": True, "input": True},
    Geometry: {"shape": True, "resize": True, "interpolation": True, "antialias": True, "margin": True},
    Input: {
        "mean": True, "std": True, "resize": True, "crop": True, "interpolation": True, "antialias": True,
        "margin": True,
    },
    MethodEntry: {"alias": False, "spec": True, "recipe": True, "start": True},
    Pair: {
        "id": True, "near": True, "far": True, "shifted": True, "ood_val": True, "outliers": True,
        "geometry": True, "note": False,
    },
    Spec: {"component": True, "params": True, "alias": False},
}  # fmt: skip


@pytest.mark.parametrize("kind", CLASSED, ids=lambda k: k.__name__)
def test_every_field_is_classed_as_identity_or_runtime(kind: type) -> None:
    listed = (getattr(kind, name, None) for name in ("model_fields", "__dataclass_fields__", "_fields"))
    fields = set(next(f for f in listed if f))
    assert fields == set(CLASSED[kind]), "class the new field, and test what it does to keys"


def test_every_recipe_key_changes_the_key_of_the_weights() -> None:
    other: dict[str, Any] = {
        "epochs": 2, "batch_size": 7, "optimizer": "adamw", "lr": 0.7, "momentum": 0.5, "weight_decay": 0.1,
        "schedule": "constant",
        "milestones": [0.3], "gamma": 0.3, "warmup_epochs": 1, "augment": ["flip"], "select": "best-val",
        "ema": 0.9, "precision": "bf16",
    }  # fmt: skip
    before = fingerprint(identity_value(dict(Recipe())))
    for name in Recipe.model_fields:
        value = other.get(name)
        if value is None:
            default = Recipe.model_fields[name].default
            value = (
                (not default)
                if isinstance(default, bool)
                else default + 1
                if isinstance(default, (int, float))
                else None
            )
        if value is None:
            continue
        assert fingerprint(identity_value(dict(Recipe(**{name: value})))) != before, name


def test_golden_keys() -> None:
    """These change only when what an artefact depends on does. A change here remakes everything that users
    have stored: mean it."""
    keys = {}
    for kind, key, title in artefacts(make_plan(parse_suite(BASE))):
        keys.setdefault(kind, []).append((title.rsplit("/", 1)[-1].strip(), key[:12]))
    assert {kind: dict(found[:1])[found[0][0]] for kind, found in keys.items()} == GOLDEN_KEYS


GOLDEN_KEYS = {"weights": "762ec2bdee7a", "outputs": "6a7c2cf738aa", "scores": "fcdb57fdaf47"}


def test_golden_numbers(tmp_path: Any) -> None:
    """A short training, an extraction and scores, to a tolerance that another machine's arithmetic keeps and
    a changed method does not."""
    rows = run(parse_suite(BASE), results=tmp_path, device="cpu").rows
    loss = rows[(rows.scorer == "") & (rows.ood == "")].nll.iloc[0]
    got = {s: rows[(rows.scorer == s) & (rows.ood == "unknown-digits")].auroc.iloc[0] for s in ("msp", "knn")}
    assert {"nll": loss, **got} == pytest.approx(GOLDEN_NUMBERS, abs=2e-3)


GOLDEN_NUMBERS: dict[str, float] = {"nll": 1.56630, "msp": 0.63797, "knn": 0.82067}


def test_outputs_refuse_disagreeing_lengths() -> None:
    with pytest.raises(ValueError, match="features has 3"):
        Outputs(torch.zeros(4, 2), torch.zeros(3, 5))


def test_injected_parameters_are_no_configuration() -> None:
    for kind in registry.KINDS:
        for name in registry.of_kind(kind):
            component = registry.of_kind(kind)[name]
            positional = [
                p.name
                for p in inspect.signature(component.target).parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            ]
            assert not set(positional) & set(component.model.model_fields), name
            assert positional == (["task"] if kind == "network" else []), f"{kind} {name}: {positional}"


def test_task_is_what_the_runner_injects() -> None:
    assert Task._fields == ("kind", "shape", "classes", "mean", "std", "names")
