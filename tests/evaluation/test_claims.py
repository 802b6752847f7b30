"""Every mistake in a suite's claims is named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from oodbench.core.errors import UserError
from oodbench.suite.parse import parse_suite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compare": ["cross-entropi", "als"]}, "claims[0].compare[0]: no method 'cross-entropi'"),
        ({"compare": ["als"]}, "claims[0].compare: should be a list of two methods [A, B], got ['als']"),
        ({"expect": "bigger"}, "claims[0].expect"),
        ({"metric": "aurocc"}, "claims[0].metric: unknown metric 'aurocc'; did you mean 'auroc'?"),
        ({"scorers": ["knn"]}, "claims[0].scorers: no scorer 'knn' in this suite"),
        ({"pairs": ["digit"]}, "claims[0].pairs: no pair 'digit' in this suite; did you mean 'digits'?"),
        ({"margin": -1}, "claims[0].margin"),
        ({"surprise": 1}, "claims[0]: unknown parameter 'surprise'"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(change: dict[str, Any], message: str) -> None:
    claim = {"id": "one", "says": "x", "compare": ["als", "cross-entropy"], "expect": "higher"} | change
    raw = {
        "name": "s",
        "pairs": ["digits"],
        "networks": ["mlp"],
        "methods": ["cross-entropy", "als"],
        "scorers": ["msp"],
        "claims": [claim],
    }
    with pytest.raises(UserError) as caught:
        parse_suite(raw)
    assert message in str(caught.value)
