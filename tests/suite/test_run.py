"""What a run owes, what it is called, and what its keys are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.data.samples import places_per_class
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from oodbench.suite.run import ArrayRun, TrainedRun
from tests.suite.written import FAMILY, SHIFTED, mistakes, runs_of


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, Any]:
    """A suite of outputs that were computed elsewhere."""
    rng = np.random.default_rng(0)
    for name in ("test", "near"):
        np.savez(tmp_path / f"{name}.npz", logits=rng.normal(size=(8, 3)), labels=rng.integers(0, 3, 8))
    return {"pairs": [{"arrays": {"near": ["near"]}}], "methods": [{"outputs": {"folder": str(tmp_path)}}]}


def test_names_and_place_of_both_kinds(arrays: dict[str, Any]) -> None:
    (trained,), (given,) = runs_of(seeds=[3]), runs_of(**arrays)
    assert isinstance(trained, TrainedRun)
    assert trained.place == {
        "pair": "two", "split": "", "network": "mlp(hidden=[8])", "method": "cross-entropy", "seed": 3,
    }  # fmt: skip
    assert trained.title == "two / mlp(hidden=[8]) / cross-entropy / seed 3"
    assert trained.sources == trained.lineage == (trained,)
    assert isinstance(given, ArrayRun)
    assert given.place["network"] == ""
    assert given.sources == given.lineage == ()
    assert given.extractions(given.wanted()) == []
    assert "/ mlp" not in given.title


def test_a_run_comes_after_what_it_starts_from_and_is_made_of() -> None:
    first, second = runs_of(methods=["cross-entropy", {"als": {}, "start": "cross-entropy"}])
    assert isinstance(second, TrainedRun)
    assert [r.key for r in second.lineage] == [first.key, second.key]
    (whole,) = runs_of(methods=[{"ensemble": {"of": "cross-entropy", "members": 3}}])
    assert isinstance(whole, TrainedRun)
    assert len({r.key for r in whole.lineage}) == 3
    assert whole not in whole.lineage, "an ensemble has no weights of its own"
    plain = [("test", None)]
    assert [source.key for source, *_ in whole.extractions(plain)] == [m.key for m in whole.members]


def test_keys_name_exactly_what_they_depend_on(arrays: dict[str, Any]) -> None:
    (run,) = runs_of()
    other = {
        "seed": runs_of(seeds=[1])[0], "recipe": runs_of(recipe={"epochs": 2, "lr": 0.05})[0],
        "network": runs_of(networks=[{"mlp": {"hidden": [9]}}])[0],
    }  # fmt: skip
    assert len({run.key, *(r.key for r in other.values())}) == 4
    more_ood = runs_of(pairs=[SHIFTED | {"shifted": []}])[0]
    assert more_ood.key == run.key, "OOD sets are no part of what is trained"
    assert run.outputs_key("test") != other["seed"].outputs_key("test")
    scorers = {s.label: s for s in runs_of(scorers=["msp", "knn", "odin"])[0].scorers}
    keys = {run.scores_key(s, "test") for s in scorers.values()}
    assert len(keys) == 3
    renamed = runs_of(scorers=[{"msp": {}, "as": "mine"}])[0]
    assert renamed.scores_key(renamed.scorers[0], "test") == run.scores_key(scorers["msp"], "test")
    view = scorers["odin"].view
    assert run.outputs_key("test", view) != run.outputs_key("test")
    (given,) = runs_of(**arrays)
    assert given.outputs_key("test") == runs_of(**arrays, seeds=[5])[0].outputs_key("test")


def test_a_view_is_part_of_the_key_of_scores_that_read_it() -> None:
    (run,) = runs_of(scorers=["odin"])
    (odin,) = run.scorers
    assert odin.view is not None
    assert run.scores_key(odin, "test") != run.scores_key(odin._replace(view=None), "test")


def test_outliers_are_part_of_the_key_only_of_methods_that_train_with_them() -> None:
    pairs = [
        [FAMILY["pairs"][0] | {"outliers": {"digits": {"classes": [c]}}}] for c in (8, 9)
    ]  # fmt: skip
    keys = {
        m: {runs_of(pairs=p, methods=[m])[0].key for p in pairs}
        for m in ("cross-entropy", "outlier-exposure")
    }
    assert len(keys["cross-entropy"]) == 1
    assert len(keys["outlier-exposure"]) == 2


def test_fitting_on_a_part_touches_the_outputs_of_train_and_what_is_fitted_on_them_alone() -> None:
    def keys(**more: Any) -> dict[str, str]:
        (one,) = runs_of(scorers=["msp", "knn"], **more)
        msp, knn = one.scorers
        assert isinstance(one, TrainedRun)
        return {
            "weights": one.key, "test": one.outputs_key("test"), "train": one.outputs_key("train"),
            "msp": one.scores_key(msp, "test"), "knn": one.scores_key(knn, "test"),
            "statistics": str(one.task.mean),
        }  # fmt: skip

    whole, part, count = keys(), keys(fit={"train": 0.1}), keys(fit={"train": 9})
    assert keys(fit={"train": 1.0}) == keys(fit={"train": 10_000}) == whole, "all of them"
    touched = {k for k in whole if whole[k] != part[k]}
    assert touched == {"train", "knn"} == {k for k in whole if part[k] != count[k]}


@pytest.mark.parametrize("wrong", [0, 0.0, 1.5, -1, True, "0.1", [3], float("nan"), {"a": 1}])
def test_a_part_that_is_none_is_refused(wrong: Any) -> None:
    assert any("fit.train" in line for line in mistakes(FAMILY | {"fit": {"train": wrong}}))
    assert any("fit.val: unknown key" in line for line in mistakes(FAMILY | {"fit": {"val": 0.1}}))


def test_arrays_too_are_fitted_on_a_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, n in (("train", 200), ("val", 30), ("test", 30), ("near", 30)):
        labels = rng.integers(0, 3, n)
        features = rng.normal(size=(n, 5)) + labels[:, None]
        logits = rng.normal(size=(n, 3))
        np.savez(tmp_path / f"{name}.npz", logits=logits, features=features, labels=labels)
    suite = {
        "name": "a", "pairs": [{"arrays": {"near": ["near"]}}],
        "scorers": [{"knn": {"k": 5}, "as": "knn"}, "msp"],
        "methods": [{"outputs": {"folder": str(tmp_path)}}],
    }  # fmt: skip
    found = {}
    for amount in (None, 10):
        fit = {} if amount is None else {"fit": {"train": amount}}
        rows = run(parse_suite(suite | fit), results=tmp_path / f"r{amount}", device="cpu").rows
        found[amount] = rows[rows.ood == "near"].set_index("scorer").auroc
    assert found[None]["msp"] == found[10]["msp"]
    assert found[None]["knn"] != found[10]["knn"]
    train = np.load(tmp_path / "train.npz")
    places = places_per_class(torch.from_numpy(train["labels"]), 10)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (
        train["features"][places.numpy()], np.load(tmp_path / "test.npz")["features"],
        np.load(tmp_path / "near.npz")["features"],
    )]  # fmt: skip
    known, ood = (np.sort(np.linalg.norm(x[:, None] - unit[0][None], axis=2), axis=1) for x in unit[1:])
    wins = (ood[:, None, 4] > known[None, :, 4]).mean()
    assert found[10]["knn"] == pytest.approx(wins, abs=1e-9)


def test_precision_and_layout_are_of_the_outputs_and_the_batch_size_is_of_nothing() -> None:
    (run,) = runs_of()
    (same,) = runs_of(extract={"precision": "fp32", "batch_size": 7})
    assert same.outputs_key("test") == run.outputs_key("test")
    keys = {run.outputs_key("test")}
    for number, extract in enumerate(({"precision": "bf16"}, {"channels_last": True}), start=2):
        (other,) = runs_of(extract=extract)
        assert other.key == run.key
        keys.add(other.outputs_key("test"))
        assert len(keys) == number
