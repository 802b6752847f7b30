"""timing.csv and history.csv against what the store recorded when each artefact was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.rows import read_rows
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED, Finding
from oodbench.runs.folder import ResultsFolder
from oodbench.runs.reopen import Opened, reopened
from oodbench.runs.verify_records import check_records


def checked(folder: Path, name: str, *, store: bool = True) -> Finding:
    opened: Opened | None = reopened(folder)
    if not store:
        opened = None
    found = check_records(ResultsFolder(folder), opened, read_rows(folder / "results.csv"), name)
    assert len(found) == 1, found
    return found[0]


def changed(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Finding:
    frame = ResultsFolder(folder).frame(name)
    assert frame is not None
    (folder / f"{name}.csv").write_text(to_csv(change(frame)))
    return checked(folder, name)


@pytest.mark.parametrize("name", ["timing", "history"])
def test_what_a_run_wrote_is_what_the_store_recorded(rich: Path, name: str) -> None:
    """With an ensemble, whose members share a place, views, and a training that starts from another."""
    assert checked(rich, name).state == HOLDS
    assert checked(rich, name, store=False).state == UNCHECKED
    (rich / f"{name}.csv").unlink()
    assert check_records(ResultsFolder(rich), None, read_rows(rich / "results.csv"), name) == []


def _set(column: str, value: float, at: int = 0) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: float})
        frame.loc[frame.index[frame[column].notna()][at], column] = value
        return frame

    return change


FORGED: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "seconds": ("timing", _set("seconds", 0.001), "seconds of"),
    "bytes": ("timing", _set("bytes", 1), "bytes of"),
    "samples": ("timing", _set("n", 7), "n of"),
    "row gone": ("timing", lambda f: f.iloc[1:], "has no row of"),
    "row doubled": ("timing", lambda f: pd.concat([f, f.iloc[-1:]]), "times, the store recorded"),
    "stage": ("timing", lambda f: f.assign(stage=f["stage"].replace("fit", "free")), "has "),
    "scorer": ("timing", lambda f: f.assign(scorer=f["scorer"].replace("msp", "best")), "has "),
    "run": ("timing", lambda f: f.assign(run_key=["0" * 64, *f["run_key"][1:]]), "has "),
    "loss": ("history", _set("loss", 0.01), "loss of"),
    "rate": ("history", _set("lr", 0.01), "lr of"),
    "accuracy": ("history", _set("val_accuracy", 1.0), "val_accuracy of"),
    "acted": ("history", _set("acted", 0.5), "acted of"),
    "epoch": ("history", _set("epoch", 7), "has "),
    "epoch gone": ("history", lambda f: f.iloc[:-1], "has no row of"),
    "seed": ("history", lambda f: f.assign(seed=["9", *f["seed"][1:]]), "has "),
}


@pytest.mark.parametrize("case", FORGED)
def test_every_cell_is_compared(attacked: Path, case: str) -> None:
    name, change, said = FORGED[case]
    found = changed(attacked, name, change)
    assert found.state == CONTRADICTED
    assert said in found.why
    assert found.why.isprintable()


def test_a_damaged_table_is_told_without_the_store_too(attacked: Path) -> None:
    (attacked / "timing.csv").write_text("run_key\n")
    found = checked(attacked, "timing", store=False)
    assert (found.state, found.why[:16]) == (CONTRADICTED, "lacks the column")


def test_of_a_merged_table_one_row_of_each_artefact_is_the_stores(attacked: Path) -> None:
    def two(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([frame.assign(seconds=frame["seconds"] + 1), frame])

    assert changed(attacked, "timing", two).state == CONTRADICTED
    environment = json.loads((attacked / "environment.json").read_text())
    (attacked / "environment.json").write_text(json.dumps(environment | {"merged from": "a, b"}))
    assert checked(attacked, "timing").state == HOLDS


def test_of_runs_that_the_store_does_not_hold_nothing_is_known(attacked: Path) -> None:
    gone = sorted((attacked.parent / ".store" / "weights").rglob("manifest.json"))[0].parent
    shutil.rmtree(gone)
    found = check_records(
        ResultsFolder(attacked), reopened(attacked), read_rows(attacked / "results.csv"), "timing"
    )
    assert {f.state for f in found} == {HOLDS, UNCHECKED}
