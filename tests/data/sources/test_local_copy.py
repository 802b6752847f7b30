"""Copies of data files on a machine's own disk: each file is read once per machine, whoever needs it, and
nothing but speed tells that there are copies."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.data.sources import content, workers
from oodbench.data.sources.arrays import read_arrays
from oodbench.data.sources.files import FileSamples, folder
from oodbench.data.sources.idx import read_idx
from oodbench.data.sources.local_copy import through_copy
from oodbench.data.sources.roots import settings

GEOMETRY, N = Geometry((3, 16, 16), 20), 12


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    yield
    workers._crew.cache_clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for i in range(N):
        picture = Image.fromarray(rng.integers(0, 256, (20 + i, 31, 3), np.uint8))
        picture.save(tmp_path / "set" / f"{i:02d}.{'jpg' if i % 2 else 'png'}")
    return tmp_path / "set"


def _opened(source: Path) -> FileSamples:
    return folder("set", source, flat=True)


def _copies(local: Path) -> list[Path]:
    return [f for f in local.rglob("*") if f.is_file() and f.suffix != ".lock"]


@contextmanager
def _opens(source: Path) -> Iterator[list[str]]:
    """The files below a folder that this process opens, as the interpreter tells."""
    seen: list[str] = []
    global _watched
    _watched = (str(source), seen)
    yield seen
    _watched = ("", [])


_watched: tuple[str, list[str]] = ("", [])


def _hear(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and _watched[0] and str(args[0]).startswith(_watched[0]):
        _watched[1].append(str(args[0]))


sys.addaudithook(_hear)


@pytest.mark.parametrize("readers", [0, 2])
def test_a_file_is_read_where_it_lies_but_once(source: Path, tmp_path: Path, readers: int) -> None:
    samples = _opened(source)
    plain, as_they_are = samples.read(range(N), GEOMETRY), [samples.read([i]) for i in range(N)]
    with settings(local=tmp_path / "local", readers=readers), _opens(source) as seen:
        assert torch.equal(samples.read(range(N), GEOMETRY), plain)
        assert len(_copies(tmp_path / "local")) == N
        assert sorted(seen) == ([] if readers else sorted(str(f) for f in source.iterdir()))
        seen.clear()
        assert torch.equal(samples.read(range(N), GEOMETRY), plain)
        assert all(torch.equal(samples.read([i]), one) for i, one in enumerate(as_they_are))
        again = _opened(source)  # another job of this process: sizes and times are looked at, no more
        assert seen == []
        for file in source.iterdir():  # same size and time, so that the index is kept
            looks = file.stat()
            file.write_bytes(b"?" * looks.st_size)
            os.utime(file, ns=(looks.st_atime_ns, looks.st_mtime_ns))
        assert torch.equal(again.read(range(N), GEOMETRY), plain), "from the copies"
        assert (again.digest, list(again.ids)) == (samples.digest, list(samples.ids))
    with pytest.raises(UserError):
        again.read(range(N), GEOMETRY)


def test_only_what_is_needed_is_copied(source: Path, tmp_path: Path) -> None:
    with settings(local=tmp_path / "local"):
        samples = _opened(source)
        assert not (tmp_path / "local").exists(), "a plan reads no image"
        samples.read([3, 5], GEOMETRY)
        assert len(_copies(tmp_path / "local")) == 2
        assert not [s for s in samples.shapes(range(N)) if s.startswith("!")]
        assert len(_copies(tmp_path / "local")) == 2, "`data verify` looks at the files themselves"


def test_the_variable_names_the_folder_too(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODBENCH_LOCAL_DATA", str(tmp_path / "local"))
    _opened(source).read([0])
    assert len(_copies(tmp_path / "local")) == 1


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_copy_that_is_not_whole_is_made_again(source: Path, tmp_path: Path, damage: object) -> None:
    samples = _opened(source)
    plain = samples.read(range(N), GEOMETRY)
    with settings(local=tmp_path / "local"):
        samples.read(range(N), GEOMETRY)
        whole = {f: f.read_bytes() for f in _copies(tmp_path / "local")}
        for file, data in whole.items():
            file.write_bytes(damage(data))  # type: ignore[operator]
        assert torch.equal(samples.read(range(N), GEOMETRY), plain)
        assert {f: f.read_bytes() for f in _copies(tmp_path / "local")} == whole


def test_content_that_the_set_was_not_listed_with_is_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for whole in (content.WHOLE, 0):  # told by every byte, and by marks
        monkeypatch.setattr("oodbench.data.sources.listing.WHOLE", whole)
        monkeypatch.setattr("oodbench.data.sources.index.WHOLE", whole)
        monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / f"cache {whole}"))
        samples, local = _opened(source), tmp_path / f"local {whole}"
        assert samples.brief is (whole == 0)
        file = source / "04.png"
        before = file.read_bytes()
        Image.new("RGB", (31, 24), "red").save(file)
        with settings(local=local):
            samples.read(range(N), GEOMETRY)
            assert len(_copies(local)) == N - 1
            file.write_bytes(before)
            plain = samples.read([4], GEOMETRY)
            assert len(_copies(local)) == N
        assert torch.equal(samples.read([4], GEOMETRY), plain)


def test_a_forged_copy_is_found_where_nothing_is_believed(source: Path, tmp_path: Path) -> None:
    samples = _opened(source)
    plain = samples.read(range(N), GEOMETRY)
    with settings(local=tmp_path / "local"):
        samples.read(range(N), GEOMETRY)
        one, other = sorted(_copies(tmp_path / "local"))[:2]
        one.write_bytes(other.read_bytes())
        assert not torch.equal(samples.read(range(N), GEOMETRY), plain)
        with settings(trust="nothing"):
            assert torch.equal(_opened(source).read(range(N), GEOMETRY), plain)
        assert torch.equal(samples.read(range(N), GEOMETRY), plain), "made again for all"


def test_messages_name_the_file_and_not_the_copy(source: Path, tmp_path: Path) -> None:
    (source / "07.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    samples, said = _opened(source), []
    for local in (None, tmp_path / "local", tmp_path / "local"):
        for readers in (0, 2):
            with settings(local=local, readers=readers), pytest.raises(UserError) as error:
                samples.read(range(N), GEOMETRY)
            said.append(str(error.value))
    assert len(set(said)) == 1
    assert "07.jpg" in said[0]


# ---------------------------------------------------------------- places that cannot hold copies


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """Inside, the system refuses to write larger files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("readers", [0, 2])
def test_a_full_disk_costs_one_warning(source: Path, tmp_path: Path, readers: int) -> None:
    samples = _opened(source)
    plain = samples.read(range(N), GEOMETRY)
    with (
        settings(local=tmp_path / "local", readers=readers),
        warnings.catch_warnings(record=True) as said,
        _files_of_at_most(1200),  # some of the images are larger
    ):
        warnings.simplefilter("always")
        for _ in range(2):
            assert torch.equal(samples.read(range(N), GEOMETRY), plain)
    assert len(said) == 1
    line = str(said[0].message)
    assert line.startswith(f"{tmp_path / 'local'}: no local copies can be kept there (File too large)")
    assert "\n" not in line
    assert not [f for f in _copies(tmp_path / "local") if f.suffix == ".tmp"], (
        "nothing is left of the attempt"
    )


def test_a_place_that_is_no_folder_costs_one_warning(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    samples = _opened(source)
    plain = samples.read(range(N), GEOMETRY)
    np.save(tmp_path / "a.npy", np.zeros((4, 8, 8), np.uint8))
    for local in (tmp_path / "file", tmp_path / "file" / "below"):
        with settings(local=local), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(2):
                assert torch.equal(samples.read(range(N), GEOMETRY), plain)
                assert len(read_arrays(tmp_path / "a.npy", "auto")) == 4
        assert len(said) == 1


# ---------------------------------------------------------------- several processes

_READER = """
import sys, torch
from pathlib import Path
from oodbench.core.dataset import Geometry
from oodbench.data.sources.files import folder
seen = []
sys.addaudithook(lambda event, args: event == "open" and seen.append(str(args[0])))
samples = folder("set", Path(sys.argv[1]), flat=True)
print("ready", flush=True)
input()
seen.clear()
order = torch.arange(len(samples)) if sys.argv[2] == "0" else torch.arange(len(samples)).flip(0)
samples.read(order, Geometry((3, 16, 16), 20))
print(sum(name.startswith(sys.argv[1]) for name in seen), flush=True)
"""


def _reader(source: Path, local: Path, order: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _READER, str(source), str(order)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"OODBENCH_LOCAL_DATA": str(local)},
    )  # fmt: skip


def test_two_processes_read_each_file_once_together(source: Path, tmp_path: Path) -> None:
    _opened(source)  # the index is there
    readers = [_reader(source, tmp_path / "local", order) for order in (0, 0)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
    counts = [int(reader.communicate(timeout=60)[0]) for reader in readers]
    assert sum(counts) == N
    assert all(reader.returncode == 0 for reader in readers)


def test_what_a_killed_process_leaves_is_gone_on_with(source: Path, tmp_path: Path) -> None:
    """Killed while it writes a copy, of which it leaves a part under the draft's name."""
    local = tmp_path / "local"
    killed = (
        "import os, pathlib, signal, sys\n"
        "write = pathlib.Path.write_bytes\n"
        "def half(path, data):\n"
        "    if path.suffix == '.tmp' and path.stem == '7':\n"
        "        write(path, data[: len(data) // 2])\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return write(path, data)\n"
        "pathlib.Path.write_bytes = half\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", killed + _READER, str(source), "0"], input="\n", text=True,
        env=os.environ | {"OODBENCH_LOCAL_DATA": str(local)}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL
    left = len(_copies(local))
    samples = _opened(source)
    plain = samples.read(range(N), GEOMETRY)
    with settings(local=local), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(samples.read(range(N), GEOMETRY), plain)
    assert left < N + 1 == len(_copies(local)) + 1
    assert not [f for f in _copies(local) if f.suffix == ".tmp"]


# ---------------------------------------------------------------- files that are read whole


def test_arrays_are_read_from_a_copy(tmp_path: Path) -> None:
    file, local = tmp_path / "far" / "a.npz", tmp_path / "local"
    file.parent.mkdir()
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(file, images=images, labels=np.arange(4))
    plain = read_arrays(file, "auto")
    digest, ids = plain.digest, plain.ids
    del plain
    with settings(local=local):
        for expected in (1, 0):  # by shutil, once
            with _opens(file.parent) as seen:
                found = read_arrays(file, "auto")
            assert len(seen) == expected
            assert (found.digest, found.ids) == (digest, ids)
            del found
        file.write_bytes(b"nonsense")
        with pytest.raises(UserError, match=r"a\.npz: cannot be read") as error:
            read_arrays(file, "auto")
        assert str(local) not in str(error.value)


def test_idx_files_are_read_from_a_copy_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    data = bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 6, 7])
    (tmp_path / "far" / "plain").write_bytes(data)
    (tmp_path / "far" / "packed.gz").write_bytes(gzip.compress(data))
    for name in ("plain", "packed.gz"):
        with settings(local=tmp_path / "local"):
            assert read_idx(tmp_path / "far" / name).tolist() == [5, 6, 7]
            with _opens(tmp_path / "far") as seen:
                assert read_idx(tmp_path / "far" / name).tolist() == [5, 6, 7]
        assert seen == []


def test_a_large_file_that_has_changed_has_another_copy(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    with settings(local=tmp_path / "local"):
        assert through_copy(file, Path.read_bytes) == b"one"
        file.write_bytes(b"other")
        assert through_copy(file, Path.read_bytes) == b"other"
        (copy,) = (f for f in _copies(tmp_path / "local") if f.read_bytes() == b"other")
        copy.write_bytes(b"cut")
        assert through_copy(file, Path.read_bytes) == b"other", "another size"
        copy.write_bytes(b"xxxxx")
        with settings(trust="nothing"):
            assert through_copy(file, Path.read_bytes) == b"other"
        assert copy.read_bytes() == b"other"


def test_a_folder_is_copied_as_it_is_but_for_archives(tmp_path: Path) -> None:
    far, local = tmp_path / "far", tmp_path / "local"
    (far / "deep").mkdir(parents=True)
    for name in ("a", "deep/b", "set.tar.gz"):
        (far / name).write_text(name)

    def read(place: Path) -> dict[str, str]:
        return {str(f.relative_to(place)): f.read_text() for f in place.rglob("*") if f.is_file()}

    with settings(local=local):
        assert through_copy(far, read) == {"a": "a", "deep/b": "deep/b"}
        with _opens(far) as seen:
            assert through_copy(far, read) == {"a": "a", "deep/b": "deep/b"}
        assert seen == []
        assert through_copy(far, read, only=["deep", "none"]) == {"deep/b": "deep/b"}
        assert through_copy(far, read, only=["none"]) == read(far), "there is nothing to copy"
        for copy in (f for f in _copies(local) if f.name == "b"):
            copy.unlink()
        assert through_copy(far, read) == {"a": "a", "deep/b": "deep/b"}, "it is whole again"


def test_what_a_killed_process_has_copied_of_a_folder_is_removed(tmp_path: Path) -> None:
    far, local = tmp_path / "far", tmp_path / "local"
    far.mkdir()
    for name in "abc":
        (far / name).write_text(name)
    killed = (
        "import os, shutil, signal, sys\n"
        "from pathlib import Path\n"
        "from oodbench.data.sources.local_copy import through_copy\n"
        "copy = shutil.copyfile\n"
        "def half(source, target):\n"
        "    if source.name == 'b':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    copy(source, target)\n"
        "shutil.copyfile = half\n"
        "through_copy(Path(sys.argv[1]), lambda place: None)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", killed, str(far)], env=os.environ | {"OODBENCH_LOCAL_DATA": str(local)},
        timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL
    assert [f.name for f in _copies(local)] == ["a"]
    with settings(local=local):
        assert through_copy(far, lambda place: sorted(os.listdir(place))) == ["a", "b", "c"]
    assert sorted(f.name for f in _copies(local)) == ["a", "b", "c"], "nothing else is left"
