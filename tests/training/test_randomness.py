"""Draws of what knows only the global generator come from the generator given; nothing else moves."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import beta, kstest

from oodbench.training.randomness import Randomness, apart, dirichlet, drawing_from


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_inside_the_generator_given_is_the_global_one() -> None:
    ours, theirs = rng(3), rng(3)
    torch.manual_seed(8)
    before = torch.get_rng_state()
    with drawing_from(ours):
        first = torch.randn(5)
    second = torch.randn(5, generator=ours)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.randn(5, generator=theirs))
    assert torch.equal(second, torch.randn(5, generator=theirs))


def test_an_error_inside_leaves_the_global_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), drawing_from(rng()):
        raise ZeroDivisionError(torch.randn(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_dirichlet_draw_is_distributed_as_such_and_decided_by_its_generator() -> None:
    """One coordinate of Dirichlet(a, b, c) is Beta(a, b + c)."""
    concentration = torch.tensor([0.5, 1.0, 2.0]).expand(2000, 3)
    drawn = dirichlet(concentration, rng(1))
    torch.testing.assert_close(drawn.sum(1), torch.ones(2000))
    assert kstest(drawn[:, 0].numpy(), beta(0.5, 3.0).cdf).pvalue > 0.001
    assert torch.equal(drawn, dirichlet(concentration, rng(1)))
    assert not torch.equal(drawn, dirichlet(concentration, rng(2)))


def test_a_dirichlet_draw_keeps_the_numbers_it_had() -> None:
    """Weights that are stored were trained with these draws."""
    drawn = torch.stack([dirichlet(torch.tensor([0.2, 0.2]), rng(s)) for s in range(3)])
    torch.testing.assert_close(drawn, torch.tensor(GOLDEN), rtol=1e-6, atol=1e-8)


GOLDEN = [
    [1.3102197044645436e-05, 0.9999868869781494],
    [0.9600224494934082, 0.0399775356054306],
    [0.5117183327674866, 0.48828163743019104],
]


def test_without_a_generator_the_global_one_is_drawn_from() -> None:
    torch.manual_seed(4)
    first = dirichlet(torch.ones(4), None)
    second = dirichlet(torch.ones(4), None)
    assert not torch.equal(first, second)
    torch.manual_seed(4)
    assert torch.equal(dirichlet(torch.ones(4), None), first)


def test_the_same_batch_can_be_looked_at_twice() -> None:
    generator = rng(2)
    before = Randomness(generator)
    first = (torch.rand(3, generator=generator), torch.rand(3))
    before.restore()
    assert torch.equal(torch.rand(3, generator=generator), first[0])
    assert torch.equal(torch.rand(3), first[1])


def test_apart_each_draws_its_own_and_afterwards_all_draw_alike() -> None:
    inside, after = [], []
    for rank, count in ((0, 5), (1, 7)):
        torch.manual_seed(8)
        torch.rand(2)
        for _ in range(2):
            with apart(rank, torch.device("cpu")):
                inside.append(torch.rand(count)[:5])
        after.append(torch.rand(3))
    assert torch.equal(*after)
    assert all(not torch.equal(a, b) for i, a in enumerate(inside) for b in inside[:i])


def test_apart_moves_nothing_where_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    with apart(1, torch.device("cpu")):
        torch.rand(3, generator=rng())
    assert torch.equal(torch.get_rng_state(), before)
