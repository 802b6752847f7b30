"""Registries: names taken once, plugins that register or fail whole, components built with what they nest."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.scorer import Scorer
from oodbench.core.spec import spec_of
from tests.core.keys import key


def test_nested_components_resolve_label_and_build() -> None:
    spec = registry.resolve("method", {"t-mix": {"of": {"t-loss": {"lam": 3}}, "also": ["t-loss"]}})
    assert spec.label == "t-mix(of=t-loss(lam=3), also=[t-loss])"
    built = registry.build("method", spec)
    assert built.of.lam == 3
    assert built.also[0].lam == 1
    assert spec_of(built) is spec
    assert registry.resolve("method", {"t-mix": {"of": "t-loss"}}).label == "t-mix"


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(UserError, match="'t-near' is already registered"):
        registry.scorer("t-near", source="x")(type("Again", (Scorer,), {}))


PLUGIN = """
from __future__ import annotations
import oodbench
from pydantic import PositiveInt
@oodbench.scorer("plug", source="mine")
class Plug(oodbench.Scorer):
    "A plug."
    def __init__(self, *, k: PositiveInt = 1) -> None:
        self.k = k
    def score(self, outputs):
        return -outputs.logits.amax(dim=1) * self.k
"""


def test_a_plugin_registers_and_its_source_is_identity(tmp_path: Path) -> None:
    file = tmp_path / "plug.py"
    file.write_text(PLUGIN)
    registry.load_plugin(file)
    first = key("scorer", "plug")
    registry.load_plugin(file)
    assert key("scorer", "plug") == first
    file.write_text(PLUGIN + "# edited\n")
    registry.load_plugin(file)
    assert key("scorer", "plug") != first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1/0", "ZeroDivisionError"),
        ("def", "line 1"),
        (PLUGIN.replace('"plug"', '"t-near"'), "already registered"),
    ],
)
def test_a_plugin_that_raises_changes_nothing(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    before = list(registry.scorers)
    with pytest.raises(UserError, match=words):
        registry.load_plugin(file)
    assert list(registry.scorers) == before


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_component_says_what_it_is_and_what_was_read(kind: str) -> None:
    for name in registry.of_kind(kind):
        if name.startswith("t-"):
            continue
        component = registry.of_kind(kind)[name]
        assert component.source, f"{kind} {name} has no source"
        assert len(component.summary) > 10, f"{kind} {name} has no summary"
        assert name == name.lower(), f"{kind} {name}: registry names are kebab-case"
        assert " " not in name
        assert "_" not in name, f"{kind} {name}: registry names are kebab-case"
