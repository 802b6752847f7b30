"""Runs whose store lies under a URL, on a real S3 server: nothing is made twice, on whatever machine, and the
rows are those of a store in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from oodbench.core.errors import UserError
from oodbench.runs import verify
from oodbench.runs.remote import found_at, opened_at, place_of, store_at
from oodbench.runs.remote_files import RemoteFiles, Unreachable
from oodbench.runs.remote_store import RemoteStore
from oodbench.runs.runner import Results
from oodbench.runs.store import CannotKeep, Store
from tests.runs.s3_server import S3, serving
from tests.runs.suites import PAIR, SMALL, run_file

OOD = {f"d{n}": {"digits": {"classes": [n]}} for n in (4, 5, 6, 7, 8, 9)}
MANY: dict[str, Any] = SMALL | {
    "pairs": [PAIR | {"near": OOD}],
    "scorers": [{"energy": {"temperature": 1 + t / 2}, "as": f"e{t}"} for t in range(10)],
}
NOTHING = {"weights": 0, "outputs": 0, "choices": 0, "scores": 0}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3]:
    with serving(tmp_path) as s3:
        yield s3


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SMALL))
    return tmp_path / "suite.yaml"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The rows of the suite with a store in a folder."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "suite.yaml").write_text(yaml.safe_dump(SMALL))
    return _csv(run_file(folder / "suite.yaml", folder / "runs"))


def _csv(done: Results) -> bytes:
    return (done.folder / "results.csv").read_bytes()


def test_a_place_is_a_folder_or_a_url(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = store_at("here")
    assert type(plain) is Store
    assert place_of(plain) == str(tmp_path / "here")
    assert found_at(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UserError, match="holds no artefacts"):
        opened_at(tmp_path / "nowhere")
    url = f"memory://{tmp_path.name}"
    assert found_at(url) is None
    with pytest.raises(UserError, match="holds no artefacts"):
        opened_at(url)
    far = store_at(url)
    assert isinstance(far, RemoteStore)
    assert place_of(far) == url
    assert far.root.is_relative_to(cache)
    assert isinstance(store_at(Path("memory://study")), RemoteStore), "of which Path keeps one slash"
    assert isinstance(store_at(Path(f"file://{tmp_path}/far")), RemoteStore)
    assert (tmp_path / "far" / "store.json").is_file()
    for wrong in ("s4://bucket/x", "s3:/bucket/x", "s3://"):
        for way in (store_at, opened_at, found_at):
            with pytest.raises(UserError, match=r"^store s"):
                way(wrong)
    assert sorted(os.listdir(tmp_path)) == ["cache", "far", "here"], "no folder of such a name"


def test_a_finished_run_is_a_few_objects_that_make_it_anywhere(
    server: S3, tmp_path: Path, cache: Path, suite: Path
) -> None:
    suite.write_text(yaml.safe_dump(MANY))
    in_a_folder = run_file(suite, tmp_path / "plain")
    url = server.make("bucket")
    before = len(server.asked("PUT"))
    first = run_file(suite, tmp_path / "first", store=url)
    assert first.made["scores"] == 90
    assert len(server.asked("PUT")) - before == 3, "to know the store by, weights, and all the rest"
    assert server.asked("POST") == []
    for name in ("the same machine", "another machine"):
        again = run_file(suite, tmp_path / name, store=url)
        assert again.made == NOTHING
        assert _csv(again) == _csv(first) == _csv(in_a_folder)
        shutil.rmtree(cache / "stores")
    more = MANY | {"scorers": [*MANY["scorers"], "msp"]}
    suite.write_text(yaml.safe_dump(more))
    assert run_file(suite, tmp_path / "more", store=url).made == NOTHING | {"scores": 9}
    shutil.rmtree(cache / "stores")
    assert run_file(suite, tmp_path / "more again", store=url).made == NOTHING


def test_a_run_is_verified_by_what_lies_there(server: S3, tmp_path: Path, cache: Path, suite: Path) -> None:
    url = server.make("bucket")
    done = run_file(suite, tmp_path / "runs", store=url)
    found = {f.what: f for f in verify.folder(done.folder, url, remake=["outputs"])}
    assert {f.state for f in found.values()} == {"holds"}, [f for f in found.values() if f.state != "holds"]
    files = RemoteFiles(url)
    (name,) = files.names("packs")
    data = bytearray(files.read(name))
    data[len(data) // 3] ^= 1
    files.write(name, bytes(data))
    found = {f.what: f for f in verify.folder(done.folder, url)}
    assert found["checksums"].state == "contradicted"
    assert url in found["checksums"].why


_KILLED = """
import os, signal, sys
from oodbench.runs.remote_files import RemoteFiles, Unreachable
put = RemoteFiles.put

def killed(self, name, file):
    if name.startswith(sys.argv[1]):
        data = file.read_bytes()
        self.write(name, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, name, file)

if sys.argv[1]:
    RemoteFiles.put = killed
from oodbench.runs.runner import run
run(sys.argv[2], results=sys.argv[3], store=sys.argv[4], plots=False, device="cpu")
"""


def _process(suite: Path, results: Path, url: str, kill: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _KILLED, kill, str(suite), str(results), url],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kill", "same", "made"), [("weights", False, 1), ("packs", True, 0), ("packs", False, 0)]
)
def test_killed_while_it_puts_something_there(
    server: S3, tmp_path: Path, cache: Path, suite: Path, kill: str, same: bool, made: int, plain: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The worst that may be left: half of an object, under its name. It is finished by the same machine, and
    made again by another one."""
    url = server.make("bucket")
    process = _process(suite, tmp_path / "killed", url, kill)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == -signal.SIGKILL, said
    for name in ("cache" if same else "another machine", "third machine"):
        monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / name))
        done = run_file(suite, tmp_path / f"done {name}", store=url)
        assert done.made["weights"] == made
        assert _csv(done) == plain
        made = 0
    assert done.made == NOTHING


def test_two_machines_at_once(
    server: S3, tmp_path: Path, cache: Path, suite: Path, plain: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, both = server.make("bucket"), []
    for name in ("a", "b"):
        monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / name))
        both.append(_process(suite, tmp_path / f"runs {name}", url))
    for name, process in zip("ab", both, strict=True):
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
        assert (tmp_path / f"runs {name}" / "small" / "results.csv").read_bytes() == plain
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "c"))
    third = run_file(suite, tmp_path / "runs c", store=url)
    assert (third.made, _csv(third)) == (NOTHING, plain)


def test_nothing_is_trained_for_a_place_that_cannot_be_written(
    server: S3, tmp_path: Path, cache: Path, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oodbench.training.loop.train", None)
    for url in ("s3://bukket/x", "s4://bucket/x", "nope::x"):
        with pytest.raises(UserError, match=f"^store {url}: "):
            run_file(suite, tmp_path / "runs", store=url)


def test_a_network_that_is_gone_ends_the_run_and_loses_nothing(
    tmp_path: Path, cache: Path, suite: Path, plain: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, put = f"file://{tmp_path}/far", RemoteFiles.put

    def gone(files: RemoteFiles, name: str, file: Path) -> None:
        if name.startswith("packs"):
            raise Unreachable(f"store {files.url}: cannot be written (gone)")
        put(files, name, file)

    monkeypatch.setattr(RemoteFiles, "put", gone)
    with pytest.raises(CannotKeep, match="gone") as error:
        run_file(suite, tmp_path / "runs", store=url)
    monkeypatch.setattr(RemoteFiles, "put", put)
    assert "\n" not in str(error.value)
    done = run_file(suite, tmp_path / "runs", store=url)
    assert (done.made, _csv(done)) == (NOTHING, plain)
