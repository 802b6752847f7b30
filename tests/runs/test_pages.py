"""The page and the pictures of a folder that lies there already."""

from __future__ import annotations

import shutil
from pathlib import Path

from oodbench.runs import pages
from tests.runs.checked import judged

SAYS = "Label smoothing detects better."


def test_the_page_made_again_is_the_page_of_the_run(attacked_run: Path) -> None:
    text, missing = pages.report([attacked_run])
    assert not missing
    assert text == (attacked_run / "report.html").read_text()
    assert judged(text) == [SAYS]


def test_claims_stay_where_the_store_is_gone(attacked: Path) -> None:
    shutil.rmtree(attacked.parent / ".store")
    text, missing = pages.report([attacked])
    assert judged(text) == [SAYS]
    assert [line.split(": ")[1] for line in missing] == ["no per-sample views"]


def test_a_folder_without_its_suite_is_still_shown(attacked: Path) -> None:
    (attacked / "suite.yaml").unlink()
    text, missing = pages.report([attacked])
    assert not judged(text)
    assert any("no claims" in line for line in missing)
    assert "free-energy" in text


def test_two_folders_on_one_page(attacked_run: Path, attacked: Path) -> None:
    text, _ = pages.report([attacked_run, attacked])
    assert judged(text) == [SAYS, SAYS], "each folder's claims are judged by its own rows"


def test_pictures_are_drawn_on_demand_in_both_formats(attacked: Path) -> None:
    assert not (attacked / "plots").exists()
    pages.report([attacked], plots=True)
    kinds = {f.suffix for f in (attacked / "plots").iterdir()}
    assert kinds == {".png", ".svg"}
    stems = {s: {f.stem for f in (attacked / "plots").glob(f"*{s}")} for s in kinds}
    assert stems[".png"] == stems[".svg"]
    assert any(stem.startswith("roc") for stem in stems[".png"]), "per-sample pictures too: the store is here"
