"""Files that a suite names below the data roots."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.core.errors import MissingData
from oodbench.data.sources.below_roots import located, require

NAME = "cifar10_resnet18_32x32_base_e100_lr0.1_default"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "folder",
    [
        ".",
        "results",
        "results/checkpoints",
        "OpenOOD/results",
        "openood/results/checkpoints",
        "results/cifar10_res18_v1.5",
        "OpenOOD/results/checkpoints/cifar10_res18_v1.5",
    ],
)
def test_weights_are_found_where_openoods_scripts_leave_them(folder: str, root: Path) -> None:
    named = Path("anywhere", "{data}", NAME, "s0", "best.ckpt")
    file = root / folder / NAME / "s0" / "best.ckpt"
    file.parent.mkdir(parents=True)
    assert located(named) == named, "it is not there yet"
    file.touch()
    assert located(named).resolve() == file.resolve()
    require(named, "0")


def test_any_folder_can_be_named_and_the_first_root_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("OODBENCH_DATA", f"{first}:{second}")
    (second / "mine").mkdir(parents=True)
    assert located(Path("{data}/mine")) == second / "mine"
    (first / "mine").mkdir(parents=True)
    assert located(Path("{data}/mine")) == first / "mine"
    assert located(tmp_path / "mine") == tmp_path / "mine"


def test_what_is_nowhere_is_said_with_what_gets_it(root: Path) -> None:
    with pytest.raises(MissingData) as caught:
        require(Path("{data}", NAME, "s{seed}", "best.ckpt"), "2")
    (lack,) = caught.value.lacks
    assert (lack.whole, lack.part) == (f"the file '{NAME}/s{{seed}}/best.ckpt'", "seed 2")
    assert lack.looked == tuple(str(root / f) for f in (".", "openood", "OpenOOD"))
    assert "--contents checkpoints --checkpoints cifar10_res18_v1.5 " in lack.get
    with pytest.raises(MissingData, match=r"'mine.pt' is not here; .* name by --data-root the folder"):
        require(Path("{data}/mine.pt"))
    require(Path("mine.pt"))
