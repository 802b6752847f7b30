"""One score of several."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from oodbench.core.errors import UserError
from oodbench.core.outputs import Outputs
from oodbench.core.registry import scorer
from oodbench.core.scorer import Scorer, View
from oodbench.core.spec import spec_of
from oodbench.scoring import functional
from oodbench.scoring.given import needed

_CHUNK_BYTES = 64 * 2**20


@scorer(
    "fisher",
    source=(
        "oodeel aggregator/fisher.py (Haroush et al., ICLR 2022; Dadalto et al., 2024); Brown, Biometrics"
        " 1975, as given there"
    ),
)
class Fisher(Scorer):
    """Fisher's method with Brown's correction: -log Q(k' / 2, T / 2c), (N,), >= 0; T = -2 sum_i log p_i over
    the scorers `of`, p_i the share of ID validation samples that score i ranks at least as OOD.

    Correlated scores make T wider than a chi-squared: with mean m and variance v on ID validation, c = v / 2m
    and k' = 2 m^2 / v; Q is the regularised upper incomplete gamma function. p_i = (1 + #{s >= s_i}) / (n +
    1) between validation scores linearly interpolated. `tail` empirical (the papers'): all samples beyond the
    largest validation score are alike; exponential: p_i falls on from there at the mean excess of the upper
    tenth, so that they do not tie."""

    differentiable = False
    search = {"tail": ("empirical", "exponential")}

    def __init__(
        self, *, of: Annotated[list[Scorer], Field(min_length=2)] = cast("list[Scorer]",
        ["energy", "mds", "knn"]),
        tail: Literal["empirical", "exponential"] = "empirical",
    ) -> None:  # fmt: skip
        views = {str(spec_of(v).identity): v for v in (s.view() for s in of) if v is not None}
        if len(views) > 1:
            labels = ", ".join(spec_of(v).label for v in views.values())
            raise UserError(
                f"scorer 'fisher': its scorers read different views ({labels}); combine scorers of one view"
                " at most"
            )
        self.of, self.tail = of, tail
        self._view = next(iter(views.values()), None)
        self.needs = frozenset({"val"}).union(*(s.needs for s in of))
        self.extras = frozenset().union(*(s.extras for s in of))

    def view(self) -> View | None:
        return self._view

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        val = needed(val, "val", self)
        for s in self.of:
            s.fit(train if "train" in s.needs else None, val if "val" in s.needs else None)
        size = max(32, min(2048, _CHUNK_BYTES // (4 * len(train)))) if train is not None else 2048
        known = torch.cat([self._scores(part) for part in val.chunks(size)])
        self.known = known.sort(dim=0).values
        excess = self.known[-1] - self.known[-max(2, len(known) // 10) :].mean(dim=0)
        self.fall = excess.clamp(min=1e-12 + 1e-9 * self.known[-1].abs())
        statistic = self._statistic(known)
        mean, variance = float(statistic.mean()), float(statistic.var(correction=0))
        if variance == 0:
            raise ValueError("the scores of the validation set do not vary")
        self.scale, self.freedom = variance / (2 * mean), 2 * mean**2 / variance

    def _scores(self, outputs: Outputs) -> Tensor:
        return torch.stack([s.score(outputs).double() for s in self.of], dim=1)

    def _statistic(self, scores: Tensor) -> Tensor:
        """T (N,) of scores (N, k)."""
        n, total = len(self.known), torch.zeros(len(scores), dtype=torch.float64, device=scores.device)
        for s, known, fall in zip(scores.T.contiguous(), self.known.T.contiguous(), self.fall, strict=True):
            right = torch.searchsorted(known, s)  # known[right - 1] < s <= known[right]
            low, high = known[(right - 1).clamp(min=0)], known[right.clamp(max=n - 1)]
            step = torch.where(
                (right > 0) & (right < n) & (high > low), (s - low) / (high - low).clamp(min=1e-300), 1.0
            )
            log_p = ((n - right + 2 - step).clamp(max=n + 1) / (n + 1)).log()
            if self.tail == "exponential":
                log_p = log_p - ((s - known[-1]) / fall).clamp(min=0)
            total -= 2 * log_p
        return total

    def score(self, outputs: Outputs) -> Tensor:
        statistic = self._statistic(self._scores(outputs))
        return -functional.log_upper_gamma(self.freedom / 2, statistic / (2 * self.scale))
