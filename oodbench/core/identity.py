"""How things become keys: the one hash, over canonical JSON, over a file, over a tensor."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def fingerprint(value: Any) -> str:
    """sha256 (hex) over the canonical JSON of `value`: keys sorted, no spaces, no NaN. The one hash that
    identity is made of."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with open(path, "rb") as f:
        return (
            hashlib.file_digest(f, "sha256").hexdigest()
            if sys.version_info >= (3, 11)
            else hashlib.sha256(f.read()).hexdigest()
        )


def tensor_digest(*tensors: Tensor) -> str:
    """sha256 over dtype, shape and bytes of tensors: the content identity of an in-memory set."""
    sha = hashlib.sha256()
    for t in tensors:
        t = t.contiguous()
        sha.update(f"{t.dtype}{tuple(t.shape)}".encode())
        sha.update(t.numpy().tobytes())
    return sha.hexdigest()
