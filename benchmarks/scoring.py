"""Speed and memory of scoring, side by side with plain products and with pytorch-ood, in one run.

    python benchmarks/scoring.py                       everything at full size: about half an hour on two
    cores, 5 GB of disk python benchmarks/scoring.py --scale 0.02          the same in a minute, to see that
    it runs python benchmarks/scoring.py --section cifar --device cuda

Each line is the median of `--repeat` runs; ratios are of medians of this run. Features are made (class means,
noise, ReLU), logits are a linear head's. Nothing here is asserted: the targets stand beside the ratios."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oodbench.core import registry
from oodbench.core.network import Head
from oodbench.core.outputs import Outputs
from oodbench.evaluation import metrics
from oodbench.scoring.score import score_sets

NEIGHBOURS = ["knn", "nnguide", "relation"]
SIXTEEN = [
    "msp", "mls", "energy", "gen", "klm", "gradnorm", "mds", "rmds", "she", "fdbd", "nci", "vim", "react",
    "ash", "scale", "dice",
]  # fmt: skip
CLASSES = ["klm", "mds", "rmds", "gradnorm", "she", "dice", "fdbd"]
MIB = 2**20


# ---------------------------------------------------------------- measuring


def seconds(work: Callable[[], Any], repeat: int, device: str = "cpu") -> float:
    """Median wall seconds of `work`; on a GPU until it is idle."""
    found = []
    for _ in range(repeat):
        gc.collect()
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


class AnonymousMemory(threading.Thread):
    """Highest RssAnon of this process (mapped pages of files are not in it) above what it was at the start,
    sampled every 10 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_bytes = self.peak = self.now()
        self.done = threading.Event()

    @staticmethod
    def now() -> int:
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon"))

    def run(self) -> None:
        while not self.done.wait(0.01):
            self.peak = max(self.peak, self.now())

    def __enter__(self) -> AnonymousMemory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()
        self.peak = max(self.peak, self.now())


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}\n")
    for row in (header, ["-" * w for w in widths], *rows):
        print(
            "  "
            + "  ".join(
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
        )
    sys.stdout.flush()


def ratio(a: float, b: float) -> str:
    return f"{a / b:.2f} x"


def machine(device: str) -> str:
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), model)
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) / 2**20
    gpu = f", {torch.cuda.get_device_name()}" if device.startswith("cuda") else ""
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {memory:.0f} GiB{gpu}; Python"
        f" {platform.python_version()}, torch {torch.__version__}; load average at the start {load:.1f}"
    )


# ---------------------------------------------------------------- made data


def made(rows: int, width: int, classes: int, seed: int, ood: bool = False) -> Outputs:
    """Class means, noise and a ReLU; the head's rows are the class means, so that most are classified
    correctly."""
    weight = torch.randn(classes, width, generator=torch.Generator().manual_seed(0)) / width**0.5
    head = Head(weight, torch.zeros(classes))
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=rng)
    features = torch.empty(rows, width)
    for start in range(0, rows, 8192):
        part = torch.randn(min(8192, rows - start), width, generator=rng)
        if not ood:
            part += 3 * width**0.5 / 4 * weight[labels[start : start + 8192]]
        features[start : start + len(part)] = part.clamp_(min=0)
    return Outputs(head(features), features, labels, head)


def on_disk(block_of: Callable[[int], Outputs], rows: int, folder: Path) -> Outputs:
    """Outputs whose features and logits are mapped files, as the store's are, written block by block."""
    first = block_of(0)
    shapes = {"features": first.features.shape[1], "logits": first.classes}
    files = {
        k: np.lib.format.open_memmap(folder / f"{k}.npy", mode="w+", dtype=np.float32, shape=(rows, w))
        for k, w in shapes.items()
    }
    labels = []
    for number, start in enumerate(range(0, rows, len(first))):
        part = block_of(number)[: rows - start]
        files["features"][start : start + len(part)], files["logits"][start : start + len(part)] = (
            part.features,
            part.logits,
        )
        labels.append(part.labels)
    for file in files.values():
        file.flush()
    del files
    # copy-on-write and never written: the pages stay the file's
    mapped = {k: torch.from_numpy(np.load(folder / f"{k}.npy", mmap_mode="c")) for k in shapes}
    return Outputs(mapped["logits"], mapped["features"], torch.cat(labels), first.head)


# ---------------------------------------------------------------- sections


def cifar(scale: float, repeat: int, device: str) -> None:
    n, m, width, k = round(50_000 * scale), round(20_000 * scale), 512, 50
    train, val, test = (
        made(n, width, 10, 1).to(device),
        made(max(100, n // 10), width, 10, 2).to(device),
        made(m, width, 10, 3).to(device),
    )
    a = torch.nn.functional.normalize(test.features, dim=1)
    b = torch.nn.functional.normalize(train.features, dim=1)

    def gemm(top: bool) -> None:
        for part in a.split(1024):
            found = part @ b.T
            if top:
                found.topk(min(k, n), dim=1)

    def ours(names: Sequence[str]) -> Callable[[], Any]:
        # fresh Outputs each time, so that nothing memoised is carried over
        def work() -> Any:
            fresh = [o.map(lambda t: t) for o in (train, val, test)]
            found = score_sets(_built(names), fresh[0], fresh[1], {"test": fresh[2]}, device=device)
            bad = [r.reason for s in found.values() for r in s.sets.values() if r.reason]
            assert not bad, bad
            return found

        return work

    plain, with_top = (
        seconds(lambda: gemm(False), repeat, device),
        seconds(lambda: gemm(True), repeat, device),
    )
    rows = [
        ["one float32 GEMM", f"{plain:.2f}", "", ""],
        ["GEMM + top-50", f"{with_top:.2f}", ratio(with_top, plain) + " GEMM", ""],
    ]
    knn = seconds(ours(["knn"]), repeat, device)
    rows.append(["knn", f"{knn:.2f}", ratio(knn, with_top) + " GEMM + top-k", "1.2"])
    three = seconds(ours(NEIGHBOURS), repeat, device)
    rows.append([" + ".join(NEIGHBOURS), f"{three:.2f}", ratio(three, plain) + " GEMM", "3"])
    sixteen = seconds(ours(SIXTEEN), repeat, device)
    rows.append([f"{len(SIXTEEN)} others", f"{sixteen:.2f}", ratio(sixteen, plain) + " GEMM", "0.5"])
    everything = seconds(ours([*NEIGHBOURS, *SIXTEEN]), repeat, device)
    rows.append(["all 19 in one score_all", f"{everything:.2f}", ratio(everything, plain) + " GEMM", ""])
    one = {name: seconds(ours([name]), repeat, device) for name in ("mds", "rmds")}
    rows += [[name, f"{t:.2f}", ratio(t, plain) + " GEMM", ""] for name, t in one.items()]
    for name, theirs in _pytorch_ood(train, test, repeat, device).items():
        mine, target = {"knn": knn, **one}[name], "1.5" if name == "knn" else "3"
        rows.append(
            [f"{name}, pytorch-ood", f"{theirs:.2f}", f"ours {theirs / mine:.1f} x faster", f">= {target}"]
        )
    table(
        f"CIFAR scale: {n} x {width} training features, {m} test samples, C = 10 (fit and score)",
        ["", "s", "ratio", "target"],
        rows,
    )
    found = ours([*NEIGHBOURS, *SIXTEEN])()
    each = [(name, s.fit_seconds, s.sets["test"].seconds) for name, s in found.items()]
    table("each of the 19, in that order, in one score_all (what comes first pays for what is shared)",
    ["", "fit s", "score s"],
          [[name, f"{f:.3f}", f"{s:.3f}"] for name, f, s in each])  # fmt: skip


def _built(names: Sequence[Any]) -> dict[str, Any]:
    return {str(name): registry.build("scorer", name) for name in names}


def _pytorch_ood(train: Outputs, test: Outputs, repeat: int, device: str) -> dict[str, float]:
    if importlib.util.find_spec("pytorch_ood") is None:
        print("\npytorch-ood is not installed (pip install 'oodbench[bench]'): not compared")
        return {}
    from pytorch_ood import detector

    def knn() -> None:
        _predict(detector.KNN(None, k=50).to(device).fit_features(train.features, train.labels), test)

    def mds() -> None:
        _predict(detector.Mahalanobis(None).to(device).fit_features(train.features, train.labels), test)

    def rmds() -> None:
        _predict(detector.RMD(None).to(device).fit_features(train.features, train.labels), test)

    return {work.__name__: seconds(work, repeat, device) for work in (knn, mds, rmds)}


def _predict(fitted: Any, test: Outputs) -> None:
    for part in test.features.split(1024):
        fitted.predict_features(part)


def classes(scale: float, repeat: int, device: str) -> None:
    c, width = max(20, round(1000 * min(1.0, 10 * scale))), 2048 if scale >= 0.2 else 256
    n, m = round(50_000 * scale), round(20_000 * scale)
    train, val, test = (
        made(rows, width, c, seed).to(device) for seed, rows in ((1, n), (2, max(200, n // 10)), (3, m))
    )
    rows = []
    for name in CLASSES:
        times: list[tuple[float, float]] = []
        with AnonymousMemory() as memory:
            for _ in range(repeat):
                found = score_sets(
                    _built([name]),
                    train.map(lambda t: t),
                    val.map(lambda t: t),
                    {"test": test},
                    device=device,
                )[name]
                assert not found.sets["test"].reason, found.sets["test"].reason
                times.append((found.fit_seconds, found.sets["test"].seconds))
        fit, score = (statistics.median(t) for t in zip(*times, strict=True))
        rows.append(
            [name, f"{fit:.2f}", f"{1e6 * score / m:.1f}", f"{(memory.peak - memory.start_bytes) / MIB:.0f}"]
        )
    product = f"a B x C x D temporary of one chunk of 1024 would be {4 * 1024 * c * width / MIB:.0f} MiB"
    table(f"{c} classes, D = {width}, {n} training and {m} test samples ({product})",
          ["", "fit s", "ms per 1000", "more memory, MiB"], rows)  # fmt: skip


def imagenet(scale: float, repeat: int, device: str, only: Sequence[str] = ()) -> None:
    """Every scorer that reads features, its training features a mapped file. `only`: these scorers."""
    width, c = 2048 if scale >= 0.2 else 256, max(10, round(1000 * min(1.0, 10 * scale)))
    full, m = round(300_000 * scale), max(64, round(1000 * scale))
    block = made(8192, width, c, 1)
    names = [n for n in registry.scorers if n in only] if only else _feature_scorers()
    sizes = [full // 4, full // 2, full]
    found: dict[str, list[str]] = {name: [] for name in names}
    peaks: dict[str, float] = {}
    test, val = made(m, width, c, 3), made(max(200, 2000 if scale >= 1 else 200), width, c, 2)
    fits: dict[str, list[float]] = {name: [] for name in names}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            train = on_disk(lambda i: block if i == 0 else _shaken(block, i), size, Path(folder))
            for name in names:
                print(f"N = {size}: {name}", file=sys.stderr, flush=True)
                gc.collect()
                start = time.perf_counter()
                with AnonymousMemory() as memory:
                    s = score_sets(
                        _built([name]), train.map(lambda t: t), val, {"test": test}, device=device
                    )[name]
                reason = s.sets["test"].reason
                peaks[name] = max(peaks.get(name, 0.0), memory.peak / MIB)
                fits[name].append(time.perf_counter() - start)
                found[name] += (
                    [f"failed: {reason}"]
                    if reason
                    else [f"{s.fit_seconds:.2f}", f"{s.sets['test'].seconds:.2f}"]
                )
    header = [
        "",
        *(f"{kind} s, {size}" for size in sizes for kind in ("fit", "score")),
        "growth, last doubling",
        "peak RssAnon, MiB",
    ]
    rows = []
    for name, cells in found.items():
        grown = fits[name][-1] / fits[name][-2]
        rows.append([name, *(cells + [""] * 6)[:6], f"{grown:.2f} x", f"{peaks[name]:.0f}"])
    title = (
        f"ImageNet scale: N x {width} float32 training features mapped from disk"
        f" ({4 * full * width / 1e9:.1f} GB at the largest N)"
    )
    table(
        f"{title}, C = {c}, {m} test samples; target: RssAnon under 1536 MiB, growth at most 2 x",
        header,
        rows,
    )


def _shaken(block: Outputs, seed: int) -> Outputs:
    """The same block, its rows scaled and its columns untouched: other data at the cost of one product."""
    factor = 0.8 + 0.4 * torch.rand(len(block), 1, generator=torch.Generator().manual_seed(seed))
    return Outputs(block.logits * factor, block.features * factor, block.labels, block.head)


def _feature_scorers() -> list[str]:
    names = []
    for name in registry.scorers:
        try:
            built = registry.build("scorer", name)
        except Exception:  # one that has required parameters is no single score
            continue
        if built.view() is None and not built.extras and "features" in built.needs:
            names.append(name)
    return names


def metric(scale: float, repeat: int, device: str) -> None:
    from sklearn import metrics as sklearn

    n = round(500_000 * scale)
    rng = np.random.default_rng(0)
    known, ood = rng.normal(size=n), rng.normal(1.5, size=n)
    scores, labels = np.concatenate([known, ood]), np.repeat([0, 1], n)
    a, b = torch.from_numpy(known), torch.from_numpy(ood)

    def theirs() -> None:
        sklearn.roc_curve(labels, scores)
        sklearn.precision_recall_curve(labels, scores)
        sklearn.precision_recall_curve(1 - labels, -scores)

    mine, other = seconds(lambda: metrics.detection_metrics(a, b), repeat), seconds(theirs, repeat)
    faster = f"ours {other / mine:.1f} x faster"
    rows = [
        ["all of ours", f"{mine:.3f}", "", ""],
        ["scikit-learn's three curves", f"{other:.3f}", faster, ">= 10"],
    ]
    table(f"metrics of {2 * n} scores", ["", "s", "ratio", "target"], rows)


SECTIONS: dict[str, Callable[..., None]] = {
    "cifar": cifar,
    "classes": classes,
    "imagenet": imagenet,
    "metrics": metric,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="sizes, as a share of the full ones")
    parser.add_argument("--section", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: as torch chooses")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", default=[], help="section imagenet: only these scorers")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    print(machine(given.device))
    for name in given.section:
        more = {"only": given.only} if name == "imagenet" else {}
        SECTIONS[name](given.scale, given.repeat, given.device, **more)
        gc.collect()


if __name__ == "__main__":
    main()
