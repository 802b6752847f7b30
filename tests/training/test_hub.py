"""Files of the hub: one line where they cannot be had."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.training import hub


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    hub.repository.cache_clear()


def _raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def fetch(*args: object, **options: object) -> str:
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s [Retry 1/5].")
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)


def _named(name: str) -> Exception:
    return type(name, (OSError,), {})("a page\nof text \x1b[31m" + "x" * 1000)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", "there is none of that name, or it is private"),
        ("GatedRepoError", "its owners want to be asked first"),
        ("LocalEntryNotFoundError", "the hub cannot be reached, and this machine's cache does not hold it"),
        ("ConnectError", "the hub cannot be reached, and this machine's cache does not hold it"),
        ("StrangeError", "a page of text xxx"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_else_is_said(
    error: str, message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    _raising(monkeypatch, _named(error))
    with pytest.raises(UserError, match=message) as caught:
        hub.repository("owner/name", ("*.json",))
    assert str(caught.value).startswith("'owner/name' could not be had from the Hugging Face hub: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert not caplog.records


def test_offline_is_respected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked: list[bool] = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download",
        lambda name, local_files_only, **options: asked.append(local_files_only) or str(tmp_path),
    )  # fmt: skip
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")
    assert hub.repository("owner/name", ("*",)) == tmp_path
    assert hub.repository("owner/name", ("*",)) == tmp_path
    assert asked == [True], "once in a process"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.repository.cache_clear()
    _raising(monkeypatch, _named("LocalEntryNotFoundError"))
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set, and this machine's cache does not hold it"):
        hub.repository("owner/name", ("*",))


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(
        UserError, match="network 'x' needs the package no_such_package, which is not installed"
    ):
        hub.package("no_such_package", "network 'x'")
