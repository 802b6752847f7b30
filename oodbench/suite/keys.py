"""The keys of what is made of one run, and all of its artefacts in the order they are made.

A key is the fingerprint of what an artefact depends on. Only the run and the set differ among the keys of
10,000 runs x 56 scorers x 9 sets, so that their canonical JSON is put together from parts that are written
once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from oodbench.core.identity import canonical, canonical_object, text_sha256
from oodbench.core.spec import Spec
from oodbench.suite.scorer_plan import ScorerPlan

if TYPE_CHECKING:
    from oodbench.suite.run import Run


class Keys:
    """Makes the keys of one run. Those of outputs are remembered, since many scores read them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._digests = {s.name: s.digest for s in run.read.values()}
        self._around: dict[str, tuple[str, str]] = {}
        self._outputs: dict[tuple[str, tuple[str, ...]], list[str]] = {}

    def outputs(self, names: tuple[str, ...], view: Spec | None = None) -> list[str]:
        """Keys of some sets' outputs, plain or of a view: see `Run.outputs_key`."""
        of_view = "" if view is None else view.identity_text
        if (of_view, names) not in self._outputs:
            before, after = self._around_set(of_view)
            self._outputs[of_view, names] = [
                text_sha256(f"{before}{self._digests[name]}{after}") for name in names
            ]
        return self._outputs[of_view, names]

    def _around_set(self, view: str) -> tuple[str, str]:
        """What stands before and after a set's digest."""
        if view not in self._around:
            parts = {"artefact": '"outputs"', "set": '"\n"'} | ({"view": view} if view else {})
            parts |= {k: canonical(v) for k, v in self.run._read_through().items()}
            before, _, after = canonical_object(parts).partition("\n")
            self._around[view] = before, after
        return self._around[view]

    def scores(self, scorer: ScorerPlan, names: tuple[str, ...]) -> list[str]:
        """Keys of a scorer's scores on some sets: see `Run.scores_key`."""
        before = '{"artefact":"scores","reads":{"test":"'
        fitted = [s for s in ("train", "val") if s in scorer.needs]
        middle = '"' + "".join(f',"{s}":"{self.outputs((s,))[0]}"' for s in fitted)
        after = f'}},"scorer":{scorer.spec.identity_text}}}'
        tests = self.outputs(names)
        if scorer.view is None:
            return [text_sha256(f"{before}{test}{middle}{after}") for test in tests]
        views = self.outputs(names, scorer.view)
        return [
            text_sha256(f'{before}{test}{middle},"view":"{view}"{after}')
            for test, view in zip(tests, views, strict=True)
        ]

    def choice(self, scorer: ScorerPlan) -> str:
        """Key of a tuned scorer's choice: see `Run.choice_key`."""
        names = tuple(self.run.tuning_sets(scorer))
        reads = dict(zip(names, self.outputs(names), strict=True))
        points = ",".join(c.spec.identity_text for c in scorer.candidates)
        parts = {"artefact": '"choice"', "version": "1", "regime": canonical(scorer.regime)}
        return text_sha256(canonical_object(parts | {"reads": canonical(reads), "candidates": f"[{points}]"}))


class Made(NamedTuple):
    """Some artefacts of a run that are made together: their kind, whose they are, what they are, a key and
    the set that it is of for each.

    `of` is the key of the weights that they are made of, so that no run without it has them too: empty for
    weights themselves, and for what is made of a user's arrays."""

    kind: str
    of: str
    whose: str
    what: str
    keys: Sequence[str]
    sets: Sequence[str] = ("",)

    @property
    def titles(self) -> list[str]:
        """A line for each."""
        return [f"{self.whose}{name and f' / {name}'}{self.what}" for name in self.sets]


def made_for(run: Run) -> Iterator[Made]:
    """Every artefact of a run, in the order they are made. What two of its scorers share comes twice."""
    titles = {id(s): s.title for s in run.lineage}
    for source in run.lineage:
        yield Made("weights", "", titles[id(source)], "", [source.key])
    own, title = Keys(run), run.title
    sources = [(own if s is run else Keys(s), titles[id(s)]) for s in run.sources]

    def outputs(wanted: list[tuple[str, Spec | None]]) -> Iterator[Made]:
        for of, whose in sources:
            for view, group in itertools.groupby(wanted, key=itemgetter(1)):
                names = tuple(name for name, _ in group)
                what = f" / view {view.label}" if view else ""
                yield Made("outputs", of.run.key, whose, what, of.outputs(names, view), names)

    yield from outputs(run.wanted())
    of, scored = (run.key if run.sources else ""), tuple(run.scored_sets)
    for scorer in run.scorers:
        if scorer.reason:
            continue
        if scorer.candidates:
            yield from outputs(run.wanted_for(scorer))
            yield Made("choices", of, title, f" / {scorer.label}, then its scores", [own.choice(scorer)])
        else:
            names = scorer.sets if scorer.attack else scored
            yield Made("scores", of, title, f" / {scorer.spec.label}", own.scores(scorer, names), names)


def expected_of(run: Run) -> str:
    """See `Run.expected`."""
    due = [s for s in run.scorers if s.candidates and not s.reason]
    tune = {name for s in due for name in run.tuning_sets(s)}
    parts = {
        "key": run.key,
        "lineage": [source.key for source in run.lineage],
        "sets": [[s.name, s.role, s.digest] for s in run.read.values() if s.role != "tune" or s.name in tune],
        "missing": sorted(run.missing),
        "outputs": run._read_through(),
    }
    return text_sha256("\n".join([canonical(parts), *(s.identity_text for s in run.scorers)]))
