"""One pack: what Python's own zip library says is in it, and what of it survives damage."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch

from oodbench.runs import shards
from oodbench.runs.pack import MAPPED, Pack, write_pack
from oodbench.runs.packing import pack
from oodbench.runs.store import Store
from tests.runs.packed import (
    AT,
    about,
    flip,
    key,
    make_scores,
    member,
    packed_store,
    packs,
    places,
    wrong,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 4)


@pytest.mark.parametrize("harm", ["index", "end", "cut", "directory", "comment"])
def test_a_pack_whose_end_is_damaged_is_read_by_its_members(tmp_path: Path, harm: str) -> None:
    root = packed_store(tmp_path)
    (file,) = packs(root)
    data = bytearray(file.read_bytes())
    index = data.rindex(b'{"outputs":')
    if harm == "index":
        data[index + 20] ^= 1
    elif harm == "end":
        data[-70] ^= 1
    elif harm == "comment":
        data[-100:] = os.urandom(100)
    elif harm == "directory":
        data[data.index(b"PK\x01\x02") :] = b""
    else:
        data[index - 40 :] = b""
    file.write_bytes(data)
    said: list[str] = []
    store = Store(root, said.append)
    assert not wrong(store, range(6), range(2))
    assert not said
    make_scores(store, [50])
    pack(store, AT)
    (new,) = packs(root)
    assert new != file, "it is written anew"
    assert zipfile.ZipFile(new).testzip() is None


def test_a_pack_that_was_cut_keeps_what_it_has(tmp_path: Path) -> None:
    root = packed_store(tmp_path, scores=20, outputs=0)
    (file,) = packs(root)
    os.truncate(file, file.stat().st_size // 3)
    lost = wrong(Store(root), range(20))
    assert 0 < len(lost) < 20


def test_mapped_tensors_outlive_their_pack_and_are_the_readers_own(tmp_path: Path) -> None:
    rows = MAPPED // 12 + 100
    store = Store(tmp_path)
    with store.lock("outputs", key(0), AT) as held, held.draft() as draft:
        draft.tensors("outputs", {"x": torch.arange(rows).float()[:, None].expand(rows, 3)})
        draft.json("meta", {})
    pack(store, AT)
    one = store.get("outputs", key(0), AT)
    assert one is not None
    x = one.tensors("outputs")["x"]
    assert x.data_ptr() % 4 == 0
    for file in packs(tmp_path):
        file.unlink()
    assert x[:, 0].tolist() == list(range(rows))
    x[:] = 7
    assert one.tensors("outputs")["x"][3, 0] == 3, "what a reader writes is its own"


def test_the_same_artefacts_give_the_same_pack(tmp_path: Path) -> None:
    for name in "ab":
        packed_store(tmp_path / name)
    (a,), (b,) = packs(tmp_path / "a"), packs(tmp_path / "b")
    assert (a.name, a.read_bytes()) == (b.name, b.read_bytes())


def test_where_the_index_says_a_file_lies_it_lies_and_aligned(tmp_path: Path) -> None:
    (file,) = packs(packed_store(tmp_path))
    found, one, data = places(file), Pack(file), file.read_bytes()
    assert sorted(about(file)["scores"]) == sorted(key(n) for n in range(6))
    seen = set()
    for kind, name in one.names:
        for inner, piece in one.files((kind, name)).items():
            path = f"{kind}/{name[:2]}/{name}/{inner}"
            assert found[path] == (piece.at, piece.size)
            assert piece.at % 64 == 0
            assert piece.read() == data[piece.at : piece.at + piece.size]
            seen.add(path)
    assert seen == set(found) - {"index.json"}


@pytest.mark.parametrize("file", ["scores.safetensors", "meta.json", "manifest.json"])
def test_a_changed_byte_is_of_its_artefact_alone(tmp_path: Path, file: str) -> None:
    (path,) = packs(packed_store(tmp_path))
    flip(path, member("scores", 2, file), 20)
    one = Pack(path)
    assert [name for name in one.names if one.damage(name)] == [("scores", key(2))]


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    (path,) = packs(packed_store(tmp_path))
    one = Pack(path)
    os.truncate(path, 100)
    with pytest.raises(OSError, match=r"cut|could be read"):
        write_pack(tmp_path / "again", [(n, one.files(n)) for n in one.names])
