"""The key `input:` beside a network: what it is fed where that is not the pair's geometry, normalised by the
statistics of the ID training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from oodbench.core.dataset import Geometry, Interpolation, Margin
from oodbench.core.errors import UserError, shown
from oodbench.core.network import Input
from oodbench.core.spec import Spec
from oodbench.suite.problems import validated
from oodbench.training.own_input import CannotBeFed, input_of

AUTO: Literal["auto"] = "auto"
"""As the network's own weights were trained."""
Given = Input | Literal["auto"] | None

_Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Deviation = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_Edge = Annotated[int, Field(ge=1, le=65_536, strict=True)]


def _edges(raw: Any) -> Any:
    """One edge or two; an union of types would tell each mistake twice."""
    if raw is None or isinstance(raw, int):
        return TypeAdapter(_Edge | None).validate_python(raw)
    return TypeAdapter(tuple[_Edge, _Edge]).validate_python(raw)


class InputKeys(BaseModel):
    """What a network is fed, as a suite writes it; what is left out is the pair's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: tuple[_Fraction, ...] | None = Field(
        None, min_length=1, description="subtracted from images in [0, 1], one number per channel"
    )
    std: tuple[_Deviation, ...] | None = Field(
        None, min_length=1, description="what images are then divided by, one number per channel"
    )
    resize: Annotated[int | tuple[int, int] | None, BeforeValidator(_edges)] = Field(
        None, description="length of the shorter edge before the centre crop, or [height, width]"
    )
    crop: Annotated[
        tuple[_Edge, _Edge] | None,
        BeforeValidator(lambda raw: [raw, raw] if isinstance(raw, int) else raw, int | list[int] | None),
    ] = Field(None, description="the size that the network sees: one edge, or [height, width]")
    interpolation: Interpolation | None = Field(None, description="how images are resized")
    antialias: bool | None = Field(None, strict=True, description="as Pillow resizes; true where not given")
    margin: Margin | None = Field(None, description="how an odd margin of the crop is halved")


def read(raw: Any) -> Given:
    """The value of `input:`. Raises SpecError or UserError."""
    if raw == AUTO or raw is None:
        return raw
    if not isinstance(raw, Mapping):
        raise UserError(
            "should be auto or {mean, std, resize, crop, interpolation, antialias, margin}, got"
            f" {shown(raw)}"
        )
    made: InputKeys = validated(InputKeys, raw, {})
    if (made.mean is None) != (made.std is None):
        raise UserError(f"{'std' if made.std is None else 'mean'} is missing; mean and std belong together")
    if made.mean is not None and made.std is not None and len(made.mean) != len(made.std):
        raise UserError(f"mean has {len(made.mean)} numbers, std {len(made.std)}; one per channel is due")
    if made.crop is not None and made.resize is not None:
        short = min(made.crop)
        edges = (made.resize,) * 2 if isinstance(made.resize, int) else made.resize
        least = (short, short) if isinstance(made.resize, int) else made.crop
        if edges[0] < least[0] or edges[1] < least[1]:
            raise UserError(
                f"resize ({_size(edges)}) should be at least as large as the crop ({_size(made.crop)})"
            )
    return Input(**dict(made))


def schema() -> dict[str, Any]:
    """The JSON schema of the key."""
    return {"anyOf": [{"enum": [AUTO]}, InputKeys.model_json_schema()]}


def plain(given: Given) -> Any:
    """As a suite file writes it."""
    if not isinstance(given, Input):
        return given
    return {k: list(v) if isinstance(v, tuple) else v for k, v in given._asdict().items() if v is not None}


def text(given: Given) -> str:
    """In a few words, for labels: ``auto``, ``224 of 232 bicubic``; empty where nothing is given."""
    if not isinstance(given, Input):
        return given or ""
    parts = [_size(given.crop)] if given.crop else []
    if given.resize is not None:
        parts.append(f"of {given.resize if isinstance(given.resize, int) else _size(given.resize)}")
    parts += [given.interpolation] if given.interpolation else []
    parts += ["no antialias"] if given.antialias is False else []
    parts += ["margin floored"] if given.margin == "floored" else []
    if given.mean is not None and given.std is not None:
        parts.append(f"mean {_numbers(given.mean)} std {_numbers(given.std)}")
    return " ".join(parts)


def _size(edges: tuple[int, int]) -> str:
    """One number where both edges are the same."""
    return "x".join(map(str, dict.fromkeys(edges)))


def _numbers(values: tuple[float, ...]) -> str:
    """One number where all are the same."""
    return ",".join(f"{v:g}" for v in (values[:1] if len(set(values)) == 1 else values))


def resolved(given: Given, network: Spec) -> Input:
    """What a network is fed, as far as it or its entry says. The mean and deviation that its own weights were
    trained with hold wherever the entry names no others; their sizes only by ``auto``.

    Raises UserError where ``auto`` is asked of a network that comes without weights."""
    try:
        own = input_of(network)
    except CannotBeFed as error:
        own = error.known
        if given == AUTO or (own.mean is None and not (isinstance(given, Input) and given.mean)):
            raise
    if given == AUTO:
        if own is None:
            raise UserError(
                f"network {network.label!r}: input: auto: it comes with no weights that say what they were"
                " trained on; write out {mean, std, resize, crop, interpolation}"
            )
        return own
    made = given if isinstance(given, Input) else Input()
    return made if own is None or made.mean is not None else made._replace(mean=own.mean, std=own.std)


def described(geometry: Geometry, given: Input) -> str:
    """What a run was fed, for its rows: ``3x224x224 of 232 bicubic mean ... std ...``, where the statistics
    are not those of the ID training images."""
    size = "x".join(map(str, geometry.shape))
    return " ".join([size, text(given._replace(
        crop=None, resize=geometry.resize, interpolation=geometry.interpolation,
        antialias=geometry.antialias, margin=geometry.margin,
    ))]).strip()  # fmt: skip
