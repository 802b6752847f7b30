"""A Ray cluster of one machine, for `test_ray_cluster`: the program that started it is killed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.runs.executors import jobs

DRIVER = """
import sys
from oodbench.data.sources.roots import settings
from oodbench.runs.executors.ray_cluster import RayCluster
from tests.runs.executors import jobs
with settings(cpus=2):
    one = RayCluster("local")
held = one.submit(jobs.hold, sys.argv[1], "a")
print(one.capacity, one.submit(jobs.threads).result(60)[0], one.submit(jobs.double, 2).result(60), flush=True)
held.result()
"""


def others() -> set[str]:
    """What runs in this world of processes."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended just now
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.add((entry / "cmdline").read_text().replace("\0", " ").strip()[:100])
    return found


def main(folder: Path) -> None:
    before = others()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder)], stdout=subprocess.PIPE, text=True)
    jobs.said(folder, "a")
    assert driver.stdout is not None
    found = {"said": driver.stdout.readline().split()}
    driver.kill()
    driver.wait()
    end = time.monotonic() + 60
    while (left := {name for name in others() - before if "Agent" not in name}) and time.monotonic() < end:
        time.sleep(0.05)  # two agents of Ray's stay for minutes, and do nothing
    print(json.dumps(found | {"left": sorted(left)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
