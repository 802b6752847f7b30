"""The packs of a run beside one another: found, joined, told when they hold nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from oodbench.runs import shards
from oodbench.runs.packing import pack
from oodbench.runs.store import Store
from tests.runs.packed import (
    AT,
    flip,
    loose,
    make_outputs,
    make_scores,
    member,
    packed_store,
    packs,
    wrong,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 4)


def test_what_is_added_later_lies_in_a_pack_beside_the_first_and_many_are_joined(tmp_path: Path) -> None:
    packed_store(tmp_path)
    for number in range(10, 30):
        before = packs(tmp_path)
        store = Store(tmp_path)
        make_scores(store, [number])
        pack(store, AT)
        assert not loose(tmp_path)
        assert len(packs(tmp_path)) <= 4
        if len(packs(tmp_path)) > len(before):
            assert set(before) < set(packs(tmp_path)), "a pack never changes"
        assert not wrong(Store(tmp_path), [*range(6), *range(10, number + 1)], range(2))
    assert not list((tmp_path / "tmp").iterdir())


def test_a_large_pack_is_not_written_again_for_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD", 1000)
    store = Store(tmp_path)
    make_outputs(store, range(3), rows=3000)
    pack(store, AT)
    (large,) = packs(tmp_path)
    for number in range(12):
        make_scores(store, [number])
        pack(store, AT)
    assert large in packs(tmp_path)
    assert not wrong(Store(tmp_path), range(12), range(3), rows=3000)


@pytest.mark.parametrize("content", [b"", b"PK", os.urandom(5000), b"\0" * 3000])
def test_a_pack_of_nonsense_is_one_line_and_goes_when_there_is_another(
    tmp_path: Path, content: bytes
) -> None:
    root = packed_store(tmp_path)
    (file,) = packs(root)
    file.write_bytes(content)
    said: list[str] = []
    store = Store(root, said.append)
    assert len(wrong(store, range(6), range(2))) == 8
    (line,) = said
    assert line.startswith(f"damaged pack {AT[:12]}/{file.name[:12]}: it holds no artefact")
    make_scores(store, range(6))
    make_outputs(store, range(2))
    pack(store, AT)
    assert len(packs(root)) == 1
    assert not wrong(Store(root), range(6), range(2))


def test_a_pack_that_another_contains_goes_and_everyone_chooses_the_same(tmp_path: Path) -> None:
    """As two processes leave them that packed the same run at once."""
    few = packed_store(tmp_path / "few", scores=3, outputs=0)
    root = packed_store(tmp_path / "all", scores=6, outputs=1)
    (all_of_it,) = packs(root)
    shutil.copy(packs(few)[0], all_of_it.parent)
    twin = Path(shutil.copy(all_of_it, all_of_it.with_name("0" * 40 + ".zip")))
    part, few_of_it = Store(root), all_of_it.parent / packs(few)[0].name
    assert [p.path for p in part.packs.contained(AT)] == [few_of_it, min(all_of_it, twin)]
    flip(max(all_of_it, twin), member("scores", 1, "meta.json"))
    now = [p.path for p in Store(root).packs.contained(AT)]
    assert now == [few_of_it], "what is damaged in one contains nothing"
    flip(min(all_of_it, twin), member("scores", 2, "meta.json"))
    assert Store(root).packs.contained(AT) == []


def test_a_pack_that_cannot_be_opened_now_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = packed_store(tmp_path)
    real = os.open

    def refuse(path: object, *more: object) -> int:
        if str(path).endswith(".zip"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more)  # type: ignore[arg-type]

    said: list[str] = []
    store = Store(root, said.append)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert len(wrong(store, range(6))) == 6
    assert len(said) == 1
    make_scores(store, range(6))
    pack(store, AT)
    assert not wrong(Store(root), range(6), range(2))
