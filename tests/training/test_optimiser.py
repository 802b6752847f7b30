"""What a recipe asks of one step, each part against torch's own, a second formula, or a step worked out by
hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oodbench.core.method import Batch
from oodbench.core.network import Network
from oodbench.training import optimiser
from oodbench.training.optimiser import averaged, make_optimizer, moving_average, sharpen
from oodbench.training.randomness import Randomness
from oodbench.training.recipe import Recipe
from tests.training.common import Plain, close, make_samples, recipe_of, run, same, tanh_network


@pytest.mark.parametrize(
    ("changes", "kind", "group"),
    [
        ({}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
        (
            {"nesterov": False, "weight_decay": 1e-4},
            torch.optim.SGD,
            {"momentum": 0.9, "nesterov": False, "weight_decay": 1e-4},
        ),
        ({"momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"optimizer": "sam"}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "adamw", "lr": 0.01}, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 5e-4}),
    ],
)
def test_the_optimiser_is_what_the_recipe_says(
    changes: dict[str, Any], kind: type, group: dict[str, Any]
) -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    optimizer = make_optimizer(network, Recipe(**changes))
    assert type(optimizer) is kind
    assert group.items() <= optimizer.param_groups[0].items()
    assert [p for g in optimizer.param_groups for p in g["params"]] == [network.weight]


def test_sam_takes_the_gradient_uphill() -> None:
    """f(w) = w' A w / 2: the gradient at w + rho g / |g| is A w + rho A g / |g| with g = A w."""
    matrix, w = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([1.0, -2.0])
    module = nn.Module()
    module.w = nn.Parameter(w.clone())

    def loss() -> Tensor:
        return 0.5 * module.w @ matrix @ module.w

    loss().backward()
    sharpen(module, loss, 0.3, Randomness(torch.Generator()))
    g = matrix @ w
    torch.testing.assert_close(module.w.grad, matrix @ (w + 0.3 * g / g.norm()))
    assert torch.equal(module.w.detach(), w)


def test_sam_sees_the_same_dropout_and_draws_and_leaves_buffers_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    x, rng, seen = torch.randn(6, 4), torch.Generator().manual_seed(1), []

    def loss() -> Tensor:
        drawn = torch.rand(3, generator=rng)
        out = module(x)
        seen.append((drawn, module[2](torch.ones(1000))))
        return out.square().mean()

    before = Randomness(rng)
    loss().backward()
    statistics = {k: v.clone() for k, v in module.state_dict().items()}
    sharpen(module, loss, 0.1, before)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert all(torch.equal(v, statistics[k]) for k, v in module.state_dict().items())


def test_the_average_begins_with_the_untrained_weights_and_soon_forgets_them() -> None:
    """The recurrence written out, at the decays of TensorFlow's num_updates: 1/10, 2/11, then the limit."""
    network = nn.Linear(2, 1)
    average, expected = moving_average(network, 0.25), network.weight.detach().clone()
    for decay in (1 / 10, 2 / 11, 0.25, 0.25):
        with torch.no_grad():
            network.weight.add_(1)
        average.update_parameters(network)
        expected = decay * expected + (1 - decay) * network.weight.detach()
        torch.testing.assert_close(average.module.weight.detach(), expected)


def test_a_network_is_seen_with_the_average_and_goes_on_with_its_own_weights() -> None:
    network = nn.Linear(2, 1)
    start = network.weight.detach().clone()
    average = moving_average(network, 0.5)
    with torch.no_grad():
        network.weight.add_(1)
    with averaged(network, average):
        assert torch.equal(network.weight.detach(), start)
    assert torch.equal(network.weight.detach(), start + 1)
    with averaged(network, None):
        assert torch.equal(network.weight.detach(), start + 1)


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
    translated: list[int] = []

    def eager(graph: Any, inputs: Any) -> Any:
        translated.append(len(inputs))
        return graph

    monkeypatch.setattr(optimiser, "COMPILER", eager)
    plain, _ = run(recipe_of(), tanh_network())
    assert not translated
    traced, _ = run(recipe_of(compile=True), tanh_network())
    assert translated
    assert same(plain, traced)
    assert "forward" not in vars(traced.body)
