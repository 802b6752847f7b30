"""The training loop: deterministic, resumable bit for bit, its parts equal to torch's own or to a closed
form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.method import Batch, Method
from oodbench.core.network import Network, Task
from oodbench.data.samples import TensorSamples
from oodbench.training import loop, optimiser
from oodbench.training import reader as reader_module
from oodbench.training.initialise import fresh_weights
from oodbench.training.loop import train
from oodbench.training.reader import Reader, _batches
from oodbench.training.recipe import Recipe
from oodbench.training.state import State

GEOMETRY = Geometry((1, 8, 8))
TASK = Task("image", (1, 8, 8), 3, (0.5,), (0.25,))


def make_samples(n: int = 53, seed: int = 0, channels: int = 1) -> TensorSamples:
    """Noise with a bright corner that tells the class: learnable in a few steps."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.rand(n, channels, 8, 8, generator=rng) * 0.5
    images[torch.arange(n), :, labels, labels] = 1.0
    return TensorSamples((images * 255).to(torch.uint8), labels)


class Plain(Method):
    """Cross-entropy, without the registry."""

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels, reduction="none")


def noisy_network(task: Task = TASK) -> Network:
    """Batch norm (buffers) and dropout (global randomness), so that a resume has everything to restore."""
    body = nn.Sequential(
        nn.Conv2d(task.shape[0], 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.3),
    )  # fmt: skip
    return Network(task, body, nn.Linear(32, task.classes), ["body.2"])


def fresh(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return noisy_network()


def run(
    recipe: Recipe, network: Network | None = None, method: Method | None = None, **keywords: Any
) -> tuple[Network, list]:
    network = network or fresh()
    keywords = {"geometry": GEOMETRY, "seed": 3, "val": make_samples(30, seed=9)} | keywords
    history = train(network, method or Plain(), recipe, keywords.pop("data", make_samples()), **keywords)
    return network, history


def same(a: Network, b: Network) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return set(left) == set(right) and all(torch.equal(left[k], right[k]) for k in left)


RECIPES = {
    "sgd": {},
    "adamw": {"optimizer": "adamw", "lr": 0.01},
    "best-val": {"select": "best-val", "schedule": "constant", "lr": 0.3},
    "warm-up and steps": {"warmup_epochs": 1.5, "schedule": "step", "momentum": 0.0},
    "average": {"ema": 0.9, "select": "best-val"},
    "sam": {"optimizer": "sam", "rho": 0.1},
    "bf16, clipped, accumulated": {"precision": "bf16", "clip": 0.5, "accumulate": 3},
    "fp16": {"precision": "fp16", "schedule": "restarts", "restarts": 1},
    "channels last": {"channels_last": True},
    "augmented": {"augment": ["flip", {"pad-crop": {"padding": 1}}]},
}


def recipe_of(**changes: Any) -> Recipe:
    return Recipe(**({"epochs": 4, "batch_size": 16, "lr": 0.05} | changes))


# ---------------------------------------------------------------- the same again


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
    fresh_weights({"mlp": {"hidden": [4]}}, Plain(), TASK, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_initialise_is_seeded() -> None:
    a, b, c = (fresh_weights({"mlp": {"hidden": [4]}}, Plain(), TASK, seed=s) for s in (1, 1, 2))
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_training_resumed_from_its_saved_state_ends_in_the_same_weights_bit_for_bit(
    changes: dict[str, Any], killed_after: int
) -> None:
    recipe = recipe_of(**changes)
    states: list[State] = []

    def save(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        states.append(
            (
                {k: v.detach().clone() for k, v in tensors.items()},
                {**scalars, "history": list(scalars["history"])},
            )
        )

    whole, history = run(recipe, save=save)
    resumed, history_resumed = run(recipe, fresh(seed=77), resume=states[killed_after - 1])
    assert same(whole, resumed)
    assert history == history_resumed
    assert len(history) == recipe.epochs


def test_saving_and_validating_change_nothing() -> None:
    bare, _ = run(recipe_of(), val=None)
    watched, _ = run(recipe_of(), save=lambda tensors, scalars: None, on_epoch=lambda record: None)
    assert same(bare, watched)


# ---------------------------------------------------------------- what it computes


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
        recipe_of(epochs=6, lr=0.4, select="best-val", schedule="constant"), network, on_epoch=remember
    )
    accuracies = [r["val_accuracy"] for r in history]
    best = max(i for i, a in enumerate(accuracies) if a == max(accuracies))
    assert best < 5, "the test needs a training whose last epoch is not its best"
    assert all(torch.equal(v, seen[best][k]) for k, v in network.state_dict().items())


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


# ---------------------------------------------------------------- what a recipe may ask for


def tanh_network() -> Network:
    """Neither batch norm nor dropout: nothing depends on how samples are grouped."""
    torch.manual_seed(0)
    return Network(TASK, nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh()), nn.Linear(6, 3))


def close(a: Network, b: Network, atol: float = 1e-6) -> bool:
    return all(
        torch.allclose(p, q, rtol=0, atol=atol) for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


@pytest.mark.parametrize("n", [48, 54, 23])
def test_accumulated_batches_are_one_large_batch(n: int) -> None:
    """54 leaves a short group with a short batch, 23 a group of a single one."""
    data = make_samples(n)
    small, _ = run(recipe_of(batch_size=4, accumulate=4), tanh_network(), data=data)
    large, history = run(recipe_of(batch_size=16), tanh_network(), data=data)
    assert close(small, large)
    assert history[-1]["loss"] < history[0]["loss"]


def test_clipping_limits_the_step() -> None:
    recipe = recipe_of(epochs=1, batch_size=64, lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")
    for limit in (1e-3, 0.05):
        before, after = tanh_network(), tanh_network()
        run(recipe.model_copy(update={"clip": limit}), after)
        step = sum(
            float((p - q).detach().square().sum())
            for p, q in zip(before.parameters(), after.parameters(), strict=True)
        )
        assert math.sqrt(step) == pytest.approx(limit, rel=1e-3)
    free, loose = tanh_network(), tanh_network()
    run(recipe, free)
    run(recipe.model_copy(update={"clip": 1e3}), loose)
    assert same(free, loose)


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
        on_epoch=lambda r: weights.append({k: v.clone() for k, v in plain.state_dict().items()}),
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


def test_the_average_of_batch_norm_networks_counts_batches_in_whole_numbers() -> None:
    network, _ = run(recipe_of(ema=0.9))
    state = network.state_dict()
    assert int(state["body.1.num_batches_tracked"]) == 16
    assert torch.isfinite(state["body.1.running_var"]).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_is_in_the_body_alone_and_near_the_same(precision: str) -> None:
    seen: dict[str, torch.dtype] = {}

    class Looking(Plain):
        def loss(self, network: Network, batch: Batch) -> Tensor:
            hooks = [
                network.body[1].register_forward_hook(lambda m, i, o: seen.update(inside=o.dtype)),
                network.head.register_forward_hook(
                    lambda m, i, o: seen.update(features=i[0].dtype, logits=o.dtype)
                ),
            ]
            loss = super().loss(network, batch)
            for hook in hooks:
                hook.remove()
            return loss

    low, _ = run(recipe_of(precision=precision), tanh_network(), method=Looking())
    full, _ = run(recipe_of(), tanh_network())
    assert seen == {
        "inside": {"bf16": torch.bfloat16, "fp16": torch.float16}[precision],
        "features": torch.float32,
        "logits": torch.float32,
    }
    assert not same(low, full)
    assert close(low, full, atol=0.02)
    assert all(p.dtype == torch.float32 for p in low.parameters())
    assert low.features(make_samples().images / 255).dtype == torch.float32
    assert torch.equal(
        low.body[1](torch.ones(1, 64)),
        nn.functional.linear(torch.ones(1, 64), low.body[1].weight, low.body[1].bias),
    )


def test_channels_last_changes_the_layout_while_training_and_nothing_afterwards() -> None:
    seen: list[bool] = []

    class Looking(Plain):
        def loss(self, network: Network, batch: Batch) -> Tensor:
            hook = network.body[0].register_forward_hook(
                lambda m, i, o: seen.append(o.is_contiguous(memory_format=torch.channels_last))
            )
            loss = super().loss(network, batch)
            hook.remove()
            return loss

    last, _ = run(recipe_of(channels_last=True), method=Looking())
    first, _ = run(recipe_of())
    assert seen
    assert all(seen)
    assert close(last, first, atol=1e-3)
    assert all(p.is_contiguous() for p in last.parameters())
    assert "forward" not in vars(last.body)


def test_compiled_training_is_the_same_and_leaves_a_plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced but not translated, which needs no compiler: the very same operations, the very same numbers."""
    monkeypatch.setattr(optimiser, "_COMPILER", "eager")
    graphs: list[int] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **k: graphs.append(1) or compiled(self, **k))
    eager, _ = run(recipe_of(), tanh_network())
    traced, _ = run(recipe_of(compile=True), tanh_network())
    assert graphs == [1]
    assert same(eager, traced)
    assert traced.body._compiled_call_impl is None


compiled = nn.Module.compile


def test_a_loss_that_breaks_is_noticed_within_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LOOK", 2)
    method = Nosy()
    monkeypatch.setattr(Nosy, "needs", frozenset())
    monkeypatch.setattr(
        Nosy, "loss", lambda self, n, b: self.batches.append(b) or Plain.loss(self, n, b) * math.nan
    )
    with pytest.raises(UserError, match="not finite in epoch 0"):
        run(recipe_of(batch_size=4), method=method)
    assert len(method.batches) == 2


def test_the_loop_says_within_an_epoch_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LOOK", 5)
    seen: list[Any] = []
    quiet, _ = run(recipe_of(epochs=2, batch_size=4))
    told, history = run(recipe_of(epochs=2, batch_size=4), on_look=seen.append)
    assert same(quiet, told)
    assert [r["epoch"] for r in seen] == pytest.approx([5 / 13, 10 / 13, 18 / 13, 23 / 13])
    assert all(r["images_per_second"] > 0 for r in seen)
    assert seen[1]["loss"] == pytest.approx(history[0]["loss"], rel=0.5)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("n", [1, 16, 17, 48, 53])
def test_a_large_set_read_batch_by_batch_equals_the_held_one(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_samples(n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    held = list(Reader(data, GEOMETRY, "cpu").batches(order, 16))
    monkeypatch.setattr(reader_module, "_HELD", 0)
    reader = Reader(data, GEOMETRY, "cpu")
    assert reader._held is None
    streamed = list(reader.batches(order, 16))
    assert len(held) == len(streamed) == _batches(n, 16)
    for (a, la), (b, lb) in zip(held, streamed, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(la, lb)
    rngs = [torch.Generator().manual_seed(1) for _ in range(2)]
    monkeypatch.undo()
    assert torch.equal(Reader(data, GEOMETRY, "cpu").sample(5, [], rngs[0]), reader.sample(5, [], rngs[1]))


def test_a_training_from_a_large_set_ends_in_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    held, _ = run(recipe_of(epochs=2, augment=["flip"]))
    monkeypatch.setattr(reader_module, "_HELD", 0)
    streamed, _ = run(recipe_of(epochs=2, augment=["flip"]))
    assert same(held, streamed)


def test_a_last_batch_of_one_is_left_out() -> None:
    assert [_batches(n, 16) for n in (1, 15, 16, 17, 18, 33)] == [1, 1, 1, 1, 2, 2]
    run(recipe_of(epochs=1), data=make_samples(17))  # batch norm would refuse a batch of one


# ---------------------------------------------------------------- what a method may ask for


class Nosy(Plain):
    """Keeps what it is given."""

    needs = frozenset({"outliers"})
    views = 2

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def loss(self, network: Network, batch: Batch) -> Tensor:
        self.batches.append(batch)
        return super().loss(network, batch)


def test_outliers_views_and_progress_reach_the_method() -> None:
    method = Nosy()
    run(recipe_of(epochs=2, augment=["flip"]), method=method, outliers=make_samples(20, seed=5))
    first = method.batches[0]
    assert first.outliers is not None
    assert first.outliers.shape == first.inputs.shape
    assert len(first.views) == 2
    assert not torch.equal(first.views[0], first.views[1])
    assert [b.progress for b in method.batches] == pytest.approx([i / 8 for i in range(8)])
    assert all(float(b.inputs.min()) >= 0 and float(b.inputs.max()) <= 1 for b in method.batches)


def test_registered_methods_train_through_the_loop() -> None:
    spec = registry.build("method", {"label-smoothing": {"epsilon": 0.1}})
    _, history = run(recipe_of(epochs=8, lr=0.1), method=spec, data=make_samples(200))
    assert history[-1]["val_accuracy"] > 0.9
