"""The columns of a large table beside its CSV file, as Parquet: read in its place where it belongs to it. The
CSV file is what counts; what does not belong to it, or cannot be read, is as if it were not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.core.files import replacing
from oodbench.core.text_files import there
from oodbench.evaluation.csv_text import HAS_PYARROW
from oodbench.evaluation.large import Columns, Names, released

if TYPE_CHECKING:
    import pandas as pd

_OF = b"oodbench.csv"
_ROWS = 250_000


def beside(csv_file: Path) -> Path:
    """The Parquet file of a table: ``results.parquet`` of ``results.csv`` and of ``results.csv.gz``."""
    return csv_file.with_name(csv_file.name.removesuffix(".gz").removesuffix(".csv") + ".parquet")


def digest_of(file: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while data := stream.read(1 << 20):
            found.update(data)
    return found.hexdigest()


def write(frame: pd.DataFrame, csv_file: Path) -> None:
    """Write the columns of a table, as it is read from its CSV file (`rows.as_written`), beside that file,
    with its size and digest. Needs pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = {"size": csv_file.stat().st_size, "sha256": digest_of(csv_file)}
    names = [c for c in frame if frame[c].dtype.kind != "f"]
    kinds = [(c, pa.dictionary(pa.int32(), pa.string()) if c in names else pa.float64()) for c in frame]
    schema = pa.schema(kinds, metadata={_OF: json.dumps(said).encode()})
    how: Any = {"compression": "zstd", "use_dictionary": names, "write_page_checksum": True}
    with (
        replacing(beside(csv_file)) as draft,
        pq.ParquetWriter(draft, schema, **how, write_statistics=False) as writer,
    ):
        for start in range(0, len(frame), _ROWS):
            part = frame.iloc[start : start + _ROWS]
            cells = [pa.array(part[c], type=kind, from_pandas=True) for c, kind in kinds]
            writer.write_table(pa.Table.from_arrays(cells, schema=schema))
            del cells
            for name in frame:
                if name not in names:
                    released(frame[name].to_numpy())


def read(csv_file: Path, names: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame | None:
    """The table of a CSV file from the Parquet file beside it: names as categories, numbers mapped.

    Args:
        csv_file: ``.csv`` or ``.csv.gz``.
        names: columns of names that it has to have.
        numbers: columns of numbers that it has to have.

    Returns:
        The table; None where there is no such file, pyarrow is not installed, or it does not belong to the
        CSV file byte by byte, or is damaged.
    """
    file = beside(csv_file)
    if not HAS_PYARROW or not file.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as found:
            schema = found.schema_arrow
            said = json.loads((schema.metadata or {}).get(_OF, b"{}"))
            if not _belongs(said, csv_file) or not {*names, *numbers} <= {*schema.names}:
                return None
            floats = [c for c in schema.names if schema.field(c).type == pa.float64()]
            if not {*numbers} <= {*floats}:
                return None
        with pq.ParquetFile(
            file,
            read_dictionary=[c for c in schema.names if c not in floats],
            page_checksum_verification=True,
            pre_buffer=False,
        ) as found:
            return _table(found, floats, csv_file.parent)
    except (OSError, ValueError, TypeError, pa.ArrowException):
        return None


def _belongs(said: Mapping[str, Any], csv_file: Path) -> bool:
    return said.get("size") == csv_file.stat().st_size and said.get("sha256") == digest_of(csv_file)


def _table(found: Any, numbers: Sequence[str], folder: Path) -> pd.DataFrame:
    every = found.schema_arrow.names
    columns = Columns(numbers, found.metadata.num_rows, folder)
    keys = {name: Names() for name in every if name not in numbers}
    start = 0
    for batch in found.iter_batches(batch_size=_ROWS):
        for name, column in zip(every, batch.columns, strict=True):
            if name in keys:
                keys[name].add(column.indices.to_numpy(), column.dictionary.to_pylist())
            else:
                columns.write(name, start, column.to_numpy(zero_copy_only=False))
        start += batch.num_rows
    return columns.frame({name: one.column() for name, one in keys.items()}, every)


def remove(csv_file: Path) -> None:
    """Remove the Parquet file beside a table that has become small."""
    if there(beside(csv_file)):
        beside(csv_file).unlink()
