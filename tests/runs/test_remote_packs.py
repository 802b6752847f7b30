"""Packs of a run that two machines have written at once, and what is left of a pack that another one has
replaced. Most of what packs under a URL do is shown by the store that has them (`test_remote_store`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from oodbench.runs.packing import _Packing
from oodbench.runs.remote_files import RemoteFiles
from oodbench.runs.remote_store import RemoteStore

RUN, KEY = "ab" * 32, "cd" * 32


def _machine(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> RemoteStore:
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / name))
    return RemoteStore(f"memory://{tmp_path.name}")


def _score(store: RemoteStore, key: str, value: float) -> None:
    with store.draft("scores", key, RUN) as draft:
        draft.tensors("scores", {"scores": torch.full((20,), value)})
        draft.json("meta", {"seconds": value, "fit_seconds": 0.0})


def test_two_machines_that_pack_the_same_run_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [_machine(tmp_path, name, monkeypatch) for name in "ab"]
    for value, store in enumerate(both):
        assert store.get("scores", KEY, RUN) is None
        _score(store, KEY, float(value))
    for store in both:
        _Packing(store, RUN).work()
    found = _machine(tmp_path, "c", monkeypatch).get("scores", KEY, RUN)
    assert found is not None
    assert float(found.tensors("scores")["scores"][0]) in (0.0, 1.0)


def test_a_pack_that_is_replaced_while_it_is_fetched_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _machine(tmp_path, "a", monkeypatch)
    _score(first, KEY, 1.0)
    _Packing(first, RUN).work()
    files, get = first.remote, RemoteFiles.get

    def late(self: RemoteFiles, wanted: str, file: Path) -> None:
        self.remove(wanted)
        get(self, wanted, file)

    monkeypatch.setattr(RemoteFiles, "get", late)
    said: list[str] = []
    second = _machine(tmp_path, "b", monkeypatch)
    second.report = said.append
    assert second.get("scores", KEY, RUN) is None
    assert said == []
    assert files.names("packs") == set()


@pytest.mark.parametrize("tail", [100, 2000, 100_000])
def test_what_is_listed_of_a_pack_is_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: int
) -> None:
    """By its end alone, if that is long enough; a pack of nonsense holds nothing."""
    monkeypatch.setattr("oodbench.runs.remote_packs._TAIL", tail)
    first = _machine(tmp_path, "a", monkeypatch)
    for i in range(5):
        _score(first, f"{i}{i}" * 32, float(i))
    _Packing(first, RUN).work()
    (name,) = first.remote.names("packs")
    assert 2000 < len(first.remote.read(name)) < 100_000
    expected = {("scores", f"{i}{i}" * 32) for i in range(5)}
    assert _machine(tmp_path, "b", monkeypatch).packed(RUN) == expected
    first.remote.write(name.rpartition("/")[0] + "/nonsense.zip", b"nonsense")
    assert _machine(tmp_path, "c", monkeypatch).packed(RUN) == expected
