"""What is told while work goes on: lines where there is no terminal, a bar on one, nothing when quiet."""

from __future__ import annotations

import io
import threading
import warnings

from rich.console import Console

from oodbench.core.progress import Reporter


def _told(quiet: bool, terminal: bool) -> str:
    out = io.StringIO()
    reporter = Reporter(quiet, Console(file=out, force_terminal=terminal, highlight=False, width=200))
    reporter.line("plan: 3 [runs]")
    with reporter.stage("train", total=2) as advance:
        advance(note="loss 0.5")
        advance()
    reporter.warn("something [odd]")
    return out.getvalue()


def test_a_log_gets_lines_and_a_stage_says_what_it_came_to() -> None:
    plan, stage, warning = _told(quiet=False, terminal=False).splitlines()
    assert plan == "plan: 3 [runs]"
    assert stage.startswith("train: done in ")
    assert stage.endswith(" s (loss 0.5)")
    assert warning == "warning: something [odd]"


def test_quiet_keeps_warnings() -> None:
    assert _told(quiet=True, terminal=False) == "warning: something [odd]\n"


def test_a_terminal_gets_a_bar() -> None:
    shown = _told(quiet=False, terminal=True)
    assert "2/2" in shown
    assert "loss 0.5" in shown
    assert "done in" not in shown


def test_what_is_warned_of_in_any_thread_is_told_and_other_kinds_are_not() -> None:
    class Ours(UserWarning):
        pass

    out = io.StringIO()
    reporter = Reporter(quiet=True, console=Console(file=out))
    with warnings.catch_warnings(record=True) as others, reporter.hearing(Ours):
        thread = threading.Thread(target=warnings.warn, args=("disk full", Ours))
        thread.start()
        thread.join()
        with reporter.hearing(Ours):
            warnings.warn("again", Ours, stacklevel=1)
        warnings.warn("not ours", UserWarning, stacklevel=1)
    assert out.getvalue() == "warning: disk full\nwarning: again\n"
    assert [str(w.message) for w in others] == ["not ours"]
