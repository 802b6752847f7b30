"""Recipes of published protocols, by name: `recipe: openood-cifar`, or `recipe: {openood-cifar: {epochs: 10}}` to change some of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from oodbench.core.errors import SpecError
from oodbench.core.registry import meant
from oodbench.core.scorer import Recipe


class Named(NamedTuple):
    """A recipe that somebody published: its keys, where they were read, and where ours departs."""

    keys: Mapping[str, Any]
    source: str
    note: str = ""


NAMED: dict[str, Named] = {
    "openood-cifar": Named(
        {
            "epochs": 100, "batch_size": 128, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4,
            "schedule": "cosine", "lr_min": 1e-6, "augment": ["flip", "pad-crop"], "select": "best-val",
        },
        "OpenOOD v1.5, trainers/base_trainer.py and the CIFAR configurations",
    ),
    "osr-vaze": Named(
        {
            "epochs": 600, "batch_size": 128, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4,
            "schedule": "restarts", "restarts": 2, "lr_min": 1e-4, "warmup_epochs": 10,
            "augment": [{"randaugment": {"operations": 1, "magnitude": 6.0, "space": "osr"}}, "pad-crop", "flip"],
        },
        "sgvaze/osr_closed_set_all_you_need: methods/ARPL/osr.py, utils/schedulers.py, data/augmentations, README (CIFAR-10 and CIFAR+N)",
        "other sets differ there: magnitude 8 (MNIST), 18 (SVHN), both with the space osr-digits; TinyImageNet has Adam at lr 0.01,"
        " magnitude 9 and label smoothing. The rate changes with every step here, with every epoch there; the warm-up begins at zero"
        " here, at lr_min there",
    ),
    "osr-arpl": Named(
        {
            "epochs": 100, "batch_size": 64, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4,
            "schedule": "step", "milestones": [0.3, 0.6, 0.9], "gamma": 0.1, "augment": ["pad-crop", "flip"],
        },
        "iCGY96/ARPL, osr.py",
        "TinyImageNet was trained there with Adam at lr 0.001, MNIST without augmentation",
    ),
}  # fmt: skip


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
            raise SpecError([("", f"unknown recipe {raw!r}{meant(raw, list(NAMED))}, or a mapping of recipe keys")])
        return raw, {}
    if not isinstance(raw, Mapping):
        raise SpecError([("", f"should be a recipe's name or a mapping of recipe keys, got {raw!r}")])
    beside = [str(k) for k in raw if k in NAMED]
    if not beside:
        return None, raw
    if len(raw) > 1:
        other = next(str(k) for k in raw if k != beside[0])
        raise SpecError(
            [
                (
                    "",
                    f"{other!r} stands beside the recipe {beside[0]!r}; write it inside: {{{beside[0]}: {{{other}: ...}}}}",
                )
            ]
        )
    changes = raw[beside[0]]
    if changes is not None and not isinstance(changes, Mapping):
        raise SpecError([(beside[0], f"should be a mapping of recipe keys, got {changes!r}")])
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
