"""Scores of adversarial inputs."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.core.registry import build, scorer
from oodbench.core.scorer import Scorer, View
from oodbench.core.spec import spec_of
from oodbench.scoring import functional


@scorer("attacked", source="Madry et al., ICLR 2018; the score is that of the scorer attacked")
class Attacked(Scorer):
    """The score of the scorer `of` at inputs that the attack `by` has moved to `raise` or `lower` it, (N,).

    Without `of`: log(1 - max softmax) where the loss of the predicted class was raised; its edited accuracy
    is that of the network under attack. `attacks:` in a suite makes the rows that need it."""

    differentiable = False

    def __init__(
        self, *, of: Scorer | None = cast("Scorer", "msp"), by: View = cast("View", "fgsm"),
        direction: Literal["raise", "lower"] = "lower"
    ) -> None:  # fmt: skip
        if of is not None and (not of.differentiable or of.view() is not None or of.extras):
            raise UserError(
                f"scorer 'attacked': {spec_of(of).label!r} gives no gradient of logits and features; choose"
                " another for `of`"
            )
        self.of, self.by, self.direction = of, by, direction

    def view(self) -> View:
        spec = spec_of(self.by)
        of = None if self.of is None else spec_of(self.of)
        return build("view", {spec.name: {**spec.params, "of": of, "direction": self.direction}})

    @property
    def edits(self) -> bool:
        return self.of is None

    def logits(self, outputs: Outputs) -> Tensor:
        return outputs.extras["attack.logits"]

    def score(self, outputs: Outputs) -> Tensor:
        if self.of is None:
            return functional.log_one_minus_max_probability(self.logits(outputs))
        return outputs.extras["attack.score"]
