"""What several methods need: draws, queues."""

from __future__ import annotations

import torch

from oodbench.training.methods.shared import Queues
from tests.training.methods.common import pictures, rng


def test_mixup_shares_are_beta_distributed() -> None:
    from scipy.stats import beta, kstest

    from oodbench.training.methods.shared import beta as draw

    batch = pictures(1)
    for a, b in ((0.2, 0.2), (1.0, 1.0), (20.0, 20.0), (0.1, 1.0)):
        values = [float(draw(a, b, batch)) for _ in range(2000)]
        assert kstest(values, beta(a, b).cdf).pvalue > 0.001


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
