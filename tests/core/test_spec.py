"""Specs: one component whatever way it is written; labels, identities."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from oodbench.core import registry
from oodbench.core.scorer import Scorer
from tests.core.keys import key


def test_defaults_written_out_are_the_same_component() -> None:
    assert (
        key("scorer", "t-near")
        == key("scorer", {"t-near": {"k": 50}})
        == key("scorer", {"t-near": {"k": 50.0, "scale": 1}})
    )
    assert key("scorer", "t-near") != key("scorer", {"t-near": {"k": 51}})


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("t-near", "t-near"),
        ({"t-near": {"k": 50}}, "t-near"),
        ({"t-near": {"k": 5, "flag": True}}, "t-near(k=5, flag=true)"),
        ({"t-near": {"scale": "5e-4"}}, "t-near(scale=0.0005)"),
        ({"t-near": {"top": 3}}, "t-near(top=3)"),
    ],
)
def test_labels_show_what_differs_from_the_defaults(raw: Any, label: str) -> None:
    assert registry.resolve("scorer", raw).label == label


def test_a_path_is_identity_by_content_only(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("same")
    b.write_text("same")
    assert key("method", {"t-loss": {"file": str(a)}}) == key("method", {"t-loss": {"file": str(b)}})
    b.write_text("other")
    assert key("method", {"t-loss": {"file": str(a)}}) != key("method", {"t-loss": {"file": str(b)}})


def test_an_identity_is_name_version_and_parameters() -> None:
    @registry.scorer("t-third", source="test", version=3)
    class Third(Scorer):
        """Of a third version."""

        def __init__(self, *, share: float = 0.5, size: float = 50.0) -> None:
            self.share, self.size = share, size

    spec = registry.resolve("scorer", {"t-third": {"size": 7.0}})
    found = spec.identity
    assert (found["name"], found["version"]) == ("t-third", 3)
    assert found["params"] == {"share": 0.5, "size": 7}
    assert isinstance(found["params"]["size"], int), "50 and 50.0 are one value, in canonical JSON too"


def test_an_identity_made_once_is_that_of_the_file_now(tmp_path: Path) -> None:
    """What holds no path is made once; a file's content is looked at again each time, nested ones too."""
    plain = registry.resolve("scorer", {"t-near": {"k": 5}})
    assert plain.identity is plain.identity
    assert json.loads(plain.identity_text) == plain.identity
    file = tmp_path / "file"
    file.write_text("one")
    spec = registry.resolve("method", {"t-loss": {"file": str(file)}})
    nested = registry.resolve("method", {"ensemble": {"of": {"t-loss": {"file": str(file)}}}})
    before = spec.identity_key, nested.identity_key
    file.write_text("two")  # of the same size, a moment later
    after = spec.identity_key, nested.identity_key
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert spec.identity["params"]["file"] == {"sha256": hashlib.sha256(b"two").hexdigest()}
