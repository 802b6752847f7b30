"""What results cost, from timing.csv: seconds and bytes as recorded when each artefact was made, medians over
trials; and what a scorer and a method may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.spec import Spec, spec_of
from oodbench.evaluation.large import plain

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("network", "method", "scorer", "tune")
SPENT = ("train_seconds", "fit_seconds", "score_seconds_per_1000", "passes", "bytes_stored", "reads")
COLUMNS = (*KEYS, *SPENT)
"""train_seconds: of the network. fit_seconds and score_seconds_per_1000: of the scorer. passes: extraction of
a sample as this scorer needs it, in plain forward passes of the same network (1: none beyond the one that all
share; else measured by the clock, its view included). bytes_stored: weights, and outputs of training data and
of views that this scorer reads beyond the plain outputs of the sets it scores. reads: what it may look at
besides test samples: train, val, noise (made), ood-val, outliers (by the method). Where a component is not at
hand, reads is UNKNOWN, and passes and bytes_stored are NaN."""
UNKNOWN = "unknown"

Specs = Mapping[tuple[str, str], Spec]
"""What the labels in rows stand for: {(kind, label): Spec} of a suite's scorers and methods. A label alone
does not tell: it may be the suite's `as:`, or a component of a plugin."""


def of_rows(rows: pd.DataFrame, timing: pd.DataFrame, specs: Specs) -> pd.DataFrame:
    """What each network, method and scorer cost.

    Args:
        rows: those of results.csv.
        timing: the frame of timing.csv.
        specs: the scorers and methods of the suite, by their labels.

    Returns:
        One row per network, method, scorer and tuning regime, the columns COLUMNS; what the timing does not
        tell is NaN.
    """
    import pandas as pd

    spent = _medians(timing)
    looks = {at: _looks(spec) for at, spec in specs.items()}
    cells = rows.loc[rows["scorer"] != "", list(KEYS)].drop_duplicates()
    made = [
        dict(zip(KEYS, key, strict=True)) | _cost(key, spent, looks)
        for key in cells.itertuples(index=False, name=None)
    ]
    return pd.DataFrame(made, columns=list(COLUMNS))


def beside(board: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """A leaderboard with the columns SPENT after its own."""
    return board.merge(costs, on=list(KEYS), how="left")


def _medians(timing: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """Medians over trials: of what belongs to a network by (network, method), of what belongs to a scorer or
    a view by (network, method, label)."""
    import pandas as pd

    names = [c for c in ("stage", "network", "method", "scorer", "ood") if c in timing]
    t = plain(timing[names]).assign(**{c: pd.to_numeric(timing[c]) for c in ("n", "seconds", "bytes")})
    t["run_key"] = pd.factorize(timing["run_key"])[0]
    if "ood" not in t:
        t["ood"] = ""
    t = t.fillna({"scorer": "", "network": "", "ood": ""})
    network, cell = ["network", "method"], ["network", "method", "scorer"]
    train, fit, score, extract = (t[t["stage"] == s] for s in ("train", "fit", "score", "extract"))
    of_train = extract["ood"] == "train"

    def per_sample(part: pd.DataFrame) -> pd.Series[Any]:
        of_run = part.groupby([*cell, "run_key"], sort=False)[["seconds", "n"]].sum()
        each = of_run["seconds"] / of_run["n"].where(of_run["n"] > 0)
        return each.groupby(cell, sort=False).median()

    return {
        "train": train.groupby(network, sort=False)["seconds"].median(),
        "weights": train.groupby(network, sort=False)["bytes"].median(),
        "train outputs": extract[of_train & (extract["scorer"] == "")]
        .groupby(network, sort=False)["bytes"]
        .median(),
        "fit": fit.groupby(cell, sort=False)["seconds"].median(),
        "score": per_sample(score),
        "extract": per_sample(extract[~of_train]),
        "view outputs": extract.groupby([*cell, "run_key"], sort=False)["bytes"]
        .sum()
        .groupby(cell, sort=False)
        .median(),
    }


class _Looks(NamedTuple):
    """What a component needs besides test samples, and the label of the view it reads (empty: none)."""

    needs: Sequence[str]
    view: str = ""


def _looks(spec: Spec) -> _Looks | None:
    """None where it cannot be built here, as for a method whose file is not at hand."""
    try:
        made = registry.build(spec.kind, spec)
    except (UserError, OSError):
        return None
    view = made.view() if spec.kind == "scorer" else None
    return _Looks(made.needs, "" if view is None else spec_of(view).label)


def _cost(
    key: tuple[str, str, str, str],
    spent: Mapping[str, pd.Series[Any]],
    looks: Mapping[tuple[str, str], _Looks | None],
) -> dict[str, Any]:
    network, method, scorer, tune = key

    def of(what: str, *label: str) -> float:
        return float(spent[what].get((network, method, *label), np.nan))

    named = scorer if tune == "none" else f"{scorer} [{tune}]"
    known, trained = looks.get(("scorer", scorer)), looks.get(("method", method))
    found = {
        "train_seconds": of("train"),
        "fit_seconds": of("fit", named),
        "score_seconds_per_1000": 1000 * of("score", named),
        "passes": np.nan,
        "bytes_stored": np.nan,
    }
    if known is None or trained is None:
        return found | {"reads": UNKNOWN}
    reads = [r for r in ("train", "val") if r in known.needs]
    reads += [regime for regime in ("noise", "ood-val") if regime == tune.partition(":")[0]]
    reads += ["outliers"] if "outliers" in trained.needs else []
    size = of("weights") + (of("train outputs") if "train" in known.needs else 0)
    passes = 1.0
    if known.view:
        passes += of("extract", known.view) / of("extract", "")
        size += of("view outputs", known.view)
    return found | {"passes": passes, "bytes_stored": size, "reads": ", ".join(reads)}
