"""Large artefacts are read once, then known by size and time; small ones are read at every start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from oodbench.data.sources.roots import settings
from oodbench.runs import artefact, shards, stamps, store
from oodbench.runs.store import Store

KEY = "ab" * 32


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "ALWAYS_READ", 600)
    monkeypatch.setattr(shards, "SHARD", 4)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every file whose bytes are read to check them."""
    files: list[str] = []
    whole, parts = artefact.file_sha256, shards.sound
    monkeypatch.setattr(artefact, "file_sha256", lambda p: (files.append(p.name), whole(p))[1])
    monkeypatch.setattr(shards, "sound", lambda p, f: (files.append(p.name), parts(p, f))[1])
    return files


def made(root: Path, n: int = 30) -> Path:
    with Store(root).lock("outputs", KEY) as held, held.draft() as draft:
        with draft.rows("outputs", n) as writer:
            for i in range(n):
                writer.put({"x": torch.full((1, 4), float(i))})
        draft.json("meta", {})
    return root / "outputs" / KEY[:2] / KEY


def test_what_this_machine_wrote_is_hashed_while_it_is_written_and_not_read_again(
    tmp_path: Path, read: list[str]
) -> None:
    made(tmp_path)
    assert read == ["meta.json"]
    read.clear()
    assert Store(tmp_path).get("outputs", KEY) is not None
    assert Store.opened(tmp_path).get("outputs", KEY) is not None
    assert read == []


def test_small_artefacts_are_read_at_every_start(tmp_path: Path, read: list[str]) -> None:
    folder = made(tmp_path, 2)
    assert not (tmp_path / "seen").exists()
    read.clear()
    assert Store(tmp_path).get("outputs", KEY) is not None
    assert sorted(read) == ["meta.json", "outputs.safetensors"]
    file = folder / "outputs.safetensors"
    before = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Store(tmp_path).get("outputs", KEY) is None, "time and size tell nothing, the bytes do"


def test_a_copied_store_is_read_once(tmp_path: Path, read: list[str]) -> None:
    made(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)  # other times
    shutil.copytree(tmp_path / "a", tmp_path / "c")  # the same times
    for name, times in (("b", [2, 0, 0]), ("c", [0, 0])):
        for due in times:
            read.clear()
            assert Store(tmp_path / name).get("outputs", KEY) is not None
            assert len(read) == due, name


def test_a_store_that_is_only_looked_at_remembers_nothing(tmp_path: Path, read: list[str]) -> None:
    made(tmp_path)
    shutil.rmtree(tmp_path / "seen")
    for _ in range(2):
        read.clear()
        assert Store.opened(tmp_path).get("outputs", KEY) is not None
        assert len(read) == 2
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize("harm", ["time", "size", "manifest", "more", "less"])
def test_whatever_differs_is_read(tmp_path: Path, read: list[str], harm: str) -> None:
    folder = made(tmp_path)
    file = folder / "outputs.safetensors"
    if harm == "time":
        os.utime(file, ns=(1, 1))
    elif harm == "size":
        file.write_bytes(file.read_bytes() + b"x")
    elif harm == "manifest":
        text = (folder / "manifest.json").read_text()
        seen = (folder / "manifest.json").stat()
        (folder / "manifest.json").write_text(text.replace('"rows": 4', '"rows": 5'))
        os.utime(folder / "manifest.json", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    elif harm == "more":
        (folder / "more").write_text("")
    else:
        (folder / "meta.json").unlink()
    read.clear()
    sound = Store(tmp_path).get("outputs", KEY) is not None
    assert sound == (harm in ("time", "more"))
    assert read or not sound


def test_one_byte_with_size_and_time_kept_is_found_by_who_is_told_to_read(
    tmp_path: Path, read: list[str]
) -> None:
    """This is what the two words mean: believed by size and time, or every byte read."""
    file = made(tmp_path) / "outputs.safetensors"
    before, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert Store(tmp_path).get("outputs", KEY) is None, "the time alone tells"
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Store(tmp_path).get("outputs", KEY) is not None
    with settings(trust="nothing"):
        assert Store(tmp_path).get("outputs", KEY) is None
    assert "samples 28 to 29" in Store.opened(tmp_path).damage("outputs", KEY), "as `oodbench verify` asks"


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"manifest": 1}'])
def test_a_stamp_of_nonsense_is_none(tmp_path: Path, read: list[str], text: str) -> None:
    made(tmp_path)
    (stamp,) = (tmp_path / "seen").iterdir()
    stamp.write_text(text)
    read.clear()
    assert Store(tmp_path).get("outputs", KEY) is not None
    assert len(read) == 2
    assert Store(tmp_path).get("outputs", KEY) is not None
    assert len(read) == 2


def test_a_manifest_of_before_is_read(tmp_path: Path) -> None:
    """Without shards, as every store that was written until now."""
    import json

    from oodbench.core.identity import file_sha256

    folder = made(tmp_path)
    files = [folder / "meta.json", folder / "outputs.safetensors"]
    manifest = {f.name: {"sha256": file_sha256(f), "bytes": f.stat().st_size} for f in files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    assert Store(tmp_path).get("outputs", KEY) is not None
    assert store.damage(folder, "outputs") == ""
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"\xff")
    assert Store(tmp_path).get("outputs", KEY) is None
