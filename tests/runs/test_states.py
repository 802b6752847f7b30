"""The state of a training in progress."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from oodbench.core.files import draft_of
from oodbench.runs.states import States

KEY = "ab" * 32


def test_what_was_saved_is_loaded_until_it_is_dropped(tmp_path: Path) -> None:
    said: list[str] = []
    states = States(tmp_path, said.append)
    assert states.load(KEY) is None
    states.save(KEY, {"w": torch.ones(2)}, {"epoch": 3})
    found = states.load(KEY)
    assert found is not None
    assert (found[0]["w"].tolist(), found[1]) == ([1.0, 1.0], {"epoch": 3})
    states.drop(KEY)
    states.drop(KEY)
    assert states.load(KEY) is None
    assert not list(tmp_path.iterdir())
    assert not said


def test_who_is_done_takes_away_nothing_that_another_is_writing(tmp_path: Path) -> None:
    """Without locks, two processes may train the same."""
    states = States(tmp_path, lambda said: None)
    place = tmp_path / f"{KEY}.safetensors"
    mine = draft_of(place)
    mine.write_text("half")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    dead.write_text("half")
    states.drop(KEY)
    assert mine.exists()
    assert not dead.exists()
