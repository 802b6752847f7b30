"""A store that lies under a URL: every machine has what one of them has made, whatever is damaged, killed or
deleted on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from oodbench.core.errors import UserError
from oodbench.runs import packing, remote_store
from oodbench.runs.remote_files import RemoteFiles, Unreachable
from oodbench.runs.remote_store import NoStore, RemoteStore
from oodbench.runs.store import Store

KEY, OTHER = "ab" * 32, "cd" * 32


Machine = Callable[..., RemoteStore]


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The store as a process on some machine opens it, whose cache is its own."""

    def opened(name: str, said: list[str] | None = None, writes: bool = True) -> RemoteStore:
        monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / name))
        return RemoteStore(url, (said if said is not None else []).append, writes)

    return opened


def _make(store: Store, value: float = 1.0, key: str = KEY) -> None:
    with store.lock("weights", key) as held, held.draft() as draft:
        draft.tensors("weights", {"w": torch.full((300,), value)})
        draft.tensors("head", {})
        draft.json("history", [{"loss": value}])
        draft.json("run", {"seconds": value})


def _value(store: Store, key: str = KEY) -> float | None:
    found = store.get("weights", key)
    return None if found is None else float(found.tensors("weights")["w"].mean())


def _score(store: Store, key: str, value: float, of: str) -> None:
    with store.draft("scores", key, of) as draft:
        draft.tensors("scores", {"scores": torch.full((20,), value)})
        draft.json("meta", {"seconds": 0.0, "fit_seconds": 0.0})


def _scored(store: Store, key: str, of: str) -> float | None:
    found = store.get("scores", key, of)
    return None if found is None else float(found.tensors("scores")["scores"].mean())


def _pack(store: Store, of: str) -> None:
    packing._Packing(store, of).work()


def _objects(url: str) -> dict[str, bytes]:
    files = RemoteFiles(url)
    return {name: files.read(name) for name in files.names("")}


def test_what_one_machine_makes_the_others_have(machine: Machine, url: str) -> None:
    first = machine("a")
    _make(first)
    assert len(_objects(url)) == 2, "one object for the artefact, one to know the store by"
    second = machine("b")
    assert second.has("weights", KEY)
    assert second.there("weights") == {KEY}
    assert _value(second) == 1.0
    assert not second.has("weights", OTHER)
    assert _value(second, OTHER) is None
    assert {f.name for f in second.get("weights", KEY).folder.iterdir()} == {  # type: ignore[union-attr]
        "weights.safetensors", "head.safetensors", "history.json", "run.json", "manifest.json",
    }  # fmt: skip
    assert not list((second.root / "tmp").iterdir()), "nothing is left of the way"


def test_small_artefacts_travel_together_when_the_run_is_done(machine: Machine, url: str) -> None:
    first = machine("a")
    for i in range(5):
        _score(first, f"{i}{i}" * 32, float(i), of=KEY)
    assert len(_objects(url)) == 1, "not before"
    _pack(first, KEY)
    assert len(_objects(url)) == 2
    second = machine("b")
    assert [_scored(second, f"{i}{i}" * 32, KEY) for i in range(6)] == [0.0, 1.0, 2.0, 3.0, 4.0, None]
    assert second.packed(KEY) == first.packed(KEY)


def test_packs_that_were_joined_are_gone_there_too(machine: Machine, url: str) -> None:
    for i in range(9):
        store = machine("abc"[i % 3])
        _score(store, f"{i}{i}" * 32, float(i), of=KEY)
        _pack(store, KEY)
    assert len([n for n in _objects(url) if n.startswith("packs")]) <= 4
    last = machine("z")
    assert [_scored(last, f"{i}{i}" * 32, KEY) for i in range(9)] == [float(i) for i in range(9)]


def test_what_is_packed_is_listed_without_being_fetched(
    machine: Machine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine("a")
    _score(first, OTHER, 1.0, of=KEY)
    _pack(first, KEY)
    second = machine("b", writes=False)
    monkeypatch.setattr(RemoteFiles, "get", None)
    assert second.packed(KEY) == {("scores", OTHER)}
    assert second.has("scores", OTHER, KEY)
    assert not second.has("scores", KEY, KEY)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, -1])
def test_a_damaged_object_is_told_in_one_line_and_made_again(machine: Machine, url: str, kept: float) -> None:
    """Cut at some place, or with one bit turned."""
    _make(machine("a"))
    files = RemoteFiles(url)
    (name,) = files.names("weights")
    data = files.read(name)
    at = data.index(b"\x00\x00\x80\x3f" * 8)  # ones, in little endian
    hurt = data[: int(kept * len(data))] if kept >= 0 else data[:at] + b"\x01" + data[at + 1 :]
    files.write(name, hurt)
    said: list[str] = []
    second = machine("b", said)
    assert _value(second) is None
    assert _value(second) is None
    assert len(said) == 1
    assert said[0].startswith(f"damaged weights {KEY[:12]} in {url}: ")
    assert said[0].endswith("; it will be made again")
    assert "\n" not in said[0]
    _make(second, 2.0)
    assert _value(machine("c", said)) == 2.0
    assert len(said) == 1
    assert _value(machine("a", said)) == 1.0, "who has it already goes on with it"


def test_an_object_without_its_end_is_put_there_anew(machine: Machine, url: str) -> None:
    """No byte of the artefact is lost, only the list of what the object holds."""
    _make(machine("a"))
    files = RemoteFiles(url)
    (name,) = files.names("weights")
    whole = files.read(name)
    files.write(name, whole[:-10])
    said: list[str] = []
    looked_at = machine("b", writes=False)
    assert "its end is damaged" in looked_at.damage("weights", KEY)
    assert _value(looked_at) == 1.0
    assert files.read(name) == whole[:-10]
    assert _value(machine("b", said)) == 1.0
    assert files.read(name) == whole
    assert said == []


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9, 0.999])
def test_a_damaged_pack_is_made_again(machine: Machine, url: str, kept: float) -> None:
    first = machine("a")
    for i in range(4):
        _score(first, f"{i}{i}" * 32, float(i), of=KEY)
    _pack(first, KEY)
    files = RemoteFiles(url)
    (name,) = files.names("packs")
    files.write(name, files.read(name)[: int(kept * len(files.read(name)))])
    said: list[str] = []
    second = machine("b", said)
    lost = [i for i in range(4) if _scored(second, f"{i}{i}" * 32, KEY) is None]
    assert len(said) <= 2, "one of the pack, one of an artefact that was cut in the middle"
    assert said[0].startswith(f"damaged pack {KEY[:12]}/{name.rpartition('/')[2][:12]} in {url}: ")
    assert "\n" not in said[0]
    for i in lost:
        _score(second, f"{i}{i}" * 32, 10.0 + i, of=KEY)
    _pack(second, KEY)
    said.clear()
    third = machine("c", said)
    expected = [10.0 + i if i in lost else float(i) for i in range(4)]
    assert [_scored(third, f"{i}{i}" * 32, KEY) for i in range(4)] == expected
    assert said == []


def test_another_artefact_under_its_name_is_not_taken(machine: Machine, url: str) -> None:
    _make(machine("a"))
    files = RemoteFiles(url)
    (name,) = files.names("weights")
    files.write(name.replace(KEY, OTHER).replace("/ab/", "/cd/"), files.read(name))
    said: list[str] = []
    assert _value(machine("b", said), OTHER) is None
    assert len(said) == 1


def test_a_cache_that_is_damaged_is_filled_again(machine: Machine) -> None:
    store = machine("a")
    _make(store)
    folder = store.get("weights", KEY).folder  # type: ignore[union-attr]
    (folder / "weights.safetensors").write_bytes(b"nonsense")
    assert _value(machine("a")) == 1.0
    shutil.rmtree(store.root)
    assert _value(machine("a")) == 1.0


def test_what_was_not_put_there_is_put_there_later(
    machine: Machine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill, or while the network was gone."""

    def gone(files: RemoteFiles, name: str, file: Path) -> None:
        raise Unreachable(f"store {files.url}: cannot be written (gone)")

    store = machine("a")
    _score(store, OTHER, 1.0, of=KEY)
    with monkeypatch.context() as patched:
        patched.setattr(RemoteFiles, "put", gone)
        with pytest.raises(Unreachable):
            _make(store)
        with pytest.raises(Unreachable):
            _pack(store, KEY)
    assert len(_objects(url)) == 1
    again = machine("a")
    assert _value(again) == 1.0
    assert _scored(again, OTHER, KEY) == 1.0
    other = machine("b")
    assert _value(other) == 1.0
    assert _scored(other, OTHER, KEY) == 1.0
    before = _objects(url)
    monkeypatch.setattr(RemoteFiles, "put", gone)
    assert _value(machine("a")) == 1.0, "nothing is put there twice"
    assert _objects(url) == before


def test_a_place_that_was_emptied_is_filled_again(machine: Machine, url: str) -> None:
    store = machine("a")
    _make(store)
    _score(store, OTHER, 1.0, of=KEY)
    _pack(store, KEY)
    files = RemoteFiles(url)
    for name in files.names(""):
        files.remove(name)
    again = machine("a")
    assert (_value(again), _scored(again, OTHER, KEY)) == (1.0, 1.0)
    other = machine("b")
    assert (_value(other), _scored(other, OTHER, KEY)) == (1.0, 1.0)


def test_the_folder_of_a_store_can_be_put_there_as_it_is(machine: Machine, url: str, tmp_path: Path) -> None:
    plain = Store(tmp_path / "plain")
    _make(plain)
    _score(plain, OTHER, 1.0, of=KEY)
    _pack(plain, KEY)
    files = RemoteFiles(url)
    for file in (tmp_path / "plain").rglob("*"):
        if file.is_file():
            files.put(str(file.relative_to(tmp_path / "plain")), file)
    looked_at = machine("a", writes=False)
    assert looked_at.there("weights") == {KEY}
    assert (_value(looked_at), _scored(looked_at, OTHER, KEY)) == (1.0, 1.0)
    assert looked_at.damage("weights", KEY) == ""
    with pytest.raises(FileNotFoundError):
        files.read("store.json")
    assert _value(machine("b")) == 1.0


def test_a_store_that_is_looked_at_is_left_as_it_is(machine: Machine, url: str) -> None:
    with pytest.raises(NoStore, match="holds no artefacts"):
        machine("a", writes=False)
    assert _objects(url) == {}
    _make(machine("a"))
    before = _objects(url)
    store = machine("b", writes=False)
    assert _value(store) == 1.0
    assert store.damage("weights", KEY) == ""
    assert _objects(url) == before


def test_damage_there_is_found_by_who_looks_for_it(machine: Machine, url: str) -> None:
    first = machine("a")
    _make(first)
    for i in range(3):
        _score(first, f"{i}{i}" * 32, float(i), of=KEY)
    _pack(first, KEY)
    files = RemoteFiles(url)
    looked_at = machine("a", writes=False)
    assert looked_at.damage("weights", KEY) == looked_at.damage("scores", "11" * 32, KEY) == ""
    (weights,), (pack,) = files.names("weights"), files.names("packs")
    files.write(weights, files.read(weights)[:-1])
    data = files.read(pack)
    at = data.index(b"\x00\x00\x80\x3f" * 8)  # the ones, of the second
    files.write(pack, data[:at] + b"\x01" + data[at + 1 :])
    looked_at = machine("a", writes=False)
    assert url in looked_at.damage("weights", KEY)
    assert looked_at.damage("scores", "00" * 32, KEY) == ""
    assert looked_at.damage("scores", "11" * 32, KEY) == (
        f"scores.safetensors does not match its checksum in {url}"
    )


def test_large_outputs_travel_by_themselves(
    machine: Machine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "CAP", 1000)
    monkeypatch.setattr(remote_store, "CAP", 1000)
    store = machine("a")
    for key, n in ((KEY, 2000), (OTHER, 20)):
        with store.lock("outputs", key, KEY) as held, held.draft() as draft:
            with draft.rows("outputs", n) as writer:
                writer.put({"logits": torch.arange(n, dtype=torch.float32)})
            draft.json("meta", {"seconds": 1.0, "n": n})
    assert sorted(n.split("/")[0] for n in _objects(url)) == ["outputs", "store.json"]
    _pack(store, KEY)
    assert sorted(n.split("/")[0] for n in _objects(url)) == ["outputs", "packs", "store.json"]
    other = machine("b")
    for key, n in ((KEY, 2000), (OTHER, 20)):
        found = other.get("outputs", key, KEY)
        assert found is not None
        assert torch.equal(found.tensors("outputs")["logits"], torch.arange(n, dtype=torch.float32))


# ---------------------------------------------------------------- trainings in progress


def _save(store: Store, epochs: int) -> None:
    store.save_state(KEY, {"w": torch.full((5,), float(epochs))}, {"history": [{"loss": 0.0}] * epochs})


def _epochs(store: Store) -> int | None:
    state = store.load_state(KEY)
    if state is None:
        return None
    assert float(state[0]["w"][0]) == len(state[1]["history"])
    return len(state[1]["history"])


def test_a_training_goes_on_where_any_machine_has_left_it(machine: Machine, url: str) -> None:
    first = machine("a")
    assert _epochs(first) is None
    _save(first, 3)
    second = machine("b")
    assert _epochs(second) == 3
    _save(second, 5)
    assert _epochs(machine("a")) == 5, "not with its own, which is older"
    second.drop_state(KEY)
    assert _epochs(machine("c")) is None
    assert not [n for n in _objects(url) if n.startswith("state")]


def test_a_state_that_is_damaged_there_is_left_out(machine: Machine, url: str) -> None:
    _save(machine("a"), 3)
    files = RemoteFiles(url)
    (name,) = files.names("state")
    files.write(name, files.read(name)[:-3])
    said: list[str] = []
    assert _epochs(machine("b", said)) is None
    assert len(said) == 1
    assert _epochs(machine("a", said)) == 3, "its own is whole"


def test_a_state_that_cannot_be_put_there_ends_nothing(
    machine: Machine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(files: RemoteFiles, name: str, file: Path) -> None:
        raise Unreachable(f"store {files.url}: cannot be written (gone)")

    said: list[str] = []
    store = machine("a", said)
    monkeypatch.setattr(RemoteFiles, "put", gone)
    _save(store, 3)
    assert len(said) == 1
    assert "is kept here only" in said[0]
    assert _epochs(store) == 3


def test_a_cache_that_cannot_be_written_is_named(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"its folder here, .*OODBENCH_CACHE") as error:
        RemoteStore(url)
    assert "\n" not in str(error.value)
