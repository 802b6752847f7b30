"""How things become keys: the one hash, over canonical JSON, over a file, over a tensor."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(value: Any) -> str:
    """The canonical JSON of `value`: keys sorted, no spaces, ASCII, no NaN."""
    return _ENCODER.encode(value)


def canonical_object(parts: Mapping[str, str]) -> str:
    """The canonical JSON of an object whose values are given as canonical JSON."""
    return "{" + ",".join(f"{_ENCODER.encode(k)}:{parts[k]}" for k in sorted(parts)) + "}"


def text_sha256(text: str) -> str:
    """sha256 (hex) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(value: Any) -> str:
    """sha256 (hex) over the canonical JSON of `value`. The one hash that identity is made of."""
    return text_sha256(canonical(value))


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with open(path, "rb") as f:
        return (
            hashlib.file_digest(f, "sha256").hexdigest()
            if sys.version_info >= (3, 11)
            else hashlib.sha256(f.read()).hexdigest()
        )


_TRUSTED_AFTER = 2.0
"""Seconds since a file's last change after which the next one is sure to show in its times."""


def content_sha256(path: Path) -> str:
    """sha256 (hex) of a file's content, which is read again only where the file's size or times have changed:
    plans ask for the same checkpoint several times."""
    about = path.stat()
    looks = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    known = _contents.get(str(path))
    if known is not None and known[0] == looks:
        return known[1]
    before, sha = time.time(), file_sha256(path)
    if before - max(about.st_mtime, about.st_ctime) > _TRUSTED_AFTER:
        _contents[str(path)] = (looks, sha)
    return sha


_contents: dict[str, tuple[tuple[int, ...], str]] = {}


def tensor_digest(*tensors: Tensor) -> str:
    """sha256 over dtype, shape and bytes of tensors: the content identity of an in-memory set."""
    sha = hashlib.sha256()
    for t in tensors:
        t = t.contiguous()
        sha.update(f"{t.dtype}{tuple(t.shape)}".encode())
        sha.update(t.numpy().tobytes())
    return sha.hexdigest()
