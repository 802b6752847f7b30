"""What a long run tells a person: progress bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from oodbench.core.errors import one_line

Advance = Callable[..., None]
"""``advance(n=1, note="")``: `n` more units are done; `note` is shown beside the bar."""


class Reporter:
    """Lines and bars on stderr, so that stdout carries results alone."""

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        self.console = console or Console(stderr=True, highlight=False)

    def line(self, text: str) -> None:
        """One line, unless quiet."""
        if not self.quiet:
            self.console.print(one_line(text, 2000), markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line, always."""
        self.console.print(f"warning: {one_line(text, 2000)}", markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def hearing(self, kind: type[Warning]) -> Iterator[None]:
        """While inside, what is warned of with that kind, in any thread, is told as `warn` tells it."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", kind)
            other = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
                self.warn(str(message)) if issubclass(category, kind) else other(message, category, *where)

            warnings.showwarning = show  # type: ignore[assignment]
            yield

    @contextlib.contextmanager
    def stage(self, text: str, total: int) -> Iterator[Advance]:
        """A stage of `total` units. On a terminal a bar; otherwise a line at its end with the seconds it
        took."""
        start = time.perf_counter()
        if self.quiet or not self.console.is_terminal:
            last = ""

            def remember(n: float = 1, note: str = "") -> None:
                nonlocal last
                last = note or last

            yield remember
            self.line(f"{text}: done in {time.perf_counter() - start:.1f} s" + (f" ({last})" if last else ""))
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(escape(one_line(text)), total=total, note="")

            def advance(n: float = 1, note: str = "") -> None:
                progress.advance(task, n)
                if note:
                    progress.update(task, note=escape(one_line(note)))

            yield advance
