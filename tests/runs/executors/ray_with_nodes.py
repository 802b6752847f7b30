"""A Ray cluster of several nodes, for `test_ray_cluster`: one of them is killed, and one cannot import the
package. Prints what was found, one thing a line."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

from oodbench.core.errors import UserError
from oodbench.runs.executors.contract import Lost
from oodbench.runs.executors.ray_cluster import RayCluster
from tests.runs.executors import jobs, ray_nodes

LIMIT = 60
WITHOUT = """\
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "oodbench":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
"""
"""Read by Python as it starts on a node on which the package is not installed."""
found: dict[str, Any] = {}


def outcome(future: Any) -> Any:
    try:
        return future.result(LIMIT)
    except Lost as error:
        return f"lost: {error}"


def refused() -> str:
    try:
        RayCluster(ray_nodes.ADDRESS)
    except UserError as error:
        return str(error)
    return "taken"


def tokens() -> None:
    """The head takes a token. A user who has another one is told; the right one is shown without a word."""
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    found["other token"] = refused()
    del os.environ["RAY_AUTH_TOKEN"]
    assert "RAY_AUTH_MODE" not in os.environ


def two_nodes(folder: Path) -> None:
    both = RayCluster(ray_nodes.ADDRESS, gpus_per_run=0)
    second = ray_nodes.joined("second", "--num-cpus=1")
    assert ray_nodes.hosts(2) == {"first", "second"}
    held = [both.submit(jobs.hold, str(folder), name) for name in "abcd"]
    where = {jobs.said(folder, name)[0]: name for name in "ab"}
    assert set(where) == {"first", "second"}, "each node has one"
    assert ray_nodes.hosts(2) == {"first", "second"}
    ray_nodes.end(second)
    on_first, on_second = "ab".index(where["first"]), "ab".index(where["second"])
    found["node killed"] = outcome(held[on_second])
    os.kill(jobs.said(folder, where["first"])[1], signal.SIGKILL)
    found["worker killed"] = outcome(held[on_first])
    (folder / "go").touch()
    found["others"] = [outcome(future) for future in held[2:]]
    found["after"] = [outcome(both.submit(jobs.double, x)) for x in range(3)]
    both.close()


def refusing_nodes(folder: Path) -> None:
    """Nodes that a fleet does not want, and one on which the package cannot be imported."""
    (folder / "broken").mkdir()
    (folder / "broken" / "sitecustomize.py").write_text(WITHOUT)  # Ray adds the folders of who asks
    cards = ray_nodes.joined("cards", "--num-cpus=2", "--num-gpus=2")
    one = RayCluster(ray_nodes.ADDRESS, gpus_per_run=0)
    assert ray_nodes.hosts(2) == {"first", "cards"}
    held = [one.submit(jobs.hold, str(folder), name) for name in "efg"]
    machines = {jobs.said(folder, name)[0] for name in "efg"}
    assert machines == {"first", "cards"}
    (folder / "go").touch()
    for future in held:
        outcome(future)
    first = next(p.machine for p in one._places if p.host == "first")
    found["avoided"] = one.avoid(first)
    assert one.avoid(first) is True, "another job was refused there before it was known"
    found["then"] = sorted({outcome(one.submit(jobs.where))[0] for _ in range(4)})
    found["none left"] = one.avoid(next(p.machine for p in one._places if p.host == "cards"))
    one.close()
    gpus(folder)
    broken = ray_nodes.joined(
        "broken", "--num-cpus=1", "--num-gpus=1", environment={"PYTHONPATH": str(folder / "broken")}
    )
    assert ray_nodes.alive(3) == {"first", "cards", "broken"}
    found["broken"] = refused()
    ray_nodes.end(broken)
    ray_nodes.end(cards)


def gpus(folder: Path) -> None:
    """Each process keeps its GPU from job to job."""
    on_cards = RayCluster(ray_nodes.ADDRESS)
    (folder / "go").unlink()
    held = [on_cards.submit(jobs.hold, str(folder), name) for name in "xy"]
    assert len({jobs.said(folder, name)[1] for name in "xy"}) == 2
    (folder / "go").touch()
    assert [outcome(future) for future in held] == ["x", "y"]
    seen: dict[int, set[str | None]] = {}
    for _ in range(6):
        for pid, card in [f.result(LIMIT) for f in [on_cards.submit(jobs.card) for _ in range(4)]]:
            seen.setdefault(pid, set()).add(card)
    found["cards"] = sorted(sorted(map(str, cards)) for cards in seen.values())
    on_cards.close()


def main(folder: Path) -> None:
    (Path.home() / ".ray").mkdir()
    (Path.home() / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    ray_nodes.head(environment={"RAY_AUTH_MODE": "token"})
    ray_nodes.listening()
    tokens()
    two_nodes(folder)
    (folder / "go").unlink()
    refusing_nodes(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
