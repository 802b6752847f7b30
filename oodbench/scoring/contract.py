"""What every component promises, as checks that run: for ours in the tests, for an outsider's by `oodbench check`.

Each check returns complaints, one line each; an empty list means that the contract is kept. Everything runs on the CPU in seconds,
on made data: images whose bright quadrant is their class, and outputs whose OOD samples lie where no class does.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.errors import MissingData, NotApplicable, UserError
from oodbench.core.scorer import (  # fmt: skip
    Batch,
    Dataset,
    Geometry,
    Head,
    Method,
    Network,
    Outputs,
    Pair,
    Samples,
    Scorer,
    SpecLike,
    Task,
    View,
    fingerprint,
)
from oodbench.data.samples import TensorSamples
from oodbench.scoring.extract import extract, extract_view
from oodbench.training.loop import initialise

CLASSES = 4
SMALL: SpecLike = {"small-cnn": {"width": 8}}
"""The network on which methods, views and scorers of networks are tried."""
_SHAPES = ((1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 224, 224))
"""Input shapes offered to a network, in order, until one suits it."""
_STEPS = 25


def check(kind: str, name: str) -> list[str]:
    """Complaints about one registered component, one line each. Raises UserError where there is no such component or kind."""
    component = registry.registry(kind)[name]
    found = [] if component.source else ["gives no source; say what was read for it: @decorator(name, source='...')"]
    if not inspect.getdoc(component.target):
        found.append("has no docstring; its first paragraph is what `oodbench list` shows")
    try:
        spec = example(kind, name)
    except UserError as error:
        return [*found, f"cannot be built from its defaults: {error}"]
    if spec is None:
        return found
    try:
        for complaint in _CHECKS[kind](spec):
            found.append(complaint)
    except (MissingData, NotApplicable):
        pass  # nothing is wrong with the component: what it works on is not here
    except UserError as error:
        found.append(str(error).splitlines()[0])
    except Exception as error:  # a component may raise anything, and the one line should say so
        found.append(f"raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return found


_NESTED_EXAMPLES = {"dataset": "digits", "network": "mlp", "method": "cross-entropy", "scorer": "msp"}


def example(kind: str, name: str) -> registry.Spec | None:
    """The component with its defaults, required nested components filled in; None where some other parameter is required."""
    component = registry.registry(kind)[name]
    given: dict[str, Any] = {}
    for parameter, text, default in component.signature:
        if default == "required":
            nested = next((k for k in _NESTED_EXAMPLES if f"a {k}" in text), None)
            if nested is None:
                return None
            several = ["msp", "energy"] if nested == "scorer" else [_NESTED_EXAMPLES[nested]]
            given[parameter] = several if text.startswith(("list", "Sequence")) else _NESTED_EXAMPLES[nested]
    return registry.resolve(kind, {name: given})


# ---------------------------------------------------------------- made data


def toy_images(count: int, shape: Sequence[int] = (1, 8, 8), *, ood: bool = False, seed: int = 0) -> TensorSamples:
    """Images in [0, 1] whose bright quadrant is their class (0..3); OOD ones are checkerboards of any brightness."""
    rng = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    images = 0.2 * torch.rand(count, channels, height, width, generator=rng)
    labels = torch.arange(count) % CLASSES
    if ood:
        board = ((torch.arange(height).unsqueeze(1) + torch.arange(width)) % 2).float()
        images = (images + board * (0.3 + 0.7 * torch.rand(count, 1, 1, 1, generator=rng))).clamp(0, 1)
        return TensorSamples(images, torch.zeros(count, dtype=torch.int64))
    half = (height // 2, width // 2)
    for i, label in enumerate(labels.tolist()):
        top, left = (label // 2) * half[0], (label % 2) * half[1]
        images[i, :, top : top + half[0], left : left + half[1]] += 0.7
    return TensorSamples(images, labels)


def toy_outputs(count: int = 200, *, ood: bool = False, width: int = 32, seed: int = 0, classes: int = CLASSES) -> Outputs:
    """Outputs of a made network: a class is strong in its own features; OOD samples are weak there and elsewhere a little active.

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


def toy_network(method: SpecLike = "cross-entropy", network: SpecLike = SMALL) -> Network:
    """A small network trained by `method` on the toy images until it knows their classes."""
    specs = [registry.resolve("method", method), registry.resolve("network", network)]
    place = fingerprint([s.identity for s in specs])
    if place not in _toys:
        built: Method = registry.build("method", specs[0])
        images = toy_images(64)
        toy = initialise(specs[1], built, _task((1, 8, 8), images), seed=0)
        _fit(toy, built, [_batch(images, built)], _STEPS)
        _toys[place] = toy.eval()
    return _toys[place]


_toys: dict[str, Network] = {}


def _task(shape: tuple[int, int, int], images: TensorSamples, classes: int = CLASSES) -> Task:
    x = images.images
    return Task("image", shape, classes, tuple(x.mean((0, 2, 3)).tolist()), tuple(x.std((0, 2, 3)).tolist()))


def _batch(images: TensorSamples, method: Method, seed: int = 0) -> Batch:
    x, rng = images.images, torch.Generator().manual_seed(seed)
    outliers = toy_images(len(x), x.shape[1:], ood=True).images if "outliers" in method.needs else None
    return Batch(x, images.labels, outliers, tuple(x.flip(-1) for _ in range(method.views)), 0.5, rng)


def _fit(network: Network, method: Method, batches: Sequence[Batch], steps: int) -> list[float]:
    """Losses of a few steps, the global random state seeded and restored."""
    losses = []
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
        for step in range(steps):
            batch = batches[step % len(batches)]._replace(rng=torch.Generator().manual_seed(step), progress=step / steps)
            optimizer.zero_grad(set_to_none=True)
            loss = method.loss(network, batch)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


# ---------------------------------------------------------------- scorers


def _scorer(spec: registry.Spec) -> Iterator[str]:
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
        yield f"score returned {_shape(score)}; a float tensor ({len(test)},) is due"
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
        yield f"scores a single sample as {_shape(one)}"
    if made.edits and tuple(made.logits(test).shape) != (len(test), test.classes):
        yield f"logits returned {_shape(made.logits(test))}; ({len(test)}, {test.classes}) is due"
    yield from _gradient(made, test)
    due = 0.9 if made.view() is None else 0.6  # a view sees a toy network's maps of 2 x 2 positions: its direction is what is checked
    if made.view() is not None and all(extra.shape == test.logits.shape for extra in test.extras.values()):
        # What such a view makes of four toy classes has no direction; how the score reads logits has one: the view changes nothing.
        names = [*test.extras]
        unchanged = (Outputs(o.logits, o.features, o.labels, o.head, dict.fromkeys(names, o.logits)) for o in _made_sets())
        train, val, test, ood = unchanged
        made.fit(train if "train" in made.needs else None, val if "val" in made.needs else None)
        score = made.score(test)
    auroc = _auroc(score, made.score(ood))
    if auroc <= due:
        yield f"AUROC {auroc:.3f} on plainly separable outputs; more than {due} is due (a higher score must mean more OOD)"


def _sets(scorer: Scorer) -> tuple[Outputs, Outputs, Outputs, Outputs]:
    """Train, validation, test and OOD outputs that the scorer can read: made ones, or a toy network's where it has a view or a head."""
    view = scorer.view()
    if scorer.extras == {"members.logits"}:
        train, val, test, ood = (_with_members(o, seed) for seed, o in enumerate(_made_sets()))
        return train, val, test, ood
    if view is None and not scorer.extras:
        return _made_sets()
    network = _network_with(scorer.extras)
    faint = TensorSamples(toy_images(80, ood=True, seed=4).images / 2, torch.zeros(80, dtype=torch.int64))
    images = [toy_images(200, seed=1), toy_images(80, seed=2), toy_images(80, seed=3), faint]
    plain = [_extracted(network, samples) for samples in images]
    if view is None:
        return plain[0], plain[1], plain[2], plain[3]
    if objection := view.objection(network):
        raise NotApplicable(objection)
    view.prepare(network, plain[0], plain[1])
    made = [_with_view(network, view, o, s) for o, s in zip(plain, images, strict=True)]
    return made[0], made[1], made[2], made[3]


def _made_sets() -> tuple[Outputs, Outputs, Outputs, Outputs]:
    return toy_outputs(400, seed=1), toy_outputs(100, seed=2), toy_outputs(120, seed=3), toy_outputs(120, ood=True, seed=4)


def _with_members(outputs: Outputs, seed: int) -> Outputs:
    """With the logits of five members that differ by noise of standard deviation 1, which matters where logits are alike."""
    noise = torch.randn(len(outputs), 5, outputs.classes, generator=torch.Generator().manual_seed(seed))
    return Outputs(outputs.logits, outputs.features, outputs.labels, outputs.head, {"members.logits": outputs.logits.unsqueeze(1) + noise})


def _network_with(extras: frozenset[str]) -> Network:
    """A toy network that has heads of these names: the first method that attaches them trains it."""
    if not extras:
        return toy_network()
    for name in registry.methods:
        spec = example("method", name)
        if spec is None or registry.build("method", spec).provides != "loss":
            continue
        network = initialise(SMALL, registry.build("method", spec), _task((1, 8, 8), toy_images(8)), seed=0)
        if extras <= set(network.heads):
            return toy_network(spec)
    raise NotApplicable(f"no method attaches {sorted(extras)}")


_GEOMETRY = Geometry((1, 8, 8))


def _extracted(network: Network, samples: Samples) -> Outputs:
    rows = [*extract(network, samples, _GEOMETRY)]
    joined = {name: torch.cat([r[name] for r in rows]) for name in rows[0]}
    extras = {k.removeprefix("extras."): t for k, t in joined.items() if k.startswith("extras.")}
    return Outputs(joined["logits"], joined["features"], joined["labels"], network.linear_head(), extras)


def _with_view(network: Network, view: View, plain: Outputs, samples: Samples) -> Outputs:
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


# ---------------------------------------------------------------- methods


def _method(spec: registry.Spec) -> Iterator[str]:
    method: Method = registry.build("method", spec)
    if method.provides != "loss":
        return
    images = toy_images(16)
    network = initialise(SMALL, method, _task((1, 8, 8), images), seed=0)
    network.train()
    batch = _batch(images, method)
    loss = method.loss(network, batch)
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        yield f"loss returned {_shape(loss)}; a scalar is due"
        return
    if not torch.isfinite(loss):
        yield "loss is not finite on an ordinary batch"
        return
    loss.backward()
    for name, p in network.named_parameters():
        if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all()):
            yield f"no finite gradient reaches {name}"
    for name in network.heads:
        if network.heads[name](network.features(batch.inputs)).shape[0] != len(batch.inputs):
            yield f"head {name!r} does not give one row for each sample"
    losses = _fit(initialise(SMALL, method, _task((1, 8, 8), images), seed=0), method, [batch], _STEPS)
    again = _fit(initialise(SMALL, method, _task((1, 8, 8), images), seed=0), method, [batch], _STEPS)
    if losses != again:
        yield "gives other losses with the same seed; draw randomness from batch.rng or torch's global generator"
    if not all(map(math.isfinite, losses)) or sum(losses[-5:]) >= sum(losses[:5]):
        yield f"{_STEPS} steps on one batch do not lower the loss ({losses[0]:.3g} to {losses[-1]:.3g})"
    alone = toy_images(1)
    network.eval()
    if not torch.isfinite(method.loss(network, _batch(alone, method))):
        yield "loss is not finite on a batch of one"


# ---------------------------------------------------------------- networks


def _network(spec: registry.Spec) -> Iterator[str]:
    built = None
    for shape in _SHAPES:
        images = toy_images(4, shape)
        try:
            built = initialise(spec, Method(), _task(shape, images), seed=0)
            break
        except (NotApplicable, MissingData):
            continue
    if built is None:
        return
    network, x = built.eval(), toy_images(4, shape).images
    logits, features = network(x), network.features(x)
    if tuple(logits.shape) != (4, CLASSES):
        yield f"logits have the shape {tuple(logits.shape)}; (4, {CLASSES}) is due, one for each known class"
    if features.dim() != 2 or len(features) != 4:
        yield f"features have the shape {tuple(features.shape)}; (B, D) is due"
        return
    if not torch.allclose(network.head(features), logits, atol=1e-5):
        yield "logits are not head(features)"
    modules = dict(network.named_modules())
    for stage in network.stages:
        if stage not in modules:
            yield f"names a stage {stage!r} that is no submodule"
    if not torch.equal(network(x), logits):
        yield "gives other logits the second time in evaluation mode"
    other = initialise(spec, Method(), network.task, seed=1).eval()
    other.load_state_dict(network.state_dict())
    if not torch.equal(other(x), logits):
        yield "does not come back from its state dict"
    network.train()
    torch.logsumexp(network(x), dim=1).sum().backward()
    for name, p in network.named_parameters():
        if p.requires_grad and p.grad is None:
            yield f"no gradient reaches {name}"


# ---------------------------------------------------------------- views and augmentations


def _view(spec: registry.Spec) -> Iterator[str]:
    view: View = registry.build("view", spec)
    network = toy_network()
    if view.objection(network):
        return
    plain = _extracted(network, toy_images(80, seed=1))
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


def _augmentation(spec: registry.Spec) -> Iterator[str]:
    augment = registry.build("augmentation", spec)
    for shape in ((1, 28, 28), (3, 32, 32)):
        x = toy_images(6, shape).images
        copy = x.clone()
        out = augment(x, torch.Generator().manual_seed(0))
        if tuple(out.shape) != tuple(x.shape) or out.dtype != x.dtype:
            yield f"returns {_shape(out)} {out.dtype} for {_shape(x)} {x.dtype}"
            return
        if not torch.isfinite(out).all() or float(out.min()) < 0 or float(out.max()) > 1:
            yield "leaves [0, 1]"
        if not torch.equal(x, copy):
            yield "changes its inputs"
        if not torch.equal(augment(x, torch.Generator().manual_seed(0)), out):
            yield "differs with the same generator"


# ---------------------------------------------------------------- data


def _dataset(spec: registry.Spec) -> Iterator[str]:
    made: Dataset = registry.build("dataset", spec)
    if not made.splits:
        yield "has no split"
    for split in made.splits:
        samples = made[split]
        if not isinstance(samples, Samples):
            yield f"{split}: is no Samples (kind, labels, ids, digest, read)"
            continue
        if samples.labels.dtype != torch.int64 or samples.labels.dim() != 1:
            yield f"{split}: labels are {samples.labels.dtype} {_shape(samples.labels)}; int64 (N,) is due"
        if not len(samples) == len(samples.labels) == len(samples.ids):
            yield f"{split}: {len(samples)} samples, {len(samples.labels)} labels, {len(samples.ids)} ids"
            continue
        if len(samples.digest) != 64 or registry.build("dataset", spec)[split].digest != samples.digest:
            yield f"{split}: the digest is no sha256 of the content alone"
        few = [len(samples) - 1, 0]
        x = samples.read(few, Geometry((1, 16, 16)))
        if tuple(x.shape) != (2, 1, 16, 16) or x.dtype not in (torch.uint8, torch.float32):
            yield f"{split}: read gives {x.dtype} {_shape(x)} for two samples at (1, 16, 16)"
        elif not torch.equal(samples.read(few[::-1], Geometry((1, 16, 16))).flip(0), x):
            yield f"{split}: read does not keep the order that it is asked for"
        if x.is_floating_point() and (float(x.min()) < 0 or float(x.max()) > 1):
            yield f"{split}: float images leave [0, 1]"
        if made.classes and split != "train" and int(samples.labels.max()) >= len(made.classes):
            yield f"{split}: a label is outside 0..{len(made.classes) - 1}"


def _pair(spec: registry.Spec) -> Iterator[str]:
    made: Pair = registry.build("pair", spec)
    names = [*made.near, *made.far, *made.shifted, *(("train", "val", "test") if made.id is not None else ())]
    for one, two in pairwise(sorted(names)):
        if one == two:
            yield f"has two sets named {one!r}"
    for raw in (made.id, made.ood_val, made.outliers, *made.near.values(), *made.far.values(), *made.shifted.values()):
        if raw is not None and made.id is not None:
            registry.resolve("dataset", raw)
    if made.id is not None and not made.near and not made.far:
        yield "has no OOD set"


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


_CHECKS: dict[str, Callable[[registry.Spec], Iterator[str]]] = {
    "scorer": _scorer, "method": _method, "network": _network, "view": _view, "augmentation": _augmentation,
    "dataset": _dataset, "pair": _pair,
}  # fmt: skip
