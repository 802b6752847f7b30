"""What a run of many scorers leaves in the store, and what it takes to write it and to look it up.

    python benchmarks/store.py                     56 scorers on 9 sets, 1,000 runs looked up: a minute
    python benchmarks/store.py --write             the table goes into docs/scale.md

The same scores are counted twice: in a folder each, as weights and outputs are made, and in packs of those
that are made together, which become one. Calls to the system are counted by strace (left out where it is not
installed): those of a process that makes one run, less those of one that makes none. Looked up are all scores
of a run by key, as a dry run does; the runs share one pack by hard links, so all of it is in the system's
memory."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from measured import into, table

CALLS = {"fsync": ["fsync"], "open": ["openat", "open"], "rename": ["rename"], "mkdir": ["mkdir"],
         "chmod": ["chmod", "fchmod"], "rmdir and unlink": ["rmdir", "unlink", "unlinkat"]}  # fmt: skip
AT = "5e" * 32
DOCS = Path(__file__).resolve().parents[1] / "docs" / "scale.md"


def keys(count: int) -> list[str]:
    from oodbench.core.identity import fingerprint

    return [fingerprint(i) for i in range(count)]


def make(root: Path, scores: int, samples: int, packed: bool) -> None:
    """The scores of one run; packed: in six groups, as of scorers that look at images in six ways."""
    import torch

    from oodbench.runs.artefact import in_memory
    from oodbench.runs.packing import pack
    from oodbench.runs.store import Store

    store, meta = Store(root), {"fit_seconds": 0.1, "seconds": 0.1, "scorer": {"energy": {}}, "set": "near"}
    each = {("scores", key): torch.randn(samples) for key in keys(scores)}
    if packed and scores:
        parts = [dict(list(each.items())[i::6]) for i in range(6)]
        for part in parts:
            made = {n: in_memory({"scores": {"scores": t}}, {"meta": meta}) for n, t in part.items()}
            store.put(AT, made)
        pack(store, AT)
        return
    for name, scored in each.items():
        with store.lock(*name) as held, held.draft() as draft:
            draft.tensors("scores", {"scores": scored})
            draft.json("meta", meta)


def calls(scores: int, samples: int, packed: bool) -> Counter[str]:
    """How often each call to the system is made by a process that makes so many scores."""
    with tempfile.TemporaryDirectory() as folder:
        traced = ["strace", "-f", "-qq", "-o", f"{folder}/trace", "-e", "trace=file,fsync,fchmod"]
        child = [sys.executable, __file__, "--make", f"{folder}/store", str(scores), str(samples)]
        subprocess.run([*traced, *child, *(["--packed"] if packed else [])], check=True)
        text = Path(folder, "trace").read_text(errors="replace")
    found = Counter(re.findall(r"^\d+ +(\w+)\(.*/store|^\d+ +(fsync)\(", text, re.M))
    total: Counter[str] = Counter()
    for (one, other), n in found.items():
        total[one or other] += n
    return Counter({name: sum(total[c] for c in each) for name, each in CALLS.items()})


def objects(root: Path) -> tuple[int, int]:
    """Files, and bytes in them."""
    files = [f for f in root.rglob("*") if f.is_file()]
    return len(files), sum(f.stat().st_size for f in files)


def lookup(folder: Path, runs: int, due: Sequence[str]) -> tuple[float, float]:
    """Seconds in which so many packed runs are looked up, and one run of a folder each."""
    from oodbench.runs.store import Store

    make(folder / "one", len(due), 10, packed=True)
    (pack,) = (folder / "one/packs").rglob("*.zip")
    root, addresses = folder / "many", [f"{i:064x}" for i in range(runs)]
    for address in addresses:
        place = root / "packs" / address[:2] / address
        place.mkdir(parents=True)
        os.link(pack, place / pack.name)
    store, start = Store.opened(root), time.process_time()
    for address in addresses:
        there = store.packed(address)
        assert all(("scores", key) in there for key in due)
    packed = time.process_time() - start
    make(folder / "loose", len(due), 10, packed=False)
    store, start = Store.opened(folder / "loose"), time.process_time()
    assert all(store.has("scores", key) for key in due)
    return packed, time.process_time() - start


def measured(scorers: int, sets: int, samples: int, runs: int) -> list[list[str]]:
    count, rows = scorers * sets, []
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        sizes = []
        for packed in (False, True):
            make(at / str(packed), count, samples, packed)
            sizes.append(objects(at / str(packed)))
        rows.append(["files", *(f"{n:,}" for n, _ in sizes)])
        rows.append(["MB", *(f"{size / 1e6:.1f}" for _, size in sizes)])
        if shutil.which("strace"):
            none = calls(0, samples, packed=False)
            each = [calls(count, samples, packed) - none for packed in (False, True)]
            rows += [[f"{name}, a score", *(f"{c[name] / count:.2f}" for c in each)] for name in CALLS]
        packs, loose = lookup(at / "lookup", runs, keys(count))
        rows.append([f"look-up of {runs:,} runs, CPU s", f"{loose * runs:.1f}", f"{packs:.1f}"])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scorers", type=int, default=56)
    parser.add_argument("--sets", type=int, default=9)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--packed", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.make:
        make(Path(asked.make[0]), int(asked.make[1]), int(asked.make[2]), asked.packed)
        return 0
    rows = measured(asked.scorers, asked.sets, asked.samples, asked.runs)
    title = f"scores of {asked.scorers} scorers on {asked.sets} sets of {asked.samples:,} samples"
    header = [title, "a folder each", "in packs"]
    with contextlib.redirect_stdout(io.StringIO()) as text:
        table("", header, rows)
    print(text.getvalue())
    if asked.write:
        into(DOCS, "benchmarks/store.py", text.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
