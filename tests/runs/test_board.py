"""What a person is told of a fleet: the counts, where each run is, the time left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from oodbench.core.progress import Reporter
from oodbench.runs import beats
from oodbench.runs.beats import Beat, listening
from oodbench.runs.board import Board, usual_seconds
from oodbench.runs.fleet import State, tasks_of
from oodbench.runs.jobs import FAILED, NOTHING, Done
from oodbench.runs.store import Store
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.runs.suites import SMALL

SUITE = SMALL | {"methods": ["cross-entropy", "als"], "seeds": [0, 1]}


def written(terminal: bool) -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(console=Console(file=out, force_terminal=terminal, width=160)), out


def test_elsewhere_than_on_a_terminal_each_end_is_a_line() -> None:
    reporter, out = written(terminal=False)
    first, *rest, second = tasks_of(make_plan(parse_suite(SUITE)))
    state = State(waiting=1, running={t.name: t for t in rest[:1]}, done=1, failed=1)
    state.seconds[first.kind] = [60.0, 120.0]
    state.left[first.kind], state.left[second.kind] = 0, 2
    board = Board(reporter, "suite small", "", {second.kind: 300.0})
    with board.shown():
        board.look(state)
        board.ended(first, Done(NOTHING, seconds=3.04, host="node1"))
        board.ended(second, Done(NOTHING, FAILED, "no"))
    lines = out.getvalue().splitlines()
    counts = "1 done, 1 running, 1 waiting, 1 failed"
    assert lines[0] == f"{first.title}: done in 3.0 s on node1 ({counts}; about 10 min left)"
    assert lines[1].startswith(f"{second.title}: failed ({counts}")
    assert lines[2].startswith("suite small: done in ")


def test_a_terminal_shows_what_runs_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "EVERY", 0.0)
    reporter, out = written(terminal=True)
    one, two, *_ = tasks_of(make_plan(parse_suite(SUITE)))
    with listening(tmp_path) as folder, Beat(folder, one.name) as beat:
        beat.say("train something", 0.4)
        board = Board(reporter, "suite small", folder, {})
        board.look(State(waiting=2, running={one.name: one, two.name: two}))
        reporter.console.print(board._table())
    text = out.getvalue()
    assert "0 done, 1 running, 3 waiting, 0 failed; time left unknown" in text
    row = next(line for line in text.splitlines() if "train something" in line)
    assert one.title in row
    assert "40%" in row
    assert not any(two.title in line for line in text.splitlines()), "it has not begun"


def test_what_stored_trainings_took_is_known(tmp_path: Path) -> None:
    suite = parse_suite(SMALL)
    store = Store(tmp_path / "store")
    assert usual_seconds(store, make_plan(suite)) == {}
    from oodbench.runs.runner import run

    run(suite, results=tmp_path, store=tmp_path / "store", plots=False, device="cpu")
    plan = make_plan(parse_suite(SUITE))
    found = usual_seconds(store, plan)
    stored = store.get("weights", plan.runs[0].key)
    assert stored is not None
    assert set(found.values()) == {stored.json("run")["seconds"]}
    assert found.keys() == {(f"mlp(hidden=[8]) / {method}", "run") for method in ("cross-entropy", "als")}
