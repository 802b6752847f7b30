"""Artefacts made again beside a store, which is only read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from oodbench.core.errors import UserError
from oodbench.runs import remake
from oodbench.runs.reopen import reopened
from tests.runs.checked import stored
from tests.unpacked import unpacked


def test_what_is_made_again_lies_apart_and_all_else_is_read_from_the_store(
    bare: Path, tmp_path: Path
) -> None:
    opened = reopened(bare)
    (run,) = opened.plan.runs
    assert opened.store is not None
    before = {f: f.stat().st_mtime_ns for f in bare.parent.rglob("*")}
    anew = remake.outputs(opened.store, run, tmp_path / "o", "cpu")
    key = run.outputs_key("test")
    made, there = anew.get("outputs", key), opened.store.get("outputs", key)
    assert made is not None
    assert there is not None
    assert made.folder.is_relative_to(tmp_path / "o")
    assert torch.equal(made.tensors("outputs")["logits"], there.tensors("outputs")["logits"])
    weights = anew.get("weights", run.key)
    assert weights is not None
    assert weights.folder.is_relative_to(bare.parent / ".store")
    assert anew.has("weights", run.key)
    assert not anew.has("scores", "0" * 64)
    scored = remake.scores(opened.store, run, tmp_path / "s", "cpu")
    names = {f.parent.name for f in (unpacked(tmp_path / "s") / "scores").rglob("manifest.json")}
    assert names == {a.name for a in stored(bare, "scores")}
    assert scored.get("outputs", key) is not None
    assert {f: f.stat().st_mtime_ns for f in bare.parent.rglob("*")} == before


def test_scores_are_made_of_stored_outputs_alone(bare: Path, tmp_path: Path) -> None:
    """What is not stored is not extracted on the way: it would not be the stored one."""
    opened = reopened(bare)
    (run,) = opened.plan.runs
    assert opened.store is not None
    (gone,) = stored(bare, "outputs", "test")
    for file in gone.iterdir():
        file.unlink()
    with pytest.raises(UserError, match="the outputs of test are not in the store"):
        remake.scores(opened.store, run, tmp_path / "s", "cpu")


def test_it_is_silent(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remake.silent().warn("nobody reads this")
    assert capsys.readouterr() == ("", "")
