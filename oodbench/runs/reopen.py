"""A results folder opened again, with what its store still holds: read only, nothing is made, repaired or
removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError
from oodbench.evaluation.comparison import Group, Measured, is_folder
from oodbench.evaluation.costs import of_rows
from oodbench.evaluation.rows import results_file
from oodbench.runs.folder import SUITE, ResultsFolder, joined, specs_of
from oodbench.runs.held import Held, tuned
from oodbench.runs.per_sample import DRAWN, samples_of
from oodbench.runs.store import Store
from oodbench.suite.load import read_plain
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import Plan, make_plan
from oodbench.suite.run import Run
from oodbench.suite.sets import OOD_SHIFTS
from oodbench.suite.suite import Suite

if TYPE_CHECKING:
    import pandas as pd


class Opened:
    """A results folder whose suite has been planned anew. Keys are then those of the code and the data of
    here and now."""

    def __init__(self, folder: Path, suite: Suite, plan: Plan, store: Store | None) -> None:
        self.folder, self.suite, self.plan, self.store = folder, suite, plan, store
        self._seen: dict[tuple[str, str, str], list[Held]] = {}

    def held(self) -> Iterator[Held | tuple[Run, str]]:
        """Each run with what the store holds of it, or with the reason why nothing can be read."""
        for run in self.plan.runs if self.store is not None else ():
            yield self._held(run)

    def _held(self, run: Run) -> Held | tuple[Run, str]:
        assert self.store is not None
        for s in run.scorers:
            if s.candidates and not s.reason and not self.store.has("choices", run.choice_key(s)):
                return run, f"the choice of {s.label} is not in the store"
        try:
            held = Held(self.store, tuned(self.store, run))
        except UserError as error:
            return run, str(error)
        why = held.objection()
        return (run, why) if why else held

    def samples(self) -> pd.DataFrame:
        """Per-sample scores of every run that the store holds, as a run hands them to plots and page."""
        import pandas as pd

        found: list[dict[str, Any]] = []
        for held in self.held():
            if isinstance(held, Held):
                found += samples_of(held, DRAWN)
        return pd.DataFrame(found)

    def scores_of(self, row: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Measured]]:
        """Per-sample scores of one row of a leaderboard, by (split, seed) and set; trials that the store
        lacks are left out."""
        found: dict[tuple[str, str], dict[str, Measured]] = {}
        for held in self._held_where(str(row["pair"]), str(row["network"]), str(row["method"])):
            label = str(row["scorer"]) if row["tune"] == "none" else f"{row['scorer']} [{row['tune']}]"
            sets, place = held.scores.get(label, {}), held.run.place
            for s in held.run.sets.values():
                if s.name in sets and s.role in ("test", *OOD_SHIFTS):
                    name, shift = ("", "id") if s.role == "test" else (s.name, s.role)
                    scored = Measured(s.digest, shift, sets[s.name].scores.double().numpy())
                    found.setdefault((str(place["split"]), str(place["seed"])), {})[name] = scored
        return found

    def _held_where(self, pair: str, network: str, method: str) -> list[Held]:
        names = (pair, network, method)
        if names not in self._seen:
            runs = [
                r
                for r in (self.plan.runs if self.store is not None else ())
                if (r.place["pair"], r.place["network"], r.place["method"]) == names
            ]
            self._seen[names] = [h for r in runs if isinstance(h := self._held(r), Held)]
        return self._seen[names]


def suite_of(folder: Path, plugins: Sequence[Path] = ()) -> Suite:
    """The resolved suite that lies in a results folder; `plugins` take the place of those it names, which
    stay where the suite was."""
    file = folder / SUITE
    if not file.is_file():
        raise UserError(f"{file}: no such file; `oodbench run` writes it")
    raw = read_plain(file)
    if isinstance(raw, dict) and raw.get("plugins") and plugins:
        raw = raw | {"plugins": []}
    return parse_suite(raw, file=file, plugins=plugins)


def figures_of(path: Path) -> list[Mapping[str, Any]]:
    """The reference figures in the suite of a results folder, none where it has none."""
    file = results_file(path).parent / SUITE
    raw = read_plain(file) if file.is_file() else {}
    found = raw.get("reference") if isinstance(raw, dict) else None
    return list(found) if isinstance(found, list) else []


def costs(paths: Sequence[Path], rows: pd.DataFrame, plugins: Sequence[Path] = ()) -> pd.DataFrame:
    """What the rows of some results folders cost, from their timing.csv and the components of their suites.
    UserError says what is not here."""
    folders = [ResultsFolder.of(path) for path in paths]
    timing = joined(folder.frame("timing") for folder in folders)
    if timing is None:
        file = folders[0].path / "timing.csv"
        raise UserError(f"{file}: no such file; costs are read from the timing.csv that a run writes")
    suites = [suite_of(folder.path, plugins) for folder in folders]
    return of_rows(rows, timing, specs_of(suites))


def reopened(path: Path, store: Path | None = None, plugins: Sequence[Path] = ()) -> Opened:
    """Plan a results folder's suite anew and open its store, which lies beside it unless `store` says where.
    UserError says what is not here: suite, plugin, data or store."""
    folder = results_file(path).parent
    suite = suite_of(folder, plugins)
    root = store or folder.parent / ".store"
    found = Store.opened(root) if store is not None or Store.holds_artefacts(root) else None
    return Opened(folder, suite, make_plan(suite, skip_missing=True), found)


def with_samples(group: Group, path: Path, store: Path | None = None, plugins: Sequence[Path] = ()) -> Group:
    """A group of a comparison with its per-sample scores, or with why they cannot be had."""
    if not is_folder(path):
        return group._replace(why=f"{group.name} is a published table")
    try:
        opened = reopened(path, store, plugins)
    except UserError as error:
        return group._replace(why=str(error).splitlines()[0])
    if opened.store is None:
        return group._replace(why=f"the store of {path} is not here; name it with --store")
    return group._replace(samples=opened.scores_of)
