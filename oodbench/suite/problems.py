"""The mistakes of a suite file, gathered with their places and told together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pydantic

from oodbench.core import registry
from oodbench.core.errors import SpecError, UserError
from oodbench.core.signature import problems_of
from oodbench.training.recipe import Recipe, recipe_keys

T = TypeVar("T")


class _Problems(list[tuple[str, str]]):
    """Collects mistakes with their key paths instead of stopping at the first."""

    def tried(self, path: str, make: Callable[..., T], *args: Any, **keywords: Any) -> T | None:
        try:
            return make(*args, **keywords)
        except SpecError as error:
            self.extend(
                (path + ("" if not p or not path or p[0] == "[" else ".") + p, m) for p, m in error.problems
            )
        except UserError as error:
            self.append((path, str(error)))
        return None


def _recipe(raw: Any) -> Recipe:
    try:
        recipe = Recipe.model_validate(recipe_keys(raw))
    except pydantic.ValidationError as error:
        raise SpecError(
            [(p.removeprefix("."), m) for p, m in problems_of(error, "", list(Recipe.model_fields))]
        ) from None
    found = _Problems()
    augment = [
        found.tried(f"augment[{i}]", registry.resolve, "augmentation", a)
        for i, a in enumerate(recipe.augment)
    ]
    if found:
        raise SpecError(found)
    return recipe.model_copy(update={"augment": tuple(augment)})
