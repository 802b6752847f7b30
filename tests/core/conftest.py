"""A scorer and two methods to describe, resolve and build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt

from oodbench.core import registry
from oodbench.core.method import Method
from oodbench.core.scorer import Scorer


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
