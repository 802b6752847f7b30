"""Where data lie, and what holds for every data set that is opened."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oodbench.core.errors import MissingData, UserError
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


def test_settings_hold_inside_and_are_as_before_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "set").mkdir(parents=True)
    found: list[Path] = []
    with roots.settings(data_roots=(tmp_path / "mine",), found=found):
        assert roots.data_roots() == [tmp_path / "mine"]
        with roots.settings(offline=True):
            assert roots.offline()
            assert roots.data_roots() == [tmp_path / "mine"]
            roots.find("set", ["set"], get="?")
        assert not roots.offline()
    assert found == [tmp_path / "mine" / "set"]
    assert roots.data_roots() == [tmp_path / "data"]
    with pytest.raises(TypeError, match="rooots"), roots.settings(rooots=()):
        pass


def test_settings_hold_in_every_thread() -> None:
    with roots.settings(offline=True), ThreadPoolExecutor(1) as pool:
        assert pool.submit(roots.offline).result()


def test_what_lies_below_a_place_is_not_told_again(tmp_path: Path) -> None:
    found: list[Path] = []
    with roots.settings(found=found):
        for place in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "c"):
            roots.note(place)
    assert found == [tmp_path / "a", tmp_path / "c"]


@pytest.mark.parametrize("wrong", ["-1", "two", "1.5", "513", "9" * 50, "\u0663", "0" * 9 + "9" * 5000])
def test_a_number_of_readers_that_cannot_be_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODBENCH_READERS", wrong)
    with pytest.raises(UserError, match=r"OODBENCH_READERS: .* should be a number of processes from 0"):
        roots.readers()
