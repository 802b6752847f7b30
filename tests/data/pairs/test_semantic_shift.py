"""The semantic shift benchmark has the literature's classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.pairs.built import pair_of


@pytest.mark.parametrize(
    ("name", "of"), [("cub", "cub"), ("aircraft", "aircraft"), ("scars", "stanford-cars")]
)
def test_semantic_shift_classes(name: str, of: str, shared: Path) -> None:
    facts = json.loads((shared / "facts" / "open-set-splits.json").read_text())["semantic_shift_benchmark"][
        name
    ]
    pair = pair_of(f"ssb-{name}")
    assert pair.id == {"subset": {"of": of, "classes": facts["known"]}}
    hard, easy = pair.near["hard"]["subset"], pair.far["easy"]["subset"]
    assert sorted(hard["classes"]) == sorted(facts["unknown"]["hard"] + facts["unknown"]["medium"])
    assert sorted(easy["classes"]) == sorted(facts["unknown"]["easy"])
    assert not hard.get("relabel", True)
