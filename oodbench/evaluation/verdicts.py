"""Claims that a suite states, judged by the rows of its run: supported, contradicted or undecided, and on
what evidence.

Every cell of a claim (pair x network x shift x scorer) compares A with B on the same trials. Seeds are
averaged within a split and the splits are the sample, since trials of one split share classes and test
images; with one split the seeds are, and the verdict is for that split. Student's t gives each direction its
p; the smaller, doubled, is Holm-adjusted over all cells of the claim. So the chance that a claim with no true
difference gets any verdict but *undecided* is at most alpha, however many pairs and scorers it names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.evaluation import leaderboard, statistics
from oodbench.evaluation.claims import Claim, Side
from oodbench.evaluation.metrics.arrays import Array
from oodbench.evaluation.metrics.columns import ID_ONLY, lower_is_better
from oodbench.evaluation.statistics.trials import spread_of

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = (
    "claim", "says", "source", "basis", "level", "pair", "pair_params", "network", "metric", "shift",
    "scorer", "a", "b", "selected",
    "expect", "margin", "n", "unit", "mean_a", "mean_b", "difference", "low", "high", "p", "p_adjusted",
    "verdict", "needed", "note",
)  # fmt: skip
POWER = 0.8
_MOST = 1000
"""No more units than this are ever said to be needed."""


class OneSided(NamedTuple):
    """One-sided p values of what a claim expects and of its opposite, from the differences of independent
    units."""

    support: float
    against: float

    @property
    def p(self) -> float:
        """Two-sided: the smaller one, doubled."""
        return math.nan if math.isnan(self.support) else min(1.0, 2 * min(self.support, self.against))


def t_test(d: Array, expect: str, margin: float) -> OneSided:
    """Student's t on differences A - B (n,): both NaN for n < 2.

    lower: mean < 0 against mean > 0; higher: the reverse; not-lower: mean > -margin against mean < -margin;
    not-higher: mean < margin against mean > margin; equal-within: |mean| < margin (two one-sided tests)
    against |mean| > margin."""
    if len(d) < 2:
        return OneSided(math.nan, math.nan)
    if expect in ("lower", "not-higher"):
        at = 0.0 if expect == "lower" else margin
        return OneSided(_below(d, at), _above(d, at))
    if expect in ("higher", "not-lower"):
        at = 0.0 if expect == "higher" else -margin
        return OneSided(_above(d, at), _below(d, at))
    return OneSided(max(_below(d, margin), _above(d, -margin)), min(_above(d, margin), _below(d, -margin)))


def _above(d: Array, at: float) -> float:
    """p of the mean being above `at`, were it at most that."""
    from scipy.stats import ttest_1samp

    if not spread_of(d):  # units that all agree leave no doubt, but where they agree on the border
        distance = float(d.mean()) - at
        return 0.0 if distance > 0 else 1.0 if distance < 0 else 0.5
    return float(ttest_1samp(d, at, alternative="greater").pvalue)


def _below(d: Array, at: float) -> float:
    return _above(-d, -at)


def power(difference: float, spread: float, n: int, alpha: float) -> float:
    """Chance that a two-sided t test at level `alpha` finds a true mean difference in its right direction,
    from `n` units."""
    from scipy.stats import nct, t

    if spread == 0:
        return 1.0 if difference else 0.0
    return float(nct.sf(t.ppf(1 - alpha / 2, n - 1), n - 1, abs(difference) / spread * math.sqrt(n)))


def needed(d: Array, expect: str, margin: float, alpha: float) -> int | None:
    """Units with which a test at level `alpha` would decide with power 0.8 at the mean and spread observed;
    None: more than 1,000."""
    distance = (
        abs(float(d.mean())) if expect in ("lower", "higher") else _distance(float(d.mean()), expect, margin)
    )
    spread = float(d.std(ddof=1))
    if distance == 0:
        return None
    low, high = 2, _MOST + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(distance, spread, middle, alpha) >= POWER else (middle + 1, high)
    return low if low <= _MOST else None


def _distance(mean: float, expect: str, margin: float) -> float:
    if expect == "equal-within":
        return abs(margin - abs(mean))
    return abs(mean + margin) if expect == "not-lower" else abs(mean - margin)


def judge(rows: pd.DataFrame, claims: Sequence[Claim], families: Mapping[str, str]) -> pd.DataFrame:
    """The verdict on every claim from the rows of results.csv: one row per cell, then one *overall*; columns
    COLUMNS.

    `families`: the name of the method behind each label, in the suite's order, for sides that select a
    variant."""
    import pandas as pd

    found: list[dict[str, Any]] = []
    tables: dict[str, pd.DataFrame] = {}
    for claim in claims:
        if claim.metric not in tables:
            wanted = [
                claim.metric,
                *(("val_accuracy", "val_nll") if claim.metric not in ("val_accuracy", "val_nll") else ()),
            ]
            tables[claim.metric] = leaderboard.trials(rows, wanted)
        cells = list(_cells(claim, tables[claim.metric], families))
        # a pair without far-OOD sets has no cell of that kind, and counts in no family; where nothing was
        # measured, that is shown
        cells = [c for c in cells if c["measured"]] or cells
        found += [*_judged(claim, cells), _overall(claim, cells)]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _cells(claim: Claim, trials: pd.DataFrame, families: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    """Every cell of a claim with its differences (one for each unit) under ``d``."""
    trials = trials[(trials["id_set"] == "id") & (trials["tune"] == "none")]
    if claim.pairs:
        trials = trials[trials["pair"].isin(claim.pairs)]
    id_only = claim.metric in ID_ONLY
    columns = (
        [claim.metric]
        if id_only
        else [f"{s}_{claim.metric}" for s in (("near", "far") if claim.shift == "any" else (claim.shift,))]
    )
    scorers = claim.scorers[:1] if id_only else claim.scorers
    for (pair, params, network), mine in trials.groupby(["pair", "pair_params", "network"], sort=False):
        for column in columns:
            for scorer in scorers:
                a, chosen_a = _side(claim.compare[0], scorer, claim.condition, mine, families)
                b, chosen_b = _side(claim.compare[1], scorer, claim.condition, mine, families)
                both = a.merge(b, on=["split", "seed"], suffixes=("_a", "_b"))
                both = both.dropna(subset=[f"{column}_a", f"{column}_b"])
                unit = "split" if both["split"].nunique() > 1 else "seed"
                means = both.groupby(unit, sort=False)[[f"{column}_a", f"{column}_b"]].mean()
                own = claim.compare[0].scorer or claim.compare[1].scorer
                chosen = chosen_a | chosen_b
                yield {
                    "pair": pair, "pair_params": params, "network": network,
                    "shift": "" if id_only else column.split("_")[0],
                    "scorer": "" if id_only or own else scorer,
                    "selected": json.dumps(chosen, sort_keys=True) if chosen else "",
                    "measured": bool(mine[column].notna().any()), "unit": unit,
                    "a_values": means[f"{column}_a"].to_numpy(float),
                    "b_values": means[f"{column}_b"].to_numpy(float),
                }  # fmt: skip


def _side(
    side: Side, scorer: str, condition: str, trials: pd.DataFrame, families: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, str]]:  # fmt: skip
    """The trials of one side under a condition, and which variant was selected in each split, by clean
    validation, where one had to be."""
    import pandas as pd

    named = trials[trials["scorer"] == (side.scorer or scorer)]
    mine, clean = named[named["condition"] == condition], named[named["condition"] == "clean"]
    if not side.select:
        return mine[mine["method"] == side.method], {}
    variants = [label for label, name in families.items() if name == side.method]
    parts: list[pd.DataFrame] = []
    chosen: dict[str, str] = {}
    for split, of_split in clean[clean["method"].isin(variants)].groupby("split", sort=False):
        quality = of_split.groupby("method")[side.select].mean().reindex(variants)
        if quality.isna().all():
            continue
        best = str(
            quality.idxmin() if lower_is_better(side.select) else quality.idxmax()
        )  # a tie keeps the variant written first
        chosen[f"{side.method} split {split!s}" if split else side.method] = best
        parts.append(mine[(mine["split"] == split) & (mine["method"] == best)])
    return (pd.concat(parts) if parts else mine.iloc[:0]), chosen


def _judged(claim: Claim, cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    tests = [t_test(c["a_values"] - c["b_values"], claim.expect, claim.margin) for c in cells]
    adjusted = statistics.holm([t.p for t in tests])
    found = []
    for cell, t, p_adjusted in zip(cells, tests, adjusted, strict=True):
        d = cell["a_values"] - cell["b_values"]
        interval = statistics.t_interval(d)
        decided = not math.isnan(p_adjusted) and p_adjusted < claim.alpha
        cell["verdict"] = (
            "undecided" if not decided else "supported" if t.support < t.against else "contradicted"
        )
        more = (
            needed(d, claim.expect, claim.margin, claim.alpha / len(cells))
            if len(d) > 1 and not decided
            else None
        )
        note = "no trial has both sides" if len(d) == 0 else "one unit has no spread" if len(d) == 1 else ""
        if not decided and len(d) > 1 and more is None:
            note = f"more than {_MOST} {cell['unit']}s would be needed"
        if cell["unit"] == "seed" and len(d) > 1:
            note = "; ".join(filter(None, [note, "one split: the verdict is for that split"]))
        found.append(_row(claim, "cell") | {k: v for k, v in cell.items() if k in COLUMNS} | {
            "n": len(d), "mean_a": _mean(cell["a_values"]), "mean_b": _mean(cell["b_values"]),
            "difference": interval.value,
            "low": interval.low, "high": interval.high, "p": t.p, "p_adjusted": p_adjusted, "needed": more,
            "note": note,
        })  # fmt: skip
        cell["difference"] = interval.value
    return found


def _overall(claim: Claim, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A count over cells and a sign test over pairs (by the primary scorer, averaged over networks and
    shifts); no pooled mean."""
    counts = {v: sum(c["verdict"] == v for c in cells) for v in ("supported", "contradicted", "undecided")}
    primary = [c for c in cells if c["scorer"] == cells[0]["scorer"] and not math.isnan(c["difference"])]
    by_pair: dict[tuple[str, str], list[float]] = {}
    for c in primary:
        by_pair.setdefault((c["pair"], c["pair_params"]), []).append(c["difference"])
    signs = [np.sign(np.mean(d)) for d in by_pair.values()]
    above, below = sum(s > 0 for s in signs), sum(s < 0 for s in signs)
    if counts["supported"] and not counts["contradicted"]:
        verdict = "supported"
    elif counts["contradicted"] and not counts["supported"]:
        verdict = "contradicted"
    else:
        verdict = "undecided"
    note = (
        f"{counts['supported']} of {len(cells)} cells supported, {counts['contradicted']} contradicted,"
        f" {counts['undecided']} undecided"
    )
    note += f"; A is above B in {above} of {len(signs)} pairs, below in {below}"
    return _row(claim, "overall") | {
        "n": len(signs), "unit": "pair", "p": statistics.sign_test(above, below), "verdict": verdict,
        "note": note,
    }  # fmt: skip


def _row(claim: Claim, level: str) -> dict[str, Any]:
    margin = "" if claim.expect in ("lower", "higher") else claim.margin
    a, b = (_side_text(s) for s in claim.compare)
    return {
        "claim": claim.id, "says": claim.says, "source": claim.source, "basis": claim.basis, "level": level,
        "metric": claim.metric,
        "a": a, "b": b, "expect": claim.expect, "margin": margin,
    }  # fmt: skip


def _side_text(side: Side) -> str:
    text = f"{side.method}, best {side.select}" if side.select else side.method
    return f"{text} / {side.scorer}" if side.scorer else text


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan
