"""Stores of a few artefacts without a run, for the tests of packs: what is in them is known by heart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import torch

from oodbench.runs.packing import pack
from oodbench.runs.store import Store

AT = "5e" * 32
"""The address of the only run."""


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def make_scores(store: Store, numbers: Iterable[int], at: str = AT) -> None:
    """Each in a folder of its own, as all were until there were packs."""
    for n in numbers:
        with store.lock("scores", key(n), at) as held, held.draft() as draft:
            draft.tensors("scores", {"scores": torch.arange(5.0) + n})
            draft.json("meta", {"n": n})


def make_outputs(store: Store, numbers: Iterable[int], rows: int = 10, at: str = AT) -> list[int]:
    """Outputs in shards of a few rows; returns the rows that had to be made."""
    made = []
    for n in numbers:
        with store.lock("outputs", key(n), at) as held, held.draft() as draft:
            with draft.rows("outputs", rows) as writer:
                for places in writer.missing:
                    writer.go_to(places.start)
                    for i in places:
                        writer.put({"x": torch.full((1, 3), float(1000 * n + i))})
                        made.append(i)
            draft.json("meta", {"n": n})
    return made


def wrong(store: Store, scores: Iterable[int], outputs: Iterable[int] = (), rows: int = 10) -> list[str]:
    """What is not there, or not what was written."""
    found = []
    for n in scores:
        one = store.get("scores", key(n), AT)
        if one is None or one.tensors("scores")["scores"].tolist() != [n + i for i in range(5)]:
            found.append(f"scores {n}")
    for n in outputs:
        one = store.get("outputs", key(n), AT)
        due = [[1000 * n + i] * 3 for i in range(rows)]
        if one is None or one.tensors("outputs")["x"].tolist() != due or one.json("meta") != {"n": n}:
            found.append(f"outputs {n}")
    return found


def packs(root: Path) -> list[Path]:
    return sorted(root.glob("packs/*/*/*.zip"))


def loose(root: Path) -> list[str]:
    """(kind/key) of what lies in a folder of its own."""
    kinds = ("scores", "choices", "outputs")
    return sorted(f"{k}/{f.parent.name}" for k in kinds for f in (root / k).glob("*/*/manifest.json"))


def packed_store(root: Path, scores: int = 6, outputs: int = 2) -> Path:
    """A store with one pack."""
    store = Store(root)
    make_scores(store, range(scores))
    make_outputs(store, range(outputs))
    pack(store, AT)
    assert len(packs(root)) == 1
    assert not loose(root)
    return root


def places(file: Path) -> dict[str, tuple[int, int]]:
    """Where the bytes of each member of a pack lie, as Python's zip library has it."""
    import struct
    import zipfile

    found, data = {}, file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name, extra = struct.unpack_from("<2H", data, info.header_offset + 26)
            found[info.filename] = (info.header_offset + 30 + name + extra, info.file_size)
    return found


def flip(file: Path, member: str, at: int = -1) -> None:
    """Change a byte of a member of a pack; its time stays."""
    import os

    start, size = places(file)[member]
    seen, data = file.stat(), bytearray(file.read_bytes())
    data[start + at % size] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def member(kind: str, number: int, file: str) -> str:
    return f"{kind}/{key(number)[:2]}/{key(number)}/{file}"


def about(file: Path) -> dict[str, list[str]]:
    """The keys of each kind that the index of a pack names."""
    import zipfile

    with zipfile.ZipFile(file) as archive:
        found: dict[str, list[str]] = json.loads(archive.read("index.json").splitlines()[0])
        return found
