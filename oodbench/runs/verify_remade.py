"""Verification by making again: outputs from stored weights, choices and scores from stored outputs. A store
whose files were forged together with their checksums is found by this alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from oodbench.core.errors import ANYTHING, reason_of
from oodbench.runs import remake
from oodbench.runs.findings import UNCHECKED, Finding, told
from oodbench.runs.held import Held, artefact
from oodbench.runs.packing import address
from oodbench.runs.reopen import Opened
from oodbench.runs.store import Store
from oodbench.runs.weights import Bench, Weights
from oodbench.suite.run import Run, TrainedRun

TOLERANCE = 1e-4
"""Of a number made again, relative to itself and to the spread of its kind: sums may be taken in another
order."""
HALF = 1e-3
"""The same of what is stored in half precision, whose neighbours are 2^-10 apart."""
UNSTEADY = 0.01
"""Share of samples that may differ beyond it where the order of sums decides more than the last digits: under
an attack, which follows signs, and on another kind of device."""


class _Seen(NamedTuple):
    """What was made again: how many artefacts are the same, which differ and how, and what could not be
    made."""

    same: set[str]
    wrong: list[str]
    unread: list[str]


def check_scores(opened: Opened, device: str) -> list[Finding]:
    """Choices and scores, made again from the stored outputs."""
    seen = _each_run(opened, device, _scores)
    return _told("scores", seen, "choices and scores follow from stored outputs")


def check_outputs(opened: Opened, device: str) -> list[Finding]:
    """Outputs, extracted again from the stored weights, which are not trained again."""
    seen = _each_run(opened, device, _outputs)
    return _told("outputs", seen, "outputs follow from stored weights, which were not trained again")


def _told(what: str, seen: _Seen, fine: str) -> list[Finding]:
    found = []
    if seen.unread and not seen.wrong:
        more = f" (and {len(seen.unread) - 1} more)" if len(seen.unread) > 1 else ""
        found.append(Finding(UNCHECKED, what, seen.unread[0] + more))
    if seen.same or seen.wrong:
        found.append(told(what, seen.wrong, f"{len(seen.same)} {fine}"))
    return found or [Finding(UNCHECKED, what, "the store holds none of these results")]


def _each_run(opened: Opened, device: str, check: Callable[[Run, Held, Path, str, _Seen], None]) -> _Seen:
    """`check` for every run as the suite declares it, with what the store holds of it."""
    seen = _Seen(set(), [], [])
    for run, held in zip(opened.plan.runs, opened.held(), strict=True):
        if not isinstance(held, Held):
            seen.unread.append(f"{run.title}: {held[1]}")
            continue
        with tempfile.TemporaryDirectory(prefix="oodbench-verify-") as scratch:
            try:
                check(run, held, Path(scratch), device, seen)
            except ANYTHING as error:  # a user's components and files take part
                seen.unread.append(f"{run.title}: {reason_of(error)}")
    return seen


def _scores(run: Run, held: Held, scratch: Path, device: str, seen: _Seen) -> None:
    anew, at = remake.scores(held.store, run, scratch, device), address(run)
    for scorer in run.scorers:
        if scorer.candidates and not scorer.reason and held.store.has("choices", run.choice_key(scorer), at):
            key, title = run.choice_key(scorer), f"{run.title} / {scorer.label}"
            made, stored = anew.get("choices", key, at), held.store.get("choices", key, at)
            if made is None or stored is None:
                seen.unread.append(f"the choice of {title}: cannot be made again here")
            elif made.json("choice") != stored.json("choice"):
                seen.wrong.append(f"the choice of {title}: the stored outputs give another one")
            else:
                seen.same.add(key)
    slack = 0.0 if _same_kind(held, device) else UNSTEADY
    for scorer in held.run.scorers:
        for name in [] if scorer.reason or scorer.candidates else held.run.sets_of(scorer):
            key = held.run.scores_key(scorer, name)
            if held.store.has("scores", key, at):  # of what lacks them and should not, `metrics` tells
                title = f"{run.title} / {name} / {scorer.label}"
                _compare(("scores", key, at), title, (held.store, anew), seen, slack)


def _outputs(run: Run, held: Held, scratch: Path, device: str, seen: _Seen) -> None:
    for source in run.sources:
        _check_head(held.store, source, seen)
    anew = remake.outputs(held.store, run, scratch, device)
    slack = 0.0 if _same_kind(held, device) else UNSTEADY
    wanted = [w for s in run.scorers if s.candidates and not s.reason for w in run.wanted_for(s)]
    for source, name, view in run.extractions([*held.run.wanted(), *wanted]):
        key = source.outputs_key(name, view)
        title = f"{source.title} / {name}" + (f" / view {view.label}" if view else "")
        what = ("outputs", key, address(source))
        if key not in seen.same and held.store.has(*what):
            _compare(what, title, (held.store, anew), seen, UNSTEADY if view else slack)


def _check_head(store: Store, source: TrainedRun, seen: _Seen) -> None:
    """The stored head, which scorers read, is that of the stored weights."""
    network = Weights(Bench(store, "cpu", remake.silent())).network(source)
    head = network.linear_head()
    made = {} if head is None else {k: v.detach() for k, v in head._asdict().items()}
    stored = artefact(store, "weights", source.key).tensors("head")
    why = _differ(stored, made, 0.0)
    if why:
        seen.wrong.append(f"{source.title}: the stored head is not that of the stored weights: {why}")


def _compare(
    what: tuple[str, str, str], title: str, stores: tuple[Store, Store], seen: _Seen, slack: float
) -> None:
    """Compare an artefact, of a kind, a key and an address, in two stores."""
    kind, key, _ = what
    stored, made = (s.get(*what) for s in stores)
    if stored is None or made is None:
        seen.unread.append(f"{title}: cannot be made again here")
        return
    why = _differ(stored.tensors(kind), made.tensors(kind), slack)
    if why:
        seen.wrong.append(f"{kind} of {title}: {why}")
    else:
        seen.same.add(key)


def _differ(stored: Mapping[str, Tensor], made: Mapping[str, Tensor], slack: float) -> str:
    """How stored tensors differ from those made again, in more than a share `slack` of their samples; empty
    where they do not."""
    if stored.keys() != made.keys():
        return f"holds {sorted(stored)}, made again {sorted(made)}"
    for name, a, b in ((n, stored[n], made[n]) for n in sorted(stored)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{name} is {tuple(a.shape)} {a.dtype}, made again {tuple(b.shape)} {b.dtype}"
        if not a.numel():
            continue
        wrong = (
            ~_close(a, b, HALF if a.dtype == torch.float16 else TOLERANCE)
            if a.is_floating_point()
            else a != b
        )
        rows = wrong.reshape(len(wrong), -1).any(dim=1) if wrong.dim() else wrong.reshape(1)
        if float(rows.double().mean()) > slack:
            return f"{name} differs in {int(rows.sum())} of {len(rows)} samples"
    return ""


def _close(a: Tensor, b: Tensor, tolerance: float) -> Tensor:
    a, b = a.double(), b.double()
    spread = (a - a.median()).abs().median()
    near = (a - b).abs() <= tolerance * (b.abs() + spread)
    return near | (a == b) | (a.isnan() & b.isnan())


def _same_kind(held: Held, device: str) -> bool:
    """Whether the weights of a run were made on the kind of device that is used now."""
    made = [str(artefact(held.store, "weights", s.key).json("run").get("device")) for s in held.run.sources]
    return all(m.split(":")[0].split(" ")[0] == device.split(":")[0] for m in made)
