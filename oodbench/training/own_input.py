"""What a network's own weights were trained on, held against the transform of the library they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pydantic
import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from torch import Tensor

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Interpolation, Margin
from oodbench.core.description import SpecLike
from oodbench.core.errors import BadValue, UserError, meant, shown
from oodbench.core.network import Input
from oodbench.core.signature import problems_of
from oodbench.core.spec import Spec
from oodbench.data.images import fit, to_float


class CannotBeFed(UserError):
    """What weights were trained on, and what no geometry here gives. `known` is the part that can be had:
    mean and std, as far as they are known."""

    def __init__(self, said: str, known: Input) -> None:
        super().__init__(said)
        self.known = known


def input_of(network: SpecLike | Spec) -> Input | None:
    """What the weights that a network comes with were trained on; ``None`` where it comes with none.

    Who builds such a network in code gives it a `Task` with this mean and std, and images of this geometry; a
    suite does so by itself (mean and std always, sizes with ``input: auto``).

    Args:
        network: as a suite writes it, or a Spec.

    Returns:
        Mean and std in the range [0, 1], sizes in pixels.

    Raises:
        CannotBeFed: images of that kind cannot be made here (another filter than bilinear and bicubic, edges
            that are filled up).
        UserError: no such network or weights, or they are not on this machine and cannot be fetched.

    Example:
        >>> input_of({"torchvision": {"model": "swin_t", "weights": "IMAGENET1K_V1"}}).resize
        232
        >>> input_of("lenet") is None
        True
    """
    spec = registry.resolve("network", network)
    ask = spec.component.own_input
    return None if ask is None else ask(spec.params)


_Fraction = Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)]
_Deviation = Annotated[float, Field(gt=0, le=1, strict=True, allow_inf_nan=False)]
_Edge = Annotated[int, Field(ge=1, le=65_536, strict=True)]
_Edges = _Edge | tuple[_Edge, _Edge] | None


def _edges(raw: Any) -> Any:
    """One edge or two; an union of types would tell each mistake twice."""
    if raw is None or isinstance(raw, int):
        return TypeAdapter(_Edge | None).validate_python(raw)
    if not isinstance(raw, (list, tuple)) or len(raw) > 2:
        raise ValueError("should be one number of pixels, or [height, width]")
    return TypeAdapter(tuple[_Edge, _Edge]).validate_python(raw)


def _both(raw: Any) -> Any:
    """Two edges, of which one number is both."""
    edges = _edges(raw)
    return (edges, edges) if isinstance(edges, int) else edges


class InputKeys(BaseModel):
    """What a network is fed, as a suite or a user's own module writes it; what is left out is the pair's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: tuple[_Fraction, ...] | None = Field(
        None, min_length=1, description="subtracted from images in [0, 1], one number per channel"
    )
    std: tuple[_Deviation, ...] | None = Field(
        None, min_length=1, description="what images are then divided by, one number per channel"
    )
    resize: Annotated[int | tuple[int, int] | None, BeforeValidator(_edges, _Edges)] = Field(
        None, description="length of the shorter edge before the centre crop, or [height, width]"
    )
    crop: Annotated[tuple[int, int] | None, BeforeValidator(_both, _Edges)] = Field(
        None, description="the size that the network sees: one edge, or [height, width]"
    )
    interpolation: Interpolation | None = Field(None, description="how images are resized")
    antialias: bool | None = Field(None, strict=True, description="as Pillow resizes; true where not given")
    margin: Margin | None = Field(None, description="how an odd margin of the crop is halved")

    def made(self) -> Input:
        """The input. BadValue, one line, where keys are each right and not together."""
        if (self.mean is None) != (self.std is None):
            raise BadValue(
                f"{'std' if self.std is None else 'mean'} is missing; mean and std belong together"
            )
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise BadValue(f"mean has {len(self.mean)} numbers, std {len(self.std)}; one per channel is due")
        if self.crop is not None and self.resize is not None:
            short = min(self.crop)
            one = isinstance(self.resize, int)
            edges = (self.resize,) * 2 if isinstance(self.resize, int) else self.resize
            least = (short, short) if one else self.crop
            if edges[0] < least[0] or edges[1] < least[1]:
                raise BadValue(
                    f"resize ({size_text(edges)}) should be at least as large as the crop"
                    f" ({size_text(self.crop)})"
                )
        return Input(**dict(self))


def size_text(edges: Sequence[int]) -> str:
    """One number where both edges are the same."""
    return "x".join(map(str, dict.fromkeys(edges)))


def read_input(given: Any, who: str) -> Input | None:
    """What a user's own module says of itself: an `Input`, or a mapping of its fields. UserError in one line
    for anything that a suite's `input:` would not take either."""
    if given is None:
        return None
    if not isinstance(given, (Input, Mapping)):
        raise UserError(f"{who}: its `input` should be an oodbench.Input or a mapping, got {shown(given)}")
    fields = given._asdict() if isinstance(given, Input) else dict(given)
    unknown = [k for k in fields if k not in Input._fields]
    if unknown:
        key = str(unknown[0])
        raise UserError(f"{who}: its `input` has an unknown key {shown(key)}{meant(key, Input._fields)}")
    try:
        return InputKeys.model_validate(fields).made()
    except pydantic.ValidationError as error:
        place, said = problems_of(error, "", list(Input._fields))[0]
        raise UserError(f"{who}: its `input` {place.lstrip('.')}: {said}") from None
    except BadValue as error:
        raise UserError(f"{who}: its `input` {error}") from None


def held(made: Input, transform: Callable[[Any], Tensor], who: str) -> Input:
    """The input, if images fitted and normalised by it are those that the library's own `transform` makes of
    a picture of Pillow, to two grey levels. CannotBeFed else."""
    if made.mean is None or made.std is None or len(made.mean) != 3:
        return made
    from PIL import Image

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (made.mean, made.std))
    for pixels in _pictures():
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        ours = to_float(fit(image, made.geometry(Geometry((3, *image.shape[-2:])))))[0]
        theirs = transform(Image.fromarray(pixels)) * std + mean
        if ours.shape != theirs.shape or float((ours - theirs).abs().max()) * 255 > 2.5:
            raise CannotBeFed(
                f"{who}: its own preprocessing makes other pixels than any geometry here; write out `input:"
                " {mean, std, resize, crop, interpolation}` as you mean it",
                Input(made.mean, made.std),
            )
    return made


def _pictures() -> Iterator[np.ndarray]:
    """Noise, which shows every other pixel, in sizes whose margins of a crop round in all ways."""
    draws = np.random.default_rng(0)
    for height, width in ((301, 453), (287, 390), (330, 310)):
        yield draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
