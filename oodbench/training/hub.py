"""Files on the Hugging Face hub, or in its cache on this machine."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oodbench.core.errors import UserError, one_line
from oodbench.data.sources.roots import offline

_CHATTY = ("huggingface_hub", "transformers", "timm")


def package(name: str, who: str, pip: str = "") -> Any:
    """An optional package that reads the hub, which pip calls `pip`. UserError where it is not installed."""
    if offline():  # before it asks the environment, which it does once
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"{who} needs the package {name}, which is not installed; pip install {pip or name}"
        ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries say of their own accord: retries, untrained heads, bars."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    theirs: Any = sys.modules.get("transformers.utils.logging")
    bars = theirs is not None and theirs.is_progress_bar_enabled()
    try:
        if bars:
            theirs.disable_progress_bar()
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            theirs.enable_progress_bar()


def not_had(name: str, error: Exception) -> str:
    """Why something could not be had from the hub, in our words."""
    kind = type(error).__name__
    if kind in ("RepositoryNotFoundError", "HFValidationError"):
        why = "there is none of that name, or it is private"
    elif kind == "GatedRepoError":
        why = "its owners want to be asked first; log in with `hf auth login`"
    elif os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        why = "HF_HUB_OFFLINE is set, and this machine's cache does not hold it"
    elif kind in ("LocalEntryNotFoundError", "ConnectError", "ConnectTimeout", "ConnectionError"):
        why = "the hub cannot be reached, and this machine's cache does not hold it"
    else:
        why = one_line(error, 200)
    return f"{name!r} could not be had from the Hugging Face hub: {why}; a local folder works too"


@functools.cache
def repository(name: str, patterns: tuple[str, ...]) -> Path:
    """A folder with those of a model's files whose names fit: fetched, or as the cache has them where the hub
    cannot be reached (or HF_HUB_OFFLINE is set). The hub is asked once in a process.

    Raises UserError in one line where neither has them."""
    import huggingface_hub

    try:
        with quiet():
            return Path(
                huggingface_hub.snapshot_download(
                    name, allow_patterns=list(patterns), ignore_patterns=["*/*"], local_files_only=offline()
                )
            )
    except Exception as error:
        raise UserError(not_had(name, error)) from None
