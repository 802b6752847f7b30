"""A job as text: carried out as the command itself would, refused where code or data are others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oodbench.core.progress import Reporter
from oodbench.runs import jobs
from oodbench.runs.engine import Engine
from oodbench.runs.held import Held
from oodbench.runs.jobs import FAILED, REFUSED, STOPPED, Done, Terms, answer_of, carry_out
from oodbench.runs.measure import columns
from oodbench.runs.store import Store
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.run import Run
from oodbench.suite.suite import Suite
from tests.runs.suites import RICH, SMALL, plugin


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker that has just begun, and with no pause after a refusal."""
    jobs._planner.cache_clear()
    jobs._engine.cache_clear()


def text(suite: Suite, run: Run, store: Path, part: str = "", **changes: Any) -> str:
    terms = Terms.of(suite, store=str(store), token="", beats="", device="cpu")
    job = {"name": "r0", "place": {k: str(v) for k, v in run.place.items()}, "part": part}
    return terms.text(**job | {"expected": part or run.expected} | changes)


def rows(answer: Any) -> list[list[str]]:
    return columns(answer.rows).astype(str).to_numpy().tolist()


def test_jobs_give_what_the_command_itself_gives(tmp_path: Path) -> None:
    """Every run of a suite with a start, an ensemble, views, tuning, an attack."""
    suite = parse_suite(RICH)
    runs = make_plan(suite).runs
    here = Engine(Store(tmp_path / "here"), "cpu", Reporter(quiet=True))
    made: dict[str, int] = {}
    for run in runs:
        done = carry_out(json.dumps(json.loads(text(suite, run, tmp_path / "there"))))
        assert (done.wrong, done.reason, done.warnings) == ("", "", ())
        mine = answer_of(here, run)
        assert rows(done.answer) == rows(mine)
        assert done.answer.history == mine.history
        assert [t["stage"] for t in done.answer.timing] == [t["stage"] for t in mine.timing]
        for kind, count in done.made.items():
            made[kind] = made.get(kind, 0) + count
    assert made == here.made
    again = carry_out(text(suite, runs[0], tmp_path / "there"))
    assert not any(again.made.values())


def test_a_part_makes_its_weights_and_nothing_else(tmp_path: Path) -> None:
    suite = parse_suite(RICH)
    run = next(r for r in make_plan(suite).runs if len(r.lineage) == 2)
    first, second = (carry_out(text(suite, run, tmp_path, part=one.key)) for one in run.lineage)
    for done in (first, second):
        assert (done.wrong, done.made) == ("", {"weights": 1, "outputs": 0, "choices": 0, "scores": 0})
    assert Store(tmp_path).has("weights", run.lineage[1].key)
    assert not done.answer.rows


def test_other_keys_than_expected_are_refused_with_the_machine(tmp_path: Path) -> None:
    suite = parse_suite(SMALL)
    (run,) = make_plan(suite).runs
    for changes in ({"expected": "0" * 64}, {"part": "f" * 64}):
        done = carry_out(text(suite, run, tmp_path, **changes))
        assert done.wrong == REFUSED
        assert done.reason.startswith(f"{done.host}: code or data there are not those of the command")
        assert len(done.reason.splitlines()) == 1
    assert not Store.holds_artefacts(tmp_path)


def test_a_plugin_of_another_version_is_refused(tmp_path: Path) -> None:
    code = """
import oodbench

@oodbench.scorer("mine", source="a test")
class Mine(oodbench.Scorer):
    "The negative largest logit."

    def score(self, outputs):
        return -outputs.logits.amax(dim=1)
"""
    file = plugin(tmp_path, code)
    suite = parse_suite(SMALL | {"scorers": ["mine"], "plugins": [str(file)]})
    (run,) = make_plan(suite).runs
    job = text(suite, run, tmp_path / "store")
    file.write_text(code.replace("-outputs", "-2 * outputs"))
    done = carry_out(job)
    assert done.wrong == REFUSED
    assert "code or data there are not those" in done.reason
    file.unlink()
    jobs._planner.cache_clear()
    done = carry_out(job)
    assert done.wrong == REFUSED
    assert "plugin.py" in done.reason


def test_data_that_are_not_there_are_named_with_the_machine(tmp_path: Path) -> None:
    suite = parse_suite(SMALL)
    (run,) = make_plan(suite).runs
    lacking = SMALL | {"pairs": ["mnist"]}
    terms = Terms.of(parse_suite(lacking), store=str(tmp_path), token="", beats="")
    job = terms._replace(data_roots=(str(tmp_path / "nothing"),)).text(
        name="r0", place={"pair": "mnist", "split": "", "network": "mlp(hidden=[8])",
                          "method": "cross-entropy", "seed": "0"}, part="", expected=run.expected,
    )  # fmt: skip
    done = carry_out(job)
    assert done.wrong == REFUSED
    assert done.reason.startswith(f"{done.host}: ")
    assert "mnist" in done.reason
    assert str(tmp_path / "nothing") in done.reason


def test_a_store_that_is_another_one_there_is_refused(tmp_path: Path) -> None:
    suite = parse_suite(SMALL)
    (run,) = make_plan(suite).runs
    terms = Terms.of(suite, store=str(tmp_path / "s"), token=str(tmp_path / "s" / "tmp" / "t"), beats="")
    place = {k: str(v) for k, v in run.place.items()}
    done = carry_out(terms.text(name="r0", place=place, part="", expected=run.expected))
    assert done.wrong == REFUSED
    assert "the store" in done.reason
    assert not (tmp_path / "s").exists()


def test_a_run_that_fails_says_why_and_brings_what_there_is(tmp_path: Path) -> None:
    suite = parse_suite(SMALL | {"recipe": SMALL["recipe"] | {"lr": 1e30}})
    (run,) = make_plan(suite).runs
    done = carry_out(text(suite, run, tmp_path))
    assert done.wrong == FAILED
    assert done.reason.startswith("training: ")
    assert not done.answer.rows


def test_warnings_come_back_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = parse_suite(SMALL)
    (run,) = make_plan(suite).runs

    def warns(engine: Engine, run: Run) -> Held:
        for _ in range(3):
            engine.bench.reporter.warn("something odd")
        engine.bench.store.report("damaged weights 123")
        raise ValueError("and then this")

    monkeypatch.setattr(Engine, "work", warns)
    done = carry_out(text(suite, run, tmp_path))
    assert done.warnings == ("something odd", "damaged weights 123")
    assert (done.wrong, done.reason.split(" (")[0]) == (FAILED, "ValueError: and then this")


def test_a_full_disk_stops_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from oodbench.runs.store import CannotKeep

    suite = parse_suite(SMALL)
    (run,) = make_plan(suite).runs

    def full(engine: Engine, run: Run) -> Held:
        raise CannotKeep(tmp_path, OSError(28, "No space left on device"))

    monkeypatch.setattr(Engine, "work", full)
    done: Done = carry_out(text(suite, run, tmp_path))
    assert done.wrong == STOPPED
    assert "No space left" in done.reason


def test_another_version_of_the_package_is_refused(tmp_path: Path) -> None:
    suite = parse_suite(SMALL)
    (run,) = make_plan(suite).runs
    job = json.loads(text(suite, run, tmp_path))
    job["terms"]["code"] = "0" * 64
    done = carry_out(json.dumps(job))
    assert done.wrong == REFUSED
    assert "the package there is not that of the command" in done.reason
