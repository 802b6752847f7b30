"""Methods with state, heads or norms of their own: their loss against slow references on a whole network."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.core.outputs import Outputs
from oodbench.data.contract import toy_images
from oodbench.training.contract import toy_network
from oodbench.training.initialise import fresh_weights

CLASSES = 4
TASK = Task("image", (1, 8, 8), CLASSES, (0.3,), (0.3,))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int = 12, **more: Any) -> Batch:
    x = torch.rand(count, 1, 8, 8, generator=rng(3), dtype=torch.float64)
    return Batch(x, torch.arange(count) % CLASSES, rng=rng(5), **more)


def made(spec: Any, seed: int = 0) -> tuple[Network, Any]:
    """A network in float64 and its method."""
    method: Method = registry.build("method", spec)
    return fresh_weights("small-cnn", method, TASK, seed).double(), method


def rows(value: Tensor) -> list[list[float]]:
    return value.detach().tolist()


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(a: list[float]) -> float:
    return math.sqrt(dot(a, a))


def ce(z: list[float], y: int) -> float:
    top = max(z)
    return math.log(sum(math.exp(v - top) for v in z)) + top - z[y]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def gradcheck(network: Network, loss: Any, step: float = 1e-6) -> None:
    """Directional finite difference of a scalar loss over all parameters that learn."""
    learning = [p for p in network.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss(), learning)
    generator = rng(9)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in learning]
    slope = sum(float((g * d).sum()) for g, d in zip(grads, direction, strict=True))
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(learning, direction, strict=True):
                p.add_(sign * step * d)
            values.append(float(loss().detach()))
            for p, d in zip(learning, direction, strict=True):
                p.sub_(sign * step * d)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-7)


# ---------------------------------------------------------------- norms


def test_elogitnorm_divides_by_the_mean_distance_to_the_boundaries() -> None:
    network, method = made("elogitnorm")
    batch = data()
    w = rows(network.head.weight)
    expected = []
    for f, z, y in zip(
        rows(network.features(batch.inputs)), rows(network(batch.inputs)), batch.labels.tolist(), strict=True
    ):
        k = z.index(max(z))
        distances = []
        for c in range(CLASSES):  # distance of the feature to the hyperplane where z_k = z_c
            if c != k:
                normal = [a - b for a, b in zip(w[k], w[c], strict=True)]
                bias = float((network.head.bias[k] - network.head.bias[c]).detach())
                distances.append(abs(dot(normal, f) + bias) / norm(normal))
        d = sum(distances) / CLASSES
        expected.append(ce([v / d for v in z], y))
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(expected), rel=1e-4)
    gradcheck(network.eval(), lambda: method.loss(network, batch))


def test_t2fnorm_forgets_the_norm_in_training_and_keeps_it_after() -> None:
    network, method = made({"t2fnorm": {"tau": 0.5}})
    batch = data()
    w, b = rows(network.head.linear.weight), network.head.linear.bias.tolist()
    network.body.eval()
    features = rows(network.features(batch.inputs))
    expected = mean(
        [
            ce([dot(row, f) / norm(f) / 0.5 + bias for row, bias in zip(w, b, strict=True)], y)
            for f, y in zip(features, batch.labels.tolist(), strict=True)
        ]
    )
    assert float(method.loss(network, batch).detach()) == pytest.approx(expected)
    gradcheck(network, lambda: method.loss(network, batch))
    network.eval()
    after = [[dot(row, f) / 0.5 + bias for row, bias in zip(w, b, strict=True)] for f in features]
    torch.testing.assert_close(network(batch.inputs), torch.tensor(after, dtype=torch.float64))
    assert network.linear_head() is None


def test_isomax_plus_is_cross_entropy_of_scaled_distances() -> None:
    network, method = made({"isomax+": {"scale": 7.0}})
    with torch.no_grad():
        network.head.scale.fill_(-1.5)  # its absolute value counts
    batch = data()
    network.eval()
    unit = [[v / norm(p) for v in p] for p in rows(network.head.prototypes)]
    expected = []
    for f, y in zip(rows(network.features(batch.inputs)), batch.labels.tolist(), strict=True):
        g = [v / norm(f) for v in f]
        expected.append(ce([-7 * 1.5 * norm([a - b for a, b in zip(g, p, strict=True)]) for p in unit], y))
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(expected))
    gradcheck(network, lambda: method.loss(network, batch))


@pytest.mark.parametrize("name", ["elogitnorm", "t2fnorm", "isomax+", "godin"])
def test_a_head_that_is_not_linear_is_refused(name: str) -> None:
    network = Network(TASK, nn.Flatten(), nn.Sequential(nn.Linear(64, CLASSES)))
    with pytest.raises(NotApplicable, match="linear head, got Sequential"):
        registry.build("method", name).setup(network)


# ---------------------------------------------------------------- G-ODIN


def test_godin_divides_h_by_g() -> None:
    network, method = made("godin")
    network.eval()
    with torch.no_grad():  # statistics as after some training
        network.heads["godin"][1].running_mean.fill_(0.1)
        network.heads["godin"][1].running_var.fill_(2.0)
    batch = data()
    a, bias = rows(network.heads["godin"][0].weight)[0], float(network.heads["godin"][0].bias.detach())
    expected = []
    for f, y in zip(rows(network.features(batch.inputs)), batch.labels.tolist(), strict=True):
        g = 1 / (1 + math.exp(-(dot(a, f) + bias - 0.1) / math.sqrt(2 + 1e-5)))
        h = [dot(f, w) / (norm(f) + 1e-4) / (norm(w) + 1e-4) for w in rows(network.head.weight)]
        expected.append(ce([v / g for v in h], y))
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(expected))
    gradcheck(network, lambda: method.loss(network, batch))


def test_godin_scorer_reads_h_or_g() -> None:
    outputs = Outputs(torch.eye(3, 4), extras={"godin": torch.tensor([[0.2], [0.9], [0.5]])})
    assert registry.build("scorer", {"godin": {"part": "g"}}).score(outputs).tolist() == pytest.approx(
        [-0.2, -0.9, -0.5]
    )
    scorer = registry.build("scorer", {"godin": {"epsilon": 0.01}})
    network = toy_network("godin")
    x = toy_images(8).images
    moved = scorer.view()(network, x, rng())["score-perturbation.score"]
    plain = -network(x).amax(dim=1)
    assert bool((moved <= plain + 1e-6).all())
    assert float((plain - moved).mean()) > 0


# ---------------------------------------------------------------- online label smoothing


def test_online_label_smoothing_learns_last_periods_mean_of_correct_samples() -> None:
    network, method = made({"online-label-smoothing": {"alpha": 0.3, "updates": 4}})
    state = network.online_label_smoothing
    network.body.eval()
    network.head.eval()
    network.training = True  # gathers, while batch norm stands still
    batch = data(20)
    with torch.no_grad():
        p = torch.softmax(network(batch.inputs), dim=1)
    hard = mean([-math.log(q[y]) for q, y in zip(rows(p), batch.labels.tolist(), strict=True)])

    def soft(targets: list[list[float]]) -> float:
        return mean(
            [
                -dot(targets[y], [math.log(v) for v in q])
                for q, y in zip(rows(p), batch.labels.tolist(), strict=True)
            ]
        )

    uniform = [[1 / CLASSES] * CLASSES for _ in range(CLASSES)]
    for progress in (0.0, 0.1, 0.2):
        loss = float(method.loss(network, batch._replace(progress=progress)).detach())
        assert loss == pytest.approx(0.3 * hard + 0.7 * soft(uniform))
    learnt = copy.deepcopy(uniform)
    for y in range(CLASSES):
        right = [
            q
            for q, label in zip(rows(p), batch.labels.tolist(), strict=True)
            if label == y and q.index(max(q)) == y
        ]
        if right:
            learnt[y] = [mean([q[c] for q in right]) for c in range(CLASSES)]
    assert learnt != uniform
    loss = float(method.loss(network, batch._replace(progress=0.25)).detach())
    assert loss == pytest.approx(0.3 * hard + 0.7 * soft(learnt), rel=1e-5)
    assert state.counts.sum() == sum(
        int(q.index(max(q)) == y) for q, y in zip(rows(p), batch.labels.tolist(), strict=True)
    )
    before = state.sums.clone()
    network.training = False
    method.loss(network, batch._replace(progress=0.3))
    assert torch.equal(before, state.sums)


def test_cross_entropy_helper_agrees_with_torch() -> None:
    z = torch.randn(5, 4, dtype=torch.float64, generator=rng(1))
    y = torch.tensor([0, 1, 2, 3, 0])
    assert mean([ce(r, int(c)) for r, c in zip(rows(z), y, strict=True)]) == pytest.approx(
        float(cross_entropy(z, y))
    )


# ---------------------------------------------------------------- rotation, confidence, reciprocal points


def test_rotation_asks_which_quarter_turn() -> None:
    network, method = made({"rotation": {"of": {"als": {"lam": 2}}}})
    network.eval()
    batch = data(6)
    als: Method = registry.build("method", {"als": {"lam": 2}})
    turned, answers = [], []
    for turns in range(4):
        for image in batch.inputs:
            now = image
            for _ in range(turns):  # a quarter turn against the clock: transpose, then flip the rows
                now = now.transpose(1, 2).flip(1)
            turned.append(now)
            answers.append(turns)
    logits = rows(network.heads["rotation"](network.features(torch.stack(turned))))
    expected = mean([ce(z, t) for z, t in zip(logits, answers, strict=True)])
    expected += float(als.criterion(network(batch.inputs), batch.labels).mean().detach())
    assert float(method.loss(network, batch).detach()) == pytest.approx(expected)
    gradcheck(network, lambda: method.loss(network, batch))


def test_rotation_score_by_hand() -> None:
    z, rotated = torch.randn(5, 3, generator=rng(1)), torch.randn(5, 4, 4, generator=rng(2))
    outputs = Outputs(z, extras={"rotation": torch.zeros(5, 4), "rotations.logits": rotated})
    expected = []
    for a, turns in zip(z.double().tolist(), rotated.double().tolist(), strict=True):
        p = [math.exp(-ce(a, c)) for c in range(3)]
        uniform = sum(math.log(1 / 3 / q) / 3 for q in p)
        expected.append(mean([ce(turns[t], t) for t in range(4)]) - uniform)
    score = registry.build("scorer", "rotation").score(outputs)
    torch.testing.assert_close(score, torch.tensor(expected, dtype=torch.float64))


def test_rotation_knows_its_turns_better_on_known_images() -> None:
    network = toy_network("rotation")
    scorer = registry.build("scorer", "rotation")
    scores = []
    for ood in (False, True):
        x = toy_images(32, ood=ood, seed=3).images
        extras = scorer.view()(network, x, rng())
        assert extras["rotations.logits"].shape == (32, 4, 4)
        with torch.no_grad():
            torch.testing.assert_close(
                extras["rotations.logits"][:, 0], network.heads["rotation"](network.features(x))
            )
            scores.append(scorer.score(Outputs(network(x), extras=extras)).mean())
    assert scores[0] < scores[1]


def test_rotation_refuses_oblong_images() -> None:
    task = TASK._replace(shape=(1, 8, 6))
    with pytest.raises(NotApplicable, match="square images, got 8 x 6"):
        registry.build("method", "rotation").setup(Network(task, nn.Flatten(), nn.Linear(48, 4)))


def test_confidence_branch_pays_for_hints_and_keeps_its_budget() -> None:
    network, method = made({"confidence-branch": {"lam": 0.2, "budget": 0.5}})
    network.body.eval()
    batch = data(40)
    hints = (torch.rand(40, generator=rng(5)) < 0.5).tolist()
    p = torch.softmax(network(batch.inputs), dim=1).tolist()
    features = network.features(batch.inputs)
    c = [1 / (1 + math.exp(-a)) for (a,) in rows(network.heads["confidence"](features))]
    terms = []
    for q, y, sure, hint in zip(p, batch.labels.tolist(), c, hints, strict=True):
        shown = sure * q[y] + (1 - sure) if hint else q[y]
        terms.append(-math.log(shown))
    unsure = mean([-math.log(v) for v in c])
    assert 0 < sum(hints) < 40
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(terms) + 0.2 * unsure)
    assert unsure > 0.5  # beyond the budget: confidence gets dearer
    assert float(network.confidence_branch.lam) == pytest.approx(0.2 / 0.99)
    with torch.no_grad():
        network.heads["confidence"].bias.fill_(20.0)
    method.loss(network, batch._replace(rng=rng(5)))
    assert float(network.confidence_branch.lam) == pytest.approx(0.2 / 0.99 / 1.01)
    network.eval()
    gradcheck(network, lambda: method.loss(network, batch._replace(rng=rng(5))))
    assert float(network.confidence_branch.lam) == pytest.approx(0.2 / 0.99 / 1.01)
    outputs = Outputs(torch.zeros(3, 4), extras={"confidence": torch.tensor([[-1.0], [2.0], [0.0]])})
    assert registry.build("scorer", "confidence").score(outputs).tolist() == [1.0, -2.0, 0.0]


def test_arpl_is_far_from_its_reciprocal_point_within_a_radius() -> None:
    network, method = made({"arpl": {"weight": 0.3, "temperature": 2.0, "margin": 0.5}})
    network.eval()
    with torch.no_grad():
        network.head.radius.fill_(0.4)
    batch = data()
    points = rows(network.head.points)
    known, bounds, logits = [], [], []
    for f, y in zip(rows(network.features(batch.inputs)), batch.labels.tolist(), strict=True):
        squares = [mean([(a - b) ** 2 for a, b in zip(f, p, strict=True)]) for p in points]
        logits.append([d - dot(f, p) for d, p in zip(squares, points, strict=True)])
        known.append(ce([v / 2 for v in logits[-1]], y))
        bounds.append(max(0.0, squares[y] - 0.4 + 0.5))
    torch.testing.assert_close(network(batch.inputs), torch.tensor(logits, dtype=torch.float64))
    assert float(method.loss(network, batch).detach()) == pytest.approx(mean(known) + 0.3 * mean(bounds))
    gradcheck(network, lambda: method.loss(network, batch))
