"""What one run makes: each artefact once, under its own lock, and nothing of what is there."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from oodbench.core.progress import Reporter
from oodbench.runs.engine import KINDS, Engine
from oodbench.runs.store import Draft, Store
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.runs.suites import BROKEN, RICH, SMALL, plugin
from tests.unpacked import unpacked


def engine(store: Store) -> Engine:
    return Engine(store, "cpu", Reporter(quiet=True))


def folders(root: Path) -> dict[str, int]:
    """How many artefacts of each kind lie on disk."""
    unpacked(root)
    return {kind: len(list((root / kind).glob("*/*/manifest.json"))) for kind in KINDS}


class Watched(Store):
    """Knows what was drafted, and whether its lock was held then: nobody else could take it. Scores are too
    cheap for a lock."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.drafted: collections.Counter[tuple[str, str]] = collections.Counter()

    @contextlib.contextmanager
    def _draft(self, kind: str, key: str) -> Iterator[Draft]:
        with pytest.raises(Timeout):
            FileLock(self.root / "locks" / f"{kind}-{key}.lock").acquire(blocking=False)
        self.drafted[kind, key] += 1
        with super()._draft(kind, key) as one:
            yield one

    def put(self, of: str, artefacts: Any) -> None:
        self.drafted.update(artefacts.keys())
        super().put(of, artefacts)


def test_each_artefact_is_made_once_and_under_its_lock(tmp_path: Path) -> None:
    """With a start from another's weights, an ensemble, views, tuning and attacks."""
    runs = make_plan(parse_suite(RICH)).runs
    store = Watched(tmp_path)
    first = engine(store)
    for run in runs:
        assert not first.work(run).absent
    assert set(store.drafted.values()) == {1}
    assert first.made == folders(tmp_path)
    assert sum(first.made.values()) == len(store.drafted)
    assert all(first.made.values()), "every kind was made"

    again = engine(Watched(tmp_path))
    for run in runs:
        assert not again.work(run).absent
    assert set(again.made.values()) == {0}
    assert again.bench.store.drafted == {}


def test_what_another_process_made_meanwhile_is_found(tmp_path: Path) -> None:
    """While this one waits for a lock, or makes scores, another makes the whole run: those scores are made
    twice then."""
    run = make_plan(parse_suite(SMALL | {"scorers": ["msp", "knn"], "tune": "id"})).runs[0]
    other = engine(Store(tmp_path))

    class Waiting(Store):
        def lock(self, *name: str) -> Any:
            if name[0] == self.late:
                other.work(run)
            return super().lock(*name)

        def put(self, of: str, scores: Any) -> None:
            if self.late == "scores":
                other.work(run)
            super().put(of, scores)

    for kind, before in (("weights", {}), ("scores", {"weights", "outputs", "choices", "scores"})):
        root = tmp_path / kind
        other, store = engine(Store(root)), Waiting(root)
        store.late = kind
        mine = engine(store)
        mine.work(run)
        assert {k for k, n in mine.made.items() if n} == set(before)
        assert bool(mine.made["scores"]) == (kind == "scores")
        made = sum(mine.made.values()) + sum(other.made.values())
        assert made - mine.made["scores"] == sum(folders(root).values())


def test_a_scorer_that_fails_leaves_the_others_their_scores(tmp_path: Path) -> None:
    suite = parse_suite(SMALL | {"scorers": ["broken", "msp"]}, plugins=[plugin(tmp_path, BROKEN)])
    run = make_plan(suite).runs[0]
    held = engine(Store(tmp_path / "store")).work(run)
    assert set(held.scores) == {"msp"}
    assert set(held.absent) == {"broken"}
    n = len(run.sets["val"].samples)
    assert held.absent["broken"] == f"scorer 'broken' on set 'val': {n} of {n} scores are not finite"
    assert held.why("msp", run.scored_sets) == ""
    assert folders(tmp_path / "store")["scores"] == len(run.scored_sets)
