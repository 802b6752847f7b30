"""Stands in for Slurm's commands, as far as submitit asks: ``sbatch`` writes down what it is given and starts
each task of an array, ``sacct`` tells their states, ``scancel`` ends them. Its state is a folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel")


def install(folder: Path, monkeypatch: object) -> None:
    """Put the commands first in PATH."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name in COMMANDS:
        command = bin_folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")  # type: ignore[attr-defined]
    monkeypatch.setenv("FAKE_SLURM", str(folder))  # type: ignore[attr-defined]


def sbatch(state: Path, script: str) -> None:
    if (state / "refuse").exists():
        sys.exit(
            "sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed"
        )
    text = Path(script).read_text()
    number = 1 + len(list(state.glob("script-*")))
    (state / f"script-{number}").write_text(text)
    array = re.search(r"--array=0-(\d+)", text)
    for i in range(int(array[1]) + 1) if array else [None]:
        name = str(number) if i is None else f"{number}_{i}"
        own = {"SLURM_JOB_ID": str(number), "SLURM_JOB_NUM_NODES": "1", "SUBMITIT_EXECUTOR": "slurm"}
        if i is not None:
            own |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(i)}
        # srun in the script is this file: it starts what comes after its options
        task = subprocess.Popen(
            ["sh", script], env=os.environ | own, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (state / f"task-{name}").write_text(json.dumps({"pid": task.pid}))
    print(f"Submitted batch job {number}")


def srun(state: Path, *args: str) -> None:
    rest = list(args)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("--output", "--error"):
            rest.pop(0)
    os.execvp(rest[0], rest)


def sacct(state: Path, *_: str) -> None:
    print("JobID|State|NodeList")
    for task in sorted(state.glob("task-*")):
        pid = json.loads(task.read_text())["pid"]
        forced = state / f"state-{task.name[5:]}"
        running = Path(f"/proc/{pid}/stat").exists()
        told = forced.read_text() if forced.exists() else "RUNNING" if running else "FAILED"
        print(f"{task.name[5:]}|{told}|n1")


def scancel(state: Path, *names: str) -> None:
    for name in names:
        with (state / "cancelled").open("a") as file:
            file.write(f"{name}\n")
        with contextlib.suppress(OSError):
            os.killpg(json.loads((state / f"task-{name}").read_text())["pid"], signal.SIGKILL)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(os.environ["FAKE_SLURM"]), *sys.argv[2:])
