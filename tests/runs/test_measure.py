"""Rows against numbers made by hand from what is stored, and against what the suite asks for."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from oodbench.core import registry
from oodbench.evaluation import metrics
from oodbench.evaluation.leaderboard import over_trials
from oodbench.evaluation.rows import IDENTITY, ROW_KEYS, read_rows
from oodbench.runs import verify
from oodbench.runs.findings import CONTRADICTED, HOLDS
from oodbench.runs.measure import columns, identity
from oodbench.runs.runner import run
from oodbench.suite.asked import asked_of
from oodbench.suite.parse import parse_suite
from tests.runs.stored import Stored
from tests.runs.suites import BROKEN, DIVERGES, GONE, PAIR, SMALL, plugin
from tests.unpacked import unpacked

Rows = list[dict[str, Any]]


def agrees(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """A row holds these numbers and no others."""
    assert row["status"] == "ok"
    assert {k: v for k, v in row.items() if k not in ROW_KEYS} == pytest.approx(expected, nan_ok=True)


GROUPS = [
    ("clean", "id", ["test"]),
    ("noisy", "id", ["noisy"]),
    ("clean", "full", ["test", "noisy"]),
]
"""What counts as ID, as the documentation says."""


@pytest.mark.parametrize(("condition", "id_set", "names"), GROUPS)
def test_clean_shifted_and_full_spectrum_rows(
    rich_run: Path, condition: str, id_set: str, names: Sequence[str]
) -> None:
    stored = Stored(rich_run, 0)
    logits, labels = stored.outputs(*names)
    right = logits.argmax(dim=1) == labels
    val_logits, val_labels = stored.outputs("val")
    quality = metrics.id_metrics(logits, labels) | {
        "val_accuracy": float((val_logits.argmax(dim=1) == val_labels).float().mean()),
        "val_nll": float(torch.nn.functional.cross_entropy(val_logits.double(), val_labels)),
    }
    analysis = metrics.analysis(logits)
    place = {"condition": condition, "id_set": id_set}
    agrees(
        stored.row(**place, scorer=""),
        {"n_id": len(labels), **quality, **{f"{k}_id": v for k, v in analysis.items()}},
    )
    for scorer in ("msp", "react(percentile=80)", "odin(temperature=10)"):
        given: dict[str, Any] = {
            "id_scores": stored.scores(scorer, *names),
            "val_scores": stored.scores(scorer, "val"),
            "id_correct": right,
            "id_quality": quality,
            "id_analysis": analysis,
        }
        if scorer.startswith("react"):
            edited = stored.scores(scorer, *names, what="predictions") == labels
            given["edited_correct"] = edited
            row = stored.row(**place, scorer=scorer, ood="")
            assert row["edited_accuracy"] == pytest.approx(float(edited.double().mean()))
        agrees(stored.row(**place, scorer=scorer, ood=""), metrics.row_metrics(**given))
        for ood in ("six", "grey"):
            given["ood_scores"] = stored.scores(scorer, ood)
            given["ood_analysis"] = metrics.analysis(stored.outputs(ood)[0])
            agrees(stored.row(**place, scorer=scorer, ood=ood), metrics.row_metrics(**given))


def test_a_tuned_row_is_that_of_the_chosen_parameters(rich_run: Path) -> None:
    stored = Stored(rich_run, 0)
    label = "energy [id]"
    row = stored.row(scorer="energy", tune="id", ood="six")
    inside, outside = stored.scores(label, "test"), stored.scores(label, "six")
    assert row["auroc"] == pytest.approx(metrics.detection_metrics(inside, outside)["auroc"])
    temperature = next(s for s in stored.run.scorers if s.label == label).spec.params["temperature"]
    logits = stored.outputs("six")[0].double()
    torch.testing.assert_close(outside, -temperature * torch.logsumexp(logits / temperature, dim=1))


@pytest.mark.parametrize("of", ["msp", "energy", "react(percentile=80)"])
def test_rows_under_attack_stand_against_clean_ones(rich_run: Path, of: str) -> None:
    """Only one side moves: OOD made to look known against clean ID, ID made to look unknown against clean
    OOD, where the accuracy is the network's under attack of its own loss."""
    stored = Stored(rich_run, 0)
    logits, labels = stored.outputs("test")
    right = logits.argmax(dim=1) == labels
    loss = stored.scores(stored.attacked(None, "raise"), "test", what="predictions") == labels
    up, down = stored.attacked(of, "raise"), stored.attacked(of, "lower")
    on_id = {"id_scores": stored.scores(up, "test"), "id_correct": loss & right}
    on_ood = {"id_scores": stored.scores(of, "test"), "id_correct": right}
    for side, given, moved in (("ID", on_id, of), ("OOD", on_ood, down)):
        place = {"condition": f"fgsm(eps=0.1) on {side}", "scorer": of}
        agrees(stored.row(**place, ood=""), metrics.row_metrics(**given))
        for ood in ("six", "grey"):
            expected = metrics.row_metrics(**given, ood_scores=stored.scores(moved, ood))
            agrees(stored.row(**place, ood=ood), expected)
    clean = stored.row(scorer=of, ood="grey")
    assert stored.row(condition="fgsm(eps=0.1) on ID", scorer=of, ood="grey")["auroc"] < clean["auroc"]


def test_rows_come_in_the_order_in_which_they_are_asked_for(rich_run: Path) -> None:
    written = read_rows(rich_run / "results.csv").to_dict("records")
    at = 0
    for place in range(3):
        stored = Stored(rich_run, place)
        asked = [identity(stored.run, a) for a in asked_of(stored.run)]
        rows = [{k: str(r[k]) for k in ROW_KEYS} for r in stored.rows]
        named = [k for k in ROW_KEYS if k not in ("status", "reason")]
        due = [a for a in asked if a["ood"] or not a["scorer"] or [a[k] for k in named] in texts(rows, named)]
        assert texts(rows, named) == texts(due, named)
        assert texts(written[at : at + len(rows)], named) == texts(rows, named)
        at += len(rows)
    assert at == len(written)


def texts(rows: Rows, names: Sequence[str]) -> list[list[str]]:
    return [[str(r[k]) for k in names] for r in rows]


# ------------------------------------------------------------------------- rows without numbers


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(results folder, plugin) of a run with everything that can be missing: a set, a scorer that cannot be
    there, one that fails, a training that does; under attack too."""
    root = tmp_path_factory.mktemp("lacking")
    own = plugin(root, GONE + BROKEN + DIVERGES)
    suite = {
        "pairs": [PAIR | {"far": {"gone": "gone", **PAIR["far"]}}],
        "methods": ["cross-entropy", "diverges"],
        "scorers": ["msp", "mutual-information", "broken"],
        "attacks": [{"fgsm": {"eps": 0.1}}],
        "inapplicable": "skip",
    }
    with registry.isolated():
        parsed = parse_suite(SMALL | suite, plugins=[own])
        run(parsed, results=root, device="cpu", plots=False, skip_missing=True)
    return root / "small", own


LOST = "scorer 'mutual-information' reads the head 'members.logits'"


def test_each_row_that_is_due_stands_once_with_its_reason(lacking: tuple[Path, Path]) -> None:
    rows = read_rows(lacking[0] / "results.csv")
    found = collections.Counter(
        (r["method"], r["scorer"], r["condition"], r["ood"], r["status"], why(r["reason"]))
        for r in rows.to_dict("records")
    )
    on = ("fgsm(eps=0.1) on OOD", "fgsm(eps=0.1) on ID")
    expected: list[tuple[str, ...]] = []
    for method, state in (("cross-entropy", "ok"), ("diverges", "failed")):
        said = "" if state == "ok" else "diverged"
        expected.append((method, "", "clean", "", state, said))
        for scorer in ("msp", "mutual-information", "broken"):
            for condition in ("clean",) if scorer == "mutual-information" else ("clean", *on):
                status, reason = state, said
                if scorer == "mutual-information":
                    status, reason = "skipped", "inapplicable"
                elif scorer == "broken" and state == "ok":
                    status, reason = "failed", "broken" if condition == "clean" else "flat"
                if status == "ok":  # a scorer's row on ID alone is there only with its scores
                    expected.append((method, scorer, condition, "", "ok", ""))
                for ood in ("six", "grey"):
                    expected.append((method, scorer, condition, ood, status, reason))
                gone = ("skipped", "inapplicable" if reason == "inapplicable" else "gone")
                expected.append((method, scorer, condition, "gone", *gone))
    assert found == collections.Counter(expected)


def why(reason: str) -> str:
    """Which of the reasons this is."""
    marks = {
        "diverged": "not finite", "inapplicable": LOST, "broken": "'broken'", "flat": "does not require grad",
        "gone": "data set 'gone': not in",
    }  # fmt: skip
    hits = [name for name, mark in marks.items() if mark in reason]
    if "broken" in hits:  # its scores are not finite, and have no gradient
        hits = ["flat" if "flat" in hits else "broken"]
    assert len(hits) == bool(reason), reason
    return hits[0] if hits else ""


def test_what_is_missing_contradicts_nothing(lacking: tuple[Path, Path]) -> None:
    folder, own = lacking
    found = {f.what: f for f in verify.folder(folder, plugins=[own])}
    assert not [f for f in found.values() if f.state == CONTRADICTED]
    assert found["suite"].state == HOLDS
    board = over_trials(read_rows(folder / "results.csv"))
    assert board.loc[board["method"] == "diverges", "near_auroc"].isna().all()
    assert board.loc[board["scorer"] == "msp", "far_auroc"].isna().all(), "one far set is missing"


def test_numbers_are_columns_and_keys_are_text() -> None:
    frame = columns([{**dict.fromkeys(ROW_KEYS), "seed": 0, "auroc": 0.5}])
    assert list(frame.columns) == [*ROW_KEYS, *metrics.METRICS]
    assert frame.loc[0, "seed"] == "0"
    assert frame.loc[0, "split"] == ""
    assert frame.loc[0, "auroc"] == 0.5
    assert pd.isna(frame.loc[0, "oscr"])


# ------------------------------------------------------------------------- attacks beside names and tuning

ALIASES: dict[str, Any] = SMALL | {
    "scorers": ["msp", {"energy": {}, "as": "a"}, {"energy": {}, "as": "b"}],
    "attacks": [{"fgsm": {"eps": 0.1}}],
    "tune": ["id"],
}
"""Two names for one scorer, which is tuned and attacked; no row without tuning is asked for."""


def test_an_attacked_scorer_keeps_its_name_and_its_clean_rows(tmp_path: Path) -> None:
    """What is attacked has its declared parameters, so their clean rows are there even where only tuned ones
    are asked for."""
    done = run(parse_suite(ALIASES), results=tmp_path, device="cpu", plots=False)
    assert set(done.rows["status"]) == {"ok"}
    assert not done.rows.duplicated(list(IDENTITY)).any()
    counts = done.rows[done.rows["scorer"] != ""].groupby(["scorer", "tune", "condition"]).size()
    on = ("fgsm(eps=0.1) on ID", "fgsm(eps=0.1) on OOD")
    asked = {(s, "none", c) for s in ("msp", "a", "b") for c in ("clean", *on)}
    assert set(counts.index) == asked | {("a", "id", "clean"), ("b", "id", "clean")}
    assert set(counts) == {3}, "ID alone and two OOD sets"
    stored = Stored(done.folder, 0)
    for condition, (inside, outside) in {
        on[0]: (stored.attacked("a", "raise"), "a"),
        on[1]: ("a", stored.attacked("a", "lower")),
    }.items():
        expected = metrics.detection_metrics(stored.scores(inside, "test"), stored.scores(outside, "six"))
        for name in "ab":
            row = stored.row(scorer=name, condition=condition, ood="six")
            assert row["auroc"] == pytest.approx(expected["auroc"])
    found = {f.what: f for f in verify.folder(done.folder)}
    assert {f.state for what, f in found.items() if what not in ("versions", "scores", "outputs")} == {HOLDS}
    again = run(parse_suite(ALIASES), results=tmp_path, device="cpu", plots=False)
    assert set(again.made.values()) == {0}
    assert sum(done.made.values()) == len(list(unpacked(tmp_path / ".store").glob("*/*/*/manifest.json")))


def test_an_attack_on_ood_sets_that_are_not_here_moves_nothing(tmp_path: Path) -> None:
    own = plugin(tmp_path, GONE)
    pair = {"name": "p", "id": PAIR["id"], "far": {"gone": "gone"}}
    suite = parse_suite(SMALL | {"pairs": [pair], "attacks": [{"fgsm": {"eps": 0.1}}]}, plugins=[own])
    done = run(suite, results=tmp_path, device="cpu", plots=False, skip_missing=True)
    stored = Stored(done.folder, 0, [own])
    clean = stored.row(scorer="msp", ood="")
    on_ood = stored.row(scorer="msp", condition="fgsm(eps=0.1) on OOD", ood="")
    on_id = stored.row(scorer="msp", condition="fgsm(eps=0.1) on ID", ood="")
    assert on_ood["aurc"] == clean["aurc"]
    assert on_ood["id_accuracy"] == clean["id_accuracy"]
    assert on_id["id_accuracy"] < clean["id_accuracy"]
    found = {f.what: f for f in verify.folder(done.folder, plugins=[own])}
    assert not [f for f in found.values() if f.state == CONTRADICTED]
