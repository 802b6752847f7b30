"""What a person sees of a fleet at work: on a terminal one table of what runs where, elsewhere a line for
each run that ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from rich.live import Live
from rich.table import Table

from oodbench.core.errors import one_line
from oodbench.core.progress import Reporter
from oodbench.runs.beats import Word, heard
from oodbench.runs.fleet import State, Task, tasks_of
from oodbench.runs.jobs import Done
from oodbench.runs.store import Store
from oodbench.runs.timings import Took
from oodbench.suite.plan import Plan

_SHOWN = 24
"""Rows of the table at most: a screen."""


class Board:
    """Shows a fleet to a person, through a reporter.

    Args:
        reporter: who tells the person.
        title: what is carried out.
        beats: the folder where the jobs say what they do (see `beats`).
        expected: what tasks of a kind took earlier, in seconds, as far as it is known.
    """

    def __init__(
        self, reporter: Reporter, title: str, beats: str, expected: Mapping[tuple[str, str], float]
    ) -> None:
        self.reporter, self.title, self._beats, self._expected = reporter, title, beats, expected
        self._live: Live | None = None
        self._state = State()
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """While inside, the table stands on a terminal."""
        if self.reporter.quiet or not self.reporter.console.is_terminal:
            yield
        else:
            with Live(
                console=self.reporter.console,
                transient=True,
                get_renderable=self._table,
                refresh_per_second=2,
            ) as self._live:
                yield
        spent = time.perf_counter() - self._start
        self.reporter.line(f"{self.title}: done in {spent:.1f} s ({self._counts()})")

    def look(self, state: State) -> None:
        """Where all tasks stand."""
        self._state = state

    def ended(self, task: Task, done: Done) -> None:
        """A task that has ended."""
        if self._live is None:
            how = "failed" if done.wrong else f"done in {done.seconds:.1f} s"
            where = f" on {done.host}" if done.host else ""
            self.reporter.line(f"{task.title}: {how}{where} ({self._counts()}; {self.left(self._state)})")

    def _counts(self) -> str:
        s = self._state
        given = len(s.running)
        running = min(self._at_once(s), given)
        waiting = s.waiting + given - running  # of those given out, some wait for a worker
        return f"{s.done} done, {running} running, {waiting} waiting, {s.failed} failed"

    def left(self, state: State) -> str:
        """How long it may still take, from what tasks of the same kind took."""
        known = {kind: sum(found) / len(found) for kind, found in state.seconds.items() if found}
        known = {**self._expected, **known}
        if not known:
            return "time left unknown"
        usual = sum(known.values()) / len(known)
        seconds = sum(n * known.get(kind, usual) for kind, n in state.left.items())
        return f"about {_spoken(seconds / max(self._at_once(state), 1))} left"

    def _at_once(self, state: State) -> int:
        """How many tasks go on at the same time, as far as they say so."""
        return len(heard(self._beats)) if self._beats else len(state.running)

    def _table(self) -> Table:
        state, words = self._state, heard(self._beats)
        table = Table(
            title=f"{self.title}: {self._counts()}; {self.left(state)}", title_justify="left", box=None
        )
        for column in ("run", "where", "what", "part"):
            table.add_column(column, no_wrap=True)
        running = [(name, task) for name, task in state.running.items() if name in words or not self._beats]
        for name, task in running[:_SHOWN]:
            word = words.get(name, Word("", 0, "", 0.0))
            where = f"{word.host} {word.pid}" if word.host else ""
            table.add_row(one_line(task.title, 60), where, one_line(word.what, 60), f"{word.part:.0%}")
        if len(running) > _SHOWN:
            table.add_row(f"and {len(running) - _SHOWN} more", "", "", "")
        return table


def _spoken(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def usual_seconds(store: Store, plan: Plan) -> dict[tuple[str, str], float]:
    """What trainings take, by the kind of their tasks, as far as ones like them are stored."""
    took = Took(plan, store=store, stored=store.there("weights"))
    found: dict[tuple[str, str], float] = {}
    for task in tasks_of(plan, apart=False):
        if task.kind not in found and task.run.lineage:
            seconds = took.usual(task.run.lineage[-1])
            if seconds is not None:
                found[task.kind] = seconds
    return found
