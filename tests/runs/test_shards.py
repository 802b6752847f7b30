"""A file that is written in shards: what is finished is kept, what is damaged is written again, alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from oodbench.runs import shards
from oodbench.runs.layout import layout_in
from oodbench.runs.shards import journal_of, noted
from oodbench.runs.tensor_file import RowWriter

N, SHARD, BATCH = 53, 8, 4
RNG = torch.Generator().manual_seed(0)
ROWS = {"logits": torch.randn(N, 3, generator=RNG), "features": torch.randn(N, 5, generator=RNG).half(),
        "labels": torch.arange(N)}  # fmt: skip


def write(file: Path, until: int = N, rows: dict[str, Tensor] = ROWS, shard: int = SHARD) -> list[int]:
    """Write what is missing up to a row, as an extraction does; returns the rows that were written. Without
    an end where it stops half way, as a process that is killed."""
    writer, written = RowWriter(file, N, shard), []
    for places in writer.missing:
        writer.go_to(places.start)
        for start in range(places.start, min(places.stop, until), BATCH):
            end = min(start + BATCH, places.stop)
            writer.put({k: t[start:end] for k, t in rows.items()})
            written += range(start, end)
    if until >= N:
        writer.finish()
    writer.close()
    return written


def same(file: Path) -> bool:
    found = load_file(file)
    return all(torch.equal(found[k], t) and found[k].dtype == t.dtype for k, t in ROWS.items())


@pytest.mark.parametrize("until", [0, 3, 4, 8, 9, 20, 40, 48, 52])
def test_what_was_finished_is_not_written_again(tmp_path: Path, until: int) -> None:
    whole, file = tmp_path / "whole.safetensors", tmp_path / "x.safetensors"
    write(whole)
    done = len(write(file, until))
    again = write(file)
    assert again == list(range(done // SHARD * SHARD, N)), "a shard at most is lost"
    assert file.read_bytes() == whole.read_bytes()
    assert same(file)


def test_killed_again_and_again_it_is_finished(tmp_path: Path) -> None:
    whole, file = tmp_path / "whole.safetensors", tmp_path / "x.safetensors"
    write(whole)
    written = [len(write(file, until)) for until in (5, 12, 12, 30, 31, 47, 53)]
    assert sum(written) - N < SHARD * 7
    assert file.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("at", [0, 1, 3, 6])
def test_a_damaged_shard_alone_is_written_again(tmp_path: Path, at: int) -> None:
    file = tmp_path / "x.safetensors"
    write(file)
    place = list(layout_in(file).parts(range(at * SHARD, at * SHARD + 1)))[1][0]
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert write(file) == list(range(at * SHARD, min(at * SHARD + SHARD, N)))
    assert same(file)


@pytest.mark.parametrize(
    ("harm", "kept"),
    [
        (lambda j: j[:-5], 6), (lambda j: j + b'{"shard": 0, "sha', 7), (lambda j: j[:10], 0),
        (lambda j: b"", 0), (lambda j: b"\0" * len(j), 0), (lambda j: j.replace(b'"n": 53', b'"n": 54'), 0),
        (lambda j: j.replace(b'"rows": 8', b'"rows": 4'), 0),
        (lambda j: j.replace(b'"head": "', b'"head": "0'), 0),
        (lambda j: b"[" * 100_000, 0), (lambda j: b"\n".join(reversed(j.split(b"\n"))), 0),
    ],
)  # fmt: skip
def test_a_journal_is_believed_as_far_as_it_can_be(tmp_path: Path, harm: Any, kept: int) -> None:
    """Cut anywhere, or of another file."""
    file = tmp_path / "x.safetensors"
    write(file)
    journal_of(file).write_bytes(harm(journal_of(file).read_bytes()))
    assert len(write(file)) == (N - kept * SHARD if kept < 7 else 0)
    assert same(file)


def test_a_file_that_was_cut_is_written_from_there(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write(file)
    head = len(layout_in(file).head)
    file.write_bytes(file.read_bytes()[: head + 8 * N])  # the widest type alone, so no shard is whole
    assert len(write(file)) == N
    file.write_bytes(file.read_bytes()[: head - 3])
    assert len(write(file)) == N
    file.unlink()
    assert len(write(file)) == N
    assert same(file)


def test_rows_of_another_kind_begin_anew_the_next_time(tmp_path: Path) -> None:
    """A file of one layout is never filled with rows of another."""
    file = tmp_path / "x.safetensors"
    write(file, 20)
    other: Sequence[dict[str, Tensor]] = [
        ROWS | {"features": torch.zeros(N, 6)}, ROWS | {"more": torch.zeros(N)}, {"labels": ROWS["labels"]},
    ]  # fmt: skip
    for rows in other:
        write(file, 20)
        with pytest.raises(ValueError, match="do not fit the first batch's"):
            write(file, N, rows)
        assert noted(file) is None
    assert len(write(file)) == N


def test_another_size_of_shards_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write(file, 40)
    assert len(write(file, shard=12)) == N
    assert same(file)


def test_a_file_of_one_shard_has_no_journal(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write(file, shard=N)
    assert [f.name for f in tmp_path.iterdir()] == ["x.safetensors"]


def test_the_manifest_says_of_each_shard_whether_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write(file)
    writer = RowWriter(file, N, SHARD)
    entry = json.loads(json.dumps(writer.manifest))
    writer.close()
    assert entry["bytes"] == file.stat().st_size
    assert len(entry["shards"]) == 7
    assert shards.damage(file, entry) == ""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert shards.damage(file, entry) == "does not match its checksum in the samples 48 to 52"
    data[len(layout_in(file).head)] ^= 1
    file.write_bytes(data)
    assert shards.damage(file, entry) == (
        "does not match its checksum in the samples 0 to 7 and 1 shards more"
    )
    data[9] ^= 1
    file.write_bytes(data)
    assert shards.damage(file, entry) == "does not match its checksum"
    assert shards.damage(file, entry | {"shards": entry["shards"][:3]}) == "does not match its checksum"


def test_what_a_shard_took_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, clock = tmp_path / "x.safetensors", iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    write(file, 24)
    writer = RowWriter(file, N, SHARD)
    assert writer.seconds > 0
    assert writer.seconds == sum(t for _, t in noted(file).shards.values())  # type: ignore[union-attr]
    writer.close()


def test_a_shard_is_noted_after_its_rows_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    real, real_note = os.fsync, shards.note
    monkeypatch.setattr(os, "fsync", lambda fd: (said.append("on the disk"), real(fd))[1])
    monkeypatch.setattr(shards, "note", lambda *a: (said.append("noted"), real_note(*a))[1])
    write(tmp_path / "x.safetensors", 8)
    assert said[-3:] == ["on the disk", "noted", "on the disk"]
