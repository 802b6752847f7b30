"""Verification of rows against the suite that lies beside them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.rows import read_rows
from oodbench.runs.findings import CONTRADICTED, UNCHECKED
from oodbench.runs.folder import Contents, ResultsFolder
from oodbench.runs.reopen import suite_of
from tests.runs.checked import findings, only_contradicted


@pytest.mark.parametrize("where", ["clean", "on ID", "on OOD"])
def test_a_row_left_out_is_missed_under_every_condition(attacked: Path, where: str) -> None:
    shutil.rmtree(attacked.parent / ".store")  # the files alone show it
    rows = read_rows(attacked / "results.csv")
    mine = rows["condition"].str.endswith(where) & (rows["ood"] != "")
    (attacked / "results.csv").write_text(to_csv(rows.drop(rows.index[mine][0])))
    found = findings(attacked)["suite"]
    assert found.state == CONTRADICTED
    assert "lacks" in found.why


def test_a_condition_that_the_suite_does_not_ask_for_is_named(attacked: Path) -> None:
    shutil.rmtree(attacked.parent / ".store")
    rows = read_rows(attacked / "results.csv")
    rows["condition"] = rows["condition"].str.replace("fgsm", "pgd")
    ResultsFolder(attacked).write(Contents(rows, suite_of(attacked)))
    assert re.search(r"(fgsm|pgd)\(eps=0\.1\) on (ID|OOD)", only_contradicted(attacked, "suite"))


def test_the_suite_changed(bare: Path) -> None:
    file = bare / "suite.yaml"
    text = file.read_text()
    file.write_text(text.replace("lr: 0.05", "lr: 0.06"))
    keys = findings(bare)["keys"]
    assert keys.state == CONTRADICTED
    assert re.search(
        r"digits / .*: rows carry [0-9a-f]{12}, suite, data and code here give [0-9a-f]{12}", keys.why
    )
    for old, new, said in (
        ("k: 5", "k: 6", "results.csv has digits / "),
        ("seeds: [0]", "seeds: [0, 1]", "the suite asks for digits / "),
        ("name: tiny", "name: other", "rows say 'tiny', suite.yaml 'other'"),
    ):
        assert old in text
        file.write_text(text.replace(old, new))
        found = findings(bare)["suite"]
        assert found.state == CONTRADICTED
        assert found.why.startswith(said)
    file.unlink()
    assert findings(bare)["suite and keys"].state == UNCHECKED


def test_a_parameter_behind_a_name_changed_in_the_suite(attacked: Path) -> None:
    shutil.rmtree(attacked.parent / ".store")
    file = attacked / "suite.yaml"
    text = file.read_text()
    assert "as: free-energy" in text
    file.write_text(text.replace("temperature: 1.0", "temperature: 2.0"))
    found = findings(attacked)
    assert {w for w, f in found.items() if f.state == CONTRADICTED} == {"suite", "report.html"}
    why = found["suite"].why
    assert re.search(
        r'scorer_params of .* is \{"temperature": 1\.0\} in results\.csv, suite\.yaml asks for'
        r' \{"temperature": 2\.0\}',
        why,
    )
