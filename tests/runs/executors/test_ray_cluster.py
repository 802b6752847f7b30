"""Ray as an engine, on real clusters of this machine (see `alone`): each script prints what it found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.executors.alone import alone


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("jobs")
    done = alone("tests.runs.executors.ray_with_nodes", home, folder, seconds=280)
    # the last line: nothing else may stand on standard output, which carries results
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_a_node_that_dies_costs_its_own_job_alone(nodes: dict[str, Any]) -> None:
    assert nodes["node killed"].startswith("lost: the worker on second ended: ")
    assert nodes["worker killed"].startswith("lost: the worker on first ended: ActorDiedError")
    assert nodes["others"] == ["c", "d"]
    assert nodes["after"] == [0, 2, 4]


def test_a_machine_that_refuses_gets_no_more_jobs(nodes: dict[str, Any]) -> None:
    assert nodes["avoided"] is True
    assert nodes["then"] == ["cards"]
    assert nodes["none left"] is False


def test_a_process_keeps_its_gpu(nodes: dict[str, Any]) -> None:
    """A kept process of Ray's tasks gets now this and now that one, which CUDA does not follow. (Two engines
    were closed on that cluster before: they leave it as it was.)"""
    assert nodes["cards"] == [["0"], ["1"]]


def test_a_node_without_the_package_is_named(nodes: dict[str, Any]) -> None:
    assert "the package oodbench cannot be imported on broken (127.0.0.1)" in nodes["broken"]
    assert "No module named 'oodbench" in nodes["broken"]
    assert nodes["broken"].endswith("install it on every node")


def test_a_token_is_shown_and_a_wrong_one_told(nodes: dict[str, Any]) -> None:
    assert "the cluster does not take this user's token; set RAY_AUTH_MODE=token" in nodes["other token"]


def test_a_cluster_of_this_machine_ends_with_the_program(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = alone("tests.runs.executors.ray_of_this_machine", tmp_path / "home", tmp_path, seconds=150)
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == {"said": ["2", "1", "4"], "left": []}
