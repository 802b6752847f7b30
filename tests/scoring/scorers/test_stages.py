"""Scores over stages against loops and pytorch-ood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from oodbench import build
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.data.contract import toy_images
from tests.scoring.seen import looked, rng


def test_the_distance_over_layers_is_that_of_pytorch_ood() -> None:
    detector = pytest.importorskip("pytorch_ood.detector").MultiMahalanobis([nn.Identity()] * 3)

    def outputs(n: int, seed: int) -> Outputs:
        y, extras = torch.arange(n) % 4, {}
        for i, width in enumerate((5, 9, 12)):
            extras[f"stages.{i}"] = (
                torch.randn(n, width, generator=rng(seed + i)) + 2 * torch.eye(4, width)[y]
            )
        return Outputs(torch.eye(4)[y], labels=y, extras=extras)

    train, test = outputs(300, 0), outputs(40, 10)
    scorer = build("scorer", {"mds-layers": {"combine": "sum"}})
    scorer.fit(train, test)
    detector.fit_structured(list(train.extras.values()), train.labels)
    theirs = detector.predict_structured(list(test.extras.values()))
    # theirs: half the distance under the summed, not the mean, scatter
    np.testing.assert_allclose(
        scorer.score(test).numpy(), 2 * len(train) * theirs.double().numpy(), rtol=1e-4
    )


def test_the_distance_over_layers_is_standardised_on_validation(network: Network) -> None:
    scorer = build("scorer", "mds-layers")
    train, val, test = looked(network, scorer)
    expected = np.zeros(len(test))
    for name in network.stages:
        h, y = train.extras[f"stages.{name}"].double().numpy(), train.labels.numpy()
        means = np.stack([h[y == c].mean(axis=0) for c in range(4)])
        precision = np.linalg.pinv((h - means[y]).T @ (h - means[y]) / len(h), rcond=1e-10, hermitian=True)

        def distance(
            o: Outputs, name: str = name, means: np.ndarray = means, precision: np.ndarray = precision
        ) -> np.ndarray:
            d = o.extras[f"stages.{name}"].double().numpy()[:, None] - means
            return np.einsum("ncd,de,nce->nc", d, precision, d).min(axis=1)

        known = distance(val)
        expected += (distance(test) - known.mean()) / known.std(ddof=1)
    np.testing.assert_allclose(scorer.score(test).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_gram_deviation_is_a_loop_over_classes(network: Network) -> None:
    scorer = build("scorer", {"gram": {"powers": 2}})
    train, val, test = looked(network, scorer)

    def deviation(o: Outputs, name: str) -> np.ndarray:
        g, bank, found = o.extras[name].numpy(), train.extras[name].numpy(), []
        for row, c in zip(g, o.predictions.numpy(), strict=True):
            mine = bank[train.predictions.numpy() == c]
            low, high = mine.min(axis=0), mine.max(axis=0)
            found.append(
                (
                    np.maximum(low - row, 0) / abs(low + 1e-6) + np.maximum(row - high, 0) / abs(high + 1e-6)
                ).sum()
            )
        return np.array(found)

    names = [f"gram.{n}" for n in network.stages]
    expected = (
        sum(deviation(test, n) / deviation(val, n).mean() for n in names)
        / test.probabilities.amax(dim=1).numpy()
    )
    np.testing.assert_allclose(scorer.score(test).numpy(), expected, rtol=1e-3)


def test_gram_bounds_of_a_class_that_nobody_is_predicted_as() -> None:
    logits = torch.eye(3)[torch.arange(30) % 2]  # nobody is predicted as class 2
    outputs = Outputs(logits, torch.zeros(30, 1), torch.arange(30) % 3, extras={"gram.a": torch.rand(30, 5)})
    scorer = build("scorer", "gram")
    scorer.fit(outputs, outputs)
    odd = Outputs(
        torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 1), extras={"gram.a": torch.full((1, 5), 2.0)}
    )
    assert scorer.score(odd).isfinite().all()
    assert float(scorer.score(odd)) > 0


def test_rankfeat_edits_one_stage_at_a_time_as_pytorch_ood_does(network: Network) -> None:
    detector = pytest.importorskip("pytorch_ood.detector").RankFeat
    x = toy_images(6).images
    body = list(network.body)  # type: ignore[arg-type]
    energies = []
    for cut in (2, 4):
        backbone, rest = nn.Sequential(*body[: cut + 1]), nn.Sequential(*body[cut + 1 :], network.head)
        logits = []
        detector(backbone, lambda h, rest=rest, to=logits: to.append(rest(h)) or rest(h)).predict(
            (x - network.mean) / network.std
        )
        energies.append(logits[0])
    extras = build("view", "rankfeat")(network, x, rng())
    torch.testing.assert_close(extras["rankfeat.logits"], sum(energies) / 2, rtol=1e-3, atol=1e-4)
