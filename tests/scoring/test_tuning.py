"""Tuning: never on test data, by a measure that is written down, and the better parameters are found where
there are some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import Normalizer

import oodbench
from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.core.spec import Spec
from oodbench.runs.runner import run
from oodbench.scoring import contract
from oodbench.scoring.contract import toy_outputs
from oodbench.scoring.tuning import candidates, choose
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.scoring.outputs import blobs

registry.load_builtin()

SUITE: dict[str, Any] = {
    "name": "tuned", "networks": [{"small-cnn": {"width": 4}}], "methods": ["cross-entropy"],
    "scorers": ["msp", {"knn": {}}, "odin", "energy"], "recipe": {"epochs": 1, "lr": 0.05},
    "pairs": [{"name": "two", "id": {"digits": {"classes": [0, 1, 2, 3, 4, 5]}},
    "near": [{"digits": {"classes": [6, 7]}}],
               "ood_val": {"noise": {"kind": "rademacher", "size": 8, "channels": 1, "count": 40}}}],
}  # fmt: skip


def _specs(name: str, **fixed: Any) -> tuple[Spec, ...]:
    spec = registry.resolve("scorer", {name: fixed})
    return candidates(spec, registry.build("scorer", spec))


def test_candidates_begin_with_the_declared_and_keep_what_was_set() -> None:
    points = _specs("odin")
    assert points[0].params == registry.resolve("scorer", "odin").params
    assert len(points) == 16
    kept = _specs("odin", epsilon=0.01)
    assert {p.params["epsilon"] for p in kept} == {0.01}
    assert len(kept) == 4
    assert _specs("msp") == ()


@pytest.mark.parametrize("name", list(registry.scorers))
def test_every_point_of_a_search_space_can_be_built(name: str) -> None:
    spec = contract.example("scorer", name)
    assert spec is not None
    for point in candidates(spec, registry.build("scorer", spec)):
        registry.build("scorer", point)


def test_points_that_the_scorer_refuses_are_left_out() -> None:
    points = [(p.params["low"], p.params["high"]) for p in _specs("adascale")]
    assert points[0] == (75.0, 85.0)
    assert all(low <= high for low, high in points)
    assert len(points) > 25


def _aurocs_of_knn(train: Outputs, val: Outputs, ood: Outputs, ks: Sequence[int]) -> list[float]:
    """By scikit-learn: distances of unit features to the k-th neighbour, and the area; NaN where there are
    fewer than k."""
    unit = [Normalizer().fit_transform(o.features.double().numpy()) for o in (train, val, ood)]
    truth = [0] * len(val) + [1] * len(ood)
    found = []
    for k in ks:
        if k > len(train):
            found.append(float("nan"))
            continue
        index = NearestNeighbors(n_neighbors=k).fit(unit[0])
        distances = [index.kneighbors(u)[0][:, -1] for u in unit[1:]]
        found.append(float(roc_auc_score(truth, np.concatenate(distances))))
    return found


def test_the_better_parameter_is_chosen() -> None:
    """Classes of fifteen samples: the declared k = 50 reaches over to other classes, a small one does not."""
    train, val = blobs(60, seed=1, spread=0.9), blobs(200, seed=2, spread=0.9)
    ood = blobs(200, seed=3, ood=True)
    specs = _specs("knn")
    ks = [s.params["k"] for s in specs]
    choice = choose(specs, [train] * len(specs), [val] * len(specs), [ood] * len(specs))
    expected = _aurocs_of_knn(train, val, ood, ks)
    assert choice.objective == "ood"
    np.testing.assert_allclose(choice.auroc, expected, atol=1e-3)
    assert ks[0] == 50
    assert ks[choice.place] == ks[int(np.nanargmax(expected))]
    assert ks[choice.place] < 50
    assert choice.auroc[choice.place] > choice.auroc[0] + 0.01


def test_a_tie_keeps_the_declared_parameters() -> None:
    same = [registry.resolve("scorer", {"energy": {"temperature": t}}) for t in (1.0, 1.0)]
    val = toy_outputs(40)
    assert choose(same, [None] * 2, [val] * 2, [toy_outputs(40, ood=True)] * 2).place == 0


def test_errors_guide_where_there_are_enough_else_held_out_classes() -> None:
    val = toy_outputs(80)
    specs = _specs("energy")
    assert choose(specs, [None] * len(specs), [val] * len(specs), None).objective == "held-out classes"
    wrong = Outputs(val.logits, val.features, (val.labels + (torch.arange(80) < 20).long()) % 4, val.head)
    assert choose(specs, [None] * len(specs), [wrong] * len(specs), None).objective == "errors"
    few = toy_outputs(40, classes=3)
    assert choose(specs, [None] * len(specs), [few] * len(specs), None).objective.startswith(
        "none: 0 errors and 3 classes"
    )


def test_rows_say_the_regime_and_the_choice_and_nothing_is_done_twice(tmp_path: Path) -> None:
    suite = parse_suite(SUITE | {"tune": ["none", "id", "noise", "ood-val"]})
    first = run(suite, results=tmp_path, device="cpu")
    assert first.failed == 0
    rows = first.rows[(first.rows.ood != "")]
    assert sorted(rows[rows.scorer == "knn"].tune) == ["id", "noise", "none", "ood-val"]
    assert sorted(rows[rows.scorer == "msp"].tune) == ["none"]
    chosen = {(s, t): json.loads(c) for s, t, c in zip(rows.scorer, rows.tune, rows.chosen, strict=True) if c}
    assert chosen["knn", "noise"]["objective"] == "ood"
    assert set(chosen["odin", "ood-val"]["params"]) == {"temperature", "epsilon"}
    assert chosen["odin", "ood-val"]["grid"] == 16
    # val and the tuning set through each of the 16 views, and the tuning set once plainly
    n_val = int(make_plan(suite).runs[0].sets["val"].samples.labels.shape[0])  # type: ignore[union-attr]
    assert chosen["odin", "ood-val"]["forward_passes"] == 16 * (n_val + 40) + 40
    assert chosen["knn", "id"]["forward_passes"] == 0
    assert set(first.leaderboard.tune) == {"none", "id", "noise", "ood-val"}
    before = (tmp_path / "tuned" / "results.csv").read_bytes()
    again = run(suite, results=tmp_path, device="cpu")
    assert set(again.made.values()) == {0}
    assert (tmp_path / "tuned" / "results.csv").read_bytes() == before


def test_views_of_candidates_are_extracted_for_validation_sets_only(tmp_path: Path) -> None:
    suite = parse_suite(SUITE | {"scorers": ["odin"], "tune": "ood-val"})
    done = run(suite, results=tmp_path, device="cpu")
    # plain: val, tuning set, test, near; views: 16 on val and the tuning set, the chosen one on test and near
    # (val has it)
    assert done.made["outputs"] == 4 + 16 * 2 + 2


def test_tuning_on_test_images_is_refused() -> None:
    pair = {
        **SUITE["pairs"][0],
        "near": [{"noise": {"kind": "rademacher", "size": 8, "channels": 1, "count": 40}}],
    }
    pair["ood_val"] = {"noise": {"kind": "rademacher", "size": 8, "channels": 1, "count": 40}}
    assert make_plan(
        parse_suite(SUITE | {"pairs": [pair], "tune": "ood-val"})
    ).runs  # its val split is not its test split
    clash = {**SUITE["pairs"][0], "near": [{"digits": {"classes": [6, 7]}}], "ood_val": {"overlap": {}}}

    @oodbench.dataset("overlap", source="this test")
    def overlap() -> Dataset:
        """Unknown digits' test images as validation."""
        return Dataset({"val": lambda: registry.build("dataset", {"digits": {"classes": [7]}})["test"]})

    with pytest.raises(UserError, match=r"tune: ood-val would tune on \d+ images of the test set"):
        make_plan(parse_suite(SUITE | {"pairs": [clash], "tune": "ood-val"}))


def test_mistakes_are_named() -> None:
    with pytest.raises(
        UserError, match="tune: should be one or several of none, id, noise, ood-val, got 'test'"
    ):
        parse_suite(SUITE | {"tune": "test"})
    pair = {k: v for k, v in SUITE["pairs"][0].items() if k != "ood_val"}
    with pytest.raises(UserError, match="names no OOD validation set"):
        make_plan(parse_suite(SUITE | {"pairs": [pair], "tune": "ood-val"}))


def test_errors_are_what_is_to_be_told_apart() -> None:
    """The AUROC of wrong against right predictions on validation, as scikit-learn gives it."""
    val = toy_outputs(120)
    top = torch.softmax(val.logits.double(), dim=1).amax(dim=1)
    mistaken = (top < top.quantile(0.4)) & (torch.arange(120) % 2 == 0)  # half of the least confident
    labels = torch.where(mistaken, (val.predictions + 1) % 4, val.predictions)
    val = Outputs(val.logits, val.features, labels, val.head)
    found = choose([registry.resolve("scorer", "msp")], [None], [val], None)
    wrong = (val.predictions != labels).numpy()
    assert found.objective == "errors"
    assert found.auroc[0] == pytest.approx(roc_auc_score(wrong, -top.numpy()))
    assert found.auroc[0] > 0.6, "the test needs scores that tell"
