"""Methods that shape features: contrast, prototypes, made-up outliers, spectral norm; against slow
references."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.nn.functional import cross_entropy

from oodbench.core import registry
from oodbench.core.errors import SpecError
from oodbench.core.method import Batch
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.training.methods.shared import Queues
from tests.training.methods.test_extra_heads import (
    CLASSES,
    ce,
    data,
    dot,
    gradcheck,
    made,
    mean,
    norm,
    rng,
    rows,
)


def viewed(count: int = 12, **more: Any) -> Batch:
    batch = data(count, **more)
    return batch._replace(views=(batch.inputs.flip(-1) + 0.1,))


def unit(v: list[float]) -> list[float]:
    return [x / norm(v) for x in v]


def value(loss: Tensor) -> float:
    return float(loss.detach())


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


# ---------------------------------------------------------------- contrast and prototypes


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


# ---------------------------------------------------------------- queues and made-up outliers


def test_queues_keep_the_last_of_each_class() -> None:
    queues = Queues(3, 4, 1)
    expected: list[list[float]] = [[], [], []]
    generator = rng(4)
    number = 0.0
    for _ in range(12):
        labels = torch.randint(0, 3, (7,), generator=generator)
        features = number + torch.arange(1.0, 8.0).unsqueeze(1)
        number += 7
        queues.push(features, labels)
        for f, y in zip(features[:, 0].tolist(), labels.tolist(), strict=True):
            expected[y] = [*expected[y], f][-4:]
        assert queues.full == all(len(e) == 4 for e in expected)
        if queues.full:
            assert [sorted(r) for r in queues.features[:, :, 0].tolist()] == expected
    assert queues.full
    queues.push(
        torch.arange(100.0, 110.0).unsqueeze(1), torch.zeros(10, dtype=torch.int64)
    )  # more than fit at once
    assert sorted(queues.features[0, :, 0].tolist()) == [106.0, 107.0, 108.0, 109.0]


VOS = {"vos": {"size": 6, "draws": 40, "select": 2, "alpha": 0.4, "start": 0.5}}


def filled(spec: Any, batch: Batch) -> tuple[Network, Any]:
    network, method = made(spec)
    network.body.eval()
    network.training = True
    for seed in range(6):
        noisy = batch.inputs + 0.05 * torch.randn(
            batch.inputs.shape, generator=rng(seed), dtype=torch.float64
        )
        views = tuple(v.flip(-2) + 0.01 * seed for v in batch.views)
        method.loss(network, batch._replace(inputs=noisy, views=views, progress=0.0))
    return network.eval(), method


def vos_energy(z: list[float], w: list[float]) -> float:
    return -math.log(sum(max(v, 0.0) * math.exp(a) for v, a in zip(w, z, strict=True)))


def test_vos_by_hand() -> None:
    batch = data(8, progress=0.5)
    network, method = filled(VOS, batch)
    with torch.no_grad():
        network.vos_energy.weight[1] = -0.3  # a negative weight counts as nothing
    known = network.vos_queues.features
    assert network.vos_queues.full
    generator = rng(5)
    centred = torch.cat([c - c.mean(0) for c in known])
    covariance = centred.T @ centred / len(centred) + 1e-4 * torch.eye(known.shape[2], dtype=torch.float64)
    chosen = []
    for c in known:
        gaussian = MultivariateNormal(c.mean(0), covariance)
        noise = torch.randn(40, known.shape[2], generator=generator, dtype=torch.float64)
        draws = c.mean(0) + noise @ gaussian.scale_tril.T
        chosen.append(draws[gaussian.log_prob(draws).argsort()[:2]])
    virtual = torch.cat(chosen)
    w, phi = network.vos_energy.weight.tolist(), network.vos_energy.logistic
    z, v = rows(network(batch.inputs)), rows(network.head(virtual))
    terms = []
    for logits, truth in [(a, 1) for a in z] + [(a, 0) for a in v]:
        e = vos_energy(logits, w)
        terms.append(
            ce(
                [
                    e * float(m) + float(b)
                    for m, b in zip(phi.weight.detach()[:, 0], phi.bias.detach(), strict=True)
                ],
                truth,
            )
        )
    plain = mean([ce(a, y) for a, y in zip(z, batch.labels.tolist(), strict=True)])
    assert value(method.loss(network, batch._replace(rng=rng(5)))) == pytest.approx(
        plain + 0.4 * mean(terms), rel=1e-5
    )
    early = value(method.loss(network, batch._replace(progress=0.49)))
    assert early == pytest.approx(plain)


def test_vos_regulariser_reaches_the_network() -> None:
    """The bug of OpenOOD v1.5: there the term's gradient is zero everywhere but in its own logistic
    regression."""
    batch = data(8, progress=0.9)
    network, method = filled(VOS, batch)
    with torch.no_grad():
        network.vos_energy.weight.copy_(torch.tensor([0.5, 1.5, 1.0, 2.0]))
        network.vos_energy.logistic.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    term = method.loss(network, batch._replace(rng=rng(5))) - method.loss(
        network, batch._replace(progress=0.0)
    )
    learning = dict(network.named_parameters())
    for name, g in zip(learning, torch.autograd.grad(term, list(learning.values())), strict=True):
        assert float(g.abs().max()) > 0, name
    gradcheck(network, lambda: method.loss(network, batch._replace(rng=rng(5))))


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


# ---------------------------------------------------------------- decoupled angles and norms


def test_decoupled_by_hand() -> None:
    network, method = made({"decoupled": {"gamma": 1.5, "scale": 7.0, "centre": 0.4, "start": 0.5}})
    network.eval()
    w, v, centres = (
        rows(t)
        for t in (network.head.weight, network.decoupled_classifier.weight, network.decoupled_state.centres)
    )
    w, v = ([unit(r) for r in t] for t in (w, v))
    for progress, a in ((0.49, 0.0), (0.5, 0.08), (0.6, 0.4)):
        batch = data(progress=progress)
        focal, plain, distance = [], [], []
        for f, y in zip(rows(network.features(batch.inputs)), batch.labels.tolist(), strict=True):
            one, two = f[: len(f) // 2], f[len(f) // 2 :]
            angle = ce([7 * dot(unit(one), r) for r in w], y)
            focal.append((1 - math.exp(-angle)) ** 1.5 * angle)
            plain.append(ce([dot(two, r) for r in v], y))
            distance.append(sum((x - m) ** 2 for x, m in zip(two, centres[y], strict=True)))
        assert value(method.loss(network, batch)) == pytest.approx(
            mean(focal) + mean(plain) + a * mean(distance)
        )
    with torch.no_grad():
        factor = (1 - torch.exp(-cross_entropy(network(batch.inputs), batch.labels, reduction="none"))) ** 1.5
    still = network.decoupled_state.centres[batch.labels]

    def frozen() -> Tensor:  # the factor of the focal loss carries no gradient
        known = cross_entropy(network(batch.inputs), batch.labels, reduction="none")
        second = network.features(batch.inputs).chunk(2, dim=1)[1]
        plain = cross_entropy(network.decoupled_classifier(second), batch.labels)
        return (factor * known).mean() + plain + 0.4 * (second - still).square().sum(1).mean()

    gradcheck(network, frozen, 1e-8)
    learning = list(network.parameters())
    for one, other in zip(
        *(torch.autograd.grad(f, learning) for f in (frozen(), method.loss(network, batch))), strict=True
    ):
        torch.testing.assert_close(one, other)
    outputs = Outputs(
        network(batch.inputs).detach(),
        extras={"decoupled": network.heads["decoupled"](network.features(batch.inputs)).detach()},
    )
    scorer = registry.build("scorer", "decoupled")
    scorer.fit(None, outputs)
    top = outputs.logits.amax(1) / outputs.logits.amax(1).mean()
    length = torch.tensor(
        [norm(f[len(f) // 2 :]) for f in rows(network.features(batch.inputs))], dtype=torch.float64
    )
    torch.testing.assert_close(scorer.score(outputs), -(top + length / length.mean()))


def test_decoupled_centres_follow_their_class_late_in_training() -> None:
    network, method = made({"decoupled": {"start": 0.5}})
    network.body.eval()
    network.training = True
    before = network.decoupled_state.centres.clone()
    method.loss(network, data(progress=0.4))
    assert torch.equal(network.decoupled_state.centres, before)
    batch = data(6, progress=0.5)._replace(labels=torch.tensor([0, 0, 1, 0, 1, 3]))
    second = network.features(batch.inputs).detach().chunk(2, dim=1)[1]
    method.loss(network, batch)
    for c in range(CLASSES):
        own = second[batch.labels == c]
        torch.testing.assert_close(
            network.decoupled_state.centres[c], before[c] + (own - before[c]).sum(0) / 6
        )


def test_decoupled_bodies_share_nothing() -> None:
    """Each body and its classifier have the gradient of their own term."""
    network, method = made("decoupled")
    network.eval()
    method.loss(network, data(progress=0.0)).backward()
    given = {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    batch = data()
    second = network.body.norm((batch.inputs - network.mean) / network.std)
    cross_entropy(network.decoupled_classifier(second), batch.labels).backward()
    alone = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
    assert {k.split(".")[1] for k in alone if k.startswith("body")} == {"norm"}
    for key, gradient in alone.items():
        torch.testing.assert_close(given[key], gradient)
    assert network.stages == ("body.cosine.0", "body.cosine.2", "body.cosine.4")


# ---------------------------------------------------------------- spectral norm


def operator(layer: torch.nn.Module, shape: tuple[int, ...], weight: Tensor) -> Tensor:
    """A layer as a matrix, column by column."""
    columns = []
    for i in range(math.prod(shape)):
        x = torch.zeros(math.prod(shape), dtype=weight.dtype)
        x[i] = 1
        x = x.view(1, *shape)
        if isinstance(layer, torch.nn.Conv2d):
            columns.append(torch.nn.functional.conv2d(x, weight, None, layer.stride, layer.padding).flatten())
        else:
            columns.append((x @ weight.T).flatten())
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("stride", [1, 2])
def test_ddu_bounds_each_layer_by_its_largest_singular_value(stride: int) -> None:
    from oodbench.training.methods.spectral import SoftSpectralNorm

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 3, 3, stride, 1).double()
    largest = float(torch.linalg.matrix_norm(operator(layer, (2, 7, 6), layer.weight.detach()), 2))
    for coefficient in (0.5 * largest, 2 * largest):
        norm_of = SoftSpectralNorm(layer.float(), (2, 7, 6), coefficient).double()
        layer.double()
        for _ in range(300):
            weight = norm_of(layer.weight)
        factor = max(1.0, largest / coefficient)
        torch.testing.assert_close(weight, layer.weight / factor, rtol=1e-4, atol=1e-5)
    norm_of.eval()
    u = norm_of.u.clone()
    norm_of(layer.weight)
    assert torch.equal(u, norm_of.u)


def test_ddu_normalises_the_body_and_leaves_the_head() -> None:
    network, method = made({"ddu": {"coefficient": 0.5, "of": {"als": {"lam": 2}}}})
    network.eval()
    batch = data()
    convolutions = [m for m in network.body.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(hasattr(m, "parametrizations") for m in convolutions)
    assert network.linear_head() is not None
    als: Any = registry.build("method", {"als": {"lam": 2}})
    assert value(method.loss(network, batch)) == pytest.approx(
        value(als.criterion(network(batch.inputs), batch.labels).mean())
    )
    gradcheck(network, lambda: method.loss(network, batch), 1e-8)  # a larger step meets a kink of a ReLU
