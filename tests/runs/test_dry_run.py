"""What a dry run tells: what is stored, who waits for whom, how long it takes."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from oodbench.runs import dry_run
from oodbench.runs.dry_run import lines_of
from oodbench.runs.runner import run
from oodbench.runs.store import Store
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import Plan, artefacts, make_plan
from tests.suite.written import FAMILY

FULL = FAMILY | {
    "methods": ["cross-entropy", {"als": {}, "start": "cross-entropy"}, {"ensemble": {"members": 2}}],
    "scorers": ["msp", "odin", {"msp": {}, "as": "again"}], "tune": ["none", "id"], "inapplicable": "skip",
}  # fmt: skip


def _plan(**changes: Any) -> Plan:
    return make_plan(parse_suite(FULL | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one run of cross-entropy."""
    folder = tmp_path_factory.mktemp("made")
    run(parse_suite(FULL | {"methods": ["cross-entropy"]}), results=folder, device="cpu", plots=False)
    return folder / ".store"


def _told(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.split()[0], []).append(line)
    return found


def test_every_artefact_has_a_line_in_the_order_it_is_made() -> None:
    plan = _plan()
    lines = list(lines_of(plan, None))
    due = [f"missing  {kind:<8} {key[:16]}  {title}" for kind, key, title in artefacts(plan)]
    assert lines[: len(due)] == due
    assert lines[-1] == f"family: 3 runs, 0 of {len(due)} artefacts stored"


@pytest.mark.parametrize("scorers", [["msp"], ["msp", "odin", {"msp": {}, "as": "again"}]], ids=len)
@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]], ids=len)
def test_stored_is_what_the_store_has_one_by_one(made: Path, scorers: list[Any], seeds: list[int]) -> None:
    """Whether it lies in folders or in packs, and whether runs are told singly or together."""
    plan, store = _plan(scorers=scorers, seeds=seeds), Store.opened(made)
    due = {(kind, key[:16]): store.has(kind, key) for kind, key, _ in artefacts(plan)}
    lines = list(lines_of(plan, store))
    found = {(s[1], s[2]): s[0] == "stored" for s in map(str.split, lines) if s[0] in ("stored", "missing")}
    assert found == due
    assert sum(due.values()) > 5
    assert lines[-1] == f"family: {len(plan.runs)} runs, {sum(due.values())} of {len(due)} artefacts stored"


@pytest.mark.parametrize("stored", [False, True])
def test_many_artefacts_are_counted_for_each_run(
    made: Path, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same sums as one by one; an artefact of several runs counts where it is made."""
    plan = _plan(seeds=[0, 1, 2])
    store = Store.opened(made) if stored else None
    singly = list(lines_of(plan, store))
    monkeypatch.setattr(dry_run, "SINGLY", 3)
    lines = list(lines_of(plan, store))
    assert lines[-1] == singly[-1]
    runs = [line for line in lines if line.split()[1] == "run"]
    assert [r.split("  ")[-1].rpartition(": ")[0] for r in runs] == [r.title for r in plan.runs]
    counts = [tuple(map(int, re.findall(r"(\d+) of (\d+) artefacts$", r)[0])) for r in runs]
    total = re.findall(r"(\d+) of (\d+) artefacts", lines[-1])[0]
    assert [sum(c) for c in zip(*counts, strict=True)] == [int(n) for n in total]
    words = ["stored" if s == n else "partly" if s else "missing" for s, n in counts]
    assert [r.split()[0] for r in runs] == words
    assert (words[0] == "stored") == stored
    (waits,) = _told(lines)["waits"]
    assert "runs, for " in waits


def test_who_starts_from_weights_that_are_not_there_waits(made: Path) -> None:
    plan = _plan()
    assert _told(list(lines_of(plan, None)))["waits"] == [
        f"waits    {plan.runs[1].title}, for the weights of {plan.runs[0].title}",
        f"waits    {plan.runs[2].title}, for the weights of {plan.runs[0].title}",
        f"waits    {plan.runs[2].title}, for the weights of {plan.runs[0].title.replace('seed 0', 'seed 1')}",
    ]
    assert len(_told(list(lines_of(plan, Store.opened(made))))["waits"]) == 1


def _record(store: Path, **changes: Any) -> None:
    """Change what stored weights say of themselves."""
    (file,) = store.glob("weights/*/*/run.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_time_is_that_of_trainings_of_the_same_pair_network_and_recipe(made: Path) -> None:
    def time(**changes: Any) -> list[str]:
        return _told(list(lines_of(_plan(**changes), Store.opened(made)))).get("time", [])

    _record(made, seconds=7200.0)
    assert time(methods=["cross-entropy"]) == []
    assert time(methods=["als"]) == ["time     about 2.0 hours for 1 training, one after the other"]
    assert "4.0 hours for 2 trainings, one" in time(seeds=[5, 6], methods=["cross-entropy"])[0], (
        "not in the plan"
    )
    unknown = "unknown for 1, since none of the same pair, network and recipe is stored"
    for change in (
        {"recipe": {"epochs": 2}}, {"networks": [{"mlp": {"hidden": [9]}}]},
        {"pairs": [FAMILY["pairs"][0] | {"name": "two-more"}], "seeds": [1]},
    ):  # fmt: skip
        assert time(methods=["cross-entropy"], **change) == [f"time     {unknown}"], change
    both = time(methods=["als", {"label-smoothing": {}, "recipe": {"epochs": 3}}])[0]
    assert "2.0 hours for 1 training, one after the other; unknown for 1" in both
    for wrong in ({"seconds": "soon"}, {"seconds": float("nan")}, {"seconds": None}, {"seconds": -1}):
        _record(made, **wrong)
        assert "time     unknown for 1" in time(methods=["als"])[0], wrong
    _record(made, seconds=60, recipe=float("nan"), run=None)
    assert "time     unknown for 1" in time(methods=["als"])[0]
    (file,) = made.glob("weights/*/*/run.json")
    file.write_text("{")
    assert "unknown" in time(methods=["als"])[0]


def test_nothing_is_asked_of_the_store_for_each_artefact(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    asked: Counter[str] = Counter()
    for name in ("has", "get", "damage"):
        monkeypatch.setattr(Store, name, lambda *args, name=name: asked.update([name]))
    assert list(lines_of(_plan(seeds=[0, 1, 2, 3]), Store.opened(made)))
    assert not asked


def test_what_is_left_out_is_told() -> None:
    lines = list(lines_of(_plan(methods=["cross-entropy", "outlier-exposure"]), None))
    assert _told(lines)["skipped"] == [f"skipped  {line}" for line in _plan(
        methods=["cross-entropy", "outlier-exposure"]
    ).skipped]  # fmt: skip
