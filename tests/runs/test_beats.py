"""What workers say of themselves, and that nothing of it stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from oodbench.core.files import draft_of
from oodbench.runs import beats
from oodbench.runs.beats import Beat, heard, listening
from oodbench.runs.drafts import me


def test_a_word_is_heard_while_the_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "EVERY", 0.0)
    with listening(tmp_path) as folder:
        assert heard(folder) == {}
        with Beat(folder, "r0") as beat, Beat(folder, "r1"):
            beat.say("train x", 0.25)
            words = heard(folder)
            assert (words["r0"].what, words["r0"].part) == ("train x", 0.25)
            assert (words["r1"].host, words["r1"].pid) == (me()["host"], os.getpid())
            (Path(folder) / "r2.json").write_text("half a wo")
            assert heard(folder).keys() == {"r0", "r1"}
        assert heard(folder) == {}
    assert list(tmp_path.iterdir()) == []


def test_words_in_quick_succession_cost_one_file(tmp_path: Path) -> None:
    with listening(tmp_path) as folder, Beat(folder, "r0") as beat:
        beat.say("extract", 0.5)
        assert heard(folder)["r0"].what == "planning"


def test_where_nothing_can_be_said_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "running").write_text("a file in the way")
    with listening(tmp_path) as folder, Beat(folder, "r0") as beat:
        assert folder == ""
        beat.say("train", 0.5)
    with Beat(str(tmp_path / "gone"), "r0") as beat:
        beat.say("train", 0.0)
    with listening(None) as folder:
        assert folder == ""
    assert heard(str(tmp_path / "gone")) == {}


def test_the_words_of_a_killed_command_are_removed_by_the_next(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    mine = draft_of(tmp_path / "running" / "jobs").name.split("-")
    left = tmp_path / "running" / f"{mine[0]}-{gone.pid}-{mine[2]}"
    other = tmp_path / "running" / f".jobs.00000000-{gone.pid}-{mine[2]}"  # of another machine
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "r0.json").write_text("{}")
    with listening(tmp_path):
        assert not left.exists()
        assert other.exists()  # may be at work
