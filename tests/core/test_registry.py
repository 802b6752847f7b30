from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.scorer import Scorer
from oodbench.core.spec import expand, spec_of


@pytest.fixture(autouse=True)
def _components(_registries: None) -> None:
    """A scorer and two methods of this file."""

    @registry.scorer("t-near", source="test")
    class Near(Scorer):
        """Nearest.

        More.
        """

        def __init__(
            self,
            *,
            k: PositiveInt = 50,
            mode: Literal["a", "b"] = "a",
            scale: Annotated[float, Field(gt=0)] = 1.0,
            flag: bool = False,
            top: int | None = None,
        ) -> None:
            self.k = k

    @registry.method("t-loss", source="test")
    class Loss(Method):
        """Loss."""

        def __init__(self, *, lam: Annotated[float, Field(ge=0)] = 1.0, file: Path | None = None) -> None:
            self.lam = lam

    @registry.method("t-mix", source="test")
    class Mix(Method):
        """Mix."""

        def __init__(self, *, alpha: float = 0.2, of: Method = "t-loss", also: list[Method] = []) -> None:  # type: ignore[assignment]  # noqa: B006
            self.of, self.also = of, also


def _key(kind: str, raw: Any) -> str:
    return fingerprint(registry.resolve(kind, raw).identity)


def test_defaults_written_out_are_the_same_component() -> None:
    assert (
        _key("scorer", "t-near")
        == _key("scorer", {"t-near": {"k": 50}})
        == _key("scorer", {"t-near": {"k": 50.0, "scale": 1}})
    )
    assert _key("scorer", "t-near") != _key("scorer", {"t-near": {"k": 51}})


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


def test_nested_components_resolve_label_and_build() -> None:
    spec = registry.resolve("method", {"t-mix": {"of": {"t-loss": {"lam": 3}}, "also": ["t-loss"]}})
    assert spec.label == "t-mix(of=t-loss(lam=3), also=[t-loss])"
    built = registry.build("method", spec)
    assert built.of.lam == 3
    assert built.also[0].lam == 1
    assert spec_of(built) is spec
    assert registry.resolve("method", {"t-mix": {"of": "t-loss"}}).label == "t-mix"


@pytest.mark.parametrize(
    ("raw", "path", "words"),
    [
        ({"t-near": {"k": 0}}, "t-near.k", ["greater than 0", "got 0"]),
        ({"t-near": {"k": True}}, "t-near.k", ["number", "true"]),
        ({"t-near": {"top": True}}, "t-near.top", ["number", "true"]),
        ({"t-near": {"k": "many"}}, "t-near.k", ["integer", "'many'"]),
        ({"t-near": {"mode": "c"}}, "t-near.mode", ["'a' or 'b'", "'c'"]),
        (
            {"t-near": {"kk": 1}},
            "t-near",
            ["unknown parameter 'kk'", "did you mean 'k'", "allowed: flag, k, mode, scale, top"],
        ),
        ({"t-near": 3}, "t-near", ["mapping", "3"]),
        ("t-nea", "", ["unknown scorer 't-nea'", "did you mean 't-near'"]),
        ({"t-near": {}, "msp": {}}, "", ["name or {name: {parameter: value}}"]),
        (7, "", ["name or", "7"]),
    ],
)
def test_mistakes_carry_place_and_choices(raw: Any, path: str, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve("scorer", raw)
    ((place, message),) = caught.value.problems
    assert place == path
    for word in words:
        assert word in message


def test_all_mistakes_of_a_component_are_raised_together_nested_ones_included() -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve(
            "method", {"t-mix": {"alpha": True, "of": {"t-loss": {"lam": -1, "q": 1}}, "also": ["nothing"]}}
        )
    assert [p for p, _ in caught.value.problems] == [
        "t-mix.alpha",
        "t-mix.of.t-loss.lam",
        "t-mix.of.t-loss",
        "t-mix.also[0]",
    ]


def test_a_path_is_identity_by_content_only(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("same")
    b.write_text("same")
    assert _key("method", {"t-loss": {"file": str(a)}}) == _key("method", {"t-loss": {"file": str(b)}})
    b.write_text("other")
    assert _key("method", {"t-loss": {"file": str(a)}}) != _key("method", {"t-loss": {"file": str(b)}})


def test_a_relative_path_is_taken_from_the_suites_folder(tmp_path: Path) -> None:
    spec = registry.resolve("method", {"t-loss": {"file": "w.pt"}}, folder=tmp_path)
    assert spec.params["file"] == tmp_path / "w.pt"


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(UserError, match="'t-near' is already registered"):
        registry.scorer("t-near", source="x")(type("Again", (Scorer,), {}))


def test_an_untyped_parameter_is_refused() -> None:
    with pytest.raises(UserError, match="'k' has no type"):

        @registry.scorer("t-untyped", source="x")
        class Untyped(Scorer):
            def __init__(self, *, k=1) -> None:  # type: ignore[no-untyped-def]
                pass


def test_grids_expand_in_order_and_nest() -> None:
    raw = {"m": {"a": {"grid": [1, 2]}, "of": {"n": {"b": {"grid": [3, 4]}}}}}
    assert expand(raw) == [{"m": {"a": a, "of": {"n": {"b": b}}}} for a in (1, 2) for b in (3, 4)]
    assert expand("m") == ["m"]
    with pytest.raises(SpecError, match="at least one"):
        expand({"m": {"a": {"grid": []}}})


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
    first = _key("scorer", "plug")
    registry.load_plugin(file)
    assert _key("scorer", "plug") == first
    file.write_text(PLUGIN + "# edited\n")
    registry.load_plugin(file)
    assert _key("scorer", "plug") != first


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
