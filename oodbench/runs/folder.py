"""A results folder: which files lie in it, which are made always and which on demand, and from what.

`oodbench run`, `merge` and `report` write through it, `verify` reads the same names."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.errors import UserError
from oodbench.core.files import replace
from oodbench.core.names import no_formula
from oodbench.core.spec import Spec
from oodbench.core.text_files import read_bytes, read_mapping, there
from oodbench.evaluation import parquet
from oodbench.evaluation.costs import Specs, of_rows
from oodbench.evaluation.csv_text import HAS_PYARROW, to_csv, write_csv
from oodbench.evaluation.decimals import rounded
from oodbench.evaluation.large import LARGE, compacted
from oodbench.evaluation.rows import as_written, read_rows, results_file
from oodbench.evaluation.tables import AGAIN, AMOUNT, ANY, FRACTION, Range, parsed, read_table, table
from oodbench.suite.suite import Suite

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.report.page.per_sample import Pictures

SUITE, BOARD, CLAIMS = "suite.yaml", "leaderboard.csv", "claims.csv"
ENVIRONMENT, PAGE, PLOTS = "environment.json", "report.html", "plots"

TIMING = (
    "run_key", "pair", "split", "network", "method", "seed", "scorer", "ood", "stage", "n",
    "seconds", "bytes",
)  # fmt: skip
"""The columns of timing.csv. Seconds stand here and not in results.csv, which is byte-identical from run to
run."""

HISTORY = (
    "run_key", "pair", "split", "network", "method", "seed", "epoch", "loss", "lr", "val_accuracy", "acted",
)  # fmt: skip
"""The columns of history.csv: each epoch of each training, those of an ensemble's members too. `acted` is the
share of its batches in which the method's own term took part; empty for trainings of versions before it."""

NUMBERS: Mapping[str, Range] = {
    "n": AMOUNT, "seconds": AMOUNT, "bytes": AMOUNT, "epoch": AMOUNT, "loss": ANY, "lr": AMOUNT,
    "val_accuracy": FRACTION, "acted": FRACTION,
}  # fmt: skip
"""Those columns of both tables that hold numbers; the others hold names."""
_COLUMNS = {"timing": TIMING, "history": HISTORY}


@dataclass
class Contents:
    """Everything that the files of a results folder are made from."""

    rows: pd.DataFrame
    suite: Suite | None = None
    suite_text: str = ""
    """What suite.yaml says, where it was read from there; empty: what the suite gives."""
    timing: pd.DataFrame | None = None
    history: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None
    """Per-sample scores, for the pictures and the page; None: they are not at hand."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    pictures: Pictures | None = None
    """Reads images of the pairs' sets, for the page."""
    formats: Sequence[str] = ()
    """In which formats pictures are drawn, of ``png`` and ``svg``; none: no pictures."""
    compressed: bool = False
    """Tables that programs read as .csv.gz; the leaderboard and the claims stay plain."""


@dataclass
class Written:
    """What was made on the way: the leaderboard, the verdicts on the suite's claims (empty where it states
    none)."""

    leaderboard: pd.DataFrame
    claims: pd.DataFrame


@dataclass(frozen=True)
class ResultsFolder:
    """One suite's results on disk."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> ResultsFolder:
        """The folder that holds the results meant by `path`. UserError where it holds none."""
        return cls(results_file(path).parent)

    @classmethod
    def writable(cls, results: Path, name: str) -> ResultsFolder:
        """The suite's results folder, made and probed before any work."""
        folder = results / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"results folder {folder}: cannot be written ({error.strerror or error}); choose another with"
                " --results"
            ) from None
        return cls(folder)

    # -------------------------------------------------- reading

    def rows(self) -> pd.DataFrame:
        """The rows of results.csv."""
        return read_rows(results_file(self.path))

    def frame(self, name: str) -> pd.DataFrame | None:
        """The table ``timing`` or ``history``; None where there is none. UserError where it is damaged."""
        file = table(self.path, name)
        if file is None:
            return None
        numbers = {c: NUMBERS[c] for c in _COLUMNS[name] if c in NUMBERS}
        names = [c for c in _COLUMNS[name] if c not in numbers]
        return read_table(file, names, numbers, newer=["acted"])

    def environment(self) -> dict[str, Any]:
        """What environment.json says, empty where there is none. UserError where it cannot be read."""
        file = self.path / ENVIRONMENT
        return read_mapping(file, AGAIN) if there(file) else {}

    # -------------------------------------------------- writing

    def write(self, contents: Contents) -> Written:
        """Write every file, each so that a reader sees the old one or the new one, and remove the pictures of
        other rows."""
        from oodbench.evaluation.leaderboard import over_trials

        timing = None if contents.timing is None else _as_written(contents.timing)
        c = dataclasses.replace(contents, rows=as_written(contents.rows), timing=timing)
        made = Written(over_trials(c.rows), verdicts_of(c.rows, c.suite))
        stale = self._pictures_of_other(c)
        if c.suite is not None:
            replace(self.path / SUITE, c.suite.dump())
        for name, frame in (("results", c.rows), ("timing", c.timing), ("history", c.history)):
            if frame is not None:
                self._table(name, frame, c.compressed)
        replace(self.path / BOARD, to_csv(made.leaderboard))
        if len(made.claims):
            replace(self.path / CLAIMS, to_csv(made.claims))
        else:
            (self.path / CLAIMS).unlink(missing_ok=True)  # of a suite that stated some
        replace(self.path / ENVIRONMENT, json.dumps(dict(c.environment), indent=1, sort_keys=True) + "\n")
        drawn = self.draw(c, c.formats) if c.formats else []
        for file in set(stale) - set(drawn):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.path / PLOTS).rmdir()  # left empty
        replace(self.path / PAGE, page_of([c], made))
        return made

    def draw(self, contents: Contents, formats: Sequence[str]) -> list[Path]:
        """Draw every picture of some contents; returns their files."""
        import pandas as pd

        from oodbench.report.plots import draw_all

        samples = pd.DataFrame() if contents.samples is None else contents.samples
        costs = costs_of([contents], contents.rows)
        return draw_all(contents.rows, samples, self.path / PLOTS, costs, formats=formats)

    def _pictures_of_other(self, contents: Contents) -> list[Path]:
        """Pictures that lie here of rows which are not these, by the names that `draw_all` gives; anybody
        else's files are left alone."""
        import pandas as pd

        from oodbench.report.plots import kind_of

        tables = (("results", contents.rows), ("timing", contents.timing))
        large = any(f is not None and len(f) >= LARGE for _, f in tables)
        # the text of a large table is made once; its pictures are drawn again all the same
        if not large and all(f is None or self._plain(name) == to_csv(f).encode() for name, f in tables):
            return []
        known = [contents.rows[["pair", "network"]]]
        with contextlib.suppress(UserError):
            known.append(self.rows()[["pair", "network"]])
        places = pd.concat(known).drop_duplicates()
        return [f for f in sorted((self.path / PLOTS).glob("*.*")) if kind_of(f, places)]

    def _plain(self, name: str) -> bytes:
        """The text of a table that lies here; empty where there is none, or it is damaged."""
        with contextlib.suppress(UserError, OSError, EOFError, zlib.error):
            file = table(self.path, name)
            data = b"" if file is None else read_bytes(file)
            return gzip.decompress(data) if file is not None and file.suffix == ".gz" else data
        return b""

    def _table(self, name: str, frame: pd.DataFrame, compressed: bool) -> None:
        plain, packed = self.path / f"{name}.csv", self.path / f"{name}.csv.gz"
        file, large = packed if compressed else plain, len(frame) >= LARGE
        write_csv(frame, file)
        (plain if compressed else packed).unlink(missing_ok=True)  # two forms could disagree
        if large and name == "results" and HAS_PYARROW:
            parquet.write(frame, file)
        else:
            parquet.remove(file)


def _as_written(timing: pd.DataFrame) -> pd.DataFrame:
    if len(timing) >= LARGE:
        return compacted(timing, NUMBERS, no_formula, rounded)
    return parsed(to_csv(timing), list(timing.columns), [c for c in timing.columns if c in NUMBERS])


def verdicts_of(rows: pd.DataFrame, suite: Suite | None) -> pd.DataFrame:
    """The verdicts on a suite's claims, empty where it states none."""
    from oodbench.evaluation.verdicts import judge

    claims = suite.claims if suite is not None else ()
    methods = {m.label: m.spec.name for m in suite.methods} if suite is not None else {}
    return judge(rows, claims, methods)


def specs_of(suites: Iterable[Suite]) -> Specs:
    """Scorers and methods by the labels that rows have."""
    found: dict[tuple[str, str], Spec] = {}
    for suite in suites:
        found |= {("scorer", s.label): s.spec for s in suite.scorers}
        found |= {("method", m.label): m.spec for m in suite.methods}
    return found


def costs_of(folders: Sequence[Contents], rows: pd.DataFrame) -> pd.DataFrame | None:
    """What the rows of some folders cost; None where none of them has a timing.csv."""
    timing = joined(c.timing for c in folders if c.timing is not None and len(c.timing))
    specs = specs_of(c.suite for c in folders if c.suite is not None)
    return None if timing is None else of_rows(rows, timing, specs)


def page_of(folders: Sequence[Contents], made: Written | None = None) -> str:
    """The page of one or several folders' contents, claims included; `made` spares making it again."""
    import pandas as pd

    from oodbench.evaluation.leaderboard import over_trials
    from oodbench.evaluation.rows import combine
    from oodbench.report.page import page

    frames = [c.rows for c in folders]
    rows = frames[0] if len(frames) == 1 else combine(frames, [_named(c) for c in folders])
    environment: dict[str, Any] = {}
    for c in folders:
        found = dict(c.environment)
        environment |= found if len(folders) == 1 else {f"{_named(c)}: {k}": v for k, v in found.items()}
    suites = [c.suite for c in folders if c.suite is not None]
    verdicts = [made.claims] if made else [verdicts_of(c.rows, c.suite) for c in folders]
    return page.render(
        rows,
        made.leaderboard if made else over_trials(rows),
        joined(c.samples for c in folders if c.samples is not None and len(c.samples)),
        about=page.About(
            "\n---\n".join(c.suite_text or c.suite.dump() for c in folders if c.suite is not None),
            environment,
            [f for s in suites for f in s.reference],
        ),
        costs=costs_of(folders, rows),
        pictures=first_pictures(folders),
        claims=pd.concat(verdicts, ignore_index=True),
    )


def first_pictures(folders: Sequence[Contents]) -> Pictures:
    """Reads the images of a pair through the first folder that has them."""
    readers = [c.pictures for c in folders if c.pictures is not None]

    def read(pair: str, split: str, ood: str, indices: Sequence[int]) -> Sequence[Any]:
        return next((images for r in readers if len(images := r(pair, split, ood, indices))), [])

    return read


def joined(frames: Iterable[pd.DataFrame | None]) -> pd.DataFrame | None:
    """Tables one below the other; None where there is none."""
    import pandas as pd

    there = [f for f in frames if f is not None]
    return pd.concat(there, ignore_index=True) if there else None


def _named(contents: Contents) -> str:
    return contents.suite.name if contents.suite is not None else str(contents.rows["suite"].iloc[0])
