"""What only a machine with a GPU can show, in one call of less than nine minutes, with nothing downloaded.

    benchmarks/on_gpu.sh                      every part, and the tables into docs/gpu.md
    benchmarks/on_gpu.sh --device cpu         the same parts in tiny sizes, to see that they run; nothing is
                                              written
    benchmarks/on_gpu.sh --part agreement     one part

Each part is a process with a time limit of its own: one that fails or hangs costs its own table."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from measured import into, table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gpu.md"
HERE = [sys.executable, str(Path(__file__).resolve())]


def tests(device: str) -> None:
    """The tests that look at whatever device is there."""
    found = subprocess.run(
        ["grep", "-rl", "cuda.is_available", "tests", "--include=test_*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "4", *sorted(found)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-200:]]
    table("Tests that use the GPU where there is one", ["files", "result"], [[str(len(found)), last[0]]])


# ---------------------------------------------------------------- scores


def agreement(device: str) -> None:
    """Every scorer of the suite of all scores, through the same weights, on the CPU and on the GPU."""
    from oodbench.core.progress import Reporter
    from oodbench.runs.engine import Engine
    from oodbench.runs.held import Held
    from oodbench.runs.store import Store
    from oodbench.suite.parse import parse_suite
    from oodbench.suite.plan import make_plan

    raw = yaml.safe_load((ROOT / "suites" / "digits-all-scores.yaml").read_text())
    raw |= {"networks": ["small-cnn"], "inapplicable": "skip"}
    raw["recipe"] |= {"epochs": 1 if device == "cpu" else 5}
    raw["pairs"] = [{"digits": {"split": 0}}]
    raw.pop("claims", None)
    first, *others = raw["methods"]
    runs = make_plan(parse_suite(raw | {"methods": [first]})).runs
    # the other methods are there for the scorers that the first one's network has nothing for
    left = [s.label for s in runs[0].scorers if s.reason]
    runs += make_plan(parse_suite(raw | {"methods": others, "scorers": left})).runs

    def made(root: Path, where: str) -> list[Held]:
        engine = Engine(Store(root), where, Reporter(quiet=True))
        return [engine.work(run) for run in runs]

    with tempfile.TemporaryDirectory() as folder:
        on_cpu = made(Path(folder) / "cpu", "cpu")
        shutil.copytree(Path(folder) / "cpu" / "weights", Path(folder) / "gpu" / "weights")
        on_gpu = made(Path(folder) / "gpu", device)
        worst: dict[str, float] = {}
        for a, b in zip(on_cpu, on_gpu, strict=True):
            for label, sets in a.scores.items():
                for name, mine in sets.items():
                    theirs = b.scores.get(label, {}).get(name)
                    x = mine.scores.double()
                    scale = float(x.max() - x.min()) or 1.0
                    far = (
                        float("inf")
                        if theirs is None
                        else float((x - theirs.scores.double()).abs().max()) / scale
                    )
                    worst[label] = max(worst.get(label, 0.0), far)
    absent = {s.label for s in runs[0].scorers} - worst.keys()
    rows = [
        [f"`{label}`", f"{far:.1e}", "" if far <= 1e-4 else "above 1e-4"]
        for label, far in sorted(worst.items(), key=lambda item: -item[1])
    ]
    fine = sum(far <= 1e-4 for far in worst.values())
    table(
        f"CPU against {device}: largest difference of a score as a part of its range, {fine} of"
        f" {len(worst)} within 1e-4; not at hand for these networks: {', '.join(sorted(absent)) or 'none'}",
        ["scorer", "difference", ""],
        rows,
    )


def million(device: str) -> None:
    """Fit and score on many training features that lie on the device."""
    from oodbench.core import registry
    from oodbench.core.network import Head
    from oodbench.core.outputs import Outputs
    from oodbench.scoring.score import score_sets

    tiny = device == "cpu"
    rows, width, classes, tested = (2_000, 64, 10, 100) if tiny else (1_000_000, 2_048, 1_000, 10_000)
    rng = torch.Generator(device).manual_seed(0)
    weight = torch.randn(classes, width, generator=rng, device=device) / width**0.5
    head = Head(weight, torch.zeros(classes, device=device))

    def some(n: int) -> Outputs:
        labels = torch.randint(classes, (n,), generator=rng, device=device)
        features = torch.empty(n, width, device=device)
        for at in range(0, n, 65_536):
            part = torch.randn(min(65_536, n - at), width, generator=rng, device=device)
            features[at : at + len(part)] = part + 3 * width**0.5 / 4 * weight[labels[at : at + len(part)]]
        features.clamp_(min=0)
        return Outputs(head(features), features, labels, head)

    train, test = some(rows), some(tested)
    lines = []
    for name in ("knn", "mds", "vim"):
        start = time.perf_counter()
        found = score_sets({name: registry.build("scorer", name)}, train, None, {"t": test}, device=device)
        seconds = time.perf_counter() - start
        one = found[name]
        why = one.sets["t"].reason
        lines.append(
            [f"`{name}`", f"{one.fit_seconds:.2f}", f"{one.sets['t'].seconds:.2f}", f"{seconds:.2f}", why]
        )
    start = time.perf_counter()
    for part in test.features.split(1024):
        (part @ train.features.T).topk(min(50, rows), dim=1)
    if device != "cpu":
        torch.cuda.synchronize()
    lines.append(["product and top 50 alone", "", "", f"{time.perf_counter() - start:.2f}", ""])
    table(
        f"{rows:,} x {width} training features on {device}, {tested:,} test samples",
        ["", "fit s", "score s", "all s", ""],
        lines,
    )


# ---------------------------------------------------------------- trainings


def shares(device: str) -> None:
    """Four small trainings one after the other, and four at a time on the one card."""
    tiny = device == "cpu"
    with tempfile.TemporaryDirectory() as place:
        suite = Path(place) / "four.yaml"
        suite.write_text(yaml.safe_dump({
            "name": "four", "pairs": [{"digits": {"split": 0}}], "networks": ["small-cnn"],
            "methods": ["cross-entropy"], "scorers": ["msp"], "seeds": [0, 1, 2, 3],
            "recipe": {"epochs": 1 if tiny else 60, "batch_size": 128, "lr": 0.05},
        }))  # fmt: skip
        ways: dict[str, list[str]] = {"one after the other": []}
        if tiny:
            ways["2 processes"] = ["--workers", str(min(2, len(os.sched_getaffinity(0))))]
        else:
            ways["4 processes of this machine"] = ["--workers", "4", "--gpus-per-run", "0.25"]
            ways["4 shares by Ray"] = ["--ray", "local", "--gpus-per-run", "0.25"]
        rows, first = [], 0.0
        for number, (name, how) in enumerate(ways.items()):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "oodbench", "run", str(suite), "--results", f"{place}/{number}",
                 "--device", device, "--no-plots", "--quiet", *how],
                capture_output=True, text=True, cwd=place, timeout=150, check=False,
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            spent = time.perf_counter() - start
            first = first or spent
            why = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]
            rows.append([name, f"{spent:.1f}", f"{first / spent:.2f} x", why[:120]])
    table(
        f"Four small trainings on {device}, start of the program included", ["", "s", "faster by", ""], rows
    )


def _script(name: str, *given: str) -> Callable[[str], None]:
    """A part that another benchmark is."""

    def part(device: str) -> None:
        command = [sys.executable, str(ROOT / "benchmarks" / name), *given, "--device", device]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(done.stdout)
        if done.returncode:
            print(f"FAILED: {name} {' '.join(given)}: {done.stderr.strip()[-400:]}")

    return part


def _training(device: str) -> None:
    tiny = device == "cpu"
    size = (
        ["--images", "64", "--batch", "16", "--rounds", "1"]
        if tiny
        else ["--images", "20000", "--batch", "512"]
    )
    network = ["--network", "small-cnn"] if tiny else ["--network", "resnet18-32", "--rounds", "2"]
    hows = [["--precision", "fp32"], ["--precision", "bf16", "--channels-last"]]
    if not tiny:
        hows.append(["--precision", "bf16", "--channels-last", "--compile"])
    for how in hows:
        _script("training.py", "--section", "overhead", *network, *size, *how)(device)
    _script(
        "training.py", "--section", "epoch", *network, *size, "--workers", "0" if tiny else "8", *hows[1]
    )(device)


def _together(device: str) -> None:
    _script("data_parallel.py", *(["--tiny"] if device == "cpu" else []))(device)


def _extraction(device: str) -> None:
    tiny = device == "cpu"
    size = ["--images", "24", "--batch", "8", "--size", "64"] if tiny else ["--images", "8192"]
    models = ["resnet18"] if tiny else ["resnet50", "vit_b_16"]
    for how in [["--precision", "fp32"], ["--precision", "bf16", "--channels-last"]]:
        readers = str(min(16, len(os.sched_getaffinity(0))))
        _script("loading.py", "--extract", *models, *size, "--rounds", "1", "--readers", readers, *how)(
            device
        )


PARTS: dict[str, tuple[Callable[[str], None], int]] = {
    "tests": (tests, 100),
    "agreement": (agreement, 60),
    "training": (_training, 110),
    "together": (_together, 45),
    "extraction": (_extraction, 75),
    "million": (million, 40),
    "shares": (shares, 90),
}
"""What is measured, with the seconds that it may take."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--part", choices=PARTS, action="append", help="only these (default: all)")
    parser.add_argument("--inside", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        PARTS[given.inside][0](given.device)
        return
    gpu = torch.cuda.get_device_name() if given.device.startswith("cuda") else "no GPU: tiny sizes"
    print(f"{gpu}; torch {torch.__version__}, Python {platform.python_version()}", flush=True)
    told: list[str] = []
    for name in given.part or PARTS:
        text, spent = _told(name, given.device)
        print(f"== {name}: {spent:.0f} s\n{text}", flush=True)
        told.append(text)
    if given.device.startswith("cuda") and not given.part:
        about = f"{gpu}, torch {torch.__version__}, {len(os.sched_getaffinity(0))} CPUs."
        into(PAGE, "benchmarks/on_gpu.py", "\n".join([about, *told]))


def _told(name: str, device: str) -> tuple[str, float]:
    """What a part prints, and its seconds."""
    # a CPU may be anyone's; only the GPU's machine is lent by the minute
    start, limit = time.perf_counter(), PARTS[name][1] * (1 if device.startswith("cuda") else 10)
    command = [*HERE, "--inside", name, "--device", device]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        text, _ = process.communicate(timeout=limit)
        if process.returncode:
            text += f"\nFAILED: {name} ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        text = process.communicate()[0] + f"\nFAILED: {name} took more than {limit} s"
    return text.strip(), time.perf_counter() - start


if __name__ == "__main__":
    main()
