"""Contrast, prototypes, and outliers made up around the border: against slow references."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodbench.core import registry
from oodbench.core.errors import SpecError
from oodbench.core.method import Batch
from oodbench.core.network import Network
from tests.training.methods.common import (
    CLASSES,
    ce,
    dot,
    filled,
    gradcheck,
    made,
    mean,
    rng,
    rows,
    unit,
    value,
    viewed,
)


def embedded(network: Network, batch: Batch, name: str) -> tuple[list[list[float]], list[int], float]:
    """Unit embeddings of both views, their labels, and the cross-entropy of the classifier on the first
    view."""
    features = network.features(torch.cat([batch.inputs, *batch.views]))
    units = [unit(u) for u in rows(network.get_submodule(name)(features))]
    known = value(cross_entropy(network.head(features[: len(batch.labels)]), batch.labels))
    return units, batch.labels.tolist() * 2, known


def isolated(network: Network, method: Any, batch: Batch) -> None:
    """The head learns from its classifier's term alone, and the body gets nothing from it."""
    method.loss(network, batch).backward()
    given = {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    features = network.features(torch.cat([batch.inputs, *batch.views]))[: len(batch.labels)].detach()
    cross_entropy(network.head(features), batch.labels).backward()
    torch.testing.assert_close(given["head.weight"], network.head.weight.grad)
    network.zero_grad(set_to_none=True)


def test_supcon_by_hand() -> None:
    network, method = made({"supcon": {"temperature": 0.2, "width": 5}})
    network.eval()
    batch = viewed(10)
    units, labels, known = embedded(network, batch, "supcon")
    terms = []
    for i, u in enumerate(units):
        others = [j for j in range(len(units)) if j != i]
        total = sum(math.exp(dot(u, units[j]) / 0.2) for j in others)
        positive = [j for j in others if labels[j] == labels[i]]
        terms.append(-mean([math.log(math.exp(dot(u, units[j]) / 0.2) / total) for j in positive]))
    assert value(method.loss(network, batch)) == pytest.approx(0.2 / 0.07 * mean(terms) + known)
    isolated(network, method, batch)
    gradcheck_without_detached(network, method, batch)


def gradcheck_without_detached(network: Network, method: Any, batch: Batch) -> None:
    """Finite differences of the loss over all parameters but the body's, which the classifier's term must not
    reach."""
    for p in network.body.parameters():
        p.requires_grad_(False)
    gradcheck(network, lambda: method.loss(network, batch))
    for p in network.body.parameters():
        p.requires_grad_(True)


def cider_by_hand(
    units: list[list[float]], labels: list[int], start: list[list[float]], decay: float, t: float
) -> tuple[float, float, list[list[float]]]:
    prototypes = [list(p) for p in start]
    for u, y in zip(units, labels, strict=True):  # one sample after the other
        prototypes[y] = unit([decay * p + (1 - decay) * v for p, v in zip(prototypes[y], u, strict=True)])
    seen = [c for c, p in enumerate(prototypes) if any(p)]
    compact = mean(
        [
            ce([dot(u, prototypes[c]) / t for c in seen], seen.index(y))
            for u, y in zip(units, labels, strict=True)
        ]
    )
    apart = [
        mean([math.exp(dot(prototypes[i], prototypes[j]) / t) for j in seen if j != i])
        for i in seen
        if len(seen) > 1
    ]
    return t / 0.07 * compact, mean([math.log(v) for v in apart]) if apart else 0.0, prototypes


def test_cider_by_hand_over_two_steps() -> None:
    network, method = made({"cider": {"temperature": 0.3, "decay": 0.6, "weight": 1.5, "width": 6}})
    network.body.eval()
    network.training = True
    prototypes = [[0.0] * 6 for _ in range(CLASSES)]
    for labels in ([2, 0, 0, 2, 2, 0], [1, 0, 3, 3, 1, 1]):  # class 1 and 3 are not seen in the first step
        batch = viewed(6)._replace(labels=torch.tensor(labels))
        units, both, known = embedded(network, batch, "cider_projection")
        compact, disperse, prototypes = cider_by_hand(units, both, prototypes, 0.6, 0.3)
        assert value(method.loss(network, batch)) == pytest.approx(1.5 * compact + disperse + known)
        torch.testing.assert_close(
            network.cider_state.prototypes, torch.tensor(prototypes, dtype=torch.float64)
        )
    network.eval()
    before = network.cider_state.prototypes.clone()
    isolated(network, method, viewed())
    assert torch.equal(before, network.cider_state.prototypes)


def test_cider_of_one_class_has_no_dispersion() -> None:
    network, method = made({"cider": {"width": 6}})
    network.eval()
    batch = viewed(6)._replace(labels=torch.full((6,), 2))
    units, both, known = embedded(network, batch, "cider_projection")
    compact, disperse, _ = cider_by_hand(units, both, [[0.0] * 6 for _ in range(CLASSES)], 0.95, 0.1)
    assert disperse == 0
    assert compact == 0  # one class to choose from
    assert value(method.loss(network, batch)) == pytest.approx(known)


def test_dispersion_moves_prototypes_apart_through_the_batch() -> None:
    from oodbench.training.methods.contrastive import dispersion, moved

    units = torch.nn.functional.normalize(
        torch.randn(6, 3, dtype=torch.float64, generator=rng(1)), dim=1
    ).requires_grad_()
    start = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64, generator=rng(2)), dim=1)
    labels = torch.tensor([0, 1, 0, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda u: dispersion(moved(start, u, labels, 0.7), 0.5), (units,))


def test_cider_terms_have_the_gradient_of_fixed_prototypes() -> None:
    """Compactness pulls samples to prototypes that stand still; the whole loss is that, dispersion as above,
    and a classifier apart."""
    from oodbench.training.methods.contrastive import compactness, dispersion, moved

    network, method = made({"cider": {"temperature": 0.3, "decay": 0.6, "weight": 1.5, "width": 6}})
    network.eval()
    batch = viewed(8)
    labels = batch.labels.repeat(2)

    def units() -> Tensor:
        features = network.features(torch.cat([batch.inputs, *batch.views]))
        return torch.nn.functional.normalize(network.get_submodule("cider_projection")(features), dim=1)

    still = moved(network.cider_state.prototypes, units(), labels, 0.6).detach()

    def terms() -> Tensor:
        apart = dispersion(moved(network.cider_state.prototypes, units(), labels, 0.6), 0.3)
        return 1.5 * compactness(units(), still, labels, 0.3) + apart

    learning = [*network.body.parameters(), *network.get_submodule("cider_projection").parameters()]
    whole, parts = (torch.autograd.grad(loss, learning) for loss in (method.loss(network, batch), terms()))
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)
    network.head.requires_grad_(False)
    gradcheck(network, terms, 1e-8)


NPOS = {
    "npos": {
        "size": 8,
        "k": 3,
        "border": 4,
        "picks": 2,
        "draws": 20,
        "kept": 5,
        "step": 0.2,
        "width": 6,
        "start": 0.5,
    }
}


def npos_outliers(known: Tensor) -> list[list[float]]:
    generator = rng(5)
    noise = rows(torch.randn(20, known.shape[2], generator=generator, dtype=torch.float64))
    found = []

    def reach(f: list[float], others: list[list[float]]) -> float:
        u = unit(f)
        return sorted(sum((a - b) ** 2 for a, b in zip(u, unit(o), strict=True)) for o in others)[2]

    for own in map(rows, known):
        border = sorted(range(len(own)), key=lambda i: -reach(own[i], own))[:4]
        picks = [border[i] for i in torch.randperm(4, generator=generator)[:2].tolist()]
        for i in picks:
            candidates = [[a + 0.2 * b for a, b in zip(own[i], n, strict=True)] for n in noise]
            found += sorted(candidates, key=lambda c: -reach(c, own))[:5]
    return found


def test_npos_by_hand() -> None:
    batch = viewed(8, progress=0.9)
    network, method = filled(NPOS, batch)
    known = network.npos_queues.features
    units, labels, classified = embedded(network, batch, "npos_projection")
    compact, disperse, _ = cider_by_hand(units, labels, rows(network.npos_state.prototypes), 0.95, 0.1)
    base = compact + 0.5 * disperse + classified
    assert value(method.loss(network, batch._replace(progress=0.4))) == pytest.approx(base)
    outliers = npos_outliers(known)
    assert len(outliers) == CLASSES * 2 * 5
    seen = network.features(torch.cat([batch.inputs, *batch.views]))
    told = network.npos_outliers(torch.cat([seen, torch.tensor(outliers, dtype=torch.float64)]))[
        :, 0
    ].tolist()
    apart = [math.log1p(math.exp(-a if i < len(seen) else a)) for i, a in enumerate(told)]
    assert value(method.loss(network, batch._replace(rng=rng(5)))) == pytest.approx(
        base + 0.1 * mean(apart), rel=1e-5
    )


def test_npos_outliers_reach_the_body() -> None:
    batch = viewed(8, progress=0.9)
    network, method = filled(NPOS, batch)
    term = method.loss(network, batch._replace(rng=rng(5))) - method.loss(
        network, batch._replace(progress=0.0)
    )
    learning = [*network.body.parameters(), *network.npos_outliers.parameters()]
    assert all(float(g.abs().max()) > 1e-12 for g in torch.autograd.grad(term, learning))
    for p in (*network.head.parameters(), *network.npos_projection.parameters()):
        p.requires_grad_(False)

    def apart() -> (
        Tensor
    ):  # the other terms, some of which hold what is detached, are the same early and late
        early, late = (method.loss(network, batch._replace(progress=p, rng=rng(5))) for p in (0.0, 0.9))
        return late - early

    gradcheck(network, apart, 1e-8)
    for p in network.parameters():
        p.requires_grad_(True)
    isolated(network, method, batch._replace(rng=rng(5)))


def test_npos_sizes_must_fit() -> None:
    with pytest.raises(SpecError, match=r"npos.k: should be at most size \(50\), got 300"):
        registry.build("method", {"npos": {"size": 50}})
