"""Recipes of published protocols, by name: `recipe: openood-cifar`, or `recipe: {openood-cifar: {epochs:
10}}` to change some of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oodbench.core.errors import SpecError, meant, shown


class Named(NamedTuple):
    """A recipe that somebody published: its keys, where they were read, and where ours departs."""

    keys: Mapping[str, Any]
    source: str
    note: str = ""


NAMED: dict[str, Named] = {
    "openood-cifar": Named(
        {
            "epochs": 100,
            "batch_size": 128,
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 5e-4,
            "schedule": "cosine",
            "lr_min": 1e-6,
            "augment": ["flip", "pad-crop"],
            "select": "best-val",
        },
        "OpenOOD v1.5, trainers/base_trainer.py and the CIFAR configurations",
    ),
    "osr-vaze": Named(
        {
            "epochs": 600,
            "batch_size": 128,
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 1e-4,
            "schedule": "restarts",
            "restarts": 2,
            "lr_min": 1e-4,
            "warmup_epochs": 10,
            "augment": [
                {"randaugment": {"operations": 1, "magnitude": 6.0, "space": "osr"}},
                "pad-crop",
                "flip",
            ],
        },
        "sgvaze/osr_closed_set_all_you_need: methods/ARPL/osr.py, utils/schedulers.py, data/augmentations,"
        " README (CIFAR-10 and CIFAR+N)",
        "other sets differ there: magnitude 8 (MNIST), 18 (SVHN), both with the space osr-digits;"
        " TinyImageNet has Adam at lr 0.01, magnitude 9 and label smoothing. The rate changes with every step"
        " here, with every epoch there; the warm-up begins at zero here, at lr_min there",
    ),
    "osr-arpl": Named(
        {
            "epochs": 100,
            "batch_size": 64,
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 1e-4,
            "schedule": "step",
            "milestones": [0.3, 0.6, 0.9],
            "gamma": 0.1,
            "augment": ["pad-crop", "flip"],
        },
        "iCGY96/ARPL, osr.py",
        "TinyImageNet was trained there with Adam at lr 0.001, MNIST without augmentation",
    ),
}


def recipe_keys(raw: Any) -> dict[str, Any]:
    """The keys of a recipe as a suite writes it: a name, {name: {key: value}}, or the keys themselves.

    A named recipe spells out every key, so that it means the same wherever it stands. Raises SpecError.
    """
    name, changes = _named(raw)
    if name is None:
        return dict(changes)
    keys = dict(Recipe(**NAMED[name].keys))
    keys["augment"] = NAMED[name].keys.get("augment", ())
    return keys | dict(changes)


def _named(raw: Any) -> tuple[str | None, Mapping[str, Any]]:
    if isinstance(raw, str):
        if raw not in NAMED:
            raise SpecError(
                [("", f"unknown recipe {raw!r}{meant(raw, list(NAMED))}, or a mapping of recipe keys")]
            )
        return raw, {}
    if not isinstance(raw, Mapping):
        raise SpecError([("", f"should be a recipe's name or a mapping of recipe keys, got {shown(raw)}")])
    beside = [str(k) for k in raw if k in NAMED]
    if not beside:
        return None, raw
    if len(raw) > 1:
        other = next(str(k) for k in raw if k != beside[0])
        raise SpecError(
            [
                (
                    "",
                    (
                        f"{other!r} stands beside the recipe {beside[0]!r}; write it inside: {{{beside[0]}:"
                        f" {{{other}: ...}}}}"
                    ),
                )
            ]
        )
    changes = raw[beside[0]]
    if changes is not None and not isinstance(changes, Mapping):
        raise SpecError([(beside[0], f"should be a mapping of recipe keys, got {shown(changes)}")])
    return beside[0], changes or {}


def schema(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of a recipe, given that of its keys."""
    named = {
        "type": "object",
        "properties": dict.fromkeys(NAMED, keys),
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }
    return {"anyOf": [{"enum": list(NAMED)}, named, keys]}


class Recipe(BaseModel):
    """How weights are trained. Everything here changes numbers, so all of it is part of a run's key; the
    device is not here.

    Args:
        The keys of ``recipe`` in a suite, each with its range and meaning beside it below. All have defaults.

    Raises:
        pydantic.ValidationError: an unknown key, a value out of its range, or values that do not go together.

    Example:
        >>> Recipe(epochs=30, lr=0.05, augment=("flip", "pad-crop")).schedule
        'cosine'
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={"description": "How weights are trained."},
    )

    epochs: int = Field(20, ge=1, le=1_000_000)
    batch_size: int = Field(128, ge=1, le=2**31 - 1, description="samples in a forward pass")
    accumulate: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="forward passes whose gradients make one step: batch_size x accumulate samples",
    )
    optimizer: Literal["sgd", "adamw", "sam"] = Field(
        "sgd", description="sam: sharpness-aware minimisation around sgd"
    )
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = Field(True, description="sgd and sam, where momentum is not 0")
    weight_decay: float = Field(5e-4, ge=0)
    rho: float = Field(0.05, gt=0, description="sam: radius of the neighbourhood")
    schedule: Literal["cosine", "restarts", "step", "constant"] = Field(
        "cosine", description="restarts: cosine, begun anew"
    )
    lr_min: float = Field(0.0, ge=0, description="cosine and restarts: where a cycle ends")
    restarts: int = Field(
        2,
        ge=1,
        le=1_000_000,
        description="restarts schedule: how often the cosine begins anew, in cycles of equal length",
    )
    milestones: tuple[float, ...] = Field(
        (0.5, 0.75), description="step schedule: fractions of training at which lr drops"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="step schedule: factor at each milestone")
    warmup_epochs: float = Field(0.0, ge=0)
    clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0: no limit")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the moving average that is kept instead of the weights; 0: off"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of the network's body; head and loss are float32"
    )
    channels_last: bool = Field(False, description="memory layout in which convolutions run")
    compile: bool = Field(False, description="torch.compile the network's body")
    world_size: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="processes, one for each GPU, that share every batch; started by torchrun",
    )
    sync_batchnorm: bool = Field(
        False, description="batch norm over the whole batch and not over the share of each process"
    )
    augment: tuple[Any, ...] = Field(
        (), description="augmentations, in order: names or {name: {parameter: value}}"
    )
    select: Literal["last", "best-val"] = Field("last", description="which epoch's weights are kept")

    @property
    def identity(self) -> dict[str, Any]:
        """The keys that weights depend on. One that is younger than stored weights is left out where it is
        not used, so that those keep their key."""
        return {k: v for k, v in self if k != "sync_batchnorm" or v}

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.optimizer == "sam" and self.accumulate > 1:
            raise ValueError(
                f"optimizer sam takes a step on one batch: accumulate should be 1, got {self.accumulate}"
            )
        if self.optimizer == "sam" and self.precision == "fp16":
            raise ValueError(
                "optimizer sam knows no loss scaling: precision should be fp32 or bf16, got fp16"
            )
        if self.batch_size < 2 * self.world_size:
            raise ValueError(
                f"batch_size should be at least 2 for each of {self.world_size} processes, got"
                f" {self.batch_size}"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_bool_for_number(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for name, value in data.items():
                info = cls.model_fields.get(name)
                if isinstance(value, bool) and info is not None and info.annotation is not bool:
                    raise ValueError(
                        f"{name} should be a {getattr(info.annotation, '__name__', 'number')}, got"
                        f" {str(value).lower()}"
                    )
        return data
