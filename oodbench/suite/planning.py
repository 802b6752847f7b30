"""What the plans of one suite share, made once and kept; and the notes of what cannot run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import (
    ANYTHING,
    MissingData,
    NotApplicable,
    SpecError,
    UserError,
    lines_of_missing,
    reason_of,
)  # fmt: skip
from oodbench.core.method import Method
from oodbench.core.network import Input
from oodbench.suite import trainable
from oodbench.suite.applicable import Scorers
from oodbench.suite.array_sets import sets_of_arrays
from oodbench.suite.entries import MethodEntry, NetworkEntry
from oodbench.suite.inputs import resolved, without_pair
from oodbench.suite.pairs import PairEntry
from oodbench.suite.per_seed import SEED, at_seed, is_per_seed
from oodbench.suite.probing import Fed, Probes
from oodbench.suite.run import ArrayRun, Run, TrainedRun
from oodbench.suite.scorer_plan import ScorerPlan
from oodbench.suite.sets import PairSets
from oodbench.suite.suite import Suite

T = TypeVar("T")


class Notes:
    """What a plan has met that cannot run: problems, or what is left out with the reason."""

    def __init__(self, suite: Suite, skip_missing: bool) -> None:
        self.suite, self.skip_missing = suite, skip_missing
        self.problems: list[str] = []
        self.skipped: list[str] = []
        self.absent: list[tuple[str, MissingData]] = []

    @contextlib.contextmanager
    def of(self, whose: str) -> Iterator[None]:
        """What cannot run is noted as a problem or, where the user says so, as left out."""
        try:
            yield
        except MissingData as error:
            self.absent.append((whose, error))
        except NotApplicable as error:
            (self.problems if self.suite.inapplicable == "refuse" else self.skipped).append(str(error))
        except SpecError as error:
            self.problems += [f"{whose}: {path}: {message}" for path, message in error.problems]
        except UserError as error:
            self.problems.append(str(error))
        except ANYTHING as error:  # a component may be a user's, and raise anything
            self.problems.append(f"{whose}: {reason_of(error)}")

    def left_out(self, runs: list[Run]) -> list[str]:
        """What was left out. UserError, one line each, where there is a problem, or nothing to run."""
        where = self.suite.file or self.suite.name
        found = self.skipped if self.skip_missing else self.problems
        found += lines_of_missing(self.absent)
        if self.problems:
            raise UserError("\n".join(f"{where}: {p}" for p in dict.fromkeys(self.problems)))
        if not runs:
            raise UserError(f"{where}: nothing is left to run: " + "; ".join(self.skipped))
        return list(dict.fromkeys(self.skipped))


_SHOWN = 100
"""At most so many seeds stand in a message."""


class Kept:
    """What the runs of a suite share. Each thing is read or built when it is first asked for; what cannot be
    raises, each time it is asked for."""

    def __init__(self, suite: Suite, skip_missing: bool) -> None:
        self.suite, self.skip_missing = suite, skip_missing
        self.sources: dict[str, Dataset] = {}
        self.probes = Probes()
        self._scorers = Scorers(suite)
        self._made: dict[tuple[Any, ...], Any] = {}

    def _once(self, make: Callable[[], T], *of: Any) -> T:
        if of not in self._made:
            self._made[of] = make()
        found: T = self._made[of]
        return found

    def built(self, method: MethodEntry) -> Method:
        """A method of the suite, to ask it what it provides and needs."""
        return self._once(lambda: registry.build("method", method.spec), "method", method.label)

    def seeds(self, method: MethodEntry) -> tuple[int, ...]:
        """The seeds that a method has a trial for: all of the suite's where it trains or has files of each,
        else 0, whatever the suite's are, since parts of it that are run apart would count it several
        times."""
        trains = self.built(method).provides not in ("weights", "outputs")
        return self.suite.seeds if trains or is_per_seed(method.spec) else (0,)

    def left_out_seeds(self, method: MethodEntry) -> list[str]:
        """Says which of the suite's seeds a method has no trial for."""
        left = [str(s) for s in self.suite.seeds if s]
        if not left or self.seeds(method) is self.suite.seeds:
            return []
        some = ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else "")
        return [
            f"method {method.label!r}: it is the same for every seed, so that it is one trial, that of seed"
            f" 0; seeds left out: {some} (files of one trial each are written with {SEED} in their path)"
        ]

    def fed(self, network: NetworkEntry) -> Input:
        """What a network is fed, as far as it or its entry says."""
        return self._once(lambda: resolved(network.input, network.spec), "fed", network.label)

    def data(self, pair: PairEntry) -> PairSets:
        """The sets of a pair."""
        return self._once(
            lambda: PairSets(pair, self.sources, self.skip_missing, without_pair(self._all_fed())),
            "data",
            pair.title,
        )

    def _all_fed(self) -> list[Input]:
        """What every network of the suite is fed, since a pair that names no geometry has that of the
        first."""
        found = []
        for network in self.suite.networks:
            with contextlib.suppress(*ANYTHING):  # told where the network is planned
                found.append(self.fed(network))
        return found

    def scorers(self, run: Run, fed: Fed | None, problems: list[str]) -> list[ScorerPlan]:
        """The plans of a run's scorers; `problems` gets what refuses the suite. They are the same for every
        seed, but where files of each seed make another kind of network."""

        def make() -> tuple[list[ScorerPlan], list[str]]:
            said: list[str] = []
            probe = None if fed is None else self.probes.network(fed, run.method, run.seed)
            return self._scorers.plans(run, probe, said), said

        if fed is None:  # arrays of each seed may hold something else
            found, said = make()
        else:
            kind = self.probes.kind(fed, run.method, run.seed) if is_per_seed(run.method.spec) else ""
            place = (run.pair.title, run.network_label, run.method.label, kind)
            found, said = self._once(make, "scorers", *place)
        problems += said
        return list(found)

    def trained(
        self, fed: Fed, data: PairSets, method: MethodEntry, given: str
    ) -> Callable[[int], TrainedRun]:
        """What makes the run of each seed, with what it starts from or is made of."""
        built: Method = registry.build("method", method.spec)
        recipe = self.suite.recipe_of(fed.pair, method)
        of = start = None
        if built.provides == "members":
            of = self.trained(fed, data, method.of(method.spec.params["of"]), given)
        elif method.start is not None:
            start = self.trained(fed, data, trainable.start_of(self.suite, method.start), given)

        def run(seed: int) -> TrainedRun:
            if seed >= 2**63:
                raise UserError(
                    f"method {method.label!r}: a member would have the seed {seed}, of more than 63 bits"
                )
            members: tuple[TrainedRun, ...] = ()
            if of is not None:
                count = method.spec.params["members"]
                members = tuple(of(seed * count + i) for i in range(count))
            return TrainedRun(
                suite=self.suite.name, pair=fed.pair, network=fed.network, fed=fed.input, method=method,
                given=given, recipe=recipe, seed=seed, data=data, sets=data.sets, fit=self.suite.fit.train,
                stored=self.suite.store.dtype, extract=self.suite.extract, members=members,
                parent=None if start is None else start(seed),
            )  # fmt: skip

        return run

    def of_arrays(self, pair: PairEntry, method: MethodEntry, seed: int) -> ArrayRun:
        """A run of outputs that the user's arrays bring."""
        found = sets_of_arrays(pair, registry.build("method", at_seed(method.spec, seed)), method.label)
        return ArrayRun(
            suite=self.suite.name, pair=pair, method=method, seed=seed,
            recipe=self.suite.recipe_of(pair, method), sets=found.sets, held=found.held,
            fit=self.suite.fit.train,
        )  # fmt: skip
