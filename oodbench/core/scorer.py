"""A score, and what may be looked at for it while the network is at hand.

Directions, once and for all: an OOD score is HIGHER for samples that look MORE out-of-distribution; logits
and features are float32, scores float32 or wider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from oodbench.core.errors import NotFitted
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs


class View:
    """What extraction runs per batch while the network is at hand. It only ever adds extras; it never changes
    the plain outputs.

    Keyword-only parameters of `__init__` are its configuration.

    Example:
        >>> @oodbench.view("example-brightness", source="an example")
        ... class Brightness(oodbench.View):
        ...     "Mean of each image."
        ...
        ...     def __call__(self, network, inputs, rng):
        ...         return {"brightness": inputs.mean(dim=(1, 2, 3))}
    """

    def objection(self, network: Network) -> str:
        """Why this view cannot run on that network (a stage it lacks), in one line; empty where it can. Asked
        when a suite is planned."""
        return ""

    def prepare(self, network: Network, train: Outputs | None, val: Outputs | None) -> None:
        """Optional, once per run, after the plain extraction: fit what the view holds on the plain outputs of
        the ID training and validation set."""

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Extras of a batch.

        Args:
            network: in evaluation mode, on the inputs' device.
            inputs: (B, C, H, W) in [0, 1]; not to be changed.
            rng: for all randomness, on the same device.

        Returns:
            Name of the extra -> (B, ...).
        """
        raise NotImplementedError


class Scorer:
    """A post-hoc OOD score: HIGHER MEANS MORE OOD. Keyword-only parameters of `__init__` are its
    configuration.

    Args:
        needs: a subset of {"train", "val", "head", "features"}: what `fit` and `score` read, so that the plan
            extracts for each set only what somebody needs.
        extras: names of the extras that `score` reads beyond those its own view adds: the scorer is offered
            only where a method attaches a head of that name.
        differentiable: False where no useful gradient reaches the outputs.
        search: the declared search space, {parameter: values}.

    Example:
        >>> @oodbench.scorer("example-gap", source="an example")
        ... class Gap(oodbench.Scorer):
        ...     "Best logit against second best."
        ...
        ...     def score(self, outputs):
        ...         top = outputs.logits.topk(2, dim=1).values
        ...         return top[:, 1] - top[:, 0]
        >>> oodbench.build("scorer", "example-gap").score(oodbench.Outputs(torch.tensor([[2.0, 0.0, 1.0]])))
        tensor([-1.])
    """

    needs: frozenset[str] = frozenset()
    extras: frozenset[str] = frozenset()
    differentiable: ClassVar[bool] = True
    search: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def view(self) -> View | None:
        """The view whose extras this scorer reads, built from its own parameters by `oodbench.build("view",
        ...)`."""
        return None

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        """Learn what is needed from ID train and validation outputs (each None unless in `needs`).

        Fitting again forgets the first fit."""

    def score(self, outputs: Outputs) -> Tensor:
        """OOD scores.

        Args:
            outputs: one chunk of a set, (N, C) logits and what else the scorer needs; not to be changed.

        Returns:
            (N,), float32 or wider, finite, each sample by itself. Higher is more OOD.
        """
        raise NotImplementedError

    def logits(self, outputs: Outputs) -> Tensor:
        """Logits (N, C) of the network as this scorer edits it, for those that edit (ReAct, ASH, DICE,
        SCALE)."""
        return outputs.logits

    if not TYPE_CHECKING:  # what is there is typed by its own class

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that raised an AttributeError: say that again
                return object.__getattribute__(self, name)
            who = f"scorer {type(self).__name__} has no {name!r}"
            raise NotFitted(f"{who}; was it fitted? fit(train, val) comes before score")

    @property
    def edits(self) -> bool:
        """Whether the scorer edits the network, so that the accuracy of the edited network stands in its
        row."""
        return type(self).logits is not Scorer.logits
