"""What a store holds of a run, and how it is told what it lacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.runs.held import Held, artefact, ensemble_outputs, history, tuned
from oodbench.runs.measure import rows_of
from oodbench.runs.per_sample import samples_of
from oodbench.runs.reopen import Opened, reopened
from oodbench.runs.store import Store


def forget(store: Path, kind: str, key: str) -> None:
    shutil.rmtree(store / kind / key[:2] / key)


def opened_without(folder: Path, kind: str, key: str) -> Opened:
    forget(folder.parent / ".store", kind, key)
    return reopened(folder)


@pytest.mark.parametrize("kind", ["weights", "outputs"])
def test_a_run_that_lost_its_weights_or_its_id_outputs_cannot_be_read(rich: Path, kind: str) -> None:
    run = reopened(rich).plan.runs[0]
    key = run.key if kind == "weights" else run.outputs_key("val")
    first, second, _ = opened_without(rich, kind, key).held()
    said = f"the weights {key[:12]} are" if kind == "weights" else "the outputs of val are"
    assert not isinstance(first, Held)
    assert first[1] == f"{said} not in the store, or damaged"
    assert isinstance(second, Held), "the other runs are read"


def test_a_set_that_is_gone_costs_its_own_rows_alone(rich: Path) -> None:
    run = reopened(rich).plan.runs[0]
    held = next(opened_without(rich, "outputs", run.outputs_key("six")).held())
    assert isinstance(held, Held)
    plain = [s for s in held.run.scorers if not s.attack and not s.reason]
    assert {s.label: held.scores[s.label].keys() for s in plain} == {
        s.label: set(run.scored_sets) - {"six"} for s in plain
    }
    why = "the outputs of six are not in the store, or damaged"
    rows = rows_of(held)
    six = [r for r in rows if r["ood"] == "six" and r["condition"] == "clean" and r["status"] != "skipped"]
    assert {(r["status"], r["reason"]) for r in six} == {("failed", why)}
    clean = [r for r in rows if r["ood"] != "six" and r["condition"] == "clean" and r["status"] != "skipped"]
    assert {r["status"] for r in clean} == {"ok"}
    assert {r["ood"] for r in clean} > {""}
    assert len(samples_of(held, 5)) < len(samples_of(next(reopened(rich).held()), 5)) + 1


def test_an_ensemble_needs_what_its_members_left(rich: Path) -> None:
    member = reopened(rich).plan.runs[2].sources[1]
    _, _, last = opened_without(rich, "outputs", member.outputs_key("test")).held()
    assert not isinstance(last, Held)
    assert last[1] == "the outputs of test are not in the store, or damaged"


def test_a_choice_that_is_gone_or_damaged_is_one_line(rich: Path) -> None:
    run = reopened(rich).plan.runs[0]
    scorer = next(s for s in run.scorers if s.candidates)
    key = run.choice_key(scorer)
    file = rich.parent / ".store" / "choices" / key[:2] / key / "choice.json"
    file.write_text("{}")
    damaged = next(reopened(rich).held())
    gone = next(opened_without(rich, "choices", key).held())
    for held in (damaged, gone):
        assert isinstance(held, Held), "the other scorers are read"
        why = f"the choice of {scorer.label} is not in the store, or damaged"
        assert held.absent == {scorer.label: why}
        rows = [r for r in rows_of(held) if r["scorer"] == scorer.declared.label and r["tune"] == scorer.tune]
        assert {(r["status"], r["reason"]) for r in rows} == {("failed", why)}


def test_a_scorer_that_lost_its_scores_is_absent_alone(rich: Path) -> None:
    run = reopened(rich).plan.runs[0]
    msp = next(s for s in run.scorers if s.label == "msp")
    held = next(opened_without(rich, "scores", run.scores_key(msp, "grey")).held())
    assert isinstance(held, Held)
    why = "its scores on grey are not in the store, or damaged"
    assert held.absent == {"msp": why}
    assert held.scores["msp"].keys() == set(run.scored_sets) - {"grey"}
    rows = [r for r in rows_of(held) if r["scorer"] == "msp" and r["condition"] == "clean"]
    assert {(r["status"], r["reason"]) for r in rows if r["ood"] == "grey"} == {("failed", why)}
    assert {r["status"] for r in rows if r["ood"] != "grey"} == {"ok"}
    under = [r for r in rows_of(held) if r["scorer"] == "msp" and r["condition"].endswith("on ID")]
    failed = {r["ood"] for r in under if r["status"] == "failed"}
    assert failed == {"grey"}, "an attack on ID is measured against the clean scores of OOD"
    assert [r for r in rows_of(held) if r["scorer"] == "energy" and r["status"] != "ok"] == []


def test_what_must_be_there_is_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^outputs aaaaaaaaaaaa is not in the store, or damaged; run again"):
        artefact(Store(tmp_path), "outputs", "a" * 64)


def on_disk(root: Path, kind: str) -> dict[str, Path]:
    return {f.parent.name: f.parent for f in (root / kind).glob("*/*/manifest.json")}


def test_timing_has_a_row_for_everything_that_was_paid_for(rich_run: Path, rich: Path) -> None:
    """Of a packed store, as it is read from its folders."""
    store = rich.parent / ".store"
    for held in reopened(rich_run).held():
        assert isinstance(held, Held)
        run, rows = held.run, held.timing()
        assert {r["run_key"] for r in rows} == {run.key}
        of = {
            stage: [r for r in rows if r["stage"] == stage] for stage in ("train", "extract", "fit", "score")
        }
        assert sum(map(len, of.values())) == len(rows)
        weights = [on_disk(store, "weights")[s.key] for s in run.sources]
        assert [r["bytes"] for r in of["train"]] == [size(w) for w in weights]
        assert [r["seconds"] for r in of["train"]] == [read(w, "run")["seconds"] for w in weights]
        for r in of["extract"]:
            assert r["n"] == len(run.sets[r["ood"]].samples)
        extracted = {source.outputs_key(n, v) for source, n, v in run.extractions(run.wanted())}
        outputs = on_disk(store, "outputs")
        assert sorted(r["bytes"] for r in of["extract"]) == sorted(size(outputs[k]) for k in extracted)
        assert {r["scorer"] for r in of["fit"]} == set(held.scores)
        assert len(of["score"]) == sum(len(sets) for sets in held.scores.values())


def size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir())


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


def test_the_history_of_an_ensemble_is_that_of_its_members(rich_run: Path) -> None:
    run = reopened(rich_run).plan.runs[2]
    store = Store.opened(rich_run.parent / ".store")
    rows = history(store, run)
    assert [(r["seed"], r["epoch"], r["method"]) for r in rows] == [
        (0, 0, "cross-entropy"),
        (1, 0, "cross-entropy"),
    ]
    written = on_disk(rich_run.parent / ".store", "weights")
    for row in rows:
        (epoch,) = read(written[row["run_key"]], "history")
        assert row["loss"] == epoch["loss"]
    assert history(store, run.sources[0])[0]["run_key"] == rows[0]["run_key"], "shared with the single run"


def test_a_choice_is_taken_as_it_was_stored(rich_run: Path, rich: Path) -> None:
    run = reopened(rich_run).plan.runs[0]
    store = Store.opened(rich_run.parent / ".store")
    planned = {s.label: s for s in run.scorers if s.candidates}
    found = {s.label: s for s in tuned(store, run).scorers}
    assert set(planned) <= set(found)
    written = on_disk(rich.parent / ".store", "choices")
    for label, scorer in planned.items():
        said = read(written[run.choice_key(scorer)], "choice")
        assert found[label].spec == scorer.candidates[said.pop("place")].spec
        assert json.loads(found[label].chosen) == said
        assert not found[label].candidates


def test_logits_of_an_ensemble_are_the_log_of_its_mean_probability() -> None:
    logits = [torch.randn(20, 5) * 3 for _ in range(3)]
    made = ensemble_outputs([Outputs(z, labels=torch.arange(20)) for z in logits])
    mean = torch.stack([torch.softmax(z, dim=1) for z in logits]).mean(dim=0)
    torch.testing.assert_close(made.logits.exp(), mean)
    assert torch.equal(made.extras["members.logits"], torch.stack(logits, dim=1))
    assert not made.has_features
