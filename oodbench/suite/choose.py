"""A suite with other scorers and methods than its file lists: those of a plugin beside its own, or only
some."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError, meant
from oodbench.evaluation.claims import Claim
from oodbench.suite.entries import MethodEntry, variants
from oodbench.suite.suite import Suite
from oodbench.suite.tuned import ScorerEntry


class _Labelled(Protocol):
    @property
    def label(self) -> str: ...


L = TypeVar("L", bound=_Labelled)


def chosen(
    suite: Suite,
    *,
    scorers: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    plugins: Sequence[Path] = (),
) -> Suite:
    """The suite with the scorers and methods that files register beside its own; then only those named.

    Args:
        suite: what to choose from.
        scorers: labels or names, in the order wanted; one that the suite lacks is added with its defaults.
            None: all.
        methods: likewise.
        plugins: files that were loaded with the suite; what they register and the suite does not name is
            added with its defaults.

    Returns:
        A suite whose claims and references speak of what is left.

    Raises:
        UserError: a name that neither the suite nor the registry has.

    Example:
        >>> suite = chosen(oodbench.load_suite("digits"), scorers=["knn", "msp"], methods=["als"])
        >>> [s.label for s in suite.scorers], [m.label for m in suite.methods]
        (['knn', 'msp'], ['als'])
    """
    own_scorers = [*suite.scorers, *_new("scorer", plugins, {s.name for s in suite.scorers}, _scorer)]
    own_methods = [*suite.methods, *_new("method", plugins, {m.spec.name for m in suite.methods}, _method)]
    left = {
        "scorers": tuple(
            own_scorers
            if scorers is None
            else _named("scorer", scorers, own_scorers, lambda s: s.name, _scorer)
        ),
        "methods": tuple(
            own_methods
            if methods is None
            else _named("method", methods, own_methods, lambda m: m.spec.name, _method)
        ),
    }
    names = {
        "scorer": {s.label for s in left["scorers"]},
        "method": {m.label for m in left["methods"]},
    }
    variants_left = {m.spec.name for m in left["methods"]}
    claims = tuple(c for c in suite.claims if _speaks_of(c, names, variants_left))
    reference = tuple(f for f in suite.reference if _within(f, names))
    return suite.model_copy(update={**left, "claims": claims, "reference": reference})


def names_in(text: str) -> tuple[str, ...]:
    """Names with commas between; a comma within brackets belongs to a label: ``msp,knn(k=5,p=2)``."""
    parts = re.findall(r"(?:[^,(\[{]|\([^)]*\)|\[[^\]]*\]|\{[^}]*\})+", text)
    return tuple(p.strip() for p in parts if p.strip())


def _scorer(name: str) -> Any:
    return variants(ScorerEntry, "scorer", name)[0]


def _method(name: str) -> Any:
    return variants(MethodEntry, "method", name)[0]


def _new(kind: str, plugins: Sequence[Path], there: set[str], make: Callable[[str], L]) -> list[L]:
    registered = [n for file in plugins for n in registry.registered_by(file, kind)]
    return [_made(kind, name, make) for name in dict.fromkeys(registered) if name not in there]


def _named(
    kind: str, wanted: Sequence[str], own: Sequence[L], name_of: Callable[[L], str], make: Callable[[str], L]
) -> list[L]:
    """What is wanted, each once: by label, else every variant of a name, else one with its defaults."""
    found: dict[str, L] = {}
    for want in wanted:
        fits = [o for o in own if o.label == want] or [o for o in own if name_of(o) == want]
        if not fits and want not in registry.of_kind(kind):
            choices = [*(o.label for o in own), *registry.of_kind(kind)]
            raise UserError(f"--{kind}s: unknown {kind} {want!r}{meant(want, list(dict.fromkeys(choices)))}")
        for one in fits or [_made(kind, want, make)]:
            found.setdefault(one.label, one)
    if not found:
        raise UserError(f"--{kind}s: should name at least one {kind}")
    return list(found.values())


def _made(kind: str, name: str, make: Callable[[str], L]) -> L:
    try:
        return make(name)
    except SpecError as error:  # it has parameters without defaults
        raise UserError(
            f"{kind} {name!r} cannot stand with its defaults alone ({error.problems[0][1]}); write it into"
            " the suite"
        ) from None


def _speaks_of(claim: Claim, names: Mapping[str, set[str]], variants_left: set[str]) -> bool:
    sides = all(
        side.method in (variants_left if side.select else names["method"])
        and (not side.scorer or side.scorer in names["scorer"])
        for side in claim.compare
    )
    return sides and set(claim.scorers) <= names["scorer"]


def _within(figure: Mapping[str, Any], names: Mapping[str, set[str]]) -> bool:
    return all(kind not in figure or figure[kind] in there for kind, there in names.items())
