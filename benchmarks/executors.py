"""Engines that carry out jobs in processes of one machine, side by side: what they cost, and what is left
when something dies.

    python benchmarks/executors.py                     our local processes and Ray: about a minute
    pip install pebble loky distributed
    python benchmarks/executors.py --all               all that are installed: about four minutes

Each engine has two workers. Ray runs in a network of its own, where that is allowed. Seconds are of the wall;
"lost" counts the jobs of four (two begun, two waiting) that fail when one worker is killed; "after" says
whether a job is done afterwards, and after a worker without a job was killed. Nothing is asserted."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measured import table

HERE = Path(__file__).resolve()
APART = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]


def nothing() -> int:
    return os.getpid()


def hold(folder: str, name: str) -> int:
    Path(folder, name).write_text(str(os.getpid()))
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    return os.getpid()


# ---------------------------------------------------------------- the engines, with one face


class Engine:
    """`submit` and `close` of an engine that is started with `made`."""

    def __init__(self, made: Any, submit: Callable[..., Any], close: Callable[[], Any]) -> None:
        self.made, self.submit, self.close = made, submit, close


def ours(workers: int) -> Engine:
    from oodbench.runs.executors.local import LocalProcesses

    made = LocalProcesses(workers)
    return Engine(made, made.submit, lambda: made.close(now=True))


def process_pool(workers: int) -> Engine:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    made = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    return Engine(made, made.submit, lambda: made.shutdown(cancel_futures=True))


def loky(workers: int) -> Engine:
    try:
        from loky import ProcessPoolExecutor
    except ImportError:
        from joblib.externals.loky import ProcessPoolExecutor

    made = ProcessPoolExecutor(workers)
    return Engine(made, made.submit, lambda: made.shutdown(kill_workers=True))


def pebble(workers: int) -> Engine:
    import multiprocessing

    from pebble import ProcessPool

    made = ProcessPool(workers, context=multiprocessing.get_context("spawn"))
    return Engine(made, lambda f, *a: made.schedule(f, args=a), lambda: (made.stop(), made.join()))


def dask(workers: int) -> Engine:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    client = Client(cluster)
    return Engine(
        client, lambda f, *a: client.submit(f, *a, pure=False), lambda: (client.close(), cluster.close())
    )


def ray(workers: int) -> Engine:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray as library

    library.init(
        address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    return Engine(
        library,
        lambda f, *a: library.remote(num_cpus=1, max_retries=0)(f).remote(*a).future(),
        library.shutdown,
    )


ENGINES: dict[str, tuple[Callable[[int], Engine], str]] = {
    "local processes (ours)": (ours, ""),
    "ProcessPoolExecutor": (process_pool, ""),
    "loky": (loky, "joblib"),
    "pebble": (pebble, "pebble"),
    "dask": (dask, "distributed"),
    "ray": (ray, "ray"),
}


# ---------------------------------------------------------------- what is done with each


def begun(folder: str, *names: str, seconds: float = 30) -> list[int]:
    """The processes that hold those jobs, once they have begun."""
    end = time.monotonic() + seconds
    found = [Path(folder, name) for name in names]
    while not all(f.exists() and f.read_text() for f in found):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)
    return [int(f.read_text()) for f in found]


def outcome(future: Any, seconds: float = 20) -> Any:
    try:
        return future.result(timeout=seconds)
    except BaseException as error:
        return error


def one_more(engine: Engine) -> Any:
    try:
        return outcome(engine.submit(nothing))
    except Exception as error:
        return error


def children(pid: int) -> list[int]:
    """All processes below one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        below = parents.get(left.pop(), [])
        found += below
        left += below
    return found


def memory(pids: list[int]) -> float:
    """MB of processes: what they share counted once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(name: str) -> None:
    """Start, empty tasks, memory, a worker killed while it works and while it does not: one line each."""
    import torch  # noqa: F401 - the program that asks has it already

    start = time.perf_counter()
    engine = ENGINES[name][0](2)
    [f.result() for f in [engine.submit(nothing) for _ in range(2)]]
    print("start", f"{time.perf_counter() - start:.1f}")
    start = time.perf_counter()
    [f.result() for f in [engine.submit(nothing) for _ in range(200)]]
    print("empty", f"{(time.perf_counter() - start) * 1000 / 200:.2f}")
    print("memory", f"{memory(children(os.getpid())):.0f}")
    with tempfile.TemporaryDirectory() as folder:
        jobs = [engine.submit(hold, folder, n) for n in "abcd"]
        print("held", flush=True)
        os.kill(begun(folder, "a", "b")[0], signal.SIGKILL)
        time.sleep(1)
        Path(folder, "go").touch()
        print("lost", sum(isinstance(outcome(job), BaseException) for job in jobs), flush=True)
        after = one_more(engine)
        if isinstance(after, int):
            os.kill(after, signal.SIGKILL)
            time.sleep(1)
            after = one_more(engine)
        print("after", "yes" if isinstance(after, int) else type(after).__name__, flush=True)
        os._exit(0)


def drive(name: str, folder: str) -> None:
    """A program in the middle of its jobs, to be killed or interrupted."""
    engine = ENGINES[name][0](2)
    try:
        for job in [engine.submit(hold, folder, n) for n in "abcd"]:
            job.result()
    finally:
        engine.close()


@contextlib.contextmanager
def driven(name: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, str(HERE), "--drive", name, folder],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        begun(folder, "a", "b", seconds=60)
        below = children(process.pid)
        try:
            yield process, below
        finally:
            for pid in [*below, process.pid]:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            process.stderr.close()  # type: ignore[union-attr]
            process.wait()


def gone(pids: list[int], seconds: float = 20) -> str:
    """How many seconds until those processes have ended."""
    start = time.perf_counter()
    while any(_alive(pid) for pid in pids):
        if time.perf_counter() - start > seconds:
            return f"{sum(map(_alive, pids))} left after {seconds:.0f}"
        time.sleep(0.02)
    return f"{time.perf_counter() - start:.1f}"


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(name: str) -> None:
    """The driver killed, and interrupted from the terminal: all of its process group is told."""
    with driven(name) as (process, below):
        process.kill()
        print("killed", gone(below), flush=True)
    with driven(name) as (process, below):
        os.killpg(process.pid, signal.SIGINT)
        print("interrupted", gone([process.pid, *below]), flush=True)


SCRIPT = """\
from executors import ENGINES, nothing
engine = ENGINES[{name!r}][0](2)
print("worked" if isinstance(engine.submit(nothing).result(timeout=30), int) else "no", flush=True)
engine.close()
"""


def unguarded(name: str) -> None:
    """A script without ``if __name__ == "__main__"``, from a file and from standard input."""
    text = SCRIPT.format(name=name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "script.py")
        file.write_text(text)
        for how, command, given in (("script", [str(file)], None), ("stdin", ["-"], text)):
            said = ""
            with contextlib.suppress(subprocess.TimeoutExpired):
                said = subprocess.run(
                    [sys.executable, *command], env=os.environ | {"PYTHONPATH": str(HERE.parent)},
                    input=given, capture_output=True, text=True, timeout=60,
                ).stdout  # fmt: skip
            print(how, "yes" if said.startswith("worked") else "no", flush=True)


# ---------------------------------------------------------------- the table


def size(distribution: str) -> str:
    """MB that a distribution takes, without what it needs."""
    if not distribution:
        return "0"
    files = importlib.metadata.files(distribution) or []
    return f"{sum(Path(f.locate()).stat().st_size for f in files if f.locate().is_file()) / 2**20:.1f}"


def run(name: str, step: str) -> dict[str, str]:
    command = [sys.executable, str(HERE), f"--{step}", name]
    if name == "ray" and shutil.which("unshare"):
        command = [*APART, 'ip link set lo up && exec "$@"', "sh", *command]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
        pairs = [line.split(" ", 1) for line in done.stdout.splitlines() if " " in line]
        return dict(pairs)
    return {}


COLUMNS = {
    "size": "MB installed", "start": "start, s", "empty": "empty task, ms", "memory": "MB, idle",
    "lost": "lost of 4", "after": "job after", "killed": "driver killed: ended in s",
    "interrupted": "Ctrl-C: ended in s", "script": "no guard", "stdin": "from stdin",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--all", action="store_true")
    for step in ("measure", "ends", "unguarded"):
        parser.add_argument(f"--{step}")
    parser.add_argument("--drive", nargs=2)
    chosen = parser.parse_args()
    for step in (measure, ends, unguarded):
        if name := getattr(chosen, step.__name__):
            return step(name)
    if chosen.drive:
        return drive(*chosen.drive)
    rows = []
    for name, (_, distribution) in ENGINES.items():
        module = "joblib" if distribution == "joblib" else distribution
        if (chosen.all or name in ("local processes (ours)", "ray")) and (
            not module or importlib.util.find_spec(module)
        ):
            found = {"size": size(distribution)}
            for step in ("measure", "ends", "unguarded"):
                found |= run(name, step)
            rows.append([name, *(found.get(column, "-") for column in COLUMNS)])
            print(rows[-1], file=sys.stderr)
    table("Engines of one machine, two workers", ["engine", *COLUMNS.values()], rows)


if __name__ == "__main__":
    import executors  # by its name, by which the engines find its functions

    executors.main()
