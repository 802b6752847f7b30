"""Ranks over several data sets: Friedman's test, critical differences, wins, ties and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.evaluation.metrics.arrays import Array
from oodbench.evaluation.statistics.given import numbers, share, with_columns
from oodbench.evaluation.statistics.trials import NAN, holm

if TYPE_CHECKING:
    import pandas as pd


class Ranking(NamedTuple):
    """Friedman's test over blocks (data sets, pairs or splits) and what follows it; `order` lists the names
    from best to worst."""

    names: tuple[str, ...]
    ranks: Array
    """Average rank of each name, 1 is best."""
    n: int
    """Complete blocks used; a block that lacks a value of any name is left out."""
    chi2: float
    p: float
    f: float
    p_f: float
    """Iman and Davenport's F, less conservative than chi2."""
    cd: float
    """Nemenyi's critical difference of average ranks."""
    p_nemenyi: Array
    p_conover: Array
    """Pairwise p values, (k, k), Conover's Holm-adjusted within all pairs."""
    alpha: float

    @property
    def order(self) -> list[str]:
        return [self.names[i] for i in np.argsort(self.ranks, kind="stable")]

    def cliques(self, p_values: Array | None = None) -> list[list[str]]:
        """Maximal runs of names, in order of rank, no two of which differ at `alpha` (by `p_values`, default
        Nemenyi's)."""
        p = self.p_nemenyi if p_values is None else p_values
        order = np.argsort(self.ranks, kind="stable")
        found: list[tuple[int, int]] = []
        for start in range(len(order)):
            end = start
            while end + 1 < len(order) and all(
                p[order[i], order[end + 1]] >= self.alpha for i in range(start, end + 1)
            ):
                end += 1
            if end > start and not any(s <= start and end <= e for s, e in found):
                found.append((start, end))
        return [[self.names[i] for i in order[s : e + 1]] for s, e in found]


def rank_blocks(table: pd.DataFrame, *, lower_is_better: bool = False, alpha: float = 0.05) -> Ranking:
    """Friedman, Nemenyi and Conover-Holm over several data sets.

    Ranks within each block, ties averaged (Demsar, JMLR 2006).

    Args:
        table: one row per block, one column per name; a block that lacks a value is left out.
        lower_is_better: whether rank 1 is the lowest value.
        alpha: of the critical difference and of `Ranking.cliques`.

    Returns:
        The ranking. With fewer than two complete blocks or names everything but the ranks is NaN; where all
        names are always tied, p is 1.
    """
    from scipy.stats import chi2 as chi2_distribution
    from scipy.stats import f as f_distribution
    from scipy.stats import rankdata, studentized_range
    from scipy.stats import t as student

    x, alpha = numbers(table, "table"), share(alpha, "alpha")
    names = tuple(map(str, table.columns))
    x = x[~np.isnan(x).any(axis=1)]
    n, k = len(x), len(names)
    ranks = rankdata(x if lower_is_better else -x, axis=1) if n and k else np.empty((0, k))
    mean = ranks.mean(axis=0) if n and k else np.full(k, NAN)
    nothing = np.full((k, k), NAN)
    if n < 2 or k < 2:
        return Ranking(names, mean, n, NAN, NAN, NAN, NAN, NAN, nothing, nothing, alpha)
    spread = (
        float((ranks**2).sum()) - n * k * (k + 1) ** 2 / 4
    )  # of the ranks about their mean, less than n k (k^2 - 1) / 12 under ties
    q = float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    scale = math.sqrt(k * (k + 1) / (6 * n))
    gap = np.abs(mean[:, None] - mean[None, :])
    upper = np.triu_indices(k, 1)
    p_nemenyi, p_conover = np.eye(k), np.eye(k)
    p_nemenyi[upper] = studentized_range.sf(gap[upper] / scale * math.sqrt(2), k, np.inf)
    if spread <= 1e-9 * n * k**3:
        chi2, p, f, p_f = 0.0, 1.0, 0.0, 1.0
        p_conover[upper] = 1.0
    else:
        chi2 = (k - 1) * float(((mean - (k + 1) / 2) ** 2).sum()) * n**2 / spread
        p = float(chi2_distribution.sf(chi2, k - 1))
        left = n * (k - 1) - chi2
        f = (n - 1) * chi2 / left if left > 1e-9 else math.inf
        p_f = float(f_distribution.sf(f, k - 1, (k - 1) * (n - 1))) if left > 1e-9 else 0.0
        # Conover 1999, section 5.8: t on differences of rank sums with the variance that the Friedman
        # statistic leaves over
        error = math.sqrt(max(2 * n * spread / ((n - 1) * (k - 1)) * (1 - chi2 / (n * (k - 1))), 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.where(gap[upper] > 0, n * gap[upper] / error, 0.0)
        p_conover[upper] = holm(2 * student.sf(statistic, (n - 1) * (k - 1)))
    for matrix in (p_nemenyi, p_conover):
        matrix.T[upper] = matrix[upper]
    return Ranking(names, mean, n, chi2, p, f, p_f, q * scale, p_nemenyi, p_conover, alpha)


def win_tie_loss(table: pd.DataFrame, *, lower_is_better: bool = False, margin: float = 0.0) -> pd.DataFrame:
    """How often each column beats, ties with and loses to each other.

    Args:
        table: one row per block, one column per name; of two names the rows count that have both.
        lower_is_better: which way a block is won.
        margin: what still counts as a tie.

    Returns:
        Names by names, texts "w/t/l", empty on the diagonal.
    """
    import pandas as pd

    x = numbers(table, "table") * (-1 if lower_is_better else 1)
    cells: Mapping[str, list[str]] = {str(name): [] for name in table.columns}
    for i in range(x.shape[1]):
        for j, name in enumerate(cells):
            d = x[:, i] - x[:, j]
            d = d[~np.isnan(d)]
            wins, losses = int((d > margin).sum()), int((d < -margin).sum())
            cells[name].append("" if i == j else f"{wins}/{len(d) - wins - losses}/{losses}")
    return pd.DataFrame(cells, index=[str(c) for c in table.columns])


def blocks(trials: pd.DataFrame, value: str, *, of: str, within: Sequence[str]) -> pd.DataFrame:
    """A table for `rank_blocks`.

    Splits of one pair share images: read p values over them as descriptive unless the rows are pairs.

    Args:
        trials: what `leaderboard.trials` gives.
        value: its column to rank by.
        of: what to rank, such as method or scorer.
        within: columns by which blocks are parted, besides pair and split.

    Returns:
        One column per value of `of`, one row per block: a pair and split, seeds averaged, crossed with
        `within`.
    """
    keys: list[Any] = ["pair", "pair_params", "split", *within]
    trials = with_columns(trials, [*keys, of, value], "trials")
    return trials.groupby([*keys, of], sort=False, dropna=False)[value].mean().unstack(of, sort=False)
