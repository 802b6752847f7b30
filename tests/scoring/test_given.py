"""What scorers are handed: said by name before anything is fitted. (Every case of a user's stands in
tests/whole/test_bad_calls.py.)"""

from __future__ import annotations

import pytest
import torch

from oodbench.core import registry
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.scoring.contract import toy_outputs
from oodbench.scoring.given import check_given, flaw, needed, objection, wrong_labels
from oodbench.scoring.score import score_sets
from tests.scoring.plain import SETS, TRAIN, VAL


def _objection(name: str, train: Outputs | None = TRAIN, val: Outputs | None = VAL) -> str:
    return objection("mine", registry.build("scorer", name), train, val, SETS)


def test_what_is_missing_is_named() -> None:
    assert _objection("msp", None, None) == _objection("knn", val=None) == _objection("klm", None) == ""
    assert _objection("knn", None) == "scorer 'mine' needs train: give outputs of the ID training set"
    assert _objection("klm", val=None) == "scorer 'mine' needs val: give outputs of the ID validation set"
    assert _objection("odin").startswith("scorer 'mine' needs a network to look into (view 'perturbation')")
    assert (
        _objection("confidence")
        == "scorer 'mine' reads the extra 'confidence', which set 'test' does not hold"
    )
    bare = {"t": Outputs(SETS["test"].logits)}
    knn = registry.build("scorer", "knn")
    assert (
        objection("k", knn, TRAIN, None, bare) == "scorer 'k' needs features, and set 't' holds only logits"
    )


def test_needed_gives_back_what_is_there() -> None:
    scorer = registry.build("scorer", {"knn": {"k": 3}})
    assert needed(TRAIN, "train", scorer) is TRAIN
    with pytest.raises(
        ValueError, match=r"^scorer 'knn\(k=3\)' needs val: give outputs of the ID validation set$"
    ):
        needed(None, "val", scorer)
    with pytest.raises(ValueError, match=r"^train should be an oodbench.Outputs, got Tensor"):
        needed(TRAIN.logits, "train", scorer)  # type: ignore[arg-type]


def test_labels_are_of_the_classes_or_unknown() -> None:
    z = torch.zeros(3, 4)
    assert wrong_labels(Outputs(z)) == wrong_labels(Outputs(z, labels=torch.tensor([-1, 0, 3]))) == ""
    assert wrong_labels(Outputs(z, labels=torch.tensor([1, 2, 4]))).endswith("got 1..4")
    assert wrong_labels(Outputs(z, labels=torch.tensor([-2, 0, 0]))).endswith("got -2..0")


def test_a_flaw_is_said_of_what_the_scorer_reads() -> None:
    features = torch.ones(40_000, 2)
    features[39_999, 1] = torch.inf
    outputs = Outputs(torch.zeros(40_000, 3), features)
    assert flaw(outputs, registry.build("scorer", "msp")) == ""
    assert flaw(outputs, registry.build("scorer", "knn")) == "features of 1 of 40000 samples are not finite"
    large = Outputs(torch.full((9, 3), 3e38))  # whose sum is beyond float32
    assert flaw(large, registry.build("scorer", "msp")) == ""


def test_a_flaw_is_looked_for_once() -> None:
    asked: list[str] = []

    class Watched(Outputs):
        def memo(self, key: object, make: object) -> object:  # type: ignore[override]
            asked.append(str(key))
            return super().memo(key, make)  # type: ignore[arg-type]

    outputs = Watched(TRAIN.logits, TRAIN.features, TRAIN.labels, TRAIN.head)
    for _ in range(2):
        flaw(outputs, registry.build("scorer", "knn"))
    assert len(asked) == 4
    assert len(outputs._memo) == 2


def test_one_set_that_is_not_finite_fails_alone() -> None:
    z = SETS["test"].logits.clone()
    z[0, 0] = torch.nan
    sets = {"good": SETS["other"], "bad": Outputs(z, SETS["test"].features)}
    found = score_sets({"msp": registry.build("scorer", "msp")}, None, None, sets)["msp"].sets
    assert found["good"].scores is not None
    assert found["bad"].reason == "scorer 'msp' on set 'bad': logits of 1 of 150 samples are not finite"


def test_sets_of_one_network_pass_and_others_do_not() -> None:
    check_given(TRAIN, VAL, SETS)
    check_given(None, None, {})
    with pytest.raises(ValueError, match=r"^set 'x': logits have the shape"):
        check_given(TRAIN, None, {"x": toy_outputs(20, classes=3)})
    with pytest.raises(ValueError, match=r"^set 'x' has no samples$"):
        check_given(None, None, {"x": TRAIN[:0]})


def test_a_plugins_needs_may_be_anything() -> None:
    class Odd(Scorer):
        needs = None  # type: ignore[assignment]

    found = score_sets({"odd": Odd()}, None, None, SETS)["odd"].sets["test"]
    assert found.reason.startswith("scorer 'odd' could not be fitted: TypeError: ")
