"""``oodbench list``, ``schema`` and ``check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calls import SCORER, call


def test_list_shows_parameters_needs_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    out = capsys.readouterr().out
    for word in (
        "datasets (",
        "pairs (",
        "networks (",
        "methods (",
        "scorers (",
        "digits",
        "als",
        "lam: float",
        "knn",
        "k: int",
        "needs:",
        "source:",
    ):
        assert word in out
    assert call("list", "methods", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"als", "cross-entropy"} <= {m["name"] for m in found["methods"]}


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "oodbench suite"


def test_check_runs_the_contract_on_an_outsiders_component(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(SCORER)
    assert call("check", plugin) == 0
    assert "keeps the contract" in capsys.readouterr().out
    plugin.write_text(
        SCORER.replace("-outputs.logits.amax(dim=1)", "outputs.logits.amax(dim=1)").replace(
            "neg-max", "wrong-way"
        )
    )
    assert call("check", plugin) == 1
    assert "breaks the contract" in capsys.readouterr().out
    empty = tmp_path / "empty.py"
    empty.write_text("")
    assert call("check", empty) == 1
