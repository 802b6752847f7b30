"""A suite over two nodes of Ray, for `test_fleet_engines`: once with a node that has another version of the
plugin, once with a node that is killed in the middle. Prints what was found."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from oodbench.runs.execution import Execution
from oodbench.runs.executors.ray_cluster import RayCluster
from tests.runs import mixed
from tests.runs.executors import jobs, ray_nodes
from tests.runs.suites import run_file

HOW = Execution(ray=ray_nodes.ADDRESS, threads=1)


def carried_out(suite: Path, results: Path) -> dict[str, Any]:
    done = run_file(suite, results, how=HOW)
    return {"failed": done.failed, "made": done.made}


def main(suite: Path, folder: Path) -> None:
    os.environ["WATCHED"] = str(folder)
    found: dict[str, Any] = {}
    ray_nodes.head()
    ray_nodes.listening()
    (folder / "other.py").write_text(mixed.WATCHED.replace("a test's", "another version's"))
    other = ray_nodes.joined(
        "other", "--num-cpus=1", instead={suite.with_name("watched.py"): folder / "other.py"}
    )
    avoided: list[str] = []
    avoid = RayCluster.avoid
    RayCluster.avoid = lambda self, host: avoided.append(host) or avoid(self, host)  # type: ignore
    ray_nodes.alive(2)
    (folder / "hold").touch()  # so that the first node cannot do all before the other one is there
    letting = threading.Thread(target=_let_go, args=(folder, avoided), daemon=True)
    letting.start()
    found["other version"] = carried_out(suite, folder / "one")
    letting.join(60)
    found["avoided"] = [host.partition(".")[0] for host in avoided]
    ray_nodes.end(other)
    second = ray_nodes.joined("second", "--num-cpus=1")
    ray_nodes.alive(2)
    (folder / "first").unlink(missing_ok=True)
    (folder / "hold").touch()

    def kill() -> None:
        while not (host := _holding(folder)):
            time.sleep(0.05)
        found["held on"] = host
        if host == "second":
            ray_nodes.end(second)
        else:  # the head has to stay: its worker dies
            os.kill(jobs.said(folder, host)[1], 9)
        (folder / "hold").unlink()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found["node killed"] = carried_out(suite, folder / "two")
    killer.join(60)
    print(json.dumps(found))


def _let_go(folder: Path, avoided: list[str]) -> None:
    end = time.monotonic() + 60
    while not avoided and time.monotonic() < end:
        time.sleep(0.05)
    (folder / "hold").unlink()


def _holding(folder: Path) -> str:
    return next((name for name in ("first", "second") if (folder / name).exists()), "")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
