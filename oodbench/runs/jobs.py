"""One run of a plan as text that any process of any machine can carry out, and what it answers.

A job names the suite, a place in it and the keys that are expected there. Whoever takes it plans that one run
anew, and refuses where its keys are others: other code or other data give an error, never a wrong row."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import oodbench
from oodbench.core.errors import ANYTHING, UserError, reason_of
from oodbench.core.progress import Reporter
from oodbench.data.sources import roots
from oodbench.data.sources.local_copy import NoCopy
from oodbench.runs.beats import Beat
from oodbench.runs.drafts import me
from oodbench.runs.engine import Engine
from oodbench.runs.gathered import Answer
from oodbench.runs.held import history
from oodbench.runs.machine import code, pick_device, threads
from oodbench.runs.measure import rows_of
from oodbench.runs.per_sample import DRAWN, samples_of
from oodbench.runs.remote import store_at
from oodbench.runs.store import CannotKeep, Store
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import Planner
from oodbench.suite.run import Run, TrainedRun
from oodbench.suite.suite import Suite

REFUSED, FAILED, STOPPED = "refused", "failed", "stopped"


class Done(NamedTuple):
    """What a job answers. `wrong` is empty where all went well; ``failed``: the run cannot be had;
    ``refused``: not on this machine; ``stopped``: nothing can be kept, so that no other job should begin."""

    answer: Answer
    wrong: str = ""
    reason: str = ""
    made: Mapping[str, int] = {}
    warnings: tuple[str, ...] = ()
    host: str = ""
    seconds: float = 0.0


NOTHING = Answer()


class Terms(NamedTuple):
    """What holds for all jobs of a command: where things lie and how they are made."""

    suite: str
    """The suite as JSON, see `Suite.plain`."""
    file: str
    """Where the suite was read from: relative paths in it start there."""
    store: str
    token: str
    """A file in the store by which a worker sees that it is the same store; empty where it has none."""
    beats: str
    """The folder in which a worker says what it does; empty: nowhere."""
    code: str
    """Of the package, see `machine.code`."""
    device: str = "auto"
    skip_missing: bool = False
    cpus: int = 1
    data_roots: tuple[str, ...] = ()
    offline: bool = False
    trust: str = "cache"
    local: str = ""

    @classmethod
    def of(cls, suite: Suite, **terms: Any) -> Terms:
        """The terms of a suite, with the settings of this process."""
        return cls(
            json.dumps(suite.plain()),
            str(suite.file.absolute()) if suite.file is not None else "",
            code=code(),
            data_roots=tuple(str(p.absolute()) for p in roots.data_roots()),
            offline=roots.offline(), trust=roots.trust(), local=str(roots.local_data() or ""),
            **terms,
        )  # fmt: skip

    def text(self, **job: Any) -> str:
        """A job under these terms: `place` (see `Run.place`), `part` (empty, or the key of weights that the
        run starts from or is made of), `expected` and a `name` for its beat."""
        return json.dumps({"terms": self._asdict(), **job})


def carry_out(text: str) -> Done:
    """Carry out a job. It raises nothing but what ends a process: what is wrong is in the answer."""
    job = json.loads(text)
    terms = Terms(**job["terms"])
    start, told = time.perf_counter(), _Told()
    with Beat(terms.beats, job["name"]) as beat:
        told.beat = beat
        try:
            with _settings(terms), told.hearing(NoCopy):
                done = _carry_out(terms, job, told)
        except CannotKeep as error:
            done = Done(NOTHING, STOPPED, str(error))
        except ANYTHING as error:
            done = Done(NOTHING, FAILED, reason_of(error))
    return done._replace(
        warnings=tuple(told.warnings), host=me()["host"], seconds=time.perf_counter() - start
    )


def _carry_out(terms: Terms, job: Mapping[str, Any], told: _Told) -> Done:
    try:
        if terms.token and not Path(terms.token).is_file():
            raise UserError(f"the store {terms.store} of the command is not the one that is seen there")
        if code() != terms.code:
            raise UserError(
                f"the package there is not that of the command (oodbench {oodbench.__version__}); install the"
                " same one on every machine"
            )
        engine = _engine(terms.store, terms.device)
        run = _planner(terms.suite, terms.file, terms.skip_missing, os.getpid()).run(job["place"])
        part = _part(run, job["part"])
        seen = part.key if part is not None else run.expected
        if seen != job["expected"]:
            raise UserError(
                f"code or data there are not those of the command ({seen[:12]} where it expects"
                f" {job['expected'][:12]}); give every machine the same version, plugins and data"
            )
    except CannotKeep:
        raise
    except ANYTHING as error:
        return Done(NOTHING, REFUSED, f"{me()['host']}: {reason_of(error)}")
    before = engine.made
    engine.bench.reporter = told
    with _store_tells(engine.bench.store, told):
        if part is not None:
            engine.weights.make(part)
            return Done(NOTHING, made=_since(before, engine.made))
        try:
            done = Done(answer_of(engine, run))
        except CannotKeep:
            raise
        except ANYTHING as error:
            rest = NOTHING._replace(history=history(engine.bench.store, run))
            done = Done(rest, FAILED, reason_of(error))
    return done._replace(made=_since(before, engine.made))


def answer_of(engine: Engine, run: Run) -> Answer:
    """A run made and measured. Raises what it cannot be had for."""
    held = engine.work(run)
    rows, timing, samples = rows_of(held), held.timing(), samples_of(held, DRAWN)
    return Answer(rows, timing, history(engine.bench.store, run), samples)


def _part(run: Run, key: str) -> TrainedRun | None:
    if not key:
        return None
    found = next((s for s in run.lineage if s.key == key), None)
    if found is None:
        raise UserError(
            f"code or data there are not those of the command (no weights {key[:12]}); give every machine the"
            " same version, plugins and data"
        )
    return found


def _since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    return {kind: n - before[kind] for kind, n in now.items()}


class _Told(Reporter):
    """Keeps what is worth telling for the answer, each line once, and says in the beat what is done."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: dict[str, None] = {}
        self.beat: Beat | None = None

    def warn(self, text: str) -> None:
        self.warnings[text] = None

    @contextlib.contextmanager
    def stage(self, text: str, total: int) -> Iterator[Any]:
        done = 0.0

        def advance(n: float = 1, note: str = "") -> None:
            nonlocal done
            done += n
            if self.beat is not None:
                self.beat.say(text, done / max(total, 1))

        advance(0)
        yield advance


@contextlib.contextmanager
def _store_tells(store: Store, told: Reporter) -> Iterator[None]:
    before, store.report = store.report, told.warn
    try:
        yield
    finally:
        store.report = before


@contextlib.contextmanager
def _settings(terms: Terms) -> Iterator[None]:
    given: dict[str, Any] = {"offline": terms.offline, "trust": terms.trust, "cpus": terms.cpus}
    given |= {"local": Path(terms.local)} if terms.local else {}  # else what the variable says there
    given["data_roots"] = tuple(Path(p) for p in terms.data_roots)
    with roots.settings(**given), threads(terms.cpus):
        yield


@lru_cache(maxsize=2)
def _planner(suite: str, file: str, skip_missing: bool, pid: int) -> Planner:
    """The planner of a suite, with all that its runs share (data above all), for the next jobs too."""
    raw = json.loads(suite)
    return Planner(parse_suite(raw, file=Path(file) if file else None), skip_missing=skip_missing)


@lru_cache(maxsize=2)
def _engine(store: str, device: str) -> Engine:
    """What makes things in a store, with the last network at hand."""
    quiet = Reporter(quiet=True)
    return Engine(store_at(store, quiet.warn), pick_device(device), quiet)
