"""Methods with a head of their own: loss and score against slow references on a whole network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Method
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.data.contract import toy_images
from oodbench.training.contract import toy_network
from tests.training.methods.common import TASK, ce, data, dot, gradcheck, made, mean, rng, rows


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
