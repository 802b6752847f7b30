"""How long trainings like those of a suite took, by what a store says of its weights."""

from __future__ import annotations

import contextlib
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from oodbench.core.identity import canonical
from oodbench.core.spec import plain_value
from oodbench.runs.store import Store
from oodbench.suite.plan import Plan
from oodbench.suite.run import TrainedRun

_ASKED = 1_000
"""So many stored weights, of the suite's own and of others, are asked how long they took."""


class Took:
    """What trainings took whose weights are stored: the suite's own first, then others of the store.

    Args:
        plan: of the suite.
        store: that holds them; None: nothing is known.
        stored: the keys of its weights.
    """

    def __init__(self, plan: Plan, *, store: Store | None, stored: AbstractSet[str]) -> None:
        self._store, self._recipes = store, dict[int, str]()
        self._known: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self._others: list[tuple[str, str, float]] | None = None
        mine = {s.key: s for run in plan.runs for s in run.lineage}
        for key in [k for k in mine if k in stored][:_ASKED]:
            for _, _, seconds in self._records([key]):
                self._known[self._like(mine[key])].append(seconds)
        self._rest = sorted(stored - mine.keys())[:_ASKED]

    def usual(self, run: TrainedRun) -> float | None:
        """Seconds of a training like that of a run; None where none is stored."""
        like = self._like(run)
        if like not in self._known:
            if self._others is None:
                self._others = list(self._records(self._rest))
            self._known[like] = [s for title, recipe, s in self._others if _is_like(like, title, recipe)]
        found = self._known[like]
        return statistics.median(found) if found else None

    def _like(self, run: TrainedRun) -> tuple[str, str, str]:
        recipe = self._recipes.get(id(run.recipe))
        if recipe is None:
            recipe = self._recipes[id(run.recipe)] = canonical(plain_value(dict(run.recipe)))
        return run.pair.label, run.network_label, recipe

    def _records(self, keys: list[str]) -> Iterator[tuple[str, str, float]]:
        """(title, recipe, seconds) of stored weights, as far as they say so."""
        if self._store is None:
            return
        for key in keys:
            record = self._store.note_of("weights", key, "run")
            with contextlib.suppress(KeyError, TypeError, ValueError):
                title, recipe = str(record["run"]), canonical(record["recipe"])
                if 0 <= (seconds := float(record["seconds"])) < math.inf:
                    yield title, recipe, seconds


def _is_like(like: tuple[str, str, str], title: str, recipe: str) -> bool:
    """Whether a title, see `Run.title`, and a recipe are of the same pair, at whatever split, and network."""
    pair, network, own = like
    rest = re.sub(r"^ split \S+", "", title.removeprefix(pair)) if title.startswith(pair) else ""
    return recipe == own and rest.startswith(f" / {network} / ")
