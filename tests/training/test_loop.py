"""The training loop: deterministic, true to what it tells, and the loop that one would write with torch
alone."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.errors import UserError
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.training import loop
from oodbench.training.loop import Listener
from tests.training.common import (
    GEOMETRY,
    TASK,
    Nosy,
    Plain,
    close,
    fresh,
    make_samples,
    recipe_of,
    run,
    same,
    tanh_network,
)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    torch.manual_seed(1)
    first, history = run(recipe_of(augment=["flip"]))
    torch.manual_seed(2)  # whatever stood in the global state does not matter
    again, history_again = run(recipe_of(augment=["flip"]))
    other, _ = run(recipe_of(augment=["flip"]), seed=4)
    assert same(first, again)
    assert history == history_again
    assert not same(first, other)


def test_the_global_random_state_is_left_as_it_was() -> None:
    network = fresh()
    before = torch.get_rng_state()
    run(recipe_of(epochs=1), network)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_and_validating_change_nothing() -> None:
    bare, _ = run(recipe_of(), val=None)
    watched, _ = run(
        recipe_of(), listener=Listener(epoch=lambda record: None, save=lambda tensors, scalars: None)
    )
    assert same(bare, watched)


def test_the_loop_is_the_loop_one_would_write() -> None:
    """SGD with Nesterov over the same shuffles, written out with torch alone."""
    recipe, data = recipe_of(epochs=3, weight_decay=1e-3), make_samples()
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh())
    network = Network(TASK, body, nn.Linear(6, 3))
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    steps = 4  # 53 = 16 * 3 + 5
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3 * steps)
    for epoch in range(3):
        order = torch.randperm(53, generator=torch.Generator().manual_seed(3 * 1_000_003 + epoch))
        for index in order.split(16):
            optimizer.zero_grad()
            x = (data.images[index].float() / 255 - 0.5) / 0.25
            nn.functional.cross_entropy(plain(x), data.labels[index]).backward()
            optimizer.step()
            schedule.step()
    run(recipe, network, data=data)
    ours = [p.detach() for p in network.parameters()]
    for mine, theirs in zip(ours, plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_history_has_a_record_per_epoch_that_is_true() -> None:
    network, history = run(
        recipe_of(epochs=3, lr=1e-9, weight_decay=0.0), network=Network(TASK, nn.Flatten(), nn.Linear(64, 3))
    )
    data, val = make_samples(), make_samples(30, seed=9)
    loss = nn.functional.cross_entropy(network(data.images / 255), data.labels).detach()
    assert [r["epoch"] for r in history] == [0, 1, 2]
    assert history[0]["loss"] == pytest.approx(float(loss), abs=1e-5)
    share = (network(val.images / 255).argmax(1) == val.labels).float().mean()
    assert history[-1]["val_accuracy"] == pytest.approx(float(share))


class Late(Plain):
    """Has a term of its own from some time of training on."""

    acts_once = "its time has come"

    def __init__(self, start: float) -> None:
        self.start = start

    def loss(self, network: Network, batch: Batch) -> Tensor:
        self.acted = batch.progress >= self.start
        return super().loss(network, batch)


class Around(Plain):
    """Wraps another method, and acts itself in every second batch of four; says so by a tensor."""

    def __init__(self, of: Method) -> None:
        self.of = of

    def loss(self, network: Network, batch: Batch) -> Tensor:
        self.acted = torch.tensor(round(batch.progress * 16) % 2 == 0)
        return self.of.loss(network, batch)


def test_the_history_says_when_a_methods_own_term_acted() -> None:
    """Four batches in each of four epochs."""

    def acted(method: Method) -> list[float]:
        return [record["acted"] for record in run(recipe_of(), method=method)[1]]

    assert acted(Plain()) == [1, 1, 1, 1]
    assert acted(Late(0.625)) == [0, 0, 0.5, 1]
    assert acted(Around(Plain())) == [0.5, 0.5, 0.5, 0.5]
    assert acted(Around(Late(0.625))) == [0, 0, 0.25, 0.5], "where both act"
    assert acted(Around(Late(1.0))) == [0, 0, 0, 0]


def test_a_term_that_never_acted_is_told_of() -> None:
    history = [{"acted": 0.0, "val_accuracy": 0.9}, {"acted": 0.5, "val_accuracy": 0.8}]
    last, best = recipe_of(), recipe_of(select="best-val")
    assert loop.never_acted(Late(0.5), last, history) == ""
    reason = loop.never_acted(Around(Late(0.5)), last, history[:1])
    assert re.fullmatch(
        r"training: the own term of method 'Around' never acted in all epochs, .* once its time has come",
        reason,
    )
    assert "never acted up to epoch 0, the best on validation" in loop.never_acted(Late(0.5), best, history)
    assert loop.never_acted(Late(0.5), best, history[1:]) == ""
    equal = [record | {"val_accuracy": 0.9} for record in history]
    assert loop.never_acted(Late(0.5), best, equal) == "", "of equally good epochs the last is kept"
    assert loop.never_acted(Plain(), last, [{"loss": 1.0}]) == "", "a record of an older version"


def test_it_learns() -> None:
    network, history = run(recipe_of(epochs=15, lr=0.1), data=make_samples(200))
    assert history[-1]["val_accuracy"] > 0.95
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert not network.training


def test_best_val_keeps_the_last_of_the_best_epochs() -> None:
    seen: list[dict[str, Tensor]] = []
    network = fresh()

    def remember(record: Any) -> None:
        seen.append({k: v.detach().clone() for k, v in network.state_dict().items()})

    _, history = run(
        recipe_of(epochs=6, lr=0.4, select="best-val", schedule="constant"),
        network,
        listener=Listener(epoch=remember),
    )
    accuracies = [r["val_accuracy"] for r in history]
    best = max(i for i, a in enumerate(accuracies) if a == max(accuracies))
    assert best < 5, "the test needs a training whose last epoch is not its best"
    assert all(torch.equal(v, seen[best][k]) for k, v in network.state_dict().items())


def test_the_average_is_kept_and_validated() -> None:
    """The recurrence written out over the weights after every step, which the loop is asked for one step at a
    time."""
    recipe = recipe_of(epochs=5, batch_size=64, ema=0.6)
    weights: list[dict[str, Tensor]] = []
    plain = tanh_network()
    expected = {k: v.clone() for k, v in plain.state_dict().items()}
    run(
        recipe_of(epochs=5, batch_size=64),
        plain,
        listener=Listener(
            epoch=lambda r: weights.append({k: v.clone() for k, v in plain.state_dict().items()})
        ),
    )
    for step, w in enumerate(weights):
        d = min(0.6, (1 + step) / (10 + step))
        expected = {k: d * expected[k] + (1 - d) * w[k] for k in w}
    averaged = tanh_network()
    val = make_samples(200, seed=4)
    _, history = run(recipe, averaged, val=val)
    for name, value in averaged.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)
    assert history[-1]["val_accuracy"] == loop.accuracy(averaged, val, GEOMETRY)
    assert not close(averaged, plain, atol=1e-4)


class Broken(Plain):
    """Finite until some step, then not."""

    def __init__(self, value: float, at: float) -> None:
        self.value, self.at = value, at

    def loss(self, network: Network, batch: Batch) -> Tensor:
        loss = super().loss(network, batch)
        return loss * self.value if batch.progress >= self.at else loss


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_one_clear_error(value: float) -> None:
    with pytest.raises(
        UserError, match=r"^training: the loss is not finite in epoch 1.*learning rate"
    ) as found:
        run(recipe_of(), method=Broken(value, 0.3))
    assert "\n" not in str(found.value)


def test_weights_that_explode_in_the_last_step_are_an_error_too() -> None:
    with pytest.raises(UserError, match="not finite"):
        run(recipe_of(epochs=1, batch_size=64, lr=1e10), method=Broken(1e30, 0), network=fresh())


def test_a_loss_that_breaks_is_noticed_within_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 2)
    method = Nosy()
    monkeypatch.setattr(Nosy, "needs", frozenset())
    monkeypatch.setattr(
        Nosy, "loss", lambda self, n, b: self.batches.append(b) or Plain.loss(self, n, b) * math.nan
    )
    with pytest.raises(UserError, match="not finite in epoch 0"):
        run(recipe_of(batch_size=4), method=method)
    assert len(method.batches) == 2


def test_the_loop_says_within_an_epoch_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 5)
    seen: list[Any] = []
    quiet, _ = run(recipe_of(epochs=2, batch_size=4))
    told, history = run(recipe_of(epochs=2, batch_size=4), listener=Listener(look=seen.append))
    assert same(quiet, told)
    assert [r["epoch"] for r in seen] == pytest.approx([5 / 13, 10 / 13, 18 / 13, 23 / 13])
    assert all(r["images_per_second"] > 0 for r in seen)
    assert seen[1]["loss"] == pytest.approx(history[0]["loss"], rel=0.5)


def test_registered_methods_train_through_the_loop() -> None:
    spec = registry.build("method", {"label-smoothing": {"epsilon": 0.1}})
    _, history = run(recipe_of(epochs=8, lr=0.1), method=spec, data=make_samples(200))
    assert history[-1]["val_accuracy"] > 0.9


def test_of_epochs_that_are_equally_good_the_last_is_kept() -> None:
    """The steps are too small to change a prediction, and change the weights."""
    recipe = {"epochs": 3, "lr": 1e-6, "schedule": "constant"}
    best, history = run(recipe_of(**recipe, select="best-val"), tanh_network())
    last, _ = run(recipe_of(**recipe), tanh_network())
    assert len({r["val_accuracy"] for r in history}) == 1
    assert same(best, last)
    assert not same(best, tanh_network())


def test_a_state_is_saved_after_every_epoch_but_the_last() -> None:
    saved: list[int] = []
    run(recipe_of(epochs=3), listener=Listener(save=lambda _, scalars: saved.append(len(scalars["history"]))))
    assert saved == [1, 2]
