"""What a store holds, looked up one by one and at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.runs import shards
from oodbench.runs.packing import addresses, pack
from oodbench.runs.reopen import reopened
from oodbench.runs.store import Store
from oodbench.suite.plan import artefacts
from tests.runs.packed import (
    AT,
    key,
    loose,
    make_scores,
    packed_store,
    wrong,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 4)


def test_a_plan_is_looked_up_without_a_look_at_each_artefact(
    rich_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = reopened(rich_run).plan
    store = Store.opened(rich_run.parent / ".store")
    due = {(kind, key) for kind, key, _ in artefacts(plan)}
    weights = store.there("weights")
    folders = {(k, one) for k in ("outputs", "choices", "scores") for one in store.there(k)}
    monkeypatch.setattr(Path, "is_file", lambda self: pytest.fail(f"looked at {self}"))
    packed = {name for one in plan.runs for at in addresses(one) for name in store.packed(at)}
    missing = {n for n in due - packed - folders if n[0] != "weights" or n[1] not in weights}
    assert not missing


def test_what_another_run_made_is_left_alone(tmp_path: Path) -> None:
    store, other = Store(tmp_path), Store(tmp_path)
    make_scores(store, range(3))
    make_scores(other, range(10, 13), at="0f" * 32)
    pack(store, AT)
    assert len(loose(tmp_path)) == 3
    assert store.get("scores", key(11)) is not None, "without an address everything is looked through"
    assert store.get("scores", key(1)) is not None
    assert store.has("scores", key(1))
    assert not store.has("scores", key(99))


def test_keys_are_looked_up_at_once(tmp_path: Path) -> None:
    root = packed_store(tmp_path)
    store = Store(root)
    make_scores(store, range(20, 23))
    assert store.there("scores") == {key(n) for n in range(20, 23)}
    assert store.there("weights") == set()
    due = {("scores", key(n)) for n in range(6)} | {("outputs", key(n)) for n in range(2)}
    assert store.packed(AT) == due
    assert store.packed("00" * 32) == frozenset()


def test_a_store_that_is_only_looked_at_changes_nothing(tmp_path: Path) -> None:
    root = packed_store(tmp_path)
    assert Store.holds_artefacts(root)
    before = {f: f.stat().st_mtime_ns for f in root.rglob("*")}
    store = Store.opened(root)
    assert not wrong(store, range(6), range(2))
    assert store.damage("scores", key(1)) == ""
    assert not store.has("scores", key(9), AT)
    assert {f: f.stat().st_mtime_ns for f in root.rglob("*")} == before
