"""A results folder opened again, with what its store still holds: read only, nothing is made, repaired or
removed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import ANYTHING, SpecError, UserError, reason_of, shown
from oodbench.core.text_files import read_text, refused, there
from oodbench.evaluation.comparison import Group, Measured, is_folder
from oodbench.evaluation.costs import of_rows
from oodbench.evaluation.reference import parse_reference
from oodbench.evaluation.rows import results_file
from oodbench.evaluation.tables import AGAIN
from oodbench.runs.folder import SUITE, ResultsFolder, joined, specs_of
from oodbench.runs.gathered import kept_samples
from oodbench.runs.held import Held, tuned
from oodbench.runs.per_sample import DRAWN, samples_of
from oodbench.runs.remote import found_at, opened_at
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
        try:
            held = Held(self.store, tuned(self.store, run))
            why = held.objection()
        except ANYTHING as error:  # an artefact whole by its checksums may hold anything
            return run, reason_of(error)
        return (run, why) if why else held

    def samples(self, keys: Collection[str] | None = None) -> pd.DataFrame:
        """Per-sample scores of every run that the store holds (of those with these `keys`), as a run hands
        them to plots and page."""
        found = (h for h in self.held() if isinstance(h, Held) and (keys is None or h.run.key in keys))
        return kept_samples((samples_of(held, DRAWN) for held in found), self.folder)

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


def plain_suite(folder: Path) -> dict[str, Any]:
    """What the suite.yaml of a results folder holds, empty where there is none. UserError where it is
    damaged: it cannot be read, or holds no mapping."""
    file = folder / SUITE
    if not there(file):
        return {}
    raw = read_plain(file)
    if not isinstance(raw, dict) or not raw:
        raise refused(file, f"should hold a suite, got {shown(raw) if raw else 'nothing'}", AGAIN)
    return {str(key): value for key, value in raw.items()}


def suite_text(folder: Path) -> str:
    """The suite.yaml of a results folder as it stands, with one line end at its end."""
    return read_text(folder / SUITE).rstrip("\n") + "\n"


def suite_of(folder: Path, plugins: Sequence[Path] = (), raw: Mapping[str, Any] | None = None) -> Suite:
    """The resolved suite that lies in a results folder (`raw`: as `plain_suite` read it); `plugins` take the
    place of those it names, which stay where the suite was."""
    file = folder / SUITE
    raw = plain_suite(folder) if raw is None else raw
    if not raw:
        raise UserError(f"{file}: no such file; `oodbench run` writes it")
    if raw.get("plugins") and plugins:
        raw = {**raw, "plugins": []}
    return parse_suite(raw, file=file, plugins=plugins)


def figures_of(path: Path) -> list[Mapping[str, Any]]:
    """The reference figures in the suite of a results folder, none where it has none. UserError where they
    cannot be read."""
    folder = results_file(path).parent
    found = plain_suite(folder).get("reference")
    if not found:
        return []
    try:
        return list(parse_reference(found, None))
    except SpecError as error:
        place, why = error.problems[0]
        raise UserError(f"{folder / SUITE}: reference{place}: {why}") from None


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


def reopened(path: Path, store: str | Path | None = None, plugins: Sequence[Path] = ()) -> Opened:
    """Plan a results folder's suite anew and open its store, which lies beside it unless `store` says in
    which folder, or under which URL. UserError says what is not here: suite, plugin, data or store."""
    folder = results_file(path).parent
    suite = suite_of(folder, plugins)
    found = found_at(folder.parent / ".store") if store is None else opened_at(store)
    return Opened(folder, suite, make_plan(suite, skip_missing=True), found)


def with_samples(
    group: Group, path: Path, store: str | Path | None = None, plugins: Sequence[Path] = ()
) -> Group:
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
