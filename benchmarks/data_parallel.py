"""What a training of several processes gains by exchanging gradients while they are computed, in one run.

    python benchmarks/data_parallel.py                                    two processes on CPU cores, gloo
    python benchmarks/data_parallel.py --device cuda                      two processes on one card, gloo
    python benchmarks/data_parallel.py --device cuda --processes 4 --batch 2048       four cards, NCCL
    python benchmarks/data_parallel.py --tiny                             to see that it runs

Four kinds of step take turns, all with the same whole batch: one process alone while the others wait; several
that share the body and exchange no gradient (the least that sharing takes; their weights would drift apart);
DistributedDataParallel, whose exchange overlaps the backward pass; and one exchange of all gradients after
it. Seconds are those on the wall, each the median over the rounds, each ratio the median of the rounds'
ratios. Processes that share a card exchange through gloo, since NCCL refuses them."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from measured import in_turns, table
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from oodbench.core import registry
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.training.initialise import fresh_weights
from oodbench.training.processes import here
from oodbench.training.sharing import shared
from oodbench.training.stepper import Step

CLASSES = 10
ALONE, SILENT = "one process, the whole batch", "shared, no exchange"
OVERLAPPED, AFTER = "shared, exchange during the backward pass", "shared, one exchange after it"


def made(options: argparse.Namespace, device: torch.device) -> tuple[Step, Batch]:
    """A step on a batch of noise, the same in each process."""
    size = options.size
    task = Task("image", (3, size, size), CLASSES, (0.5,) * 3, (0.25,) * 3)
    method: Method = registry.build("method", "cross-entropy")
    network: Network = fresh_weights(options.network, method, task, seed=0).to(device).train()
    rng = torch.Generator().manual_seed(0)
    inputs = torch.rand(options.batch, 3, size, size, generator=rng)
    labels = torch.randint(0, CLASSES, (options.batch,), generator=rng)
    return Step(network, method), Batch(inputs.to(device), labels.to(device))


def exchanged(step: nn.Module) -> None:
    """All gradients averaged by one exchange."""
    gradients = [p.grad for p in step.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def works(options: argparse.Namespace, device: torch.device) -> dict[str, Callable[[], None]]:
    """The kinds of step, each a few times."""
    step, batch = made(options, device)
    parallel = DistributedDataParallel(step, find_unused_parameters=True)
    parallel.broadcast_buffers = False
    optimizer, team = torch.optim.SGD(step.parameters(), lr=1e-3, momentum=0.9), here()

    def steps(module: nn.Module, exchange: bool = False, silent: bool = False) -> None:
        for _ in range(options.steps):
            optimizer.zero_grad(set_to_none=True)
            with parallel.no_sync() if silent else contextlib.nullcontext():
                module(batch).backward()
            if exchange:
                exchanged(step)
            optimizer.step()

    def together(**how: bool) -> Callable[[], None]:
        def work() -> None:
            with shared(step.network, team):
                steps(parallel, **how)
            finished(device)

        return work

    def alone() -> None:
        if team.rank == 0:
            steps(step)
        finished(device)

    return {
        ALONE: alone, SILENT: together(silent=True), OVERLAPPED: together(),
        AFTER: together(silent=True, exchange=True),
    }  # fmt: skip


def finished(device: torch.device) -> None:
    """All processes are done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    dist.barrier()


def process(rank: int, options: argparse.Namespace, port: int) -> None:
    """One of the processes; the first prints."""
    cuda = options.device == "cuda"
    own_cards = cuda and torch.cuda.device_count() >= options.processes
    device = torch.device(f"cuda:{rank if own_cards else 0}" if cuda else "cpu")
    if cuda:
        torch.cuda.set_device(device)
    torch.set_num_threads(options.threads)
    dist.init_process_group(
        "nccl" if own_cards else "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=options.processes
    )
    try:
        found = in_turns(works(options, device), options.rounds, time.perf_counter)
        if rank == 0:
            shown(options, device, found)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def shown(options: argparse.Namespace, device: torch.device, found: dict[str, list[float]]) -> None:
    network = made(options, torch.device("cpu"))[0].network
    megabytes = sum(p.nbytes for p in network.parameters()) / 1e6
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} threads each"
    rows = []
    for name, seconds in found.items():
        ratios = [a / b for a, b in zip(seconds, found[OVERLAPPED], strict=True)]
        rows.append(
            [
                name,
                f"{1000 * statistics.median(seconds) / options.steps:,.0f}",
                f"{statistics.median(ratios):.2f} x",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            ]
        )
    table(
        f"{options.network}, {megabytes:.0f} MB of gradients, batches of {options.batch} images of"
        f" {options.size} x {options.size}, {options.processes} processes ({dist.get_backend()}, {where});"
        f" {os.cpu_count()} cores, load average {os.getloadavg()[0]:.0f}, torch {torch.__version__}, Python"
        f" {platform.python_version()}; {options.rounds} rounds of {options.steps} steps",
        ["step", "ms", "of the overlapped", "over the rounds"],
        rows,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--network", default="resnet18-32")
    parser.add_argument("--batch", type=int, help="images in the whole batch; 16, on a GPU 512")
    parser.add_argument("--size", type=int, default=32, help="height and width of an image")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process, on the CPU")
    parser.add_argument("--steps", type=int, help="in a round; 2, on a GPU 10")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="small-cnn, one round of one step")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU that torch can use is here", file=sys.stderr)
        return 2
    cuda = options.device == "cuda"
    options.batch, options.steps = (
        options.batch or (512 if cuda else 16),
        options.steps or (10 if cuda else 2),
    )
    if options.tiny:
        options.network, options.batch, options.steps, options.rounds = "small-cnn", 8, 1, 1
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    torch.multiprocessing.spawn(process, (options, port), options.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
