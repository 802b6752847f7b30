"""Which plots a results folder gets. It alone knows all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.evaluation import statistics
from oodbench.evaluation.metrics.columns import label
from oodbench.report.distributions import QUANTITY, compact
from oodbench.report.plots.heat_maps import heat_map, rank_heat_map
from oodbench.report.plots.scores import known_unknown, roc_curves, score_histograms
from oodbench.report.plots.style import FORMATS, file_name, first, save, shifts_of, where
from oodbench.report.plots.sweeps import severity_curves, severity_of, sweep_curves, swept
from oodbench.report.plots.trade_offs import cd_diagram, cost_quality, trade_off

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw(
    board: pd.DataFrame, trials: pd.DataFrame, costs: pd.DataFrame | None, *, scorers: Sequence[str]
) -> Mapping[str, Figure]:
    """Every picture that the leaderboard of one pair and network (all conditions) has something to show in,
    by name."""
    clean = board[(board["condition"] == "clean") & (board["id_set"] == "id")]
    found: dict[str, Figure] = {}
    value = next((f"{s}_auroc" for s in shifts_of(clean, "auroc")), "")
    if not value:
        return found
    if clean["id_accuracy"].notna().any():
        found["trade-off"] = trade_off(clean)
    if costs is not None and len(costs):
        found["cost"] = cost_quality(clean, costs, value=value)
    for (name, parameter), _ in swept(clean).items():
        # the board is sorted by what was found; the rows still stand in the suite's order, whose first method
        # is what one compares with
        other = next((str(n) for n in trials["method"] if str(n).partition("(")[0] != name), None)
        found[f"sweep-{name}-{parameter}"] = sweep_curves(
            clean, name, parameter, scorers=scorers, baseline=other
        )
    if len({severity_of(str(c)) for c in board["condition"]} - {None}) > 1:
        found["severity"] = severity_curves(board, scorers=scorers)
    mine = trials[(trials["condition"] == "clean") & (trials["id_set"] == "id")]
    for of in ("method", "scorer"):
        table = statistics.blocks(mine, value, of=of, within=[]).dropna(axis=1, how="all")
        if len(table.dropna()) > 1 and 1 < table.shape[1] <= 40:
            found[f"ranks-{of}s"] = cd_diagram(
                table, title=f"Ranks of {of}s by {label(value)}, {where(clean)}"
            )
    return found


def representative(board: pd.DataFrame, most: int) -> list[str]:
    """The scorers to show where not all fit: msp, the field's baseline, then the best by their mean near
    (else far) AUROC over methods."""
    value = board["near_auroc"] if board["near_auroc"].notna().any() else board["far_auroc"]
    best = value.groupby(board["scorer"], sort=False).mean().sort_values(ascending=False, kind="stable").index
    return first([*(["msp"] if "msp" in set(best) else []), *best], most)


def pictures(
    rows: pd.DataFrame, samples: pd.DataFrame, costs: pd.DataFrame | None = None
) -> Iterator[tuple[str, Figure]]:
    """Every picture of a run, one per kind, pair and network, each with its file's name without the ending;
    the arguments are those of `draw_all`."""
    from oodbench.evaluation.leaderboard import over_trials, trials

    whole, each, samples = over_trials(rows), trials(rows), compact(samples)
    board = whole[(whole["condition"] == "clean") & (whole["id_set"] == "id")]
    for (pair, network), cells in board.groupby(["pair", "network"], sort=False):
        here, ours, mine = (
            f[(f["pair"] == pair) & (f["network"] == network)] if len(f) else f
            for f in (whole, each, samples)
        )
        figures = {
            **_of_cells(cells),
            **(_of_samples(mine, cells) if len(mine) else {}),
            **draw(here, ours, costs, scorers=representative(cells, 5)),
        }
        for kind, figure in figures.items():
            yield f"{file_name(kind)}-{_name(str(pair), str(network))}", figure
    if board.groupby(["pair", "network"]).ngroups > 1 and board["near_auroc"].notna().any():
        yield BY_PAIR, rank_heat_map(board)


def draw_all(
    rows: pd.DataFrame,
    samples: pd.DataFrame,
    folder: Path,
    costs: pd.DataFrame | None = None,
    *,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Write the pictures of a run, one per kind, pair and network, in each of `formats`.

    Args:
        rows: those of results.csv.
        samples: the per-sample frame (see `scores`), maybe empty.
        folder: where the files go; made if it is missing.
        costs: what `costs.of_rows` finds for these rows; without it no picture shows costs.
        formats: of "png" and "svg".

    Returns:
        The files written.
    """
    found = pictures(rows, samples, costs)
    return [file for name, figure in found for file in save(figure, folder / name, formats)]


OF_SAMPLES = ("scores", "roc", "known-unknown")
"""Kinds of pictures that show per-sample scores."""
_KINDS = (
    "heatmap", *OF_SAMPLES, "trade-off", "cost", "severity", "ranks-methods", "ranks-scorers",
)  # fmt: skip
BY_PAIR = "ranks-by-pair"


def kind_of(file: Path, places: pd.DataFrame) -> str:
    """Which kind of picture of a run a file is by its name, given the pairs and networks that its rows have
    (columns ``pair`` and ``network``); empty where `draw_all` gives no such name."""
    if file.suffix.removeprefix(".") not in FORMATS:
        return ""
    if file.stem == BY_PAIR:
        return BY_PAIR
    for pair, network in places.itertuples(index=False, name=None):
        kind = file.stem.removesuffix(f"-{_name(str(pair), str(network))}")
        if kind != file.stem and (kind in _KINDS or kind.startswith("sweep-")):
            return kind
    return ""


def _name(pair: str, network: str) -> str:
    return file_name(f"{pair}-{network}" if network else pair)


def _of_cells(cells: pd.DataFrame) -> Mapping[str, Figure]:
    return {"heatmap": heat_map(cells)} if cells[["near_auroc", "far_auroc"]].notna().any(axis=None) else {}


def _of_samples(samples: pd.DataFrame, cells: pd.DataFrame) -> Mapping[str, Figure]:
    found = {
        "scores": score_histograms(samples, scorers=representative(cells, 5)),
        "roc": roc_curves(samples, scorers=representative(cells, 6)),
    }
    if samples["scorer"].isin(list(QUANTITY)).any():
        found["known-unknown"] = known_unknown(samples)
    return found
