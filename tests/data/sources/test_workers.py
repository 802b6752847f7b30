"""Files decoded by threads or by processes: the same pixels and words, whatever becomes of a process."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.data.reading import batches
from oodbench.data.sources import roots, workers
from oodbench.data.sources.files import FileSamples, folder
from oodbench.data.sources.listing import Item
from oodbench.data.sources.roots import settings

GEOMETRY = Geometry((3, 16, 16), 20)


@pytest.fixture
def samples(tmp_path: Path) -> FileSamples:
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for i in range(23):
        picture = Image.fromarray(rng.integers(0, 256, (20 + i, 31, 3), np.uint8))
        picture.save(tmp_path / "set" / f"{i:02d}.{'jpg' if i % 2 else 'png'}")
    return folder("set", tmp_path / "set", flat=True)


@pytest.fixture(scope="module", autouse=True)
def _ended_afterwards() -> Iterator[None]:
    yield
    workers._crew.cache_clear()


def test_pixels_and_order_are_the_same_whoever_decodes(samples: FileSamples) -> None:
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    here = samples.read(order, GEOMETRY)
    with settings(readers=2):
        assert torch.equal(samples.read(order, GEOMETRY), here)
        joined = torch.cat([*batches(samples, GEOMETRY, 5, "cpu")])
    assert torch.equal(joined, torch.cat([*batches(samples, GEOMETRY, 7, "cpu")]))


def test_a_damaged_file_is_named_in_the_same_words(samples: FileSamples) -> None:
    (samples.root / "07.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    (samples.root / "15.jpg").unlink()
    said = []
    for count in (0, 2):
        with settings(readers=count), pytest.raises(UserError) as error:
            samples.read(range(23), GEOMETRY)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "07.jpg: cannot be decoded as an image" in said[0]
    with settings(readers=2):  # and the processes go on
        assert samples.read(range(8, 15), GEOMETRY).shape[0] == 7
        with pytest.raises(UserError, match=r"15\.jpg: cannot be decoded .*No such file"):
            samples.read([14, 15, 16], GEOMETRY)


def test_a_process_that_is_killed_is_said_with_the_file_and_replaced(
    samples: FileSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    with settings(readers=1):
        expected = samples.read(range(23), GEOMETRY)
        crew = workers._crew(1)
        process = crew.pool.submit(lambda: crew.mine().process).result()
        os.kill(process.pid, signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr(workers._Worker, "alive", True)  # as if it were killed while it is asked
            with pytest.raises(
                UserError, match=r"00\.png: the process .* ended \(signal 9, Killed\); .*--readers"
            ):
                samples.read(range(23), GEOMETRY)
        assert torch.equal(samples.read(range(23), GEOMETRY), expected)
        another = crew.pool.submit(lambda: crew.mine().process).result()
    assert another.pid != process.pid
    assert another.poll() is None
    assert workers._end(another) == 0  # told that there is no more to do, it ends by itself


def test_answers_are_not_mixed_up_where_a_file_cannot_even_be_named(
    samples: FileSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list that names the damaged one is gone: an error in the midst of the answers."""
    with settings(readers=1):
        expected = samples.read(range(23), GEOMETRY)
        whole = (samples.root / "01.jpg").read_bytes()

        def gone() -> Iterator[Item]:
            raise UserError("the list is gone")

        (samples.root / "01.jpg").write_bytes(b"nonsense")
        with monkeypatch.context() as patch:
            patch.setattr(samples, "_items", gone)
            with pytest.raises(UserError, match="the list is gone"):
                samples.read(range(23), GEOMETRY)
        (samples.root / "01.jpg").write_bytes(whole)
        assert torch.equal(samples.read(range(23), GEOMETRY), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("count", [0, 2])
def test_a_forked_process_reads_too_and_leaves_this_ones_workers_alone(
    samples: FileSamples, count: int
) -> None:
    """As with multiprocessing in a notebook: it has none of the threads."""
    with settings(readers=count):
        expected = samples.read(range(23), GEOMETRY)
        child = os.fork()
        if not child:
            signal.alarm(60)
            same = False
            with contextlib.suppress(BaseException):
                same = torch.equal(samples.read(range(23), GEOMETRY), expected)
                workers._crew.cache_clear()
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.equal(samples.read(range(23), GEOMETRY), expected)


def test_modules_of_the_current_folder_are_none_of_a_workers(
    samples: FileSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = samples.read(range(23), GEOMETRY)
    (tmp_path / "numpy.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    workers._crew.cache_clear()
    with settings(readers=1):
        assert torch.equal(samples.read(range(23), GEOMETRY), expected)


def test_names_of_any_bytes_reach_the_processes(tmp_path: Path) -> None:
    name = os.fsdecode(tmp_path) + "/" + os.fsdecode(b"\xff\xfe \n.png")
    try:
        Image.new("RGB", (5, 4), (1, 2, 3)).save(name)
    except OSError:
        pytest.skip("the file system takes no such name")
    samples = folder("set", tmp_path, flat=True)
    with settings(readers=1):
        assert samples.read([0], Geometry((3, 4, 5)))[0, :, 0, 0].tolist() == [1, 2, 3]


def test_who_decodes_is_the_users_choice_else_by_files_and_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OODBENCH_READERS", raising=False)
    for cpus, files, expected in ((2, 10**6, 0), (64, 100, 0), (64, 10**6, 16), (12, 10**6, 12)):
        monkeypatch.setattr(roots, "cpus", lambda n=cpus: n)
        assert workers.decoding_processes(files) == expected
    with settings(readers=3):
        assert workers.decoding_processes(1) == 3
    monkeypatch.setenv("OODBENCH_READERS", "5")
    assert workers.decoding_processes(1) == 5
    with settings(readers=0):
        assert workers.decoding_processes(10**6) == 0
