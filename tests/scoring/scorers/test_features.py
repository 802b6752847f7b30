"""Whatever reads features: the same in blocks and in one pass; rows without a label are no class."""

from __future__ import annotations

import pytest
import torch

from oodbench.core import registry
from oodbench.core.outputs import Outputs
from oodbench.scoring import functional
from oodbench.scoring.scorers import neighbours
from tests.scoring.outputs import fitted, world
from tests.scoring.scorers import test_densities, test_distances, test_logits, test_neighbours, test_subspaces

registry.load_builtin()


MODULES = ("logits", "distances", "neighbours", "subspaces", "densities", "openmax")


OWN = {
    n
    for n in registry.scorers
    if registry.scorers[n].target.__module__.removeprefix("oodbench.scoring.scorers.") in MODULES
}


def test_streamed_statistics_are_those_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks far smaller than the training set, features kept mapped instead of copied, probabilities made
    again."""
    train, val, test = world()
    names = [n for n in OWN if "features" in registry.build("scorer", n).needs and n != "kpca"]
    whole = {n: fitted(n, train, val).score(test).double() for n in names}
    monkeypatch.setattr(functional, "BLOCK", 64)
    blocks = functional.blocks
    monkeypatch.setattr(functional, "blocks", lambda tensor, size=64: blocks(tensor, size))
    monkeypatch.setattr(functional.Bank, "COPY", 0)
    monkeypatch.setattr(neighbours.Relation, "HOLD", 0)
    monkeypatch.setattr(neighbours.Relation, "COLUMNS", 50)
    train, val, test = world()  # nothing memoised
    for n in names:
        streamed = fitted(n, train, val).score(test).double()
        torch.testing.assert_close(
            streamed, whole[n], rtol=1e-4, atol=1e-5 * float(whole[n].abs().max()), msg=n
        )


def test_rows_without_a_label_are_no_class() -> None:
    train, val, test = world()
    part = train.labels.clone()
    part[::3] = -1
    some = Outputs(train.logits, train.features, part, train.head)
    keep = part >= 0
    for name in ("mds", "mds++", "ssd", "gmm", "ctm", "igeood", "openmax"):
        mixed, alone = (
            fitted(name, some, val).score(test).double(),
            fitted(name, train[keep], val).score(test).double(),
        )
        torch.testing.assert_close(mixed, alone, rtol=1e-6, atol=1e-8, msg=name)


def test_every_feature_scorer_has_a_reference() -> None:
    modules = (test_distances, test_densities, test_neighbours, test_subspaces, test_logits)
    has = {label for module in modules for label in module.REFERENCES}
    assert {n for n in OWN if "features" in registry.build("scorer", n).needs} <= has
