"""What scorers are handed: whether all of it is there, of one network, and of values that can be scored.
Asked before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from oodbench.core.errors import BadValue
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer
from oodbench.core.spec import label_of
from oodbench.scoring.one_network import OneNetwork, off_its_head

_ROLES = {"train": "training", "val": "validation"}


def needed(given: Outputs | None, role: str, scorer: Scorer, label: str = "") -> Outputs:
    """What a scorer cannot be fitted without, its `role` being train or val. ValueError where it was not
    given, or is no outputs.

    Example:
        >>> from oodbench.scoring.given import needed
        >>> needed(None, "train", oodbench.build("scorer", "knn"))
        Traceback (most recent call last):
        ...
        oodbench.core.errors.BadValue: scorer 'knn' needs train: give outputs of the ID training set
    """
    if given is None:
        label = label or label_of(scorer)
        raise BadValue(f"scorer {label!r} needs {role}: give outputs of the ID {_ROLES[role]} set")
    return _outputs(role, given)


def _outputs(name: str, given: Any) -> Outputs:
    if not isinstance(given, Outputs):
        raise BadValue(
            f"{name} should be an oodbench.Outputs, got {type(given).__name__}; oodbench.Outputs(logits,"
            " features, labels, head) makes one"
        )
    return given


def check_given(train: Outputs | None, val: Outputs | None, sets: Mapping[str, Outputs]) -> None:
    """Whether training, validation and other sets can be outputs of one network. Raises ValueError, one line,
    where one of them is no outputs, is empty, or does not fit the others (`OneNetwork`)."""
    if not isinstance(sets, Mapping):
        raise BadValue(f"sets should be {{name: oodbench.Outputs}}, got {type(sets).__name__}")
    network = OneNetwork()
    off = ""
    for name, outputs in _named(train, val, sets):
        if len(_outputs(name, outputs)) == 0:
            raise BadValue(f"{name} has no samples")
        wrong = network.objection(name, outputs)
        if wrong:
            raise BadValue(f"{name}: {wrong}")
        wrong = "" if off else off_its_head(outputs)
        off = f"{name}: {wrong}" if wrong else off
    if off:
        raise BadValue(off)


def _named(
    train: Outputs | None, val: Outputs | None, sets: Mapping[str, Outputs]
) -> Iterator[tuple[str, Outputs]]:
    for role, outputs in (("train", train), ("val", val)):
        if outputs is not None:
            yield role, outputs
    for name, outputs in sets.items():
        yield f"set {name!r}", outputs


def objection(
    label: str, scorer: Scorer, train: Outputs | None, val: Outputs | None, sets: Mapping[str, Outputs]
) -> str:
    """Why a scorer cannot be fitted on these and score the sets, in one line; empty where it can."""
    known = {"train": train, "val": val}
    try:
        fits = {
            role: needed(given, role, scorer, label) for role, given in known.items() if role in scorer.needs
        }
    except BadValue as error:
        return str(error)
    read = [*_named(fits.get("train"), fits.get("val"), sets)]
    lacking = _lacking(scorer, read)
    if lacking:
        return f"scorer {label!r} {lacking}"
    for role, outputs in fits.items():
        wrong = wrong_labels(outputs) or flaw(outputs, scorer)
        if wrong:
            return f"scorer {label!r} cannot be fitted: {role}: {wrong}"
    return ""


def _lacking(scorer: Scorer, read: list[tuple[str, Outputs]]) -> str:
    """What the outputs that a scorer reads do not hold, and which of them."""
    if "features" in scorer.needs:
        without = [name for name, outputs in read if not outputs.has_features]
        if without:
            return f"needs features, and {without[0]} holds only logits"
    if "head" in scorer.needs and all(outputs.head is None for _, outputs in read):
        return "needs a linear head (weight and bias), and none of the outputs has one"
    for extra in sorted(scorer.extras):
        without = [name for name, outputs in read if extra not in outputs.extras]
        if without:
            return f"reads the extra {extra!r}, which {without[0]} does not hold"
    view = scorer.view()
    if view is not None:
        without = [name for name, outputs in read if not outputs.extras]
        if without:
            return (
                f"needs a network to look into (view {label_of(view)!r}), and {without[0]} holds no extras of"
                " it; run it in a suite"
            )
    return ""


def wrong_labels(outputs: Outputs) -> str:
    """Whether labels are of classes that the logits have, -1 standing for an unknown one; empty where they
    are."""

    def asked() -> str:
        low, high = (int(x) for x in outputs.labels.aminmax()) if len(outputs) else (0, 0)
        if low >= -1 and high < outputs.classes:
            return ""
        return f"labels should lie in 0..{outputs.classes - 1}, or be -1 where unknown, got {low}..{high}"

    return outputs.memo("wrong labels", asked)


def flaw(outputs: Outputs, scorer: Scorer) -> str:
    """Which of the values that a scorer reads are not finite; empty where all are."""
    found = outputs.memo("not finite in logits", lambda: _not_finite("logits", outputs.logits))
    if not found and "features" in scorer.needs and outputs.has_features:
        found = outputs.memo("not finite in features", lambda: _not_finite("features", outputs.features))
    return found


def _not_finite(name: str, values: Tensor) -> str:
    parts = values.split(1 << 14)
    if all(bool(torch.isfinite(rows.sum())) for rows in parts):  # a sum is finite only where every value is
        return ""
    bad = sum(int((~torch.isfinite(rows)).any(dim=1).sum()) for rows in parts)
    return f"{name} of {bad} of {len(values)} samples are not finite" if bad else ""
