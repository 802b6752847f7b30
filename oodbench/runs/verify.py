"""Is what a results folder says so? Everything that can be made again from what is here is made again and compared, thing by thing.

Each finding *holds*, is *contradicted*, or *cannot be checked here*, and says why. With the store: files against their checksums, every
metric from the stored scores and outputs. Without: what the files alone can show (the leaderboard and the page from the rows, rows
against the suite and against one another). Nothing is made, repaired or removed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodbench.core.errors import UserError
from oodbench.evaluation import verdicts as claims
from oodbench.evaluation.leaderboard import CELL, leaderboard, read_rows, values_of
from oodbench.evaluation.metrics.detection import COUNTS, METRICS
from oodbench.report.page import cells as pagedata
from oodbench.runs.engine import provenance
from oodbench.runs.measure import columns, params_text, rows_of
from oodbench.runs.merge import IDENTITY, results_file
from oodbench.runs.reopen import Held, Opened, reopen
from oodbench.suite.plan import artefacts
from oodbench.suite.run import Run
from oodbench.suite.sets import OOD_SHIFTS

if TYPE_CHECKING:
    import pandas as pd

HOLDS, CONTRADICTED, UNCHECKED = "holds", "contradicted", "cannot be checked here"
TOLERANCE = 1e-7
"""Of a metric made again: ten digits are written, and sums of another machine may differ in the last ones."""
FRACTIONS = frozenset(METRICS) - COUNTS - {"nll", "brier", "val_nll"} - {m for m in METRICS if m.startswith(("max_logit", "logit_norm"))}


class Finding(NamedTuple):
    """One thing that was looked at: what, how it came out, and why."""

    state: str
    what: str
    why: str


def verify(path: Path, store: Path | None = None, plugins: Sequence[Path] = ()) -> list[Finding]:
    """Everything that can be said of a results folder. UserError only where there is no results.csv to speak of."""
    rows = read_rows(results_file(path))
    folder = results_file(path).parent
    board = leaderboard(rows)
    found = [_rows(rows), _leaderboard(folder, board), _page(folder, board)]
    try:
        opened = reopen(path, store, plugins)
    except UserError as error:
        why = "; ".join(str(error).splitlines()[:2])
        gone = Finding(UNCHECKED, "suite and keys", why)
        return [*found, gone, Finding(UNCHECKED, "metrics", "the suite cannot be planned here"), *_versions(folder)]
    found += [_suite(opened, rows), *_claims(opened, rows), _keys(opened, rows), _checksums(opened), *_metrics(opened, rows)]
    return [*found, *_versions(folder)]


def to_lines(findings: Iterable[Finding]) -> list[str]:
    """One line for each finding."""
    return [f"{f.state}: {f.what}: {f.why}" for f in findings]


def _told(what: str, wrong: Sequence[str], fine: str) -> Finding:
    """Contradicted with the first thing that is wrong and how many there are, or holds."""
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return Finding(CONTRADICTED, what, wrong[0] + more) if wrong else Finding(HOLDS, what, fine)


def _name(row: Mapping[Any, Any]) -> str:
    parts = [str(row[k]) for k in ("pair", "network", "method", "scorer", "ood") if str(row.get(k, ""))]
    split, seed = row.get("split", ""), row.get("seed", "")
    return " / ".join([*parts, *([f"split {split}"] if str(split) else []), *([f"seed {seed}"] if str(seed) else [])])


# ---------------------------------------------------------------- from the files alone


def _rows(rows: pd.DataFrame) -> Finding:
    """No row twice, states that exist, numbers where the row is ok and in their range, one set of ID numbers per run and scorer."""
    wrong = []
    for row in rows[rows.duplicated(list(IDENTITY))].to_dict("records"):
        wrong.append(f"{_name(row)}: stands twice")
    for row in rows[~rows["status"].isin(("ok", "failed", "skipped"))].to_dict("records"):
        wrong.append(f"{_name(row)}: status {row['status']!r}")
    ok = rows[rows["status"] == "ok"]
    for row in ok[(ok["ood"] != "") & ok["auroc"].isna()].to_dict("records"):
        wrong.append(f"{_name(row)}: is ok and has no auroc")
    for metric in METRICS:
        values = ok[metric].astype(float)
        bad = ok[np.isinf(values) | (values < 0 if metric not in ("max_logit_id", "max_logit_ood") else False)]
        bad = bad if metric not in FRACTIONS else ok[(values < 0) | (values > 1)]
        for row in bad.to_dict("records"):
            wrong.append(f"{_name(row)}: {metric} is {row[metric]:g}, which it cannot be")
    # the network's accuracy on one ID set is one number, whichever scorer and OOD set stand beside it
    one = ok[ok["id_accuracy"].notna()].astype({"id_accuracy": float})
    spread = one.groupby(["run_key", "condition", "id_set"], sort=False)["id_accuracy"].transform(lambda x: float(x.max() - x.min()))
    for row in one[spread > TOLERANCE].drop_duplicates("run_key").to_dict("records"):
        wrong.append(f"{_name(row)}: rows of one run give different ID accuracies")
    return _told("results.csv", wrong, f"{len(rows)} rows, none twice, every number in its range")


def _leaderboard(folder: Path, made: pd.DataFrame) -> Finding:
    """leaderboard.csv is what the rows of results.csv give."""
    import pandas as pd

    file = folder / "leaderboard.csv"
    try:
        empty = {column: [""] for column in _numbers(file)}
        written = pd.read_csv(file, dtype=dict.fromkeys(CELL, str), keep_default_na=False, na_values=empty)
    except FileNotFoundError:
        return Finding(UNCHECKED, "leaderboard.csv", "there is none")
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        return Finding(CONTRADICTED, "leaderboard.csv", f"is not a leaderboard ({error})")
    wrong: list[str] = []
    if list(written.columns) != list(made.columns):
        other = sorted(set(written.columns) ^ set(made.columns)) or ["their order"]
        return Finding(CONTRADICTED, "leaderboard.csv", f"its columns are not those of this version: {other[0]}")
    cell = list(CELL)
    if set(map(tuple, written[cell].to_numpy())) != set(map(tuple, made[cell].astype(str).to_numpy())) or len(written) != len(made):
        return Finding(CONTRADICTED, "leaderboard.csv", f"its {len(written)} cells are not the {len(made)} that results.csv gives")
    both = written.merge(made.astype(dict.fromkeys(CELL, str)), on=cell, suffixes=("", " made"), sort=False)
    for column in (c for c in made.columns if c not in cell):
        a, b = both[column], both[f"{column} made"]
        differ = a.astype(str) != b.astype(str) if column == "unit" else _differ(a, b)
        for row in both[differ].to_dict("records") if differ.any() else ():
            wrong.append(f"{column} of {_name(row)} is {_text(row[column])}, the rows give {_text(row[f'{column} made'])}")
    return _told("leaderboard.csv", wrong, f"its {len(made)} cells follow from results.csv")


def _numbers(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [c for c in lines.readline().strip().split(",") if c not in (*CELL, "unit")]


def _differ(a: pd.Series[Any], b: pd.Series[Any]) -> Any:
    x, y = (np.asarray(v.astype("Float64").to_numpy(dtype=float, na_value=np.nan)) for v in (a, b))
    return ~np.isclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _text(value: Any) -> str:
    return "empty" if value is None or value != value else f"{value:.10g}" if isinstance(value, (int, float)) else str(value)


def _page(folder: Path, board: pd.DataFrame) -> Finding:
    """The numbers that report.html draws are those of the leaderboard."""
    file = folder / "report.html"
    if not file.is_file():
        return Finding(UNCHECKED, "report.html", "there is none")
    try:
        drawn = pagedata.cells_of(file.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, IndexError):
        return Finding(CONTRADICTED, "report.html", "its data cannot be read")
    if len(drawn) != len(board):
        return Finding(CONTRADICTED, "report.html", f"it draws {len(drawn)} cells, results.csv gives {len(board)}")
    wrong = []
    for cell, row in zip(drawn, board.to_dict("records"), strict=True):
        place = " / ".join(v for k, v in cell["k"].items() if v and k in ("pair", "network", "method", "scorer"))
        if any(str(row[k]) != v for k, v in cell["k"].items()):
            wrong.append(f"{place} stands where results.csv has another cell")
            continue
        for column in values_of(board):
            for shown, suffix in zip(cell["v"].get(column, [None]), ("", "_std", "_low", "_high"), strict=False):
                made = _float(row[column + suffix])
                # a page may round to five digits, and ten were written to results.csv: a value on the edge may round either way
                if not np.isclose(_float(shown), made, rtol=0, atol=1.5e-5, equal_nan=True):
                    wrong.append(f"{column}{suffix} of {place} is {_text(_float(shown))}, results.csv gives {_text(made)}")
    return _told("report.html", wrong, f"draws the {len(board)} cells of the leaderboard")


# ---------------------------------------------------------------- with the suite


def _expected(opened: Opened) -> tuple[dict[tuple[str, ...], tuple[str, ...]], set[str]]:
    """The rows that the suite asks for, {their _PLACE: their _PARAMS}, and pairs not here."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for run in opened.plan.runs:
        ood = [s.name for s in run.sets.values() if s.shift in OOD_SHIFTS] + list(run.data.missing if run.data is not None else ())
        base, params = _run_place(run), (params_text(run.pair.params), params_text(run.method.spec.params))
        found[(*base, "", "none", "")] = (*params, "{}")
        for s in run.scorers:
            for name in ood:
                found[(*base, s.declared.label, s.tune, name)] = (*params, params_text(s.declared.params))
    here = {r.pair.label for r in opened.plan.runs}
    return found, {p.label for p in opened.suite.pairs} - here


_RUN = ("pair", "split", "network", "method", "seed")
_PLACE = (*_RUN, "scorer", "tune", "ood")
_PARAMS = ("pair_params", "method_params", "scorer_params")


def _run_place(run: Run) -> tuple[str, ...]:
    split = "" if run.pair.split is None else str(run.pair.split)
    return run.pair.label, split, run.network.label if run.network else "", run.method.label, str(run.seed)


def _suite(opened: Opened, rows: pd.DataFrame) -> Finding:
    """The rows are those that the suite asks for: no more, no fewer, under its name and with its parameters (a name given by `as:` does
    not tell them)."""
    wrong = [f"rows say {name!r}, suite.yaml {opened.suite.name!r}" for name in sorted(set(rows["suite"]) - {opened.suite.name})]
    expected, absent = _expected(opened)
    clean = rows[(rows["condition"] == "clean") & (rows["id_set"] == "id") & ~rows["pair"].isin(absent)]
    clean = clean[(clean["ood"] != "") | (clean["scorer"] == "")]
    keyed = clean[[*_PLACE, *_PARAMS]].astype(str).to_numpy().tolist()
    there = {tuple(row[: len(_PLACE)]): tuple(row[len(_PLACE) :]) for row in keyed}
    for place in expected.keys() - there.keys():
        wrong.append(f"the suite asks for {_name(dict(zip(_PLACE, place, strict=True)))}, which results.csv lacks")
    for place in there.keys() - expected.keys():
        wrong.append(f"results.csv has {_name(dict(zip(_PLACE, place, strict=True)))}, which the suite does not ask for")
    for place in there.keys() & expected.keys():
        for name, mine, asked in zip(_PARAMS, there[place], expected[place], strict=True):
            if mine != asked:
                where = _name(dict(zip(_PLACE, place, strict=True)))
                wrong.append(f"{name} of {where} is {mine} in results.csv, suite.yaml asks for {asked}")
    if not wrong and absent:
        return Finding(UNCHECKED, "suite", f"the data of {', '.join(sorted(absent))} are not here")
    return _told("suite", sorted(wrong), f"{len(opened.plan.runs)} runs and {len(expected)} rows are what suite.yaml asks for")


def _claims(opened: Opened, rows: pd.DataFrame) -> list[Finding]:
    """claims.csv says of every claim what the rows say of it."""
    import pandas as pd

    file = opened.folder / "claims.csv"
    if not opened.suite.claims and not file.is_file():
        return []
    made = claims.judge(rows, opened.suite.claims, {m.label: m.spec.name for m in opened.suite.methods})
    try:
        written = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        return [Finding(UNCHECKED, "claims.csv", f"there is none, and the suite states {len(opened.suite.claims)} claims")]
    if list(written.columns) != list(made.columns) or len(written) != len(made):
        return [Finding(CONTRADICTED, "claims.csv", f"its {len(written)} rows are not the {len(made)} that suite and rows give")]
    wrong = []
    # as it would be written, so that both sides are text; numbers are compared as numbers
    again = pd.read_csv(io.StringIO(made.to_csv(index=False, float_format="%.10g")), dtype=str, keep_default_na=False)
    for column in made.columns:
        for i, (a, b) in enumerate(zip(written[column], again[column], strict=True)):
            if a != b and not _close(a, b):
                row = again.iloc[i]
                wrong.append(f"{column} of {row['claim']} ({row['level']} {row['scorer']}) is {a or 'empty'}, the rows give {b or 'empty'}")
    return [_told("claims.csv", wrong, f"{len(opened.suite.claims)} claims judged as the rows judge them")]


def _close(a: str, b: str) -> bool:
    try:
        return bool(np.isclose(float(a), float(b), rtol=1e-6, atol=1e-9))
    except ValueError:
        return False


def _keys(opened: Opened, rows: pd.DataFrame) -> Finding:
    """Every run's key, made again from the suite, the data here and this version's components, is the one its rows carry."""
    planned = {_run_place(run): run.key for run in opened.plan.runs}
    wrong, unseen = [], 0
    for row in rows.drop_duplicates([*_RUN, "run_key"]).to_dict("records"):
        key = planned.get(tuple(str(row[k]) for k in _RUN))
        if key is None:
            unseen += 1
        elif key != row["run_key"]:
            run = _name({k: row[k] for k in _RUN})
            wrong.append(f"{run}: rows carry {str(row['run_key'])[:12]}, suite, data and code here give {key[:12]}")
    if not wrong and unseen:
        return Finding(UNCHECKED, "keys", f"{unseen} runs cannot be planned here; {len(planned)} hold")
    return _told("keys", wrong, f"{len(planned)} run keys follow from suite, data and code")


# ---------------------------------------------------------------- with the store


def _checksums(opened: Opened) -> Finding:
    """Every stored artefact of the suite matches the checksums it was written with."""
    if opened.store is None:
        return Finding(UNCHECKED, "checksums", "the store is not here; name it with --store")
    wrong, whole, missing = [], 0, []
    for kind, key, title in artefacts(opened.plan):
        if not opened.store.has(kind, key):
            missing.append(f"{kind} {key[:12]} ({title})")
            continue
        damage = opened.store.wrong(kind, key)
        whole += not damage
        if damage:
            wrong.append(f"{kind} {key[:12]} ({title}): {damage}")
    if not wrong and missing:
        return Finding(UNCHECKED, "checksums", f"{len(missing)} artefacts are not in the store, first {missing[0]}; {whole} hold")
    return _told("checksums", wrong, f"{whole} artefacts match the checksums they were written with")


def _metrics(opened: Opened, rows: pd.DataFrame) -> list[Finding]:
    """Every metric of every row, made again from the stored scores and outputs; and timing.csv from what the artefacts recorded."""
    if opened.store is None:
        return [Finding(UNCHECKED, "metrics", "the store is not here; name it with --store")]
    wrong: list[str] = []
    unread: list[str] = []
    checked = 0
    written = {tuple(str(r[k]) for k in IDENTITY): r for r in rows.to_dict("records")}
    for held in opened.held():
        if not isinstance(held, Held):
            unread.append(f"{held[0].title}: {held[1]}")
            continue
        for made in columns(rows_of(held.run, held.outputs, held.scores, held.absent)).to_dict("records"):
            row = written.get(tuple(str(made[k]) for k in IDENTITY))
            if made["status"] != "ok":
                # a scorer that failed left no scores behind
                if held.absent.get(str(made["scorer"])) is not None and (row is None or row["status"] != "failed"):
                    unread.append(f"{_name(made)}: {made['reason']}")
                continue
            if row is None:
                continue  # `suite` and `keys` say so
            checked += 1
            if row["status"] != "ok":
                wrong.append(f"{_name(row)}: is {row['status']} in results.csv, the store has its scores")
            for metric in METRICS if row["status"] == "ok" else ():
                a, b = _float(row[metric]), _float(made[metric])
                if not np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                    wrong.append(f"{metric} of {_name(row)} is {_text(a)} in results.csv, the store gives {_text(b)}")
            if str(row["chosen"]) != str(made["chosen"]):
                wrong.append(f"{_name(row)}: chosen is {row['chosen']!r}, the store says {made['chosen']!r}")
    found = []
    if unread:
        found.append(Finding(UNCHECKED, "metrics", unread[0] + (f" (and {len(unread) - 1} more)" if len(unread) > 1 else "")))
    if checked or wrong:
        found.append(_told("metrics", wrong, f"{checked} rows follow from stored scores and outputs"))
    return found


def _float(value: Any) -> float:
    return float("nan") if value is None or value == "" or value != value else float(value)


# ---------------------------------------------------------------- versions


def _versions(folder: Path) -> list[Finding]:
    """Versions that the results were made with, against those here. Another version contradicts nothing: it says what was not tried."""
    file = folder / "environment.json"
    if not file.is_file():
        return [Finding(UNCHECKED, "versions", "there is no environment.json")]
    try:
        then = json.loads(file.read_text())
    except ValueError:
        return [Finding(CONTRADICTED, "versions", "environment.json cannot be read")]
    now = provenance("cpu")
    names = ("oodbench", "python", "torch", "torchvision", "numpy", "machine", "commit")
    other = [f"{n} {str(then.get(n))[:12]} (here {str(now[n])[:12]})" for n in names if then.get(n) != now[n]]
    if other:
        return [Finding(UNCHECKED, "versions", f"made with {', '.join(other)}")]
    return [Finding(HOLDS, "versions", ", ".join(f"{n} {str(now[n])[:12]}" for n in names))]
