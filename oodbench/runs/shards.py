"""What is finished of a file that is written in shards: noted in a journal beside it while it grows, in the
artefact's manifest afterwards. Either way a shard is whole by its own checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from oodbench.data.reading import in_parts
from oodbench.runs.layout import Layout, layout_at, layout_in, stored_sha256

SHARD = 4096
"""Samples of a shard, or a little more, such that a shard is a whole number of batches. A killed process
loses one at most."""
JOURNAL = ".journal"

_BAD = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What a file of nonsense raises where a journal, a manifest or a layout was expected."""


class Finished(NamedTuple):
    """Finished shards of a file of `n` rows: rows of a shard, sha256 of the bytes before the data, and of
    each shard the checksum and the seconds that it took."""

    n: int
    rows: int
    head: str
    shards: dict[int, tuple[str, float]]

    @property
    def manifest(self) -> dict[str, Any]:
        """What an artefact's manifest says of a file all of whose shards are finished."""
        sums = [self.shards[i][0] for i in range(len(self.shards))]
        return {"n": self.n, "rows": self.rows, "head": self.head, "shards": sums}


def head_sha256(layout: Layout) -> str:
    """sha256 (hex) of a file's header: names, types and shapes of what it holds."""
    return hashlib.sha256(layout.head).hexdigest()


def of_manifest(entry: Mapping[str, Any]) -> Finished:
    """What a manifest says of a file in shards. KeyError for one that is not."""
    return Finished(
        entry["n"], entry["rows"], entry["head"], {i: (s, 0.0) for i, s in enumerate(entry["shards"])}
    )


def journal_of(file: Path) -> Path:
    """Where the finished shards of a file are noted, beside it."""
    return file.with_name(file.name + JOURNAL)


def begin(file: Path, finished: Finished) -> None:
    """Start the journal of a file anew, with the shards that are finished already."""
    lines: list[dict[str, Any]] = [{"n": finished.n, "rows": finished.rows, "head": finished.head}]
    lines += [{"shard": i, "sha256": s, "seconds": t} for i, (s, t) in sorted(finished.shards.items())]
    draft = file.with_name(file.name + ".begun")
    _write(draft, lines, os.O_TRUNC)
    os.replace(draft, journal_of(file))


def note(file: Path, shard: int, sha256: str, seconds: float) -> None:
    """Add a shard, whose rows are on the disk, to the journal."""
    _write(journal_of(file), [{"shard": shard, "sha256": sha256, "seconds": seconds}], os.O_APPEND)


def _write(path: Path, lines: list[dict[str, Any]], how: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o644)
    try:
        with open(fd, "wb", closefd=False) as journal:
            journal.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        os.fsync(fd)
    finally:
        os.close(fd)


def noted(file: Path) -> Finished | None:
    """What the journal of a file says; None where there is none that says anything. A line that was cut is
    left out."""
    try:
        first, *lines = journal_of(file).read_bytes().split(b"\n")
        about = json.loads(first)
        shards = {}
        for line in lines[:-1]:
            one = json.loads(line)
            shards[int(one["shard"])] = (str(one["sha256"]), float(one["seconds"]))
        return Finished(int(about["n"]), int(about["rows"]), str(about["head"]), shards)
    except _BAD:
        return None


def sound(file: Path, finished: Finished) -> tuple[Layout, set[int]]:
    """The layout of a file, and which of its finished shards hold what they held when they were noted.
    OSError or ValueError where it is not that file at all."""
    layout = layout_in(file)
    with open(file, "rb") as f:
        return layout, _whole(f.fileno(), 0, layout, finished)


def _whole(fd: int, at: int, layout: Layout, finished: Finished) -> set[int]:
    if head_sha256(layout) != finished.head or layout.n != finished.n:
        raise ValueError("another layout")
    whole = set()
    for i, rows in enumerate(in_parts(finished.n, finished.rows)):
        if i in finished.shards and stored_sha256(fd, layout, rows, at) == finished.shards[i][0]:
            whole.add(i)
    return whole


def damage(file: Path, entry: Mapping[str, Any]) -> str:
    """What of a file in shards does not match its manifest's `entry`, in a few words; empty where all
    does."""
    finished = of_manifest(entry)
    try:
        return _wrong(finished, entry, *sound(file, finished))
    except _BAD:
        return "does not match its checksum"


def damage_at(fd: int, at: int, entry: Mapping[str, Any]) -> str:
    """The same of a file that lies inside an open one, from byte `at` on."""
    finished = of_manifest(entry)
    try:
        layout = layout_at(fd, at)
        return _wrong(finished, entry, layout, _whole(fd, at, layout, finished))
    except _BAD:
        return "does not match its checksum"


def _wrong(finished: Finished, entry: Mapping[str, Any], layout: Layout, whole: set[int]) -> str:
    wrong = sorted(finished.shards.keys() - whole)
    if layout.bytes != entry["bytes"] or len(finished.shards) != -(-finished.n // finished.rows):
        return "does not match its checksum"
    if not wrong:
        return ""
    first = list(in_parts(finished.n, finished.rows))[wrong[0]]
    more = f" and {len(wrong) - 1} shards more" if len(wrong) > 1 else ""
    return f"does not match its checksum in the samples {first.start} to {first.stop - 1}{more}"


def ranges(missing: Iterator[range]) -> list[range]:
    """Parts that follow one another as one."""
    found: list[range] = []
    for part in missing:
        if found and found[-1].stop == part.start:
            found[-1] = range(found[-1].start, part.stop)
        else:
            found.append(part)
    return found
