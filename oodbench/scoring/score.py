"""From fitted scorers and Outputs to OOD scores: chunk by chunk, all scorers per chunk, one failing scorer
never ending the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.description import SpecLike
from oodbench.core.errors import ANYTHING, BadValue, UserError, reason_of, shown
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.core.spec import label_of
from oodbench.scoring.devices import on_device
from oodbench.scoring.given import check_given, flaw, objection

_MEMORY = 256 * 2**20
"""Bytes that one chunk's largest temporary (its similarities to the training set) may take."""


class Scored(NamedTuple):
    """One scorer's result on one set: OOD scores (N,) float64, predictions (N,) of the edited network where
    it edits, or why it failed."""

    scores: Tensor | None
    predictions: Tensor | None
    reason: str
    seconds: float


class Scores(NamedTuple):
    """One scorer's results by set, and the seconds that fitting took."""

    sets: dict[str, Scored]
    fit_seconds: float


def score_sets(
    scorers: Mapping[str, Scorer],
    train: Outputs | None,
    val: Outputs | None,
    sets: Mapping[str, Outputs],
    *,
    device: str | torch.device = "cpu",
    chunk: int | None = None,
) -> dict[str, Scores]:
    """Fit every scorer once and score every set. A scorer that lacks what it needs, raises anything or hands
    over nonsense has its reason and no scores: it costs its own rows."""
    fitted: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for label, scorer in scorers.items():
        start = time.perf_counter()
        try:
            reason = objection(label, scorer, train, val, sets)
            if not reason:
                with torch.no_grad():
                    scorer.fit(
                        train if "train" in scorer.needs else None, val if "val" in scorer.needs else None
                    )
        except ANYTHING as error:  # a scorer may be a user's, and raise anything
            reason = f"scorer {label!r} could not be fitted: {reason_of(error)}"
        if reason:
            reasons[label] = reason
        fitted[label] = time.perf_counter() - start
    if torch.device(device).type == "mps":
        device = "cpu"  # scorers count in float64, which MPS does not have
    size = chunk or chunk_size(0 if train is None else len(train))
    moved: dict[int, Any] = {}
    scorers = {label: on_device(s, torch.device(device), moved) for label, s in scorers.items()}
    results = {label: Scores({}, fitted[label]) for label in scorers}
    for name, outputs in sets.items():
        live = {label: scorer for label, scorer in scorers.items() if label not in reasons}
        for label, scored in _score_set(live, name, outputs, size, device).items():
            results[label].sets[name] = scored
        for label in reasons:
            results[label].sets[name] = Scored(None, None, reasons[label], 0.0)
    return results


def chunk_size(train_rows: int) -> int:
    """Samples scored at a time, such that their float32 similarities to the training set stay within a fixed
    memory."""
    return max(32, min(2048, _MEMORY // (4 * max(train_rows, 1))))


def _score_set(
    scorers: Mapping[str, Scorer], name: str, outputs: Outputs, size: int, device: str | torch.device
) -> dict[str, Scored]:
    n = len(outputs)
    scores = {label: torch.empty(n, dtype=torch.float64) for label in scorers}
    predictions = {label: torch.empty(n, dtype=torch.int64) for label, s in scorers.items() if s.edits}
    flaws = {label: flaw(outputs, scorer) for label, scorer in scorers.items()}
    reasons = {label: f"scorer {label!r} on set {name!r}: {why}" for label, why in flaws.items() if why}
    seconds = dict.fromkeys(scorers, 0.0)
    done = 0
    for part in outputs.chunks(size):
        part = part if part.device == torch.device(device) else part.to(device)
        for label, scorer in scorers.items():
            if label in reasons:
                continue
            start = time.perf_counter()
            try:
                with torch.no_grad():
                    scores[label][done : done + len(part)] = _checked(scorer.score(part), len(part))
                    if label in predictions:
                        predictions[label][done : done + len(part)] = scorer.logits(part).argmax(dim=1)
            except ANYTHING as error:  # likewise
                reasons[label] = f"scorer {label!r} on set {name!r}: {reason_of(error)}"
            seconds[label] += time.perf_counter() - start
        done += len(part)
    return {
        label: (
            Scored(None, None, reasons[label], seconds[label])
            if label in reasons
            else Scored(scores[label], predictions.get(label), "", seconds[label])
        )
        for label in scorers
    }


def _checked(scores: Any, n: int) -> Tensor:
    if not isinstance(scores, Tensor) or scores.shape != (n,):
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise BadValue(f"scores should have the shape ({n},), got {got}")
    if scores.is_complex():
        raise BadValue(f"scores should be real numbers, got {scores.dtype}")
    bad = int((~torch.isfinite(scores)).sum())
    if bad:
        raise BadValue(f"{bad} of {n} scores are not finite")
    return scores.double()


def score_all(
    scorers: Mapping[str, Scorer | SpecLike] | Sequence[Scorer | SpecLike],
    train: Outputs | None,
    val: Outputs | None,
    sets: Mapping[str, Outputs],
) -> dict[str, dict[str, Tensor]]:
    """OOD scores of every scorer on every set, higher = more OOD.

    Args:
        scorers: names, ``{name: {parameter: value}}`` or built scorers; a list, or under labels of your own.
        train, val: outputs of the ID training and validation set; ``None`` where no scorer needs them.
        sets: outputs to score, by name.

    Returns:
        ``{scorer: {set: scores (N,) float64}}``; a scorer without a label of your own has that of the
        leaderboard.

    Raises:
        UserError: what is given is no outputs, or of networks that differ; a scorer lacks what it needs
            (outputs of the training set, features, a head, what a view adds), or fails on a set. The message
            names it.

    Example:
        >>> outputs = oodbench.Outputs(torch.tensor([[4.0, 0.0], [1.0, 0.0]]))
        >>> found = oodbench.score_all(["mls", {"energy": {"temperature": 2}}], None, None, {"test": outputs})
        >>> list(found), found["energy(temperature=2)"]["test"]
        (['mls', 'energy(temperature=2)'], tensor([-4.2539, -1.9482], dtype=torch.float64))
    """
    if isinstance(scorers, (str, Scorer)) or not isinstance(scorers, Iterable):
        raise BadValue(
            f"scorers should be a list of names or scorers, or {{label: scorer}}, got {shown(scorers)}"
        )
    check_given(train, val, sets)
    named: dict[str, Scorer] = {}
    for label, given in scorers.items() if isinstance(scorers, Mapping) else ((None, s) for s in scorers):
        built = given if isinstance(given, Scorer) else registry.build("scorer", given)
        named[label or label_of(built)] = built
    found = score_sets(named, train, val, sets)
    for result in found.values():
        for scored in result.sets.values():
            if scored.scores is None:
                raise UserError(scored.reason)
    return {
        label: {name: s.scores for name, s in r.sets.items() if s.scores is not None}
        for label, r in found.items()
    }
