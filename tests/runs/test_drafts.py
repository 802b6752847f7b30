"""Drafts that nobody writes any more: gone on with by who makes the artefact next, or removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from oodbench.runs import drafts, shards
from oodbench.runs.artefact import Draft
from oodbench.runs.drafts import Drafts, me
from oodbench.runs.store import Store

KEY = "ab" * 32
N, SHARD = 20, 4
X = torch.arange(N * 2.0).view(N, 2)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", SHARD)


def fill(draft: Draft, until: int = N) -> list[int]:
    """Write what is missing, up to a row."""
    written = []
    with draft.rows("outputs", N) as writer:
        for places in writer.missing:
            writer.go_to(places.start)
            for i in range(places.start, min(places.stop, until)):
                writer.put({"x": X[i : i + 1]})
                written.append(i)
        if until < N:
            raise KeyboardInterrupt
    draft.json("meta", {})
    return written


def make(store: Store, until: int = N) -> list[int]:
    with store.lock("outputs", KEY) as held, held.draft() as draft:
        return fill(draft, until)
    return []


def stopped(root: Path, until: int, owner: str = "") -> Path:
    """What a process leaves that got so far: a draft of its own, as if `owner` had been killed."""
    with pytest.raises(KeyboardInterrupt):
        make(Store(root), until)
    (draft,) = (root / "tmp").iterdir()
    named = draft.with_name(f"outputs-{KEY}-{owner}-0123abcd") if owner else draft
    return draft.rename(named)


def content(root: Path) -> bytes:
    (file,) = (root / "outputs").rglob("outputs.safetensors")
    return file.read_bytes()


def dead() -> int:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


HERE = me()["host"]


@pytest.mark.parametrize("until", [4, 11, 19])
@pytest.mark.parametrize(
    "owner",
    ["", f"{HERE}-{dead()}", f"{HERE}-{os.getpid()}", f"{HERE}-0", "elsewhere-0", f"{HERE}-{2**70}"],
    ids=["given up", "dead", "an earlier one of our number", "no number", "another machine", "too large"],
)
def test_a_draft_of_nobody_is_gone_on_with(tmp_path: Path, owner: str, until: int) -> None:
    make(Store(tmp_path / "whole"))
    root = tmp_path / "store"
    stopped(root, until, owner)
    assert make(Store(root)) == list(range(until // SHARD * SHARD, N))
    assert content(root) == content(tmp_path / "whole")
    assert list((root / "tmp").iterdir()) == []
    assert Store(root).damage("outputs", KEY) == ""


@pytest.mark.parametrize("owner", [f"{HERE}-{os.getppid()}", "elsewhere-7"])
def test_of_what_may_be_somebodys_finished_shards_are_copied(tmp_path: Path, owner: str) -> None:
    """Their writer may live: the draft stays as it is, and nobody writes to it."""
    draft = stopped(tmp_path, 11, owner)
    before = {f.name: (f.read_bytes(), f.stat().st_mtime_ns, f.stat().st_ino) for f in draft.iterdir()}
    assert make(Store(tmp_path)) == list(range(8, N))
    assert torch.equal(load_file(next((tmp_path / "outputs").rglob("*.safetensors")))["x"], X)
    assert {
        f.name: (f.read_bytes(), f.stat().st_mtime_ns, f.stat().st_ino) for f in draft.iterdir()
    } == before


def test_the_draft_with_the_most_is_taken_and_the_others_removed(tmp_path: Path) -> None:
    few = stopped(tmp_path, 4, f"{HERE}-{dead()}").rename(tmp_path / "few")
    stopped(tmp_path, 13, f"{HERE}-{dead()}")
    few.rename(tmp_path / "tmp" / f"outputs-{KEY}-{HERE}-{dead()}-89abcdef")
    (tmp_path / "tmp" / f"outputs-{KEY}-{HERE}-{dead()}-00000000").mkdir()
    assert make(Store(tmp_path)) == list(range(12, N))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_draft_is_one_writers(tmp_path: Path) -> None:
    """Of two that come for it at once, one takes it; whole artefacts come of both."""
    draft = stopped(tmp_path, 11, f"{HERE}-{dead()}")
    first = Drafts(tmp_path / "tmp").begin("outputs", KEY, tmp_path / "none")
    assert not draft.exists()
    second = Drafts(tmp_path / "tmp").begin("outputs", KEY, tmp_path / "none")
    assert first != second


def test_what_else_a_stopped_process_wrote_is_not_kept(tmp_path: Path) -> None:
    draft = stopped(tmp_path, 11)
    (draft / "meta.json").write_text("half")
    (draft / "outputs.safetensors.journal.begun").write_text("half")
    (draft / "more").mkdir()
    make(Store(tmp_path))
    (folder,) = {f.parent for f in (tmp_path / "outputs").rglob("*.safetensors")}
    assert sorted(f.name for f in folder.iterdir()) == ["manifest.json", "meta.json", "outputs.safetensors"]
    assert (folder / "meta.json").read_text() == "{}\n"


def test_a_process_killed_right_before_the_end_loses_nothing(tmp_path: Path) -> None:
    """Its manifest is written, its journal is gone."""
    folder = tmp_path / "tmp" / f"outputs-{KEY}-{HERE}-{dead()}-0123abcd"
    store = Store(tmp_path)
    folder.mkdir()
    draft = Draft(folder)
    fill(draft)
    draft.finish("outputs")
    assert make(store) == []
    assert store.damage("outputs", KEY) == ""


@pytest.mark.parametrize("at", [0, 9, 19])
def test_a_damaged_shard_of_a_stored_artefact_alone_is_made_again(tmp_path: Path, at: int) -> None:
    make(Store(tmp_path))
    before = content(tmp_path)
    (file,) = (tmp_path / "outputs").rglob("outputs.safetensors")
    data = bytearray(before)
    data[len(before) - 8 * (N - at)] ^= 1
    file.write_bytes(data)
    said: list[str] = []
    store = Store(tmp_path, said.append)
    assert store.get("outputs", KEY) is None
    first = at // SHARD * SHARD
    assert said == [
        f"damaged outputs {KEY[:12]}: outputs.safetensors does not match its checksum in the samples"
        f" {first} to {first + SHARD - 1}; it will be made again"
    ]
    assert make(store) == list(range(first, first + SHARD))
    assert content(tmp_path) == before
    assert store.get("outputs", KEY) is not None
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("harm", ["manifest", "cut", "longer", "meta", "gone", "nonsense"])
def test_of_other_damage_what_is_whole_is_kept(tmp_path: Path, harm: str) -> None:
    make(Store(tmp_path))
    before = content(tmp_path)
    (file,) = (tmp_path / "outputs").rglob("outputs.safetensors")
    if harm == "manifest":
        (file.parent / "manifest.json").write_text("{")
    elif harm == "cut":
        file.write_bytes(before[:-1])
    elif harm == "longer":
        file.write_bytes(before + bytes(9))
    elif harm == "meta":
        (file.parent / "meta.json").unlink()
    elif harm == "nonsense":
        file.write_bytes(os.urandom(len(before)))
    else:
        file.unlink()
    store = Store(tmp_path)
    assert store.get("outputs", KEY) is None
    written = {"cut": 4, "longer": 0, "meta": 0}.get(harm, N)
    assert len(make(store)) == written
    assert content(tmp_path) == before
    assert Store(tmp_path).damage("outputs", KEY) == ""


def test_what_nobody_comes_back_for_is_removed_in_the_end(tmp_path: Path) -> None:
    """A draft of data that have changed since: its key is never asked for again."""
    store = Store(tmp_path)
    old = time.time() - 30 * 86400
    names = {
        f"outputs-{KEY}-{HERE}-{dead()}-0123abcd": False, f"outputs-{KEY}-elsewhere-7-0123abcd": False,
        f"outputs-{KEY}-{HERE}-0-0123abcd": False, "damaged-0123abcd": False,
        f"outputs-{KEY}-{HERE}-{os.getppid()}-0123abcd": True,
    }  # fmt: skip
    for name in names:
        for folder in (tmp_path / "tmp" / name, tmp_path / "tmp" / f"{name[:-1]}e"):
            folder.mkdir()
            (folder / "x").write_text("x")
            if folder.name == name:
                for path in (folder / "x", folder):
                    os.utime(path, (old, old))
    (tmp_path / "tmp" / "probe-0123abcd").touch()
    os.utime(tmp_path / "tmp" / "probe-0123abcd", (old, old))
    Store(tmp_path)
    assert not list((tmp_path / "tmp").glob("probe-*"))
    assert len(list((tmp_path / "tmp").iterdir())) == len(names) + 1
    assert drafts.FORGOTTEN < 30 * 86400
    for name, stays in names.items():
        assert (tmp_path / "tmp" / name).exists() == stays, name
        assert (tmp_path / "tmp" / f"{name[:-1]}e").exists()
    assert store.get("outputs", KEY) is None


def test_age_is_counted_by_the_clock_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose own clock is a month ahead removes nothing that another is writing."""
    draft = stopped(tmp_path, 11, "elsewhere-7")
    ahead = time.time() + 30 * 86400
    monkeypatch.setattr(time, "time", lambda: ahead)
    make(Store(tmp_path))
    assert draft.exists()
    for path in (*draft.iterdir(), draft):
        os.utime(path, (ahead - 60 * 86400, ahead - 60 * 86400))
    Store(tmp_path)
    assert not draft.exists()


def test_two_that_write_the_same_in_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    """Without locks, by two stores."""
    first = Drafts(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    mine = first.begin("outputs", KEY, tmp_path / "none")
    (mine / "half").write_text("x")
    other = Drafts(tmp_path / "tmp").begin("outputs", KEY, tmp_path / "none")
    assert mine != other
    Drafts(tmp_path / "tmp").sweep()
    assert (mine / "half").exists()
    first.remove(mine)
    assert not mine.exists()


def test_packs_of_a_dead_process_and_what_was_taken_away_go_at_the_next_start(tmp_path: Path) -> None:
    Store(tmp_path)
    names = {
        f"packs-{KEY}-{HERE}-{dead()}-0123abcd": False, f"packs-{KEY}-{HERE}-{os.getppid()}-0123abcd": True,
        f"packs-{KEY}-elsewhere-{dead()}-0123abcd": True, "aside-0123abcd": False,
        f"probe-clock-{HERE}-{dead()}-0123abcd": False,
    }  # fmt: skip
    for name in names:
        (tmp_path / "tmp" / name).mkdir()
        (tmp_path / "tmp" / name / "half").write_text("x")
    Store(tmp_path)
    assert {name: (tmp_path / "tmp" / name).exists() for name in names} == names


def test_processes_in_another_world_of_numbers_are_on_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in containers that share a host's name: its process 7 is not ours."""
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[4026531999]")
    there = me()["host"]
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[4026531836]")
    assert there == f"{me()['host']}.4026531999"


def _vanishing(monkeypatch: pytest.MonkeyPatch, gone: Path) -> None:
    """Another process takes `gone` away at the moment when somebody looks into it."""
    for name in ("scandir", "listdir"):
        real = getattr(os, name)

        def look(place: Any = ".", real: Any = real) -> Any:
            if str(place) == str(gone):
                shutil.rmtree(gone, ignore_errors=True)
            return real(place)

        monkeypatch.setattr(os, name, look)


def test_a_draft_that_another_process_ends_while_it_is_looked_at_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As processes without locks do, and machines that no lock reaches."""
    store = Store(tmp_path)
    gone = tmp_path / "tmp" / f"outputs-{KEY}-another.host-1-abcdef12"
    gone.mkdir()
    _vanishing(monkeypatch, gone)
    assert make(store) == list(range(N))
    assert store.has("outputs", KEY)


def test_an_artefact_that_another_process_packs_as_soon_as_it_is_there_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder, and the one above, are gone before they are put on the disk."""
    store = Store(tmp_path)
    publish = store._publish

    def packed(folder: Path, final: Path, kind: str) -> None:
        publish(folder, final, kind)
        shutil.rmtree(final.parent)

    monkeypatch.setattr(store, "_publish", packed)
    make(store)
    assert not list((tmp_path / "tmp").iterdir())
