"""What a scorer is called within a run, and which views are fitted first."""

from __future__ import annotations

import pytest

from oodbench.core import registry
from oodbench.core.scorer import View
from oodbench.suite.scorer_plan import ScorerPlan, prepares


def test_a_tuned_scorer_is_told_from_the_declared_one() -> None:
    declared, chosen = (registry.resolve("scorer", {"knn": {"k": k}}) for k in (7, 50))
    plain = ScorerPlan(declared, frozenset(), None, "", declared)
    assert plain.label == "knn(k=7)"
    tuned = plain._replace(spec=chosen, tune="id")
    assert tuned.label == "knn(k=7) [id]", "the suite's name, whatever was chosen"


@pytest.mark.parametrize("name", registry.views)
def test_a_view_prepares_if_it_has_a_way_to(name: str) -> None:
    spec = registry.resolve("view", name)
    own = [c for c in spec.component.target.__mro__ if c not in View.__mro__]
    assert prepares(spec) == any("prepare" in vars(c) for c in own)
    assert not prepares(None)
