"""Where data lie, and what holds for every data set that is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oodbench.core.errors import MissingData
from oodbench.data.sources import roots


def test_roots_are_the_variable_or_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OODBENCH_DATA")
    assert roots.data_roots() == [Path("data")]
    monkeypatch.setenv("OODBENCH_DATA", f"/a{os.pathsep} {os.pathsep}/b")
    assert roots.data_roots() == [Path("/a"), Path("/b")]


def test_the_first_root_that_holds_it_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_DATA", os.pathsep.join(str(tmp_path / d) for d in "ab"))
    (tmp_path / "b" / "set").mkdir(parents=True)
    assert roots.find("set", ["x", "set"], get="?") == tmp_path / "b" / "set"
    (tmp_path / "a" / "set").mkdir(parents=True)
    assert roots.find("set", ["x", "set"], get="?") == tmp_path / "a" / "set"
    with pytest.raises(
        MissingData, match=r"'other' is not here; looked for it in .*/a/x, .*/b/x, /opt/x; to get it: ask me"
    ):
        roots.find("other", ["x"], get="ask me", also=[Path("/opt/x")])
