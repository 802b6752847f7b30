"""What every component promises, as checks that run: for ours in the tests, for an outsider's by `oodbench
check`.

Each check returns complaints, one line each; an empty list means that the contract is kept. Everything runs
on the CPU in seconds, on made data: images whose bright quadrant is their class, and outputs whose OOD
samples lie where no class does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.dataset import Geometry, Samples
from oodbench.core.errors import ANYTHING, MissingData, NotApplicable, UserError, reason_of
from oodbench.core.network import Head, Network
from oodbench.core.outputs import Outputs
from oodbench.core.scorer import Scorer, View
from oodbench.core.spec import Spec
from oodbench.data.contract import CLASSES, of_dataset, of_pair, shape_text, toy_images
from oodbench.data.samples import TensorSamples
from oodbench.scoring.extract import extract_view, outputs_of
from oodbench.training.contract import SMALL, of_augmentation, of_method, of_network, toy_network, toy_task
from oodbench.training.initialise import fresh_weights


def check(kind: str, name: str) -> list[str]:
    """Complaints about one registered component, one line each. Raises UserError where there is no such
    component or kind."""
    component = registry.of_kind(kind)[name]
    found = (
        []
        if component.source
        else ["gives no source; say what was read for it: @decorator(name, source='...')"]
    )
    if not inspect.getdoc(component.target):
        found.append("has no docstring; its first paragraph is what `oodbench list` shows")
    try:
        spec = example(kind, name)
    except UserError as error:
        return [*found, f"cannot be built from its defaults: {error}"]
    if spec is None:
        return found
    try:
        for complaint in CHECKS[kind](spec):
            found.append(complaint)
    except (MissingData, NotApplicable):
        pass  # nothing is wrong with the component: what it works on is not here
    except UserError as error:
        found.append(reason_of(error))
    except ANYTHING as error:  # a component may raise anything, and the one line should say so
        found.append(f"raised {reason_of(error)}")
    return found


_NESTED_EXAMPLES = {"dataset": "digits", "network": "mlp", "method": "cross-entropy", "scorer": "msp"}


def example(kind: str, name: str) -> Spec | None:
    """The component with its defaults, required nested components filled in; None where some other parameter
    is required."""
    component = registry.of_kind(kind)[name]
    given: dict[str, Any] = {}
    for parameter, text, default in component.signature:
        if default == "required":
            nested = next((k for k in _NESTED_EXAMPLES if f"a {k}" in text), None)
            if nested is None:
                return None
            several = ["msp", "energy"] if nested == "scorer" else [_NESTED_EXAMPLES[nested]]
            given[parameter] = several if text.startswith(("list", "Sequence")) else _NESTED_EXAMPLES[nested]
    return registry.resolve(kind, {name: given})


def toy_outputs(
    count: int = 200, *, ood: bool = False, width: int = 32, seed: int = 0, classes: int = CLASSES
) -> Outputs:
    """Outputs of a made network: a class is strong in its own features; OOD samples are weak there and
    elsewhere a little active.

    Non-negative features as after a ReLU, a linear head, and logits that are exactly that head's.
    """
    rng = torch.Generator().manual_seed(seed + 1000 * ood)
    own = (width - width // 4) // classes  # features of each class; the last quarter belongs to none
    prototypes = torch.zeros(classes, width)
    for c in range(classes):
        prototypes[c, c * own : (c + 1) * own] = 1.0
    labels = torch.arange(count) % classes
    noise = 0.15 * torch.randn(count, width, generator=rng).abs()
    if ood:
        features = noise
        features[:, classes * own :] += 0.6 * torch.rand(count, width - classes * own, generator=rng)
        labels = torch.full((count,), -1)
    else:
        strength = 0.8 + 0.4 * torch.rand(count, 1, generator=rng)
        features = strength * prototypes[labels] + noise
        features[:, classes * own :] *= 0.3
    head = Head((2 * prototypes - 0.5) * (8 / own), torch.linspace(-0.1, 0.1, classes))
    return Outputs(head(features), features, labels, head)


def _scorer(spec: Spec) -> Iterator[str]:
    made: Scorer = registry.build("scorer", spec)
    if isinstance(made.needs, frozenset) and made.needs <= {"train", "val", "head", "features"}:
        train, val, test, ood = _sets(made)
    else:
        yield f"needs {set(made.needs)}, which is no subset of train, val, head, features"
        return
    copies = [(t, t.clone()) for o in (train, val, test) for t in (o.logits, o.features)]
    made.fit(train if "train" in made.needs else None, val if "val" in made.needs else None)
    score = made.score(test)
    if not isinstance(score, Tensor) or tuple(score.shape) != (len(test),) or not score.is_floating_point():
        yield f"score returned {shape_text(score)}; a float tensor ({len(test)},) is due"
        return
    if not torch.isfinite(score).all():
        yield "score is not finite on ordinary outputs"
    if not all(torch.equal(t, copy) for t, copy in copies):
        yield "changes its inputs"
    fresh: Callable[[], Outputs] = lambda: test.map(lambda t: t)  # noqa: E731 - without what was memoised
    if not torch.equal(made.score(fresh()), score):
        yield "gives other scores the second time"
    part = made.score(fresh()[40:60])
    if not torch.allclose(part, score[40:60], rtol=1e-3, atol=1e-4 * max(1.0, float(score.abs().max()))):
        yield "scores a sample differently when other samples are with it"
    one = made.score(fresh()[:1])
    if tuple(one.shape) != (1,):
        yield f"scores a single sample as {shape_text(one)}"
    if made.edits and tuple(made.logits(test).shape) != (len(test), test.classes):
        yield f"logits returned {shape_text(made.logits(test))}; ({len(test)}, {test.classes}) is due"
    yield from _gradient(made, test)
    yield from _direction(made, test, ood, score)


def _direction(made: Scorer, test: Outputs, ood: Outputs, score: Tensor) -> Iterator[str]:
    """Whether OOD samples score higher than ID ones, where they lie far apart."""
    due = 0.9
    if made.view() is not None:
        due = 0.6  # a view sees a toy network's maps of 2 x 2 positions: its direction is what is checked
        if all(extra.shape == test.logits.shape for extra in test.extras.values()):
            # What such a view makes of four toy classes has no direction; how the score reads logits has one:
            # the view changes nothing.
            names = [*test.extras]
            train, val, test, ood = (
                Outputs(o.logits, o.features, o.labels, o.head, dict.fromkeys(names, o.logits))
                for o in _made_sets()
            )
            made.fit(train if "train" in made.needs else None, val if "val" in made.needs else None)
            score = made.score(test)
    auroc = _auroc(score, made.score(ood))
    if auroc <= due:
        yield (
            f"AUROC {auroc:.3f} on plainly separable outputs; more than {due} is due (a higher score must"
            " mean more OOD)"
        )


def _sets(scorer: Scorer) -> tuple[Outputs, Outputs, Outputs, Outputs]:
    """Train, validation, test and OOD outputs that the scorer can read: made ones, or a toy network's where
    it has a view or a head."""
    view = scorer.view()
    for name, add in _ADDED.items():
        if scorer.extras == {name}:
            train, val, test, ood = (add(o, seed) for seed, o in enumerate(_made_sets()))
            return train, val, test, ood
    if view is None and not scorer.extras:
        return _made_sets()
    network = _network_with(scorer.extras)
    faint = TensorSamples(toy_images(80, ood=True, seed=4).images / 2, torch.zeros(80, dtype=torch.int64))
    images = [toy_images(200, seed=1), toy_images(80, seed=2), toy_images(80, seed=3), faint]
    plain = [extracted(network, samples) for samples in images]
    if view is None:
        return plain[0], plain[1], plain[2], plain[3]
    if objection := view.objection(network):
        raise NotApplicable(objection)
    view.prepare(network, plain[0], plain[1])
    made = [with_view(network, view, o, s) for o, s in zip(plain, images, strict=True)]
    return made[0], made[1], made[2], made[3]


def _made_sets() -> tuple[Outputs, Outputs, Outputs, Outputs]:
    return (
        toy_outputs(400, seed=1),
        toy_outputs(100, seed=2),
        toy_outputs(120, seed=3),
        toy_outputs(120, ood=True, seed=4),
    )


def _with_members(outputs: Outputs, seed: int) -> Outputs:
    """With the logits of five members that differ by noise of standard deviation 1, which matters where
    logits are alike."""
    noise = torch.randn(len(outputs), 5, outputs.classes, generator=torch.Generator().manual_seed(seed))
    return Outputs(
        outputs.logits,
        outputs.features,
        outputs.labels,
        outputs.head,
        {"members.logits": outputs.logits.unsqueeze(1) + noise},
    )


def _with_negatives(outputs: Outputs, seed: int) -> Outputs:
    """With cosines with the features that belong to no class (a quarter), as negative labels."""
    cosines = torch.nn.functional.normalize(outputs.features, dim=1)[:, -outputs.features.shape[1] // 4 :]
    return Outputs(outputs.logits, outputs.features, outputs.labels, outputs.head, {"negatives": cosines})


_ADDED = {"members.logits": _with_members, "negatives": _with_negatives}


def _network_with(extras: frozenset[str]) -> Network:
    """A toy network that has heads of these names: the first method that attaches them trains it."""
    if not extras:
        return toy_network()
    for name in registry.methods:
        spec = example("method", name)
        if spec is None or registry.build("method", spec).provides != "loss":
            continue
        network = fresh_weights(
            SMALL, registry.build("method", spec), toy_task((1, 8, 8), toy_images(8)), seed=0
        )
        if extras <= set(network.heads):
            return toy_network(spec)
    raise NotApplicable(f"no method attaches {sorted(extras)}")


_GEOMETRY = Geometry((1, 8, 8))


def extracted(network: Network, samples: Samples) -> Outputs:
    """The toy network's outputs on samples, as a run extracts them."""
    rows = [*outputs_of(network, samples, _GEOMETRY)]
    joined = {name: torch.cat([r[name] for r in rows]) for name in rows[0]}
    extras = {k.removeprefix("extras."): t for k, t in joined.items() if k.startswith("extras.")}
    return Outputs(joined["logits"], joined["features"], joined["labels"], network.linear_head(), extras)


def with_view(network: Network, view: View, plain: Outputs, samples: Samples) -> Outputs:
    """The same outputs with what a view adds to them."""
    rows = [*extract_view(network, view, samples, _GEOMETRY, seed=0)]
    extras = {name: torch.cat([r[name] for r in rows]) for name in rows[0]}
    return Outputs(plain.logits, plain.features, plain.labels, plain.head, {**plain.extras, **extras})


def _gradient(scorer: Scorer, outputs: Outputs) -> Iterator[str]:
    if not scorer.differentiable:
        return
    leaves = outputs.map(lambda t: t.detach().clone().requires_grad_() if t.is_floating_point() else t)
    score = scorer.score(leaves)
    if not score.requires_grad:
        yield "passes no gradient to the outputs; make it differentiable, or say `differentiable = False`"
        return
    read = [leaves.logits, leaves.features, *leaves.extras.values()]
    grads = torch.autograd.grad(score.sum(), [t for t in read if t.requires_grad], allow_unused=True)
    if any(g is not None and not torch.isfinite(g).all() for g in grads):
        yield "has a gradient that is not finite"


def _auroc(inside: Tensor, outside: Tensor) -> float:
    """Share of (ID, OOD) pairs in which the OOD score is higher, ties half."""
    difference = outside.detach().double().unsqueeze(1) - inside.detach().double()
    return float(((difference > 0).double() + 0.5 * (difference == 0)).mean())


def _view(spec: Spec) -> Iterator[str]:
    view: View = registry.build("view", spec)
    network = toy_network()
    if view.objection(network):
        return
    plain = extracted(network, toy_images(80, seed=1))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    view.prepare(network, plain, plain)
    x = toy_images(8).images
    copy = x.clone()
    first = view(network, x, torch.Generator().manual_seed(0))
    again = view(network, x, torch.Generator().manual_seed(0))
    for name, rows in first.items():
        if len(rows) != len(x):
            yield f"extra {name!r} has {len(rows)} rows for {len(x)} inputs"
        elif not torch.equal(rows, again[name]):
            yield f"extra {name!r} differs with the same generator"
    if not first:
        yield "adds no extra"
    if not torch.equal(x, copy):
        yield "changes its inputs"
    after = network.state_dict()
    if network.training or any(not torch.equal(v, after[k]) for k, v in before.items()):
        yield "changes the network"
    if any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()):
        yield "leaves a hook on the network"


CHECKS: dict[str, Callable[[Spec], Iterator[str]]] = {
    "dataset": of_dataset, "pair": of_pair, "network": of_network, "method": of_method,
    "augmentation": of_augmentation, "scorer": _scorer, "view": _view,
}  # fmt: skip
