"""A results folder opened again, with what its store still holds: read only, nothing is made, repaired or
removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from oodbench.core.errors import UserError
from oodbench.core.progress import Reporter
from oodbench.evaluation.comparison import Scored, Side, is_folder
from oodbench.evaluation.rows import results_file
from oodbench.runs.engine import Engine
from oodbench.runs.held import Held, LazyOutputs, Stored, _scores
from oodbench.runs.per_sample import samples_of
from oodbench.runs.store import Store, damage
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import Plan, make_plan
from oodbench.suite.run import Run
from oodbench.suite.sets import OOD_SHIFTS
from oodbench.suite.suite import Suite

if TYPE_CHECKING:
    import pandas as pd

DRAWN = 2_000
"""Pictures draw at most so many evenly spaced samples of each set, as a run's do."""


class ReadOnlyStore(Store):
    """A store that is only looked at: no folder is made, nothing damaged is removed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.report: Callable[[str], None] = lambda message: None
        self._verified: set[Path] = set()

    def wrong(self, kind: str, key: str) -> str:
        """What is wrong with an artefact's files, in one line; empty where they are whole (or not there)."""
        return damage(self._folder(kind, key)) if self.has(kind, key) else ""

    def _remove(self, folder: Path) -> None:
        pass


class Opened:
    """A results folder whose suite has been planned anew. Keys are then those of the code and the data of
    here and now."""

    def __init__(self, folder: Path, suite: Suite, plan: Plan, store: ReadOnlyStore | None) -> None:
        self.folder, self.suite, self.plan, self.store = folder, suite, plan, store
        self._seen: dict[tuple[str, str, str], list[Held]] = {}

    def held(self) -> Iterator[Held | tuple[Run, str]]:
        """Each run with what the store holds of it, or with the reason why nothing can be read."""
        if self.store is None:
            return
        engine = Engine(self.store, "cpu", Reporter(quiet=True))
        for run in self.plan.runs:
            yield self._held(engine, self.store, run)

    def _held(self, engine: Engine, store: ReadOnlyStore, run: Run) -> Held | tuple[Run, str]:
        untold = [
            s
            for s in run.scorers
            if s.candidates and not s.reason and not store.has("choices", run.choice_key(s))
        ]
        if untold:
            return run, f"the choice of {untold[0].label} is not in the store"
        try:
            run = engine.tuned(run)
            if run.data is not None:
                for source in run.members or (run,):  # an ensemble has no weights of its own
                    if not store.get("weights", source.key):
                        return run, f"the weights {source.key[:12]} are not in the store, or damaged"
                    for name in ("test", *run.scored_sets):
                        if not store.get("outputs", source.outputs_key(name)):
                            return run, f"the outputs of {name} are not in the store, or damaged"
            scores: dict[str, dict[str, Stored]] = {}
            absent: dict[str, str] = {}
            for s in run.scorers:
                keys = {} if s.reason else {n: run.scores_key(s, n) for n in run.scored_sets}
                gone = [n for n, key in keys.items() if not store.get("scores", key)]
                if gone:
                    absent[s.label] = f"its scores on {gone[0]} are not in the store, or damaged"
                elif not s.reason:
                    scores[s.label] = {n: _scores(store, key) for n, key in keys.items()}
        except UserError as error:
            return run, str(error)
        return Held(run, LazyOutputs(engine, run), scores, absent)

    def samples(self) -> pd.DataFrame:
        """Per-sample scores of every run that the store holds, as a run hands them to plots and page."""
        import pandas as pd

        found: list[dict[str, Any]] = []
        for held in self.held():
            if isinstance(held, Held):
                found += samples_of(held.run, held.outputs, held.scores, DRAWN)
        return pd.DataFrame(found)

    def scores_of(self, row: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Scored]]:
        """Per-sample scores of one row of a leaderboard, as `compare.Samples` wants them; trials that the
        store lacks are left out."""
        found: dict[tuple[str, str], dict[str, Scored]] = {}
        for held in self._held_where(str(row["pair"]), str(row["network"]), str(row["method"])):
            label = str(row["scorer"]) if row["tune"] == "none" else f"{row['scorer']} [{row['tune']}]"
            sets = held.scores.get(label, {})
            split = "" if held.run.pair.split is None else str(held.run.pair.split)
            for s in held.run.sets.values():
                if s.name in sets and s.shift in ("test", *OOD_SHIFTS):
                    name, shift = ("", "id") if s.shift == "test" else (s.name, s.shift)
                    scored = Scored(s.digest, shift, sets[s.name].scores.double().numpy())
                    found.setdefault((split, str(held.run.seed)), {})[name] = scored
        return found

    def _held_where(self, pair: str, network: str, method: str) -> list[Held]:
        place = (pair, network, method)
        if place not in self._seen:
            runs = [
                r
                for r in self.plan.runs
                if (r.pair.label, r.network.label if r.network else "", r.method.label) == place
            ]
            engine = Engine(self.store, "cpu", Reporter(quiet=True)) if self.store is not None else None
            each = (
                [self._held(engine, self.store, r) for r in runs]
                if engine is not None and self.store is not None
                else []
            )
            self._seen[place] = [h for h in each if isinstance(h, Held)]
        return self._seen[place]


def store_of(folder: Path, store: Path | None) -> Path:
    """Where the artefacts of a results folder are: as told, or beside it, as a run leaves them."""
    return store or folder.parent / ".store"


def suite_of(folder: Path, plugins: Sequence[Path] = ()) -> Suite:
    """The resolved suite that lies in a results folder; `plugins` take the place of those it names, which
    stay where the suite was."""
    file = folder / "suite.yaml"
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{file}: no such file; `oodbench run` writes it") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{file}: not valid YAML") from None
    if isinstance(raw, dict) and raw.get("plugins") and plugins:
        raw = raw | {"plugins": []}
    return parse_suite(raw, file=file, plugins=plugins)


def reopened(path: Path, store: Path | None = None, plugins: Sequence[Path] = ()) -> Opened:
    """Plan a results folder's suite anew and open its store. UserError says what is not here: suite, plugin,
    data or store."""
    folder = results_file(path).parent
    suite = suite_of(folder, plugins)
    root = store_of(folder, store)
    there = any((root / kind).is_dir() for kind in ("weights", "outputs", "scores"))
    if store is not None and not there:
        raise UserError(f"store {root}: holds no artefacts")
    return Opened(folder, suite, make_plan(suite, skip_missing=True), ReadOnlyStore(root) if there else None)


def with_samples(side: Side, path: Path, store: Path | None = None, plugins: Sequence[Path] = ()) -> Side:
    """A side of a comparison with its per-sample scores, or with why they cannot be had."""
    if not is_folder(path):
        return side._replace(why=f"{side.name} is a published table")
    try:
        opened = reopened(path, store, plugins)
    except UserError as error:
        return side._replace(why=str(error).splitlines()[0])
    if opened.store is None:
        return side._replace(why=f"the store of {path} is not here; name it with --store")
    return side._replace(samples=opened.scores_of)
