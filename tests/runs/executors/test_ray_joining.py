"""What is said where a Ray cluster cannot be joined, before Ray itself is asked."""

from __future__ import annotations

import importlib.util
import socket
import time
from typing import Any

import pytest

from oodbench.core.errors import UserError
from oodbench.runs.executors import ray_joining

NODE = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}


def _line(address: str) -> str:
    with pytest.raises(UserError) as error:
        ray_joining.join(address)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    "address", ["", "auto", "head", "head:", "head:0", "head:99999", ":6379", "a b:1", "ray://h:1"]
)
def test_what_is_no_address(address: str) -> None:
    pytest.importorskip("ray")
    assert "is no address; give HOST:PORT" in _line(address)


def test_where_nothing_listens() -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert _line(f"127.0.0.1:{port}").startswith(f"--ray 127.0.0.1:{port}: no answer (")


def test_where_something_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_joining, "ANSWER", 1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = _line(f"127.0.0.1:{port}")
    assert line == f"--ray 127.0.0.1:{port}: no Ray cluster answers there (nothing within 1 seconds)"


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    start = time.monotonic()
    assert _line("10.255.255.1:6379") == "--ray: the library ray is not here; pip install 'oodbench[ray]'"
    assert time.monotonic() - start < 5, "nobody is asked first"


@pytest.mark.parametrize(
    ("threads", "gpus", "expected"),
    [(1, 0, 8), (3, 0, 2), (9, 0, 0), (1, 1, 2), (1, 2, 1), (1, 3, 0), (1, 0.5, 4), (1, 0.25, 8),
     (1, 0.2, 8), (2, 0.1, 4), (1, 1 / 3, 6), (1, 0.6, 2)],
)  # fmt: skip
def test_how_many_runs_a_node_holds(threads: int, gpus: float, expected: int) -> None:
    assert ray_joining.places_on(NODE, threads, gpus) == expected


@pytest.mark.parametrize(
    "node", [{"Alive": False, "Resources": {"CPU": 8.0}}, {"Alive": True, "Resources": {}}]
)
def test_a_node_that_holds_none(node: dict[str, Any]) -> None:
    assert ray_joining.places_on(node, 1, 0) == 0
