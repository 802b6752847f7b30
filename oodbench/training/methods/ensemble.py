"""Networks made of several trained ones."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, cast

from pydantic import Field

from oodbench.core.method import Method
from oodbench.core.registry import method


@method(
    "ensemble",
    source="Lakshminarayanan et al., NeurIPS 2017 (deep ensembles); torch-uncertainty 0.13 deep ensembles",
)
class Ensemble(Method):
    """Deep ensemble: `members` networks trained by `of` from different seeds; its logits are the log of their
    mean probability.

    Member i of an ensemble with seed s has the seed `s * members + i`, so that members are shared with single
    runs of those seeds. It has no features and no head of its own; ``members.logits`` (N, members, C) are
    kept for scorers that read how members differ."""

    provides: ClassVar[Literal["loss", "weights", "outputs", "members"]] = "members"

    def __init__(
        self, *, of: Method = cast(Method, "cross-entropy"), members: Annotated[int, Field(ge=2)] = 5
    ) -> None:
        self.of, self.members = of, members
