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
    said = call("verify", copied).output
    assert "holds: keys" in said, "no key depends on it"
    assert "contradicted: report.html: the suite that it shows is not that of suite.yaml" in said
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


@pytest.mark.parametrize("style", ["table", "md", "html", "latex"])
def test_a_hostile_source_is_text_in_every_format(digits: Path, style: str) -> None:
    source = "<script>alert(1)</script> \\\\input{/etc/passwd} \\e[31m \\n[x](y)"
    figure = f'reference: [{{method: cross-entropy, id_accuracy: 95.06, source: "{source}"}}]'
    (digits / "suite.yaml").write_text(figure)
    said = ok("leaderboard", digits, "--format", style)
    assert "95.06" in said
    assert all(line.isprintable() for line in said.splitlines())
    if style in ("md", "html"):
        assert "<script>" not in said
    if style == "latex":
        assert all(line.startswith("%") for line in said.splitlines() if "input" in line)


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("5", "should be a list of figures"), ("[]", ""), ("[x]", "should be a list of figures"),
        ("[{id_accuracy: .nan, source: x}]", "[0].id_accuracy: should be a number in percent, got nan"),
        ("[{id_accuracy: .inf, source: x}]", "got inf"), ("[{id_accuracy: 120, source: x}]", "got 120"),
        ("[{id_accuracy: -1, source: x}]", "got -1"), ("[{nll: -1, source: x}]", "should be a number >= 0"),
        ("[{id_accuracy: 95}]", "[0].source: is missing"),
        ("[{method: [x], id_accuracy: 9, source: x}]", "should be text"),
        ("[{1: 2, source: x}]", "unknown key"),
    ],
)  # fmt: skip
def test_figures_of_a_results_folder_are_checked_before_they_are_shown(
    digits: Path, figure: str, said: str
) -> None:
    (digits / "suite.yaml").write_text(f"reference: {figure}\n")
    done = call("leaderboard", digits)
    assert (done.exit_code == 0) == (not said)
    if said:
        line = str(done.exception)
        assert f"{digits / 'suite.yaml'}: reference" in line
        assert said in line
        assert len(line.splitlines()) == 1
