"""The key `input:` beside a network: what it is fed where that is not the pair's geometry, normalised by the
statistics of the ID training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError, shown
from oodbench.core.network import Input
from oodbench.core.spec import Spec
from oodbench.suite.problems import validated
from oodbench.training.own_input import CannotBeFed, InputKeys, input_of, size_text

AUTO: Literal["auto"] = "auto"
"""As the network's own weights were trained."""
Given = Input | Literal["auto"] | None


def read(raw: Any) -> Given:
    """The value of `input:`. Raises SpecError or UserError."""
    if raw == AUTO or raw is None:
        return raw
    if not isinstance(raw, Mapping):
        raise UserError(
            "should be auto or {mean, std, resize, crop, interpolation, antialias, margin}, got"
            f" {shown(raw)}"
        )
    keys: InputKeys = validated(InputKeys, raw, {})
    return keys.made()


def schema() -> dict[str, Any]:
    """The JSON schema of the key."""
    return {"anyOf": [{"enum": [AUTO, None]}, InputKeys.model_json_schema()]}


def plain(given: Given) -> Any:
    """As a suite file writes it."""
    if not isinstance(given, Input):
        return given
    return {k: list(v) if isinstance(v, tuple) else v for k, v in given._asdict().items() if v is not None}


def text(given: Given) -> str:
    """In a few words, for labels: ``auto``, ``224 of 232 bicubic``; empty where nothing is given."""
    if not isinstance(given, Input):
        return given or ""
    parts = [size_text(given.crop)] if given.crop else []
    if given.resize is not None:
        parts.append(f"of {given.resize if isinstance(given.resize, int) else size_text(given.resize)}")
    parts += [given.interpolation] if given.interpolation else []
    parts += ["no antialias"] if given.antialias is False else []
    parts += ["margin floored"] if given.margin == "floored" else []
    if given.mean is not None and given.std is not None:
        parts.append(f"mean {_numbers(given.mean)} std {_numbers(given.std)}")
    return " ".join(parts)


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


def geometry_of(given: Input, pair: Geometry, network: str) -> Geometry:
    """What a network sees of a pair's images. UserError where they cannot have as many channels: grey and RGB
    are made of one another, nothing else is."""
    made = given.geometry(pair)
    if made.shape[0] != pair.shape[0] and not {made.shape[0], pair.shape[0]} <= {1, 3}:
        raise UserError(
            f"network {network!r}: input: mean and std have {made.shape[0]} numbers, and images with"
            f" {pair.shape[0]} channels cannot be made so; grey images have one, RGB images three"
        )
    return made


def without_pair(fed: Sequence[Input]) -> Geometry | None:
    """The geometry of a pair that names none and whose images differ in size, where each network has a crop:
    RGB images of the size of the first, and nothing else of it, which the others would take over."""
    if not fed or any(one.crop is None for one in fed):
        return None
    return Input(resize=fed[0].resize, crop=fed[0].crop).geometry(Geometry((3, 1, 1)))


def described(geometry: Geometry, given: Input) -> str:
    """What a run was fed, for its rows: ``3x224x224 of 232 bicubic mean ... std ...``, where the statistics
    are not those of the ID training images."""
    size = "x".join(map(str, geometry.shape))
    return " ".join([size, text(given._replace(
        crop=None, resize=geometry.resize, interpolation=geometry.interpolation,
        antialias=geometry.antialias, margin=geometry.margin,
    ))]).strip()  # fmt: skip
