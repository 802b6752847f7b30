"""Which methods can be trained or loaded on which pairs, from what, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from oodbench.core import registry
from oodbench.core.errors import NotApplicable, UserError
from oodbench.core.method import Method
from oodbench.core.spec import Spec
from oodbench.suite.entries import MethodEntry, variants
from oodbench.suite.per_seed import is_per_seed, paths_of
from oodbench.suite.sets import PairSets
from oodbench.suite.suite import Suite
from oodbench.training.recipe import Recipe
from oodbench.training.schedule import course_of


def check_trials(method: MethodEntry, contents: Mapping[int, str]) -> None:
    """What stands for several trials is not one, counted several times."""
    firsts: dict[str, int] = {}
    for seed, content in contents.items():
        first = firsts.setdefault(content, seed)
        if first != seed:
            raise UserError(
                f"method {method.label!r}: the files of seeds {first} and {seed} hold the same, so that they"
                " are one trial; leave out one of the seeds"
            )


def check_data(method: MethodEntry, built: Method, data: PairSets) -> None:
    """A pair has the sets that a method trains on."""
    trained: Method = getattr(built, "of", built) if built.provides == "members" else built
    if "outliers" in trained.needs and data.outliers is None:
        raise NotApplicable(
            f"method {method.label!r} needs outliers, but pair {data.entry.label!r} names none; add"
            " `outliers:` to the pair"
        )
    if built.provides in ("loss", "members") and "train" not in data.sets:
        raise NotApplicable(
            f"method {method.label!r} trains, but the ID set of pair {data.entry.label!r} has no training"
            " split"
        )


def check_term(recipe: Recipe, method: MethodEntry, built: Method, data: PairSets) -> None:
    """A method that trains acts at some time in its training."""
    train = data.sets["train"].samples if built.provides == "loss" else None
    if train is None:
        return
    objection = built.objection(course_of(recipe, train.labels, data.classes))
    if objection:
        raise NotApplicable(
            f"method {method.label!r} on pair {data.entry.label!r}: its own term would never act: {objection}"
        )


def start_of(suite: Suite, spec: Spec) -> MethodEntry:
    """The method that training starts from; its recipe is the suite's own where the suite trains it too."""
    same = (m for m in suite.methods if m.start is None and m.spec.plain == spec.plain)
    return next(same, variants(MethodEntry, "method", spec)[0])


def trials_with_files(
    suite: Suite, method: MethodEntry, seed: int | None = None
) -> Iterator[tuple[MethodEntry, int]]:
    """A method and the one that its training starts from, as far as they name files, with each seed that
    these are read for: the first where none of them names the seed, and else `seed` alone where it is
    given."""
    both = (method, *([start_of(suite, method.start)] if method.start is not None else []))
    several = suite.seeds if seed is None else (seed,)
    for one in [m for m in both if paths_of(m.spec)]:
        yield from ((one, s) for s in (several if is_per_seed(one.spec) else suite.seeds[:1]))


def parts_of(suite: Suite, method: MethodEntry, built: Method) -> list[tuple[MethodEntry, Method]]:
    """The methods whose weights this one starts from or is made of. UserError where they give none that
    could be."""
    found: list[tuple[MethodEntry, Method]] = []
    if built.provides == "members":
        of = method.of(method.spec.params["of"])
        found.append((of, registry.build("method", of.spec)))
        if found[0][1].provides != "loss":
            raise UserError(
                f"method {method.label!r}: its members should be trained, each from a seed of its own;"
                f" {of.spec.label!r} trains nothing"
            )
    if method.start is not None:
        if built.provides in ("weights", "outputs"):
            raise UserError(f"method {method.label!r} trains nothing; leave out `start:`")
        start = start_of(suite, method.start)
        found.append((start, registry.build("method", start.spec)))
        if found[-1][1].provides not in ("loss", "weights"):
            raise UserError(
                f"method {method.label!r}: start: should be a method that gives the weights of one network;"
                f" {start.spec.label!r} does not"
            )
    return found
