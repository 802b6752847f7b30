"""Keys that are put together from parts are the fingerprints of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from oodbench.core.identity import fingerprint
from oodbench.core.spec import Spec
from oodbench.suite.keys import Keys, made_for
from oodbench.suite.run import Run, TrainedRun
from oodbench.suite.scorer_plan import ScorerPlan
from tests.suite.written import FOUR, SHIFTED, runs_of

PAIR = SHIFTED | {"ood_val": {"digits": {"classes": [8]}}, "outliers": {"digits": {"classes": [9]}}}
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {"scorers": ["msp", "knn", "odin", "vim", "mds-odin", {"knn": {"k": 3}, "as": 'a "b" ä'}]},
    "tuned": {"scorers": ["msp", "knn", "odin"], "tune": ["none", "id", "noise", "ood-val"]},
    "attacked": {"scorers": ["msp", "energy"], "attacks": [{"fgsm": {"eps": 0.1}}]},
    "half": {"scorers": ["knn", "odin"], "store": {"dtype": "fp16"}, "extract": {"precision": "bf16"}},
    "part": {"scorers": ["knn", "mds"], "fit": {"train": 0.5}},
    "fed": {
        "networks": [{"mlp": {"hidden": [8]}, "input": {"mean": [0.5], "std": [0.25]}}],
        "scorers": ["msp", "odin"],
    },
    "family": {
        "methods": [{"ensemble": {"of": "als", "members": 2}}, {"als": {}, "start": "cross-entropy"}],
        "scorers": ["msp", "disagreement"],
    },
}  # fmt: skip


def _outputs(run: Run, name: str, view: Spec | None = None) -> str:
    """As the first version wrote it."""
    assert isinstance(run, TrainedRun)
    of: dict[str, Any] = {"artefact": "outputs", "set": run.read[name].digest, "weights": run.key}
    of |= {"geometry": run.geometry.identity}
    of |= {} if run.stored == "fp32" else {"stored": run.stored}
    return fingerprint(of | run.extract.identity | ({} if view is None else {"view": view.identity}))


def _scores(run: Run, scorer: ScorerPlan, name: str) -> str:
    reads = {"test": _outputs(run, name)}
    reads |= {s: _outputs(run, s) for s in ("train", "val") if s in scorer.needs}
    reads |= {} if scorer.view is None else {"view": _outputs(run, name, scorer.view)}
    return fingerprint({"artefact": "scores", "reads": reads, "scorer": scorer.spec.identity})


def _choice(run: Run, scorer: ScorerPlan) -> str:
    reads = {name: _outputs(run, name) for name in run.tuning_sets(scorer)}
    of = {"artefact": "choice", "version": 1, "regime": scorer.regime, "reads": reads}
    return fingerprint(of | {"candidates": [c.spec.identity for c in scorer.candidates]})


@pytest.mark.parametrize("change", CHANGES)
def test_every_key_is_the_fingerprint_of_what_it_depends_on(change: str) -> None:
    for run in runs_of(pairs=[PAIR], inapplicable="skip", recipe={"epochs": 3}, **CHANGES[change]):
        found: dict[str, list[str]] = {}
        for made in made_for(run):
            assert len(made.keys) == len(made.titles) == len(made.sets)
            found.setdefault(made.kind, []).extend(made.keys)
        assert found["weights"] == [source.key for source in run.lineage]
        able = [s for s in run.scorers if not s.reason]
        single = [(s, name) for s in able if not s.candidates for name in run.sets_of(s)]
        assert found.get("scores", []) == [_scores(run, s, name) for s, name in single]
        assert found.get("choices", []) == [_choice(run, s) for s in able if s.candidates]
        wanted = [*run.wanted(), *(w for s in able if s.candidates for w in run.wanted_for(s))]
        due = {_outputs(source, name, view) for source in run.sources for name, view in wanted}
        assert set(found["outputs"]) == due
        for scorer, name in single[:3]:  # one by one the same
            assert run.scores_key(scorer, name) == _scores(run, scorer, name)
        assert run.outputs_key("test") == Keys(run).outputs(("test",))[0] == _outputs(run, "test")


def test_what_is_made_says_whose_it_can_be() -> None:
    ensemble, single = runs_of(methods=[{"ensemble": {"members": 2}}, "cross-entropy"], scorers=["msp"])
    assert isinstance(ensemble, TrainedRun)
    of = {m.kind: {x.of for x in made_for(ensemble) if x.kind == m.kind} for m in made_for(ensemble)}
    assert of == {"weights": {""}, "outputs": {m.key for m in ensemble.members}, "scores": {ensemble.key}}
    assert {m.of for m in made_for(single)} == {"", single.key}


def test_what_is_expected_tells_code_data_and_what_is_left_out() -> None:
    """One fingerprint is another where any key, or any row, would be another, and else the same."""
    base: dict[str, Any] = {"pairs": [PAIR], "scorers": ["msp", "knn"], "recipe": {"epochs": 1}}
    expected = runs_of(**base)[0].expected
    assert runs_of(**base, seeds=[0, 1])[0].expected == expected
    assert runs_of(**base | {"methods": ["cross-entropy", "als"]})[0].expected == expected
    others: list[dict[str, Any]] = [
        {"scorers": ["msp"]}, {"scorers": ["msp", {"knn": {"k": 3}}]}, {"seeds": [1]},
        {"recipe": {"epochs": 2}}, {"fit": {"train": 0.5}}, {"store": {"dtype": "fp16"}},
        {"tune": ["none", "id"]}, {"attacks": ["fgsm"]}, {"networks": [{"mlp": {"hidden": [9]}}]},
        {"pairs": [PAIR | {"far": ["noise"]}]}, {"pairs": [PAIR | {"shifted": {}}]},
        {"pairs": [PAIR | {"id": {"digits": {"classes": [0, 1, 2, 5]}}, "shifted": {"again": FOUR}}]},
    ]  # fmt: skip
    found = [runs_of(**base | change)[0].expected for change in others]
    assert len({expected, *found}) == len(others) + 1


def test_what_a_run_is_tuned_on_is_expected_of_it_alone() -> None:
    """Another method that can be tuned adds its sets to the pair; a worker that plans one run does not see
    it."""
    pairs = [[PAIR | {"ood_val": {"digits": {"classes": [c]}}}] for c in (8, 9)]
    plain, tuned = ([runs_of(pairs=p, tune=t)[0].expected for p in pairs] for t in ("id", "ood-val"))
    assert plain[0] == plain[1]
    assert runs_of(pairs=pairs[0], tune="ood-val", scorers=["odin"])[0].expected != tuned[0]
    odin = [runs_of(pairs=p, tune="ood-val", scorers=["odin"])[0].expected for p in pairs]
    assert odin[0] != odin[1]
