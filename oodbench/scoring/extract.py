"""From a network and a set to the tensors of its Outputs, batch by batch. Nothing to the right of this stage
sees a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import UserError
from oodbench.core.network import Network
from oodbench.core.scorer import View
from oodbench.data.reading import batches
from oodbench.training.optimiser import body_as

T = TypeVar("T")

BATCH = 256
VIEW_BATCH = 128
"""A view's randomness is seeded for each so many samples, also where fewer fit the memory at a time."""


class Extract(BaseModel):
    """How a trained network is run over a set.

    Args:
        precision: ``fp32``, or ``bf16`` or ``fp16`` in the network's body; its features come out as float32,
            and head and scores are computed as ever.
        channels_last: memory layout of convolutions.
        batch_size: samples in a forward pass (views: 128 at most). ``auto``: 256, halved where they do not
            fit the memory.

    Example:
        >>> Extract(precision="bf16").identity
        {'extract': {'precision': 'bf16'}}
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of the network's body; features are stored as float32"
    )
    channels_last: Annotated[bool, Field(strict=True)] = Field(
        False, description="memory layout of convolutions"
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=65_536, strict=True)] = Field(
        "auto", description="samples in a forward pass; auto: 256, halved where memory is short"
    )

    @field_validator("batch_size", mode="before")
    @classmethod
    def _size(cls, raw: Any) -> Any:
        if raw != "auto" and not (type(raw) is int and 1 <= raw <= 65_536):
            raise ValueError("should be auto, or a number of samples from 1 to 65536")
        return raw

    @property
    def size(self) -> int:
        """Samples that are read, and where the memory allows passed through the network, at a time."""
        return BATCH if self.batch_size == "auto" else self.batch_size

    @property
    def identity(self) -> dict[str, Any]:
        """What the keys of outputs are made of: what changes numbers, where it is not the default."""
        changed = self.model_dump(exclude_defaults=True, exclude={"batch_size"})
        return {"extract": changed} if changed else {}


def outputs_of(
    network: Network,
    samples: Samples,
    geometry: Geometry,
    *,
    how: Extract = Extract(),  # noqa: B008
    device: str | torch.device = "cpu",
    places: range | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Per batch: ``logits`` (B, C), ``features`` (B, D), ``labels`` (B,), and ``extras.<name>`` for each
    further head.

    All are float32 but the int64 labels. The network is put in evaluation mode on `device`; its parameters
    are not changed. `places` are the samples to do, all by default: where they start at a multiple of the
    batch size, their batches are those of the whole set. UserError where one sample, or a batch of the size
    that was given, does not fit the memory."""
    device = torch.device(device)
    network = network.to(device).eval()

    @torch.inference_mode()
    def run(inputs: Tensor) -> dict[str, Tensor]:
        features = network.features(inputs)
        rows = {"logits": network.head(features).float(), "features": features.float()}
        return rows | {f"extras.{name}": head(features).float() for name, head in network.heads.items()}

    def rows() -> Iterator[dict[str, Tensor]]:
        at = places.start if places else 0
        for inputs in batches(samples, geometry, how.size, device, places):
            for part, made in _in_parts(len(inputs), lambda i: run(inputs[i]), network, "", how):  # noqa: B023
                yield made | {"labels": samples.labels[at + part.start : at + part.stop]}
            at += len(inputs)

    with body_as(network, device, how.precision, how.channels_last):
        yield from _landed(rows(), device)


def extract_view(
    network: Network,
    view: View,
    samples: Samples,
    geometry: Geometry,
    *,
    seed: int,
    how: Extract = Extract(),  # noqa: B008
    device: str | torch.device = "cpu",
    places: range | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Per batch: the view's extras by name, after `view.prepare`. Randomness is seeded by the run's seed and,
    for each 128 samples, their place in the whole set: it depends neither on the batch size nor on `places`,
    which start at a multiple of 128. UserError as `outputs_of`."""
    device = torch.device(device)
    network = network.to(device).eval()
    first = 0 if not places else places.start
    if first % VIEW_BATCH:
        raise ValueError(f"{places} should start at a multiple of {VIEW_BATCH}")

    def rows() -> Iterator[dict[str, Tensor]]:
        read = batches(samples, geometry, VIEW_BATCH, device, places)
        for number, inputs in enumerate(read, start=first // VIEW_BATCH):

            def run(part: slice, number: int = number, inputs: Tensor = inputs) -> dict[str, Tensor]:
                rng = torch.Generator(device=device).manual_seed(seed * 1_000_003 + number)
                if part == slice(0, len(inputs)):
                    return view(network, inputs, rng)
                with _PartOf(part, len(inputs)):
                    return view(network, inputs[part], rng)

            for _, extras in _in_parts(len(inputs), run, network, type(view).__name__, how):
                yield {
                    name: made.detach().float() if made.is_floating_point() else made.detach()
                    for name, made in extras.items()
                }

    with body_as(network, device, how.precision, how.channels_last):
        yield from _landed(rows(), device)


def _landed(rows: Iterator[dict[str, Tensor]], device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Each batch's rows on the CPU. A GPU has the next batch to work on before anyone waits for this one."""
    if device.type != "cuda":
        yield from rows
        return
    before: tuple[dict[str, Tensor], torch.cuda.Event] | None = None
    for made in rows:
        here = {name: values.to("cpu", non_blocking=True) for name, values in made.items()}
        there = torch.cuda.Event()
        there.record(torch.cuda.current_stream(device))
        if before is not None:
            before[1].synchronize()
            yield before[0]
        before = here, there
    if before is not None:
        before[1].synchronize()
        yield before[0]


# ---------------------------------------------------------------- what fits the memory

_FITS: WeakKeyDictionary[Network, dict[str, int]] = WeakKeyDictionary()
"""The samples that a network, or a view of it by name, was found to do at a time where memory is short."""


def _in_parts(
    count: int, run: Callable[[slice], T], network: Network, view: str, how: Extract
) -> Iterator[tuple[slice, T]]:
    """(part, what `run` gives for it) for all of a batch: in one part, or in as few as the memory bears."""
    given = None if how.batch_size == "auto" else how.batch_size
    fits, at = _FITS.setdefault(network, {}), 0
    while at < count:
        part = slice(at, min(at + (given or fits.get(view, count)), count))
        done = _tried(run, part)
        if done is not None:
            yield part, done
            at = part.stop
        else:
            fits[view] = _half(part.stop - part.start, network.mean.device, view, given)


def _tried(run: Callable[[slice], T], part: slice) -> T | None:
    """None where the memory did not suffice."""
    try:
        return run(part)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    # no longer in the handler, where the error holds all that the pass had made
    torch.cuda.empty_cache()
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, on whatever device."""
    said = str(error).lower()
    short = ("out of memory", "can't allocate memory", "_status_alloc_failed")
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(s in said for s in short)


def _half(size: int, device: torch.device, view: str, given: int | None) -> int:
    what = f"view {view}: " if view else ""
    if given is not None:
        raise UserError(
            f"extraction: {what}a batch of {size} does not fit the memory of {device}; lower `extract:"
            f" {{batch_size: {given}}}`, or leave it out: then batches are halved until they fit"
        )
    if size == 1:
        raise UserError(
            f"extraction: {what}not even one sample fits the memory of {device}; use another --device, a"
            " smaller network, or `extract: {precision: bf16}`"
        )
    warnings.warn(
        f"extraction: {what}a batch of {size} does not fit the memory of {device}; going on with {size // 2}",
        stacklevel=2,
    )
    return size // 2


class _PartOf(TorchDispatchMode):
    """Inside, what is drawn at random for each sample of a part of a batch is what would be drawn for it in
    the whole: draws whose first dimension is the part's are made for the whole batch, and cut."""

    def __init__(self, part: slice, whole: int) -> None:
        super().__init__()
        self.part, self.count, self.whole = part, part.stop - part.start, whole

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or not args:
            return func(*args, **kwargs)
        first, *rest = args
        if isinstance(first, Tensor) and first.ndim and len(first) == self.count:
            whole = first.new_zeros((self.whole, *first.shape[1:]))
            whole[self.part] = first
            drawn = func(whole, *rest, **kwargs)
            return first.copy_(whole[self.part]) if drawn is whole else tree_map(self._cut, drawn)
        if isinstance(first, (list, tuple)) and first and first[0] == self.count:
            return self._cut(func([self.whole, *first[1:]], *rest, **kwargs))
        return func(*args, **kwargs)

    def _cut(self, drawn: Any) -> Any:
        return drawn[self.part] if isinstance(drawn, Tensor) else drawn
