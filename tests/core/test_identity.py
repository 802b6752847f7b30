"""Hashes that keys are made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from oodbench.core.identity import file_sha256, fingerprint, tensor_digest


def test_a_fingerprint_is_sha256_of_canonical_json() -> None:
    value = {"b": [1, 2.5, None, True], "a": "ä"}
    text = b'{"a":"\\u00e4","b":[1,2.5,null,true]}'
    assert fingerprint(value) == hashlib.sha256(text).hexdigest()
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(float("nan"))


@pytest.mark.parametrize("size", [0, 5, 1 << 20])
def test_a_files_hash_is_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_tensors_digest_is_of_type_shape_and_values_in_order() -> None:
    t = torch.arange(6)
    digests = [
        tensor_digest(t),
        tensor_digest(t.float()),
        tensor_digest(t.view(2, 3)),
        tensor_digest(t.flip(0)),
        tensor_digest(t, t),
    ]
    assert len(set(digests)) == len(digests)
    strided = torch.arange(12)[::2]
    assert tensor_digest(strided) == tensor_digest(strided.clone())
