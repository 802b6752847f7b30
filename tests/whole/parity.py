"""What the comparisons with other libraries share: a row of docs/scorers.md as something that can be
checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import yaml
from torch import Tensor

from tests.conftest import ROOT

DOC = ROOT / "docs" / "scorers.md"


class Row(NamedTuple):
    """What another library's score is of ours: `theirs` in words and as a function, true to `within`, and the
    reason where it is not ours.

    The difference is measured over the range (largest less smallest) of their scores. `within` None: they
    differ, and the reason says why."""

    ours: Any
    within: float | None = 1e-5
    theirs: str = "ours"
    reason: str = ""
    convert: Callable[[Tensor], Tensor] = lambda ours: ours

    def line(self, name: str) -> str:
        spec = (
            self.ours
            if isinstance(self.ours, str)
            else yaml.safe_dump(self.ours, default_flow_style=True, width=999).strip()
        )
        within = "differs" if self.within is None else f"{self.within:g}"
        return f"| {name} | `{spec}` | {self.theirs} | {within} | {self.reason} |"

    def check(self, ours: Tensor, theirs: Tensor) -> None:
        ours, theirs = ours.double(), theirs.double()
        size = float(theirs.max() - theirs.min())
        if self.within is not None:
            assert float((self.convert(ours) - theirs).abs().max()) <= self.within * size
        if self.within is None or self.theirs != "ours":  # an entry that is no longer true has to go
            assert self.reason
            assert float((ours - theirs).abs().max()) > 1e-3 * size, "the same as ours now"


MSP = "exp(ours) - 1"
SATURATES = "1 - p is taken from the logits here and does not saturate"


def lines_below(heading: str) -> list[str]:
    """The table lines of the section of that heading in docs/scorers.md, without its head."""
    text = DOC.read_text().split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    return [line for line in text.splitlines() if line.startswith("|")][2:]
