"""A pair that exists as arrays only."""

from __future__ import annotations

from oodbench.core.dataset import Pair
from oodbench.core.errors import SpecError, shown
from oodbench.core.registry import pair


@pair("arrays", source="oodbench's own")
def arrays(*, near: list[str] = [], far: list[str] = [], shifted: list[str] = []) -> Pair:  # noqa: B006 - a signature is a schema
    """Names of the OOD sets that a folder of arrays brings, for the method `outputs`: no images, no network.

    Each name is a file of the folder (`<name>.npz` or `<name>.safetensors`) beside `test` and, for scorers
    that fit, `train` and `val`; these, and `head`, are no OOD sets."""
    for key, names in (("near", near), ("far", far), ("shifted", shifted)):
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise SpecError([(f"arrays.{key}", f"names {shown(twice)} twice")])
    return Pair(None, near={n: n for n in near}, far={n: n for n in far}, shifted={n: n for n in shifted})
