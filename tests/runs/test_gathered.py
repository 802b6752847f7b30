"""Answers of runs on disk, against frames made of the same records at once."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.evaluation.csv_text import to_csv
from oodbench.evaluation.metrics.columns import METRICS
from oodbench.evaluation.rows import ROW_KEYS
from oodbench.runs.folder import HISTORY, TIMING
from oodbench.runs.gathered import Answer, Gathered, kept_samples
from oodbench.runs.measure import columns
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import Plan, make_plan
from tests.conftest import TINY


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(parse_suite(yaml.safe_load(TINY)))


def answer_of(run: int, rng: np.random.Generator, fed: str = "") -> Answer:
    place = {"pair": "p", "split": run % 2 or "", "network": "n", "method": f"m{run}", "seed": run}
    keys = (
        dict.fromkeys(ROW_KEYS, "") | place | {"status": "ok", "scorer": 'msp, the "first"\n', "chosen": None}
    )
    extra = {"input": fed} if fed else {}
    rows = [
        {**keys, "ood": "", "id_accuracy": rng.random(), "n_id": 100} | extra,
        {**keys, "ood": "far", "auroc": rng.random(), "n_id": 100, "n_ood": 7, "nll": float("nan")} | extra,
        {**keys, "ood": "near", "status": "failed", "reason": "é = out of memory"} | extra,
    ]
    timing = [
        {"run_key": f"k{run}", **place, "stage": "train", "seconds": rng.random(), "bytes": 10**11 + run},
        {
            "run_key": f"k{run}",
            **place,
            "stage": "score",
            "scorer": "msp",
            "ood": "far",
            "seconds": 2,
            "n": 7,
        },
    ]
    history = [
        {"run_key": "shared", **place, "seed": 0, "method": "m", "epoch": e, "loss": 0.5, "acted": None}
        for e in range(2)
    ]
    index = np.linspace(0, 99, 50).round().astype(int)
    samples = [
        place | {"ood": ood, "shift": "far" if ood else "id", "scorer": s, "value": v, "index": index}
        for ood in ("", "far")
        for s, v in (("wide", rng.random(50)), ("half", rng.random(50).astype("f4").astype(float)))
    ]
    return Answer(rows, timing, history, samples)


def together(answers: list[Answer]) -> dict[str, Any]:
    """What `Contents` was made of before anything lay on disk."""
    each = {name: [r for a in answers for r in getattr(a, name)] for name in Answer._fields}
    return {
        "rows": columns(each["rows"]),
        "timing": pd.DataFrame(each["timing"], columns=list(TIMING)),
        "history": pd.DataFrame(each["history"], columns=list(HISTORY)).drop_duplicates(),
        "samples": pd.DataFrame(each["samples"]),
    }


@pytest.mark.parametrize("fed", ["", "seen in grey"])
def test_in_any_order_it_is_what_all_at_once_would_be(tmp_path: Path, plan: Plan, fed: str) -> None:
    rng = np.random.default_rng(0)
    answers = [answer_of(run, rng, fed if run == 3 else "") for run in range(6)]
    answers[2] = answers[2]._replace(timing=[], samples=[])  # a run that failed
    wanted = together(answers)
    order = list(enumerate(answers))
    random.Random(1).shuffle(order)
    with Gathered(tmp_path) as gathered:
        gathered.put(4, answers[0])  # an attempt that was lost: the second answer stands
        for place, answer in order:
            gathered.put(place, answer)
        found = gathered.contents(plan)
        for name in ("rows", "timing", "history"):
            assert to_csv(getattr(found, name)) == to_csv(wanted[name]), name
        assert [*found.rows] == [*ROW_KEYS, *(["input"] if fed else []), *METRICS]
        assert found.samples is not None
        keys = [c for c in wanted["samples"] if c not in ("value", "index")]
        assert found.samples[keys].astype(str).equals(wanted["samples"][keys].astype(str))
        for name in ("value", "index"):
            for mine, theirs in zip(found.samples[name], wanted["samples"][name], strict=True):
                assert len(mine) == len(theirs)
                read = np.asarray(mine)
                assert read.dtype == theirs.dtype
                np.testing.assert_array_equal(read, theirs)  # bit by bit: no tolerance
    assert not list(tmp_path.iterdir())


def test_scores_that_are_no_numbers_come_back_as_they_are(tmp_path: Path, plan: Plan) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1e300, -0.0, 5e-324, 0.1])
    samples = [{"pair": "p", "scorer": "s", "value": odd, "index": np.arange(7)},
               {"pair": "p", "scorer": "e", "value": odd[:0], "index": np.arange(0)}]  # fmt: skip
    with Gathered(tmp_path) as gathered:
        gathered.put(0, Answer(samples=samples))
        found = gathered.contents(plan).samples
        assert found is not None
        np.testing.assert_array_equal(np.asarray(found["value"][0], dtype=float), odd)
        assert np.signbit(np.asarray(found["value"][0])[4])
        assert np.asarray(found["value"][1]).shape == (0,)


def test_nothing_gathered_gives_the_columns_alone(tmp_path: Path, plan: Plan) -> None:
    with Gathered(tmp_path) as gathered:
        found = gathered.contents(plan)
        assert list(found.rows) == [*ROW_KEYS, *METRICS]
        assert found.rows.empty
        assert found.timing is not None
        assert list(found.timing) == list(TIMING)
        assert found.samples is not None
        assert found.samples.empty


def test_a_killed_process_leaves_no_file(tmp_path: Path, plan: Plan) -> None:
    with Gathered(tmp_path) as gathered:
        gathered.put(0, answer_of(0, np.random.default_rng(0)))
        assert not list(tmp_path.iterdir()), "what has no name needs nobody to remove it"


def test_a_full_disk_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with Gathered(tmp_path) as gathered:
        monkeypatch.setattr("oodbench.runs.gathered._append", full)
        with pytest.raises(
            UserError, match=r"cannot keep what was measured \(No space left on device\); make room"
        ):
            gathered.put(0, answer_of(0, np.random.default_rng(0)))


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written \(.*\); choose another with --results"):
        Gathered(tmp_path / "gone")


def test_memory_does_not_grow_with_single_samples(tmp_path: Path, plan: Plan) -> None:
    """40 runs x 60 scorers and sets x 500 scores are 9.6 MB as numbers."""
    rng, index = np.random.default_rng(0), np.arange(500)

    def answer(run: int) -> Answer:
        return Answer(samples=[
            {"pair": "p", "seed": run, "scorer": f"s{i}", "value": rng.random(500), "index": index}
            for i in range(60)
        ])  # fmt: skip

    with Gathered(tmp_path) as gathered:
        gathered.put(0, answer(0))
        tracemalloc.start()
        for run in range(1, 41):
            gathered.put(run, answer(run))
        found = gathered.contents(plan).samples
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found is not None
    assert len(found) == 41 * 60
    assert peak < 3e6


@pytest.mark.parametrize("fed", ["", "seen in grey"])
def test_many_rows_are_the_same_in_little_memory(
    tmp_path: Path, plan: Plan, fed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    answers = [answer_of(run, rng, fed if run == 3 else "") for run in range(6)]
    monkeypatch.setattr("oodbench.runs.gathered.LARGE", 10)
    with Gathered(tmp_path) as gathered:
        for place, answer in reversed(list(enumerate(answers))):
            gathered.put(place, answer)
        found = gathered.contents(plan).rows
    assert isinstance(found["pair"].dtype, pd.CategoricalDtype)
    assert to_csv(found) == to_csv(together(answers)["rows"]), "the file lives as long as the frame"
    assert not list(tmp_path.iterdir())


def test_samples_of_a_store_lie_on_disk_as_long_as_their_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    each = [list(answer_of(run, rng).samples) for run in range(3)]
    wanted = pd.DataFrame([record for records in each for record in records])
    found = kept_samples(iter(each), tmp_path)
    assert not list(tmp_path.iterdir())
    assert not any(isinstance(v, np.ndarray) for v in found["value"])
    for name in ("value", "index"):
        for mine, theirs in zip(found[name], wanted[name], strict=True):
            np.testing.assert_array_equal(np.asarray(mine), theirs)
    assert kept_samples([], tmp_path).empty
