"""From stored scores to the rows of results.csv."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from oodbench.core.errors import one_line
from oodbench.core.spec import plain_value
from oodbench.evaluation import metrics
from oodbench.evaluation.rows import NEWER_KEY, ROW_KEYS
from oodbench.runs.held import Held, OnDisk
from oodbench.suite.asked import Asked, asked_of
from oodbench.suite.run import Run
from oodbench.suite.scorer_plan import ScorerPlan

if TYPE_CHECKING:
    import pandas as pd


def rows_of(held: Held) -> list[dict[str, Any]]:
    """Result rows of one run, in the order of `Run.asked`; skipped and failed ones with their reason."""
    measured = _Measured(held)
    keys = _Columns(held.run).of
    return [keys(a) | values for a in asked_of(held.run) if (values := measured.values(a)) is not None]


def failed_rows(run: Run, reason: str) -> list[dict[str, Any]]:
    """The rows of a run that failed: one for ID alone and one for each scorer and OOD set, each with the
    first line of the reason."""
    why = _failed(one_line(reason, 1000))
    keys = _Columns(run).of
    return [
        keys(a) | (_skipped(a.reason) if a.reason else why)
        for a in asked_of(run)
        if a.ood or a.scorer is None
    ]


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "reason": reason}


def _skipped(reason: str) -> dict[str, Any]:
    return {"status": "skipped", "reason": reason}


class _Known(NamedTuple):
    """What is measured of the ID images of some rows, whatever scorer and OOD set stand beside them."""

    labels: Tensor
    correct: Tensor
    quality: Mapping[str, float]
    analysis: Mapping[str, float]


class _Measured:
    """The numbers of one run's rows."""

    def __init__(self, held: Held) -> None:
        self.held, self.outputs, self.scores = held, held.outputs, held.scores
        self.known = lru_cache(maxsize=1)(self._known)  # rows of one group follow one another
        self.analysis = lru_cache(maxsize=None)(lambda name: metrics.analysis(self.outputs.of(name).logits))

    def values(self, asked: Asked) -> dict[str, Any] | None:
        """The columns of a row besides its keys; None for a scorer's ID row where the scorer has no
        scores."""
        if asked.scorer is None:
            gone = self.held.why("", asked.id_names)
            if gone:
                return _failed(gone)
            known = self.known(asked.id_names)
            described = {f"{k}_id": v for k, v in known.analysis.items()}
            return {"n_id": len(known.labels), **known.quality, **described}
        why = self._why_not(asked)
        if why:
            return why if asked.ood else None
        return self._under_attack(asked) if asked.attack else self._scored(asked)

    def _why_not(self, asked: Asked) -> dict[str, Any]:
        """The status of a row that has no numbers, with the reason; nothing where it has them."""
        if asked.reason:
            return _skipped(asked.reason)
        assert asked.scorer is not None
        val = ["val"] if "val" in self.held.run.sets else []
        ood = [asked.ood] if asked.ood else []
        why = self.held.why(asked.scorer.label, [*val, *asked.id_names, *ood])
        if asked.attack is not None:
            attacked = asked.id_names if "test" in asked.attack.sets else ood
            why = self.held.why(asked.attack.label, attacked) or (
                why and f"the scorer under attack failed: {why}"
            )
        return _failed(why) if why else {}

    def _scored(self, asked: Asked) -> dict[str, Any]:
        assert asked.scorer is not None
        known, mine = self.known(asked.id_names), self.scores[asked.scorer.label]
        edited = [p for n in asked.id_names if (p := mine[n].predictions) is not None]
        given: dict[str, Any] = {
            "id_scores": torch.cat([mine[n].scores for n in asked.id_names]),
            "val_scores": mine["val"].scores if "val" in mine else None,
            "edited_correct": (torch.cat(edited) == known.labels) if edited else None,
            "id_correct": known.correct,
            "id_quality": known.quality,
            "id_analysis": known.analysis,
        }
        if asked.ood:
            given |= {"ood_scores": mine[asked.ood].scores, "ood_analysis": self.analysis(asked.ood)}
        return metrics.row_metrics(**given)

    def _under_attack(self, asked: Asked) -> dict[str, Any]:
        """``<attack> on OOD``: OOD samples made to look known, ID clean; ``<attack> on ID``: the other way
        about. The accuracy under the latter is that of the network whose loss was attacked."""
        assert asked.scorer is not None
        assert asked.attack is not None
        on_id = "test" in self.held.run.sets_of(asked.attack)
        mine, other = (self.scores.get(s.label, {}) for s in (asked.attack, asked.scorer))
        test = self.outputs.of("test")
        clean = test.predictions == test.labels
        given: dict[str, Any] = {
            "id_scores": (mine if on_id else other)["test"].scores,
            "id_correct": self._right_under.get(asked.attack.attack) if on_id else clean,
        }
        if asked.ood:
            given["ood_scores"] = (other if on_id else mine)[asked.ood].scores
        return metrics.row_metrics(**given)

    def _known(self, names: Sequence[str]) -> _Known:
        logits = torch.cat([self.outputs.of(n).logits for n in names])
        labels = torch.cat([self.outputs.of(n).labels for n in names])
        quality = metrics.id_metrics(logits, labels) | self._validated
        return _Known(labels, logits.argmax(dim=1) == labels, quality, metrics.analysis(logits))

    @cached_property
    def _validated(self) -> dict[str, float]:
        """What a choice between trained variants may look at."""
        if "val" not in self.held.run.sets:
            return {}
        val = self.outputs.of("val")
        accuracy = float((val.predictions == val.labels).float().mean())
        return {"val_accuracy": accuracy, "val_nll": metrics.id_metrics(val.logits, val.labels)["nll"]}

    @cached_property
    def _right_under(self) -> dict[str, Tensor | None]:
        """Which ID samples stay right when the network's loss is attacked, by attack."""
        test = self.outputs.of("test")
        found: dict[str, Tensor | None] = {}
        for s in self.held.run.scorers:
            if s.attack and s.spec.params["of"] is None and "test" in self.scores.get(s.label, {}):
                one: OnDisk = self.scores[s.label]["test"]
                both = (one.predictions == test.labels) & (test.predictions == test.labels)
                found[s.attack] = both if one.predictions is not None else None
        return found


def params_text(params: Mapping[str, Any]) -> str:
    """Parameters as the columns `*_params` hold them."""
    return json.dumps(plain_value(params), sort_keys=True)


class _Columns:
    """The key columns of a run's rows. What many of them share is made once."""

    def __init__(self, run: Run) -> None:
        self._run = {
            "suite": run.suite, **run.place, "pair_params": params_text(run.pair.params),
            "method_params": params_text(run.method.spec.params),
        }  # fmt: skip
        self._last = {"status": "ok", "reason": "", "run_key": run.key}
        if run.fed_text:
            self._last[NEWER_KEY] = run.fed_text
        self._scorer: tuple[ScorerPlan | None, dict[str, Any]] = (None, _of_scorer(None))

    def of(self, asked: Asked) -> dict[str, Any]:
        """Of one row; `status` is ok until the numbers say otherwise."""
        if self._scorer[0] is not asked.scorer:  # rows of one scorer follow one another
            self._scorer = (asked.scorer, _of_scorer(asked.scorer))
        return {
            **self._run, **self._scorer[1],
            "condition": asked.condition, "id_set": asked.id_set, "ood": asked.ood, "shift": asked.shift,
            **self._last,
        }  # fmt: skip


def _of_scorer(scorer: ScorerPlan | None) -> dict[str, Any]:
    return {
        "scorer": scorer.declared.label if scorer else "",
        "scorer_params": params_text(scorer.declared.params) if scorer else "{}",
        "tune": scorer.tune if scorer else "none", "chosen": scorer.chosen if scorer else "",
    }  # fmt: skip


def identities(run: Run) -> Iterator[tuple[Asked, dict[str, str]]]:
    """Every row that a run owes, and what makes it the row that it is: its key columns as text, as they are
    when read back."""
    columns_of = _Columns(run).of
    for asked in asked_of(run):
        yield asked, {key: str(value) for key, value in columns_of(asked).items() if key != NEWER_KEY}


def identity(run: Run, asked: Asked) -> dict[str, str]:
    """The key columns of one row, see `identities`."""
    return {key: str(value) for key, value in _Columns(run).of(asked).items() if key != NEWER_KEY}


def columns(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with exactly the columns of results.csv, in their order; keys are text, as they are
    when read back. What networks were fed stands there where one was fed something of its own."""
    import pandas as pd

    text = [{**row, **{key: "" if row[key] is None else str(row[key]) for key in ROW_KEYS}} for row in rows]
    newer = [NEWER_KEY] if any(NEWER_KEY in row for row in text) else []
    frame = pd.DataFrame(text, columns=[*ROW_KEYS, *newer, *metrics.METRICS])
    return frame.fillna(dict.fromkeys(newer, ""))
