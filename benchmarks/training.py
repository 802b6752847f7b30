"""Speed of training, side by side with loops that one would write by hand, in one run.

    python benchmarks/training.py                                     resnet18-32, 1,024 images of CIFAR's
    size python benchmarks/training.py --network small-cnn --images 512    the same in two minutes, to see
    that it runs python benchmarks/training.py --device cuda --images 50000 --precision bf16 --batch 512

What is compared takes turns (ours, theirs, theirs, ours, ...); each number is the median over the rounds,
each ratio the median of the rounds' ratios. On a CPU, seconds are those that the processes were given,
workers included, so that a machine busy with something else disturbs little: the work that is done, where all
cores are in use. On a GPU they are wall seconds. Nothing here is asserted: the targets stand beside the
ratios."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.data.samples import TensorSamples
from oodbench.scoring.contract import example
from oodbench.training.initialise import fresh_weights
from oodbench.training.loop import train
from oodbench.training.optimiser import make_optimizer, running_as
from oodbench.training.reader import Material
from oodbench.training.recipe import Recipe

SHAPE = (3, 32, 32)
CLASSES = 10
TASK = Task("image", SHAPE, CLASSES, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


# ---------------------------------------------------------------- measuring


def clock(device: torch.device) -> float:
    """On a CPU the seconds that this process and its children were given, else those on the wall."""
    if device.type != "cpu":
        return time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of `work`, on a GPU until it is idle."""
    start = clock(device)
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock(device) - start


def in_turns(
    works: dict[str, Callable[[], Any]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each work in each round, in turns whose order is reversed every other round; one round
    before them does not count."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(-1, rounds):
        for name in list(works) if number % 2 else reversed(list(works)):
            taken = seconds_of(works[name], device)
            if number >= 0:
                found[name].append(taken)
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(
        f"\n{title}\n\n| {' | '.join(header)}"
        f" |\n|{'|'.join('---' if i == 0 else '---:' for i in range(len(header)))}|"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def machine(device: torch.device) -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), model)
    gpu = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{gpu}; Python"
        f" {platform.python_version()}, torch {torch.__version__}; load average at the start"
        f" {os.getloadavg()[0]:.1f}"
    )


# ---------------------------------------------------------------- what is measured


def made(count: int) -> TensorSamples:
    """Noise of CIFAR's size: what the pictures show costs nothing."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *SHAPE), generator=rng, dtype=torch.uint8)
    return TensorSamples(images, torch.randint(0, CLASSES, (count,), generator=rng), digest="made")


def fresh(options: argparse.Namespace, method: Method | None = None) -> Network:
    return fresh_weights(
        options.network, method or registry.build("method", "cross-entropy"), TASK, seed=0
    ).to(options.device)


def one_epoch(
    options: argparse.Namespace, data: TensorSamples, augment: tuple[Any, ...] = ()
) -> Callable[[], None]:
    """Our loop over the data once, with everything that it does around an epoch."""
    recipe = Recipe(
        epochs=1,
        batch_size=options.batch,
        augment=augment,
        precision=options.precision,
        channels_last=options.channels_last,
        compile=options.compile,
    )
    method, network = registry.build("method", "cross-entropy"), fresh(options)

    def work() -> None:
        material = Material(data, None, Geometry(SHAPE))
        train(network, method, recipe, material, seed=0, device=options.device)

    return work


def precision(options: argparse.Namespace) -> contextlib.AbstractContextManager[Any]:
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision)
    return torch.autocast(options.device.type, dtype) if dtype else contextlib.nullcontext()


def by_hand(
    options: argparse.Namespace, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]
) -> Callable[[], None]:
    """Forward, backward, step: the loop of a tutorial."""
    network = fresh(options)
    if options.channels_last:
        network = network.to(memory_format=torch.channels_last)
    run = torch.compile(network) if options.compile else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def work() -> None:
        network.train()
        for inputs, labels in batches():
            optimizer.zero_grad(set_to_none=True)
            if options.channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            with precision(options):
                logits = run(inputs)
            nn.functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

    return work


def overhead(options: argparse.Namespace) -> None:
    """Our loop against the same steps on the same tensors, already floats and on the device, in the order
    they lie."""
    data = made(options.images)
    whole = (data.images.float() / 255).to(options.device).split(options.batch)
    labels = data.labels.to(options.device).split(options.batch)

    def ready() -> Iterator[tuple[Tensor, Tensor]]:
        return zip(whole, labels, strict=True)

    works = {"ours": one_epoch(options, data), "bare": by_hand(options, ready)}
    with_augment = one_epoch(options, data, ("flip", "pad-crop"))
    seconds = in_turns(works | {"augmented": with_augment}, options.rounds, options.device)
    # On a GPU the whole step, data included, is to reach 60 % of the bare network's throughput.
    included = "< +67 % (60 % of the images/s)" if options.device.type == "cuda" else ""
    rows = [
        [name, f"{statistics.median(seconds[key]):.2f}",
        f"{options.images / statistics.median(seconds[key]):.0f}",
         "" if key == "bare" else f"{100 * (ratio(seconds[key], seconds['bare']) - 1):+.1f} %", target]
        for name, key, target in (
            ("bare loop on floats that lie on the device", "bare", ""),
            ("`train`, uint8 images held on the device", "ours", "< +3 %"),
            ("`train` with flip and pad-crop", "augmented", included),
        )
    ]  # fmt: skip
    table(
        f"An epoch of {options.images} images, {options.network}, batch {options.batch}, {options.precision}",
        ["loop", "seconds", "images/s", "over the bare loop", "target"],
        rows,
    )


def step_of(options: argparse.Namespace, name: str) -> Callable[[], None] | None:
    """One training step of a method with its defaults; None where it has no loss or cannot do with these
    classes."""
    spec = example("method", name)
    method = None if spec is None else registry.build("method", spec)
    if method is None or method.provides != "loss":
        return None
    try:
        network = fresh(options, method)
    except NotApplicable:
        return None
    recipe = Recipe(precision=options.precision, channels_last=options.channels_last)
    optimizer = make_optimizer(network, recipe)
    rng = torch.Generator(options.device).manual_seed(0)
    data = made(options.batch)
    inputs, labels = (data.images.float() / 255).to(options.device), data.labels.to(options.device)
    outliers = inputs.flip(0) if "outliers" in method.needs else None
    batch = Batch(inputs, labels, outliers, tuple(inputs.flip(-1) for _ in range(method.views)), 0.5, rng)

    def work() -> None:
        network.train()
        with running_as(recipe, network, options.device):
            for _ in range(options.steps):
                optimizer.zero_grad(set_to_none=True)
                method.loss(network, batch).backward()
                optimizer.step()

    return work


def methods(options: argparse.Namespace) -> None:
    """A step of every method against a step of cross-entropy, which takes its turn directly before each."""
    plain = step_of(options, "cross-entropy")
    assert plain is not None
    rows = []
    for name in options.methods or registry.methods:
        work = step_of(options, name)
        if work is not None:
            seconds = in_turns({"plain": plain, "method": work}, options.rounds, options.device)
            spread = [a / b for a, b in zip(seconds["method"], seconds["plain"], strict=True)]
            rows.append([
                f"`{name}`", f"{1000 * statistics.median(seconds['method']) / options.steps:.0f}",
                f"{statistics.median(spread):.2f} x",
                f"{min(spread):.2f} to {max(spread):.2f}", "< 1.02 x" if name == "als" else "",
            ])  # fmt: skip
    table(f"A step of each method, {options.network}, batch {options.batch}, {CLASSES} classes",
          ["method", "ms a step", "of cross-entropy", "over the rounds", "target"], rows)  # fmt: skip


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """PIL pictures through torchvision's transforms one by one, as its own CIFAR10 does."""

    def __init__(self, data: TensorSamples) -> None:
        from PIL import Image
        from torchvision.transforms import v2

        self.pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.images]
        self.labels = data.labels.tolist()
        self.transform = v2.Compose([
            v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[i]), self.labels[i]


def epoch(options: argparse.Namespace) -> None:
    """A whole epoch with flip and pad-crop against a DataLoader with the same as torchvision's transforms."""
    data = made(options.images)
    works: dict[str, Callable[[], Any]] = {"ours": one_epoch(options, data, ("flip", "pad-crop"))}
    for workers in options.workers:
        loader = torch.utils.data.DataLoader(
            Pictures(data), options.batch, shuffle=True, num_workers=workers,
            # a child's seconds are known when it has ended
            persistent_workers=workers > 0 and options.device.type != "cpu",
            pin_memory=options.device.type == "cuda",
        )  # fmt: skip

        def batches(loader: Any = loader) -> Iterator[tuple[Tensor, Tensor]]:
            for inputs, labels in loader:
                yield (
                    inputs.to(options.device, non_blocking=True),
                    labels.to(options.device, non_blocking=True),
                )

        works[f"{workers} workers"] = by_hand(options, batches)
    seconds = in_turns(works, options.rounds, options.device)
    target = "> 3 x" if options.device.type == "cuda" else "> 1 x"
    rows = []
    for name, taken in seconds.items():
        compared = ["", ""] if name == "ours" else [f"{ratio(taken, seconds['ours']):.2f} x", target]
        middle = statistics.median(taken)
        rows.append(
            [
                "`train`" if name == "ours" else f"DataLoader, {name}",
                f"{middle:.2f}",
                f"{options.images / middle:.0f}",
                *compared,
            ]
        )
    table(
        f"A whole epoch of {options.images} images with flip and pad-crop, {options.network}, batch"
        f" {options.batch}, {options.precision}",
        ["loop", "seconds", "images/s", "ours is faster by", "target"],
        rows,
    )


SECTIONS = {"overhead": overhead, "methods": methods, "epoch": epoch}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--section", choices=SECTIONS, action="append", help="only these (default: all)")
    parser.add_argument("--network", default="resnet18-32")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps of a method in a round")
    parser.add_argument("--methods", nargs="*", help="only these methods")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true", help="ours; section overhead also theirs")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    print(machine(options.device))
    for name in options.section or SECTIONS:
        SECTIONS[name](options)


if __name__ == "__main__":
    main()
