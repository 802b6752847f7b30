"""docs/scorers.md names every scorer, with what it reads and its search space, as the registry has them."""

from __future__ import annotations

import pytest

from oodbench.core import registry
from oodbench.core.scorer import Scorer
from oodbench.core.spec import spec_of
from tests.conftest import ROOT
from tests.scoring.outputs import by_default

registry.load_builtin()
DOC = (ROOT / "docs" / "scorers.md").read_text()
GROUPS = (
    "Logits", "Features", "Activation shaping", "Views: the inputs seen again", "Members of an ensemble",
    "Heads that a training method attached", "Several scores in one", "Images and texts",
)  # fmt: skip


def group(name: str, made: Scorer) -> str:
    module = registry.scorers[name].target.__module__.rpartition(".")[2]
    if module == "fusion":
        return GROUPS[6]
    if module == "vision_language":
        return GROUPS[7]
    if made.extras:
        return GROUPS[4] if made.extras == {"members.logits"} else GROUPS[5]
    if made.view() is not None:
        return GROUPS[3]
    if module in ("shaping", "weiper"):
        return GROUPS[2]
    return GROUPS[1] if "features" in made.needs else GROUPS[0]


def line(name: str, made: Scorer) -> str:
    """One row: name, the sets it is fitted on, what it reads, what tuning searches, and what was read for
    it."""
    view = made.view()
    reads = [w for w in ("features", "head") if w in made.needs] + sorted(f"extra {e}" for e in made.extras)
    reads += [f"view {spec_of(view).name}"] if view is not None else []
    sets = [s for s in ("train", "val") if s in made.needs]
    search = "; ".join(
        f"{k}: {', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in vs)}"
        for k, vs in made.search.items()
    )
    component = registry.scorers[name]
    return (
        f"| `{name}` | {', '.join(sets)} | {', '.join(reads) or 'logits'} | {search} | {component.source} |"
    )


@pytest.mark.parametrize("name", GROUPS)
def test_the_documentation_has_every_scorer(name: str) -> None:
    built = {n: by_default(n) for n in registry.scorers}
    due = [line(n, made) for n, made in sorted(built.items()) if group(n, made) == name]
    text = DOC.split(f"\n### {name}\n", 1)[1].split("\n#", 1)[0]
    assert [row for row in text.splitlines() if row.startswith("|")][2:] == due, (
        "docs/scorers.md should read\n" + "\n".join(due)
    )
