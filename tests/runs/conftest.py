"""Three real runs, each made once; tests that change one take a copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from tests.conftest import TINY
from tests.runs.s3_server import S3, serving
from tests.runs.suites import ATTACKED, RICH, run_file
from tests.unpacked import unpacked


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a suite whose results lie in ``results`` beside it."""
    file = tmp_path_factory.mktemp("done") / "tiny.yaml"
    file.write_text(TINY)
    run_file(file, file.parent / "results", plots=True)
    return file


@pytest.fixture(scope="session")
def tiny_run(tiny_file: Path) -> Path:
    """The results folder of that run, its store beside it."""
    return tiny_file.parent / "results" / "tiny"


@pytest.fixture
def copied(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy to change, with its store beside it, unpacked."""
    shutil.copytree(tiny_run.parent, tmp_path / "r")
    unpacked(tmp_path / "r/.store")
    return tmp_path / "r" / "tiny"


@pytest.fixture
def bare(copied: Path) -> Path:
    """The same without pictures, which take long to draw again."""
    shutil.rmtree(copied / "plots")
    return copied


@pytest.fixture(scope="session")
def attacked_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("attacked")
    run(parse_suite(ATTACKED), results=root, device="cpu", plots=False)
    return root / "attacked"


@pytest.fixture
def attacked(attacked_run: Path, tmp_path: Path) -> Path:
    """A copy to change, with its store beside it, unpacked."""
    shutil.copytree(attacked_run.parent, tmp_path / "attacked-copy")
    unpacked(tmp_path / "attacked-copy/.store")
    return tmp_path / "attacked-copy" / "attacked"


@pytest.fixture(scope="session")
def rich_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rich")
    run(parse_suite(RICH), results=root, device="cpu", plots=False)
    return root / "rich"


@pytest.fixture
def rich(rich_run: Path, tmp_path: Path) -> Path:
    """A copy to change, with its store beside it, unpacked."""
    shutil.copytree(rich_run.parent, tmp_path / "rich-copy")
    unpacked(tmp_path / "rich-copy/.store")
    return tmp_path / "rich-copy" / "rich"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server on this machine."""
    with serving(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture(params=["memory", "file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind where nothing is yet."""
    if request.param == "s3":
        server: S3 = request.getfixturevalue("server")
        return server.make(f"bucket-{os.urandom(4).hex()}")
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/far/away"
