"""Hashes that keys are made of."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from oodbench.core import identity
from oodbench.core.identity import (
    canonical,
    canonical_object,
    content_sha256,
    file_sha256,
    fingerprint,
    tensor_digest,
)


def test_a_fingerprint_is_sha256_of_canonical_json() -> None:
    value = {"b": [1, 2.5, None, True], "a": "ä"}
    text = b'{"a":"\\u00e4","b":[1,2.5,null,true]}'
    assert fingerprint(value) == hashlib.sha256(text).hexdigest()
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(float("nan"))


def test_an_object_of_parts_is_the_canonical_json_of_the_whole() -> None:
    value = {"b": [1, {"z": "\n\u00e4", "a": None}], "a": {"y": 2.5}, "ab": "text"}
    whole = json.dumps(value, sort_keys=True, separators=(",", ":"))
    assert canonical_object({k: canonical(v) for k, v in value.items()}) == canonical(value) == whole


def test_a_content_is_read_again_where_the_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the other content has the same size and the same time, since it is too young to be sure."""
    file, read = tmp_path / "file", []
    monkeypatch.setattr(
        identity,
        "file_sha256",
        lambda path: read.append(path) or hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    for content in (b"one", b"two", b"longer"):
        file.write_bytes(content)
        os.utime(file, ns=(10**18, 10**18))
        assert content_sha256(file) == hashlib.sha256(content).hexdigest()
    assert len(read) == 3
    monkeypatch.setattr(identity, "_TRUSTED_AFTER", -1.0)
    assert content_sha256(file) == content_sha256(file) == hashlib.sha256(b"longer").hexdigest()
    assert len(read) == 4, "once more, and then it is known"


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
