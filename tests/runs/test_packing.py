"""A run's artefacts become one pack, and nothing is ever lost on the way."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from oodbench.core.progress import Reporter
from oodbench.runs import pack as pack_module
from oodbench.runs import packing, shards, stamps
from oodbench.runs.artefact import in_memory
from oodbench.runs.engine import Engine
from oodbench.runs.findings import HOLDS
from oodbench.runs.packing import address, addresses, pack, pack_run
from oodbench.runs.pages import contents_of
from oodbench.runs.runner import run
from oodbench.runs.store import CannotKeep, Store
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from tests.runs.checked import findings, states
from tests.runs.packed import (
    AT,
    flip,
    key,
    loose,
    make_outputs,
    make_scores,
    member,
    packed_store,
    packs,
    places,
    wrong,
)
from tests.runs.suites import RICH, SMALL, arrays_suite, run_file, write_arrays
from tests.unpacked import unpacked

NOTHING = {"weights": 0, "outputs": 0, "choices": 0, "scores": 0}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 4)


def tree(root: Path) -> dict[str, bytes]:
    """Every file of the artefacts of a store."""
    return {
        str(f.relative_to(root)): f.read_bytes()
        for kind in ("scores", "choices", "outputs")
        for f in (root / kind).rglob("*")
        if f.is_file()
    }


def test_a_pack_taken_apart_is_what_it_was_made_of(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make_scores(store, range(6))
    make_outputs(store, range(2))
    before = tree(tmp_path)
    pack(store, AT)
    assert tree(tmp_path) == {}
    assert not any(f.is_dir() for kind in ("scores", "outputs") for f in (tmp_path / kind).iterdir())
    assert not wrong(Store(tmp_path), range(6), range(2))
    assert tree(unpacked(tmp_path)) == before
    assert not wrong(Store(tmp_path), range(6), range(2)), "a store of before is read as ever"


def test_only_a_large_artefact_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CAP", 2000)
    store = Store(tmp_path)
    make_scores(store, range(3))
    make_outputs(store, [7], rows=500)
    pack(store, AT)
    assert loose(tmp_path) == [f"outputs/{key(7)}"]
    assert not wrong(Store(tmp_path), range(3), [7], rows=500)


# ---------------------------------------------------------------- kills, races, a full disk

CALLS = ("rename", "unlink", "rmdir", "mkdir", "fsync", "open", "replace")


def killed(work: Callable[[], Any], step: int) -> bool:
    """Do something in a process that is killed before a call that changes files; whether it came so far."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = step

    def stopping(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **more)

        return call

    try:
        for name in CALLS:
            setattr(os, name, stopping(getattr(os, name)))
        work()
        os._exit(0)
    finally:
        os._exit(1)


def steps(root: Path, tmp_path: Path, work: Callable[[Path], Any]) -> Iterator[Path]:
    """A copy of a store for every moment at which a process could be killed that does something there."""
    step = 0
    for step in range(1, 400):
        copy = tmp_path / f"killed-{step}"
        shutil.copytree(root, copy)
        came = killed(functools.partial(work, copy), step)
        yield copy
        shutil.rmtree(copy)
        if not came:
            break
    assert 20 < step < 399


def packing_of(root: Path) -> None:
    store = Store(root)
    assert not wrong(store, range(8, 11))
    pack(store, AT)


def test_a_kill_at_any_moment_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """While a second pack is made: what is left is whole, and the next command clears up."""
    packed_store(tmp_path / "store", scores=4, outputs=1)
    make_scores(Store(tmp_path / "store"), range(8, 11))
    for root in steps(tmp_path / "store", tmp_path, packing_of):
        said: list[str] = []
        store = Store(root, said.append)
        assert not wrong(store, [*range(4), *range(8, 11)], [0])
        assert not said
        pack(store, AT)
        assert not loose(root)
        assert len(packs(root)) == 2
        assert not list((root / "tmp").iterdir())
        assert not list((root / "locks").iterdir())
        assert not wrong(Store(root), [*range(4), *range(8, 11)], [0])


def joining_of(root: Path) -> None:
    store = Store(root)
    make_scores(store, [9])
    pack(store, AT)


def test_a_kill_while_packs_are_joined_loses_nothing(tmp_path: Path) -> None:
    root = packed_store(tmp_path / "store", scores=1, outputs=0)
    for n in range(1, 4):
        store = Store(root)
        make_scores(store, [n])
        pack(store, AT)
    assert len(packs(root)) == 4
    for copy in steps(root, tmp_path, joining_of):
        store = Store(copy)
        assert not wrong(store, range(4))
        make_scores(store, [9])
        pack(store, AT)
        assert not loose(copy)
        assert len(packs(copy)) <= 4
        assert not list((copy / "tmp").iterdir())
        assert not wrong(Store(copy), [*range(4), 9])


def test_two_processes_that_pack_the_same_run(tmp_path: Path) -> None:
    """One does all of it at every step of the other."""
    real = {name: getattr(os, name) for name in CALLS}
    for step in range(1, 400):
        root, left, met = tmp_path / str(step), step, False
        first, second = Store(root), Store(root)
        make_scores(first, range(4))
        make_outputs(first, [0])
        assert not wrong(second, range(4), [0])

        def meeting(name: str) -> Callable[..., Any]:
            def call(*args: Any, **more: Any) -> Any:
                nonlocal left, met
                left -= 1
                if left == 0:
                    met = True
                    pack(second, AT)  # noqa: B023
                return real[name](*args, **more)

            return call

        with pytest.MonkeyPatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, meeting(name))
            pack(first, AT)
        for store in (first, second, Store(root)):
            assert not wrong(store, range(4), [0])
        assert not loose(root)
        assert len(packs(root)) == 1
        assert not list((root / "tmp").iterdir())
        if not met:
            break
    assert 20 < step < 399


def test_who_found_it_unpacked_reads_on_when_it_is_packed(tmp_path: Path) -> None:
    mine, other = Store(tmp_path), Store(tmp_path)
    make_scores(mine, range(3))
    make_outputs(mine, [0])
    found = [other.get("scores", key(n), AT) for n in range(3)]
    outputs = other.get("outputs", key(0), AT)
    assert outputs is not None
    mapped, size = outputs.tensors("outputs")["x"], outputs.bytes
    pack(mine, AT)
    for n, one in enumerate(found):
        assert one is not None
        assert one.json("meta") == {"n": n}
        assert one.tensors("scores")["scores"][0] == n
    assert torch.equal(mapped, outputs.tensors("outputs")["x"])
    assert outputs.bytes == size
    said: list[str] = []
    late = Store(tmp_path, said.append)
    late.packs.of(AT)
    make_scores(mine, [5])
    pack(mine, AT)
    assert late.get("scores", key(5), AT) is not None, "packs that came since are seen"
    assert not said


@pytest.mark.parametrize("call", ["pwrite", "fsync", "rename", "mkdir"])
def test_a_full_disk_leaves_everything_as_it_was_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    suite = parse_suite(SMALL)
    (one,) = make_plan(suite).runs
    said: list[str] = []
    store = Store(tmp_path, said.append)
    make_scores(store, range(3), at=one.key)
    before = tree(tmp_path)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        if call == "pwrite":
            patched.setattr(zipfile.ZipFile, "open", full)
        else:
            patched.setattr(os, call, full)
        pack_run(store, one)
    assert said == [f"the artefacts of {one.title} stay unpacked: [Errno 28] No space left on device"]
    assert tree(tmp_path) == before
    pack_run(Store(tmp_path), one)
    pack_run(store, one)
    assert not loose(tmp_path)
    assert not list((tmp_path / "tmp").iterdir())


# ---------------------------------------------------------------- damage


def test_a_damaged_member_is_told_once_and_made_again_alone(tmp_path: Path) -> None:
    root = packed_store(tmp_path)
    (old,) = packs(root)
    flip(old, member("scores", 3, "scores.safetensors"))
    said: list[str] = []
    store = Store(root, said.append)
    assert wrong(store, range(6), range(2)) == ["scores 3"]
    assert store.get("scores", key(3), AT) is None
    assert said == [
        f"damaged scores {key(3)[:12]}: scores.safetensors does not match its checksum; it will be made again"
    ]
    assert "checksum" in Store.opened(root).damage("scores", key(3), AT)
    make_scores(store, [3])
    assert not wrong(store, range(6), range(2)), "a folder of its own comes before the pack"
    assert not wrong(Store(root), range(6), range(2))
    pack(store, AT)
    (new,) = packs(root)
    assert new != old
    assert not loose(root)
    assert not wrong(Store(root, lambda said: pytest.fail(said)), range(6), range(2))


@pytest.mark.parametrize("later", [False, True])
def test_a_damaged_shard_of_packed_outputs_alone_is_made_again(tmp_path: Path, later: bool) -> None:
    """`later`: it is found when packs are joined, before anybody asks for it."""
    root = packed_store(tmp_path / "store")
    before = tree(unpacked(Path(shutil.copytree(root, tmp_path / "copy"))))
    flip(packs(root)[0], member("outputs", 1, "outputs.safetensors"), -13)
    flip(packs(root)[0], member("scores", 1, "meta.json"))
    if later:
        store = Store(root)
        assert wrong(store, range(6)) == ["scores 1"]
        make_scores(store, [1])
        pack(store, AT)
    said: list[str] = []
    store = Store(root, said.append)
    assert wrong(store, [], range(2)) == ["outputs 1"]
    assert "in the samples 8 to 9; it will be made again" in said[0]
    assert make_outputs(store, [1]) == [8, 9]
    if not later:
        make_scores(store, [1])
    pack(store, AT)
    assert not loose(root)
    assert tree(unpacked(root)) == before, "nothing else has changed"


# ---------------------------------------------------------------- large packs


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that are read of packs to check them."""
    monkeypatch.setattr(stamps, "ALWAYS_READ", 3000)
    seen: list[int] = []
    real = pack_module.bytes_sha256
    monkeypatch.setattr(
        pack_module, "bytes_sha256", lambda fd, at, end: (seen.append(end - at), real(fd, at, end))[1]
    )
    return seen


def test_a_large_pack_is_read_once_then_known_by_size_and_time(tmp_path: Path, read: list[int]) -> None:
    from oodbench.data.sources.roots import settings

    root = packed_store(tmp_path / "a")
    assert not wrong(Store(root), range(6), range(2))
    assert read == [], "it was hashed when its artefacts were made"
    shutil.copytree(root, tmp_path / "b", copy_function=shutil.copyfile)
    for due in (True, False):
        read.clear()
        assert not wrong(Store(tmp_path / "b"), range(6), range(2))
        assert bool(read) == due
    flip(packs(root)[0], member("scores", 2, "scores.safetensors"))
    assert Store(root).get("scores", key(2), AT) is not None, "believed by size and time"
    with settings(trust="nothing"):
        assert Store(root).get("scores", key(2), AT) is None
    assert Store.opened(root).damage("scores", key(2), AT), "verification reads every byte"


def test_no_stamp_is_left_of_what_is_gone(tmp_path: Path, read: list[int]) -> None:
    store = Store(tmp_path)
    make_outputs(store, range(3), rows=400)
    assert len(list((tmp_path / "seen").iterdir())) == 3
    pack(store, AT)
    assert len(list((tmp_path / "seen").iterdir())) == 1


# ---------------------------------------------------------------- whole runs


def test_a_finished_run_is_few_files_of_which_everything_follows(tmp_path: Path) -> None:
    """Weights and views included."""
    suite = parse_suite(SMALL | {"scorers": ["msp", {"knn": {"k": 5}}, {"odin": {}}]})
    done = run(suite, results=tmp_path, device="cpu", plots=False)
    root = tmp_path / ".store"
    assert len([f for f in root.rglob("*") if f.is_file()]) == 5 + 1
    assert not loose(root)
    assert set(states(done.folder).values()) == {HOLDS}
    found = findings(done.folder, remake=["scores", "outputs"])
    assert found["scores"].state == found["outputs"].state == HOLDS
    contents, missing = contents_of(done.folder)
    assert not missing
    assert contents.samples is not None
    assert len(contents.samples)
    flip(packs(root)[0], next(n for n in places(packs(root)[0]) if n.endswith("scores.safetensors")))
    assert "does not match its checksum" in findings(done.folder)["checksums"].why


def test_a_scorer_added_later_makes_its_scores_alone(tmp_path: Path) -> None:
    run(parse_suite(SMALL), results=tmp_path, device="cpu", plots=False)
    assert len(packs(tmp_path / ".store")) == 1
    rows = (tmp_path / "small/results.csv").read_text().splitlines()
    done = run(
        parse_suite(SMALL | {"scorers": ["msp", "energy"]}), results=tmp_path, device="cpu", plots=False
    )
    assert done.made == NOTHING | {"scores": 4}
    assert set(rows) <= set((tmp_path / "small/results.csv").read_text().splitlines())
    assert len(packs(tmp_path / ".store")) == 2
    again = run(parse_suite(SMALL), results=tmp_path, device="cpu", plots=False)
    assert again.made == NOTHING
    assert (tmp_path / "small/results.csv").read_text().splitlines() == rows


def test_scores_that_are_made_together_are_put_at_once_and_known_when_the_run_is_done(tmp_path: Path) -> None:
    class Watched(Store):
        def _packed(self, run_key: str, pack: Path) -> None:
            told.append((run_key, pack))

    told: list[tuple[str, Path]] = []
    store = Watched(tmp_path)
    for part in (range(3), range(3, 5)):
        files = {
            n: in_memory({"scores": {"scores": torch.arange(5.0) + n}}, {"meta": {"n": n}}) for n in part
        }
        store.put(AT, {("scores", key(n)): one for n, one in files.items()})
        assert not wrong(Store(tmp_path), part)
    assert len(packs(tmp_path)) == 2
    assert not told
    pack(store, AT)
    assert told == [(AT, packs(tmp_path)[0])]
    assert not wrong(Store(tmp_path), range(5))
    folders = Store(tmp_path / "folders")
    make_scores(folders, range(5))
    assert tree(unpacked(tmp_path)) == tree(tmp_path / "folders"), "the same bytes as in folders"


def test_scores_on_a_full_disk_end_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotKeep, match="No space left on device"):
        store.put(AT, {("scores", key(1)): in_memory({"scores": {"scores": torch.ones(1)}}, {"meta": {}})})
    assert not packs(tmp_path)
    assert not list((tmp_path / "tmp").iterdir())


def test_ready_outputs_keep_their_scores_when_a_set_is_added(tmp_path: Path) -> None:
    """The key of their run changes then; that of their scores does not."""
    write_arrays(tmp_path / "out")
    shutil.copy(tmp_path / "out/strange.npz", tmp_path / "out/other.npz")
    assert run_file(arrays_suite(tmp_path), tmp_path).made["scores"] == 12
    more = run_file(arrays_suite(tmp_path, near="strange, other"), tmp_path)
    assert more.made["scores"] == 0, "the other set holds the same"
    assert run_file(arrays_suite(tmp_path, scorers="[msp, energy]"), tmp_path).made["scores"] == 3


def test_an_ensembles_outputs_lie_with_its_members() -> None:
    runs = make_plan(parse_suite(RICH)).runs
    assert address(runs[0]) == runs[0].key
    assert addresses(runs[2]) == (runs[2].key, *(m.key for m in runs[2].sources))


def test_a_run_that_ended_before_it_was_packed_is_packed_by_the_next(tmp_path: Path) -> None:
    engine = Engine(Store(tmp_path), "cpu", Reporter(quiet=True))
    (one,) = make_plan(parse_suite(SMALL)).runs
    engine.work(one)
    unpacked(tmp_path)
    assert loose(tmp_path)
    again = Engine(Store(tmp_path), "cpu", Reporter(quiet=True))
    again.work(one)
    assert set(again.made.values()) == {0}
    assert not loose(tmp_path)
