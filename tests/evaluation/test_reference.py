"""A suite's reference figures: parsed, refused, beside our numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.suite.parse import parse_suite
from tests.cli.test_results import SUITE, call, copied, made, ok
from tests.evaluation.folders import digits

__all__ = ["copied", "digits", "made"]

FIGURES = """reference:
- {method: cross-entropy, id_accuracy: 95.06, id_accuracy_std: 0.3, source: OpenOOD v1.5}
- {pair: openood-cifar10, method: cross-entropy, scorer: msp, near_auroc: 88.03, far_auroc: 90.73,
   source: OpenOOD v1.5}
"""


def test_reference_figures_of_the_suite_stand_beside_ours(digits: Path) -> None:
    assert "carries no reference figures" in str(call("compare", digits).exception)
    assert "reference" not in ok("leaderboard", digits)
    (digits / "suite.yaml").write_text(FIGURES)
    text = ok("compare", digits)
    assert len([line for line in text.splitlines() if line.startswith(("msp", "knn"))]) == 2
    assert text.count("95.06 ± 0.30") == 2  # the network's, whatever the scorer
    assert text.count("88.03") == text.count("90.73") == 1
    beside = ok("leaderboard", digits).split("\n\n", 1)[1]
    assert "88.03" in beside
    assert beside.rstrip().endswith("A: ours; B: reference (OpenOOD v1.5)")
    assert "88.03" not in ok("leaderboard", digits, "--format", "csv")


def test_a_suite_carries_figures_and_refuses_wrong_ones(copied: Path) -> None:
    suite = SUITE | {
        "reference": [
            {"pair": "digits", "method": "cross-entropy", "scorer": "msp", "near_auroc": 90, "source": "mine"}
        ]
    }
    parsed = parse_suite(suite)
    assert (
        parse_suite(yaml.safe_load(parsed.dump())).reference == parsed.reference == tuple(suite["reference"])
    )
    (copied / "suite.yaml").write_text(parsed.dump())
    assert ok("verify", copied)  # no key depends on it
    wrong = [
        {"method": "als", "id_accuracy": 95, "source": "x"},
        {"method": "cross-entropy", "near_auroc": 95, "source": "x"},
        {"scorer": "msp", "nearauroc": 95, "source": "x"},
        {"scorer": "msp", "near_auroc": "95", "source": "x"},
        {"scorer": "msp", "near_auroc": 95},
    ]  # fmt: skip
    with pytest.raises(UserError) as error:
        parse_suite(SUITE | {"reference": wrong})
    said = str(error.value)
    for line in (
        "reference[0].method: 'als' is no method of this suite; allowed: cross-entropy, label-smoothing",
        "[1]: near_auroc is a scorer's",
        "[2].nearauroc: unknown key", "[3].near_auroc: should be a number in percent",
        "[4].source: is missing",
    ):  # fmt: skip
        assert line in said
