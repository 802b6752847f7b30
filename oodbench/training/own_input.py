"""What a network's own weights were trained on, held against the transform of the library they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pydantic
import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.description import SpecLike
from oodbench.core.errors import UserError, meant, one_line, shown
from oodbench.core.network import Input
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


def read_input(given: Any, who: str) -> Input | None:
    """What a user's own module says of itself: an `Input`, or a mapping of its fields. UserError in one line
    for anything else."""
    if given is None or isinstance(given, Input):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"{who}: its `input` should be an oodbench.Input or a mapping, got {shown(given)}")
    unknown = [str(k) for k in given if k not in Input._fields]
    if unknown:
        raise UserError(
            f"{who}: its `input` has an unknown key {unknown[0]!r}{meant(unknown[0], Input._fields)}"
        )
    crop = given.get("crop")
    try:
        made = pydantic.TypeAdapter(Input).validate_python(
            {**given, "crop": (crop, crop) if isinstance(crop, int) else crop}
        )
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{who}: its `input` {'.'.join(map(str, first['loc']))}: {one_line(first['msg'], 100)}, got"
            f" {shown(first['input'])}"
        ) from None
    if (made.mean is None) != (made.std is None) or len(made.mean or ()) != len(made.std or ()):
        raise UserError(f"{who}: its `input` should have mean and std of one length")
    return made


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
