"""What is here, what is missing, what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import UserError
from oodbench.data import needs, status
from oodbench.data.needs import Need
from oodbench.data.samples import TensorSamples
from oodbench.data.sources import roots
from oodbench.data.sources.download import downloads
from tests.data.written import write_images


def _of(spec: object) -> list[tuple[str, str, int]]:
    return [(s.need.split, s.state, s.images) for s in status.status_of(needs.needs_of_set(spec))]


def test_a_folder_is_counted_only_when_it_was_read_before(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_images(tmp_path / part, [f"{c}/{i}.png" for c in ("auk", "owl") for i in range(10)])
    spec = {"folder": {"root": str(tmp_path)}}
    assert _of(spec) == [("train", "here", -1), ("val", "here", -1), ("test", "here", -1)]
    registry.build("dataset", spec)["test"]
    assert _of(spec)[2] == ("test", "here", 20)


def test_what_is_missing_says_what_gets_it_and_offline_gets_nothing(tmp_path: Path) -> None:
    wanted = [n for n in needs.needs_of_set("cifar10") if n.split == "test"]
    lines = status.status_lines(status.status_of(wanted))
    assert lines[0] == "missing  cifar10: test"
    assert "oodbench data download cifar10" in lines[1]
    with roots.settings(offline=True):
        (left,) = status.download(wanted, lambda line: pytest.fail(line))
    assert "offline, so nothing was asked for" in left


def test_a_download_that_fails_is_left_and_one_that_works_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[Path] = []

    @registry.dataset("t-fetched", source="test")
    def fetched() -> Dataset:
        """Is here after its download."""

        def read() -> TensorSamples:
            if not here:
                roots.missing("t-fetched", roots.data_roots(), "oodbench data download t-fetched")
            return TensorSamples(torch.zeros(3, 1, 4, 4), torch.zeros(3))

        return Dataset({"test": read})

    def failing(target: Path) -> None:
        raise UserError("no answer")

    said: list[str] = []
    monkeypatch.setitem(downloads, "t-fetched", failing)
    assert status.download(needs.needs_of_set("t-fetched"), said.append) == ["t-fetched: no answer"]
    monkeypatch.setitem(downloads, "t-fetched", here.append)
    assert status.download(needs.needs_of_set("t-fetched"), said.append) == []
    assert here == [roots.data_roots()[0] / "t-fetched"]
    assert said[-1] == "t-fetched: done"
    assert status.download(needs.needs_of_set("t-fetched"), lambda line: pytest.fail(line)) == []


def test_what_another_process_got_meanwhile_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[Path] = []

    @registry.dataset("t-raced", source="test")
    def raced() -> Dataset:
        """Comes while we fail."""

        def read() -> TensorSamples:
            if not here:
                roots.missing("t-raced", roots.data_roots(), "oodbench data download t-raced")
            return TensorSamples(torch.zeros(3, 1, 4, 4), torch.zeros(3))

        return Dataset({"test": read})

    def late(target: Path) -> None:
        here.append(target)
        raise UserError(f"{target} is there already")

    said: list[str] = []
    monkeypatch.setitem(downloads, "t-raced", late)
    assert status.download(needs.needs_of_set("t-raced"), said.append) == []
    assert said[-1] == "t-raced: another process got it"


@pytest.mark.parametrize(
    "error", [OSError("no\nspace"), AssertionError(), RuntimeError("File not found\x1b[0m")]
)
def test_whatever_a_download_raises_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(target: Path) -> None:
        raise error

    monkeypatch.setitem(downloads, "cifar10", fails)
    (left,) = status.download(
        [n for n in needs.needs_of_set("cifar10") if n.split == "test"], lambda line: None
    )
    assert left.startswith("cifar10: ")
    assert left.endswith("; run again to go on")
    assert left.isprintable()


def test_what_comes_in_one_download_is_told_once_below_its_last_set() -> None:
    wanted = [
        Need(f"far: {n}", registry.resolve("dataset", spec), "test")
        for n, spec in (
            ("tin", {"openood": {"benchmark": "cifar10", "name": "tin"}}),
            ("cifar10", "cifar10"),
            ("svhn", {"openood": {"benchmark": "cifar10", "name": "svhn"}}),
        )
    ]
    tin, cifar10, of_cifar10, svhn, of_openood = status.status_lines(status.status_of(wanted))
    assert [line.split()[0] for line in (tin, cifar10, svhn)] == ["missing"] * 3
    assert "(test_tin, test_svhn) is not here; looked for it in " in of_openood
    assert "--datasets cifar-10" in of_openood
    assert of_cifar10.strip().startswith("data set 'cifar10' is not here")
    left = status.download(wanted[::2], lambda line: None)
    assert left == [of_openood.strip()]
    assert "Google Drive" in left[0]
