"""A data set of ImageNet's kind streamed through a network, killed again and again, and gone on with.

    python benchmarks/imagenet_scale.py --folder /big/disk        100,000 JPEGs, 20 kills: about an hour
    python benchmarks/imagenet_scale.py --folder /tmp/x --images 300 --shard 32 --batch 16 --kills 3

JPEGs are crops of photographs in folders of classes as ILSVRC's, made once in ``--folder``. A tiny network of
random weights looks at all of them, as a checkpoint would: once without a break, once killed (SIGKILL) at
random moments and started again each time. Said are the memory that the run and its workers hold (RssAnon, at
its peak), the seconds of the first start and of later ones, the images that were extracted twice (a shard at
most for each kill), and whether the bytes at the end are those of the run without a break. It exits with 1
where they are not, or where a kill cost more."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


def photographs() -> list[np.ndarray]:
    """Photographs (H, W, 3) that come with scikit-image and scikit-learn."""
    found = []
    try:
        import skimage.data

        found += [getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    except ImportError:
        pass
    try:
        from sklearn.datasets import load_sample_images

        found += list(load_sample_images().images)
    except ImportError:
        pass
    if not found:
        sys.exit("scikit-image or scikit-learn is needed for their photographs")
    return found


def make_images(root: Path, count: int, classes: int, seed: int = 0) -> None:
    """Crops of 80 to 160 pixels, mirrored or not, as JPEGs of several qualities."""
    rng, photos = np.random.default_rng(seed), photographs()
    for i in range(count):
        photo = photos[rng.integers(len(photos))]
        side = int(rng.integers(80, 161))
        top, left = (int(rng.integers(0, n - side)) for n in photo.shape[:2])
        crop = photo[top : top + side, left : left + side]
        file = root / f"n{i % classes:08d}" / f"n{i % classes:08d}_{i}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop[:, ::-1] if i % 2 else crop).save(file, quality=int(rng.integers(60, 95)))


SUITE = """\
name: scale
pairs:
  - name: scale
    id: {{folder: {{root: "{root}/id", split: given}}}}
    far: {{noise: {{noise: {{size: 32, channels: 3, count: 64}}}}}}
    geometry: {{shape: [3, 32, 32], resize: 32}}
networks: [{{small-cnn: {{width: 8}}}}]
methods: [{{checkpoint: {{file: "{root}/weights.safetensors"}}}}]
scorers: [msp, {{knn: {{k: 5}}}}]
extract: {{batch_size: {batch}}}
"""


def prepare(root: Path, images: int, batch: int) -> Path:
    """Images, weights and suite, made once; returns the suite's file."""
    from safetensors.torch import save_file

    from oodbench.core import registry
    from oodbench.core.network import Task

    if not (root / "id/test").is_dir():
        classes = min(100, max(2, images // 30))
        make_images(root / "id/train", images, classes)
        make_images(root / "id/val", 2 * classes, classes, seed=1)
        make_images(root / "id/test", 2 * classes, classes, seed=2)
    classes = len(os.listdir(root / "id/test"))
    task = Task("image", (3, 32, 32), classes, (0.5,) * 3, (0.25,) * 3)
    network = registry.build("network", {"small-cnn": {"width": 8}}, task)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, root / "weights.safetensors")
    file = root / "scale.yaml"
    file.write_text(SUITE.format(root=root, batch=batch))
    return file


# ---------------------------------------------------------------- the process that is killed


def child(file: Path, results: Path, shard: int, kill_at: int) -> None:
    """Run the suite. Every batch of the training images that is written is noted in a file; at the row
    `kill_at` the process kills itself."""
    from oodbench.runs import shards
    from oodbench.runs.runner import run
    from oodbench.runs.tensor_file import RowWriter

    shards.SHARD = shard
    log = os.open(results.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    put = RowWriter.put

    def noted(self: RowWriter, batch: Any) -> None:
        at = self._at
        put(self, batch)
        if self._n > shard:
            os.write(log, f"{at} {self._at} {time.monotonic()}\n".encode())
            if kill_at and self._at >= kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    RowWriter.put = noted  # type: ignore[method-assign]
    done = run(file, results=results, device="cpu", plots=False)
    assert done.failed == 0, done.rows["reason"].unique()


class Seen(NamedTuple):
    """What was seen of a child: the most memory of it and its workers, seconds until the first batch was
    written and from then to the last one, seconds in all, whether it came to its end, and the rows that it
    wrote."""

    memory: int
    first: float
    extracting: float
    seconds: float
    ended: bool
    rows: list[tuple[int, int]]


def watched(file: Path, results: Path, shard: int, kill_after: float | None) -> Seen:
    """Start a child, and kill it so many seconds after its first batch."""
    log = results.with_suffix(".log")
    log.unlink(missing_ok=True)
    arguments = ["--child", str(file), "--results", str(results), "--shard", str(shard)]
    start, first, most = time.monotonic(), float("nan"), 0
    process = subprocess.Popen([sys.executable, __file__, *arguments], start_new_session=True)
    while process.poll() is None:
        most = max(most, _anonymous(process.pid))
        if first != first and log.exists() and log.stat().st_size:
            first = time.monotonic()
        if kill_after is not None and first == first and time.monotonic() - first >= kill_after:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            break
        time.sleep(0.01)
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"the run ended with {process.returncode}")
    lines = log.read_text().splitlines() if log.exists() else []
    noted = [line.split() for line in lines]
    rows, times = [(int(a), int(b)) for a, b, _ in noted], [float(t) for *_, t in noted]
    extracting = times[-1] - times[0] if times else 0.0
    return Seen(
        most, first - start, extracting, time.monotonic() - start, process.returncode == 0, rows
    )  # fmt: skip


def _anonymous(pid: int) -> int:
    """RssAnon of a process and of those it started, in bytes; 0 where it is gone."""
    total = 0
    for each in [pid, *_below(pid)]:
        try:
            status = Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
        total += 1024 * int(found[0]) if found else 0
    return total


def _below(pid: int) -> list[int]:
    try:
        mine = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [p for child_of in map(int, mine) for p in (child_of, *_below(child_of))]


# ---------------------------------------------------------------- what is said


def digest_of(results: Path) -> str:
    """sha256 of the largest stored outputs: those of the training images."""
    files = list((results / ".store/outputs").rglob("outputs.safetensors"))
    sha = hashlib.sha256()
    with open(max(files, key=lambda f: f.stat().st_size), "rb") as f:
        while data := f.read(1 << 20):
            sha.update(data)
    return sha.hexdigest()


def killed_and_gone_on(
    file: Path, results: Path, shard: int, kills: int, whole: Seen, seed: int
) -> tuple[list[Seen], list[int]]:
    """Kill the run at random moments until it has come through; what was seen, and the images that each kill
    cost."""
    rng, seen, cost = random.Random(seed), list[Seen](), list[int]()
    while not (seen and seen[-1].ended):
        left = kills - len(seen)
        after = rng.uniform(0, 2 * whole.extracting / (kills + 1)) if left > 0 else None
        seen.append(watched(file, results, shard, after))
        if len(seen) > 1 and seen[-2].rows:
            gone_on_at = seen[-1].rows[0][0] if seen[-1].rows else seen[-2].rows[-1][1]
            cost.append(max(0, seen[-2].rows[-1][1] - gone_on_at))  # the last batch may not be noted
    return seen, cost


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where images and results go; a few hundred megabytes")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--shard", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kill-at", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        child(asked.child, asked.results, asked.shard, asked.kill_at)
        return 0
    if asked.folder is None:
        parser.error("--folder is needed")
    root = asked.folder.resolve()
    os.environ["OODBENCH_CACHE"] = str(root / "cache")
    file = prepare(root, asked.images, asked.batch)
    whole = watched(file, root / "whole", asked.shard, None)
    again = watched(file, root / "whole", asked.shard, None)
    seen, cost = killed_and_gone_on(file, root / "killed", asked.shard, asked.kills, whole, asked.seed)
    same = digest_of(root / "whole") == digest_of(root / "killed")
    said = {
        "images": asked.images, "samples of a shard": asked.shard, "kills": len(seen) - 1,
        "images extracted twice, each kill": cost, "bytes at the end are the same": same,
        "memory, MiB (RssAnon, workers included)": round(max(s.memory for s in (whole, *seen)) / 2**20),
        "seconds": round(whole.seconds, 1), "of these until the first batch": round(whole.first, 1),
        "of these in extracting the training images": round(whole.extracting, 1),
        "seconds of a start where all is stored": round(again.seconds, 1),
    }  # fmt: skip
    print(json.dumps(said, indent=1))
    return 0 if same and all(c < asked.shard + asked.batch for c in cost) else 1


if __name__ == "__main__":
    sys.exit(main())
