"""The pictures of a real run are drawn again: one that was swapped, changed or cut is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from oodbench.evaluation.rows import read_rows
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED, Finding
from oodbench.runs.folder import Contents, ResultsFolder
from oodbench.runs.pages import contents_of
from oodbench.runs.verify_pictures import check_pictures


@pytest.fixture(scope="module")
def drawn(tiny_run: Path) -> Contents:
    return contents_of(tiny_run)[0]


def checked(folder: Path, made: Contents | None, *, same: bool = True) -> dict[str, Finding]:
    rows = read_rows(folder / "results.csv")
    return {f.state: f for f in check_pictures(ResultsFolder(folder), rows, made, same=same)}


def one(folder: Path, kind: str) -> Path:
    (file,) = (folder / "plots").glob(f"{kind}-*.png")
    return file


def keep(folder: Path, *kinds: str) -> None:
    """Few pictures, so that few are drawn again."""
    for file in (folder / "plots").iterdir():
        if not file.name.startswith(kinds):
            file.unlink()


def test_pictures_hold_and_where_there_are_none_nothing_is_said(copied: Path, drawn: Contents) -> None:
    keep(copied, "heatmap", "roc")
    found = checked(copied, drawn)
    assert list(found) == [HOLDS]
    assert found[HOLDS].why.startswith("2 pictures are what is drawn")
    shutil.rmtree(copied / "plots")
    assert not checked(copied, drawn)


def test_another_picture_in_its_place_is_found(copied: Path, drawn: Contents) -> None:
    keep(copied, "heatmap", "roc")
    shutil.copy(one(copied, "roc"), one(copied, "heatmap"))
    assert checked(copied, drawn)[CONTRADICTED].why.startswith("heatmap-")
    other = checked(copied, drawn, same=False)
    assert "another version" in other[UNCHECKED].why
    assert CONTRADICTED not in other


def test_one_changed_point_is_found_and_other_packing_is_none(copied: Path, drawn: Contents) -> None:
    keep(copied, "heatmap")
    file = one(copied, "heatmap")
    points = np.asarray(Image.open(file)).copy()
    Image.fromarray(points).save(file, compress_level=1)
    assert list(checked(copied, drawn)) == [HOLDS]
    points[10, 10] = 255 - points[10, 10]
    Image.fromarray(points).save(file)
    assert list(checked(copied, drawn)) == [CONTRADICTED]


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.png", b""), ("x.png", b"\x89PNG\r\n\x1a\n"), ("x.png", b"text"), ("x.svg", b"<svg"),
        ("x.svg", b"<!DOCTYPE x [<!ENTITY a 'b'>]><svg>&a;</svg>"), ("x.svg", b"\xff"),
    ],
)  # fmt: skip
def test_a_broken_picture_is_found_whatever_version_made_it(
    copied: Path, drawn: Contents, name: str, data: bytes, same: bool
) -> None:
    keep(copied, "heatmap")
    (copied / "plots" / name).write_bytes(data)
    assert f"{name} " in checked(copied, drawn, same=same)[CONTRADICTED].why


def test_a_cut_picture_a_folder_and_a_link_into_nothing_are_found(copied: Path, drawn: Contents) -> None:
    keep(copied, "heatmap")
    file = one(copied, "heatmap")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert "cannot be shown" in checked(copied, drawn)[CONTRADICTED].why
    file.unlink()
    file.mkdir()
    assert "is a folder" in checked(copied, drawn)[CONTRADICTED].why
    file.rmdir()
    file.symlink_to("nowhere")
    assert "is a link to a file that is not there" in checked(copied, drawn)[CONTRADICTED].why
    shutil.rmtree(copied / "plots")
    (copied / "plots").write_text("")
    assert checked(copied, drawn)[CONTRADICTED].why == "is no folder"


def test_what_shows_samples_needs_the_store_and_a_foreign_picture_is_named(
    copied: Path, drawn: Contents
) -> None:
    keep(copied, "heatmap", "roc")
    one(copied, "heatmap").rename(copied / "plots" / "heatmap-other.png")
    files_alone = Contents(drawn.rows, drawn.suite, timing=drawn.timing)
    found = check_pictures(ResultsFolder(copied), drawn.rows, files_alone, same=True)
    assert [f.state for f in found] == [UNCHECKED, UNCHECKED]
    assert found[0].why.startswith("roc-")
    assert found[0].why.endswith("cannot be drawn here")
    assert found[1].why.startswith("heatmap-other.png: no picture that oodbench draws")


def test_a_picture_that_the_rows_do_not_give_is_found(copied: Path, drawn: Contents) -> None:
    keep(copied, "heatmap")
    file = one(copied, "heatmap")
    shutil.copy(file, file.with_name(file.name.replace("heatmap", "severity")))
    assert "severity-" in checked(copied, drawn)[CONTRADICTED].why
    assert isinstance(drawn.rows, pd.DataFrame)
