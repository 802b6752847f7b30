"""What the page shows of per-sample scores: histograms, ROC, bootstrap intervals, known against unknown, and
the hardest images."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.evaluation import statistics
from oodbench.evaluation.metrics.arrays import Array
from oodbench.report import distributions
from oodbench.report.page.numbers import number
from oodbench.report.plots.style import KIND

if TYPE_CHECKING:
    import pandas as pd

Pictures = Callable[[str, str, str, Sequence[int]], Sequence[Array]]
"""Given pair, split, OOD set (empty for ID test) and sample indices: images (H, W, C), uint8, to show."""
REPLICATES = 200
MOST_PICTURE_BYTES = 1_200_000
"""Of all hardest images together: the page stays under 5 MB however many pairs and sets it has."""
RATES = [round((i / 24) ** 2, 5) for i in range(25)]


def by_cell(samples: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
    """The samples of each (pair, network, method, scorer)."""
    keys = ["pair", "network", "method", "scorer"]
    return {tuple(map(str, key)): group for key, group in samples.groupby(keys, sort=False)}


def drill_down(mine: pd.DataFrame) -> dict[str, Any]:
    """Histogram of the first trial, ROC per OOD set and the bootstrap interval over samples of one cell."""
    first = mine[(mine["split"] == mine["split"].iloc[0]) & (mine["seed"] == mine["seed"].iloc[0])]
    kinds = {shift: distributions.pooled(first, shift) for shift in ("id", "near", "far")}
    kinds = {shift: values for shift, values in kinds.items() if len(values)}
    if "id" not in kinds or len(kinds) == 1:
        return {}
    edges = distributions.bin_edges(np.concatenate(list(kinds.values())), 32)
    shares = {
        k: [number(v, 4) for v in np.histogram(values, edges)[0] / len(values)] for k, values in kinds.items()
    }
    curves = [
        [
            shift,
            ood,
            [number(v, 3) for v in np.mean([t for t, _ in each], axis=0)],
            number(np.mean([a for _, a in each])),
        ]
        for (shift, ood), each in distributions.rocs(mine, np.array(RATES)).items()
    ]
    return {
        "h": {"edges": [number(edges[0]), number(edges[-1])], **shares},
        "c": curves,
        "b": _sample_intervals(mine),
    }


def _sample_intervals(mine: pd.DataFrame) -> dict[str, list[float | None]]:
    """Bootstrap intervals over samples of one cell's near and far AUROC, where every trial has the same
    sets."""
    found = {}
    for shift in ("near", "far"):
        trials_of: dict[str, dict[str, dict[str, Array]]] = {}
        for split, seed, kind, ood, value in zip(
            *(mine[c] for c in ("split", "seed", "shift", "ood", "value")), strict=True
        ):
            if kind in ("id", shift):
                trials_of.setdefault(split, {}).setdefault(seed, {})[ood] = np.asarray(value, dtype=float)
        splits = [list(seeds.values()) for seeds in trials_of.values()]
        whole = all(
            trial.keys() == split[0].keys() and "" in trial and len(trial) > 1
            for split in splits
            for trial in split
        )
        if splits and whole:
            interval = statistics.percentile_interval(0.0, statistics.bootstrap_mean(splits, n=REPLICATES))
            found[shift] = [number(interval.low), number(interval.high)]
    return found


def known_unknown(samples: pd.DataFrame) -> list[dict[str, Any]]:
    """Histograms of maximal probability and logit per pair, network and method, all trials pooled, rows on
    one scale."""
    found = []
    for (pair, network), group in samples[samples["scorer"].isin(list(distributions.QUANTITY))].groupby(
        ["pair", "network"], sort=False
    ):
        lines = []
        for quantity, of in group.groupby("scorer", sort=False):
            values = np.concatenate([distributions.pooled(of, shift) for shift in KIND])
            edges = distributions.quantity_edges(str(quantity), values, 40)
            methods: list[dict[str, Any]] = []
            for method, mine in of.groupby("method", sort=False):
                kinds = {s: v for s in KIND if len(v := distributions.pooled(mine, s))}
                shares = {
                    s: [number(x, 4) for x in np.histogram(v, edges)[0] / len(v)] for s, v in kinds.items()
                }
                methods.append(
                    {"name": str(method), **shares, "means": {s: number(v.mean()) for s, v in kinds.items()}}
                )
            top = max(max(m[s]) for m in methods for s in KIND if s in m)
            label = distributions.QUANTITY[str(quantity)]
            lines.append(
                {
                    "label": label,
                    "edges": [number(edges[0]), number(edges[-1])],
                    "ymax": number(1.05 * top),
                    "methods": methods,
                }
            )
        found.append({"pair": str(pair), "network": str(network), "rows": lines})
    return found


def hardest(samples: pd.DataFrame, pictures: Pictures | None, most: int = 12) -> list[dict[str, Any]]:
    """The samples of each set that its scores place on the wrong side, averaged over the scorers, methods and
    seeds of one split."""
    if pictures is None or "index" not in samples:
        return []
    found = []
    real = samples[~samples["scorer"].isin(list(distributions.QUANTITY))]
    share = MOST_PICTURE_BYTES / max(1, len(real[["pair", "ood"]].drop_duplicates()))
    for pair, of_pair in real.groupby("pair", sort=False):
        split = of_pair["split"].iloc[0]
        for (ood, shift), group in of_pair[of_pair["split"] == split].groupby(["ood", "shift"], sort=False):
            indices = np.asarray(group["index"].iloc[0], dtype=int)
            # where each sample falls among ID test (share of ID that looks less OOD), comparable between
            # scorers
            runs = ["network", "method", "seed", "scorer"]
            inside = (
                of_pair[(of_pair["split"] == split) & (of_pair["ood"] == "")]
                .set_index(runs)["value"]
                .to_dict()
            )
            place, n = np.zeros(len(indices)), 0
            for row in group.itertuples():
                reference = np.sort(
                    np.asarray(inside[row.network, row.method, row.seed, row.scorer], dtype=float)
                )
                place += np.searchsorted(reference, np.asarray(row.value, dtype=float)) / len(reference)
                n += 1
            place /= n
            worst = np.argsort(place if ood else -place, kind="stable")[:most]
            images = pictures(str(pair), str(split), str(ood), [int(indices[i]) for i in worst])
            sources = [_png(image) for image in images]  # none of arrays
            fits = int(np.searchsorted(np.cumsum([len(s) for s in sources]), share, side="right"))
            shown = [
                {"src": s, "id": str(indices[i]), "at": number(place[i], 3)}
                for i, s in zip(worst, sources[:fits], strict=False)
            ]
            if shown:
                found.append(
                    {
                        "pair": str(pair),
                        "split": str(split),
                        "ood": str(ood),
                        "shift": str(shift),
                        "images": shown,
                    }
                )
    return found


def _png(image: Array) -> str:
    """An image (H, W, C), uint8, as a data URI, at most 64 pixels wide."""
    from PIL import Image

    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    picture.thumbnail((64, 64))
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
