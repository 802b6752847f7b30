"""A state dict under a network's own names: prefixes, other names of layers, heads, what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oodbench.training.state_fit import beginnings, fitted

BODY = {"body.1.weight": (4, 6), "body.1.bias": (4,), "head.weight": (3, 4), "head.bias": (3,)}
WANTED = {k: torch.zeros(shape) for k, shape in BODY.items()}


def drawn() -> dict[str, Tensor]:
    return {k: torch.randn(v.shape) for k, v in WANTED.items()}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "encoder.", "a.b.c.", "body.", "model._orig_mod.", "net.backbone."]
)
@pytest.mark.parametrize("head", ["head", "fc", "last.linear"])
@pytest.mark.parametrize("outside", [False, True])
def test_any_prefix_and_any_name_of_the_head(prefix: str, head: str, outside: bool) -> None:
    """The head may lie outside the prefix, as a linear probe's does."""
    state = drawn()
    theirs = {
        (k.replace("head.", f"{head}.") if outside else prefix + k.replace("head.", f"{head}."))
        if k.startswith("head.")
        else prefix + k.removeprefix("body."): v
        for k, v in state.items()
    }
    fit = fitted(theirs, WANTED)
    assert fit.wrong == ""
    assert all(torch.equal(fit.state[k], v) for k, v in state.items())


def test_what_stands_outside_the_prefix_is_left_out_and_what_stands_inside_is_not() -> None:
    inside = {f"model.{k}": v for k, v in drawn().items()}
    assert fitted(inside | {"criterion.centers": torch.zeros(3, 4)}, WANTED).wrong == ""
    more = inside | {"model.extra.weight": torch.zeros(2)}
    assert fitted(more, WANTED).wrong == (
        "'extra.weight' is not in the network (`strict: false` leaves it out); it should hold the 4 tensors"
        " of this network"
    )
    assert "'centers' is not in the network" in fitted(drawn() | {"centers": torch.zeros(3)}, WANTED).wrong
    loose = fitted(more, WANTED, strict=False)
    assert loose.wrong == ""
    assert set(loose.state) == set(WANTED)


def test_not_strict_still_wants_every_tensor_of_the_network() -> None:
    state = drawn()
    del state["body.1.bias"]
    fit = fitted(state | {"more": torch.zeros(1)}, WANTED, strict=False)
    assert fit.wrong.startswith("'body.1.bias' is missing; 'more' is not in the network")


def test_a_prefix_that_is_given_is_the_one_taken() -> None:
    teacher, student = drawn(), drawn()
    both = {f"teacher.{k}": v for k, v in teacher.items()} | {f"student.{k}": v for k, v in student.items()}
    for prefix, state in (("teacher.", teacher), ("student.", student)):
        fit = fitted(both, WANTED, prefix)
        assert fit.wrong == ""
        assert all(torch.equal(fit.state[k], v) for k, v in state.items())
    assert beginnings(both) == ["student.", "teacher."]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("body.layer2.0.shortcut.0.weight", "layer2.0.downsample.0.weight"),
        ("body.layer2.0.downsample.1.bias", "module.layer2.0.shortcut.1.bias"),
        ("body.block1.0.shortcut.weight", "block1.layer.0.convShortcut.weight"),
        ("body.block3.5.bn1.weight", "block3.layer.5.bn1.weight"),
        ("body.transition2.0.weight", "trans2.bn1.weight"),
        ("body.transition2.2.weight", "trans2.conv1.weight"),
        ("body.bn.weight", "bn1.weight"),
        ("body.0.0.weight", "block1.0.weight"),
        ("body.4.bias", "classifier1.bias"),
    ],
)
def test_layers_by_the_names_that_others_gave_them(ours: str, theirs: str) -> None:
    value = torch.randn(4)
    fit = fitted({theirs: value}, {ours: torch.zeros(4)})
    assert fit.wrong == ""
    assert torch.equal(fit.state[ours], value)


def test_no_name_takes_the_place_of_another() -> None:
    own, other = torch.ones(4), torch.zeros(4)
    for state in (
        {"a.shortcut.0": own, "a.downsample.0": other},
        {"a.downsample.0": other, "a.shortcut.0": own},
    ):
        fit = fitted(state, {"body.a.shortcut.0": torch.zeros(4)})
        assert "'a.downsample.0' is not in the network" in fit.wrong
        assert torch.equal(fit.state["body.a.shortcut.0"], own)


def test_a_convolution_as_the_head_and_two_heads_that_are_averaged() -> None:
    state = drawn()
    body = {k: v for k, v in state.items() if k.startswith("body.")}
    fit = fitted(
        body | {"head.fc.weight": state["head.weight"][..., None, None], "head.fc.bias": state["head.bias"]},
        WANTED,
    )
    assert fit.wrong == ""
    assert torch.equal(fit.state["head.weight"], state["head.weight"])
    one, two = torch.randn(3, 2), torch.randn(3, 2)
    biases = torch.randn(3), torch.randn(3)
    heads = {"head.weight": one, "head.bias": biases[0], "head_dist.weight": two, "head_dist.bias": biases[1]}
    fit = fitted(body | heads, WANTED)
    assert fit.wrong == ""
    z = torch.randn(5, 4)
    expected = ((z[:, :2] @ one.T + biases[0]) + (z[:, 2:] @ two.T + biases[1])) / 2
    torch.testing.assert_close(z @ fit.state["head.weight"].T + fit.state["head.bias"], expected)


def test_another_architecture_names_what_is_nearest() -> None:
    wanted = {
        "body.encoder.qkv.weight": torch.zeros(9, 3), "body.encoder.mlp.weight": torch.zeros(6, 3),
        "body.norm.weight": torch.zeros(3), "head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2),
    }  # fmt: skip
    theirs = {
        "blocks.0.attn.qkv.weight": torch.zeros(9, 3), "norm.weight": torch.zeros(4),
        "head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2),
    }  # fmt: skip
    wrong = fitted(theirs, wanted).wrong
    assert (
        "nearest to its 'blocks.0.attn.qkv.weight' (9, 3) here is 'body.encoder.qkv.weight' (9, 3)" in wrong
    )
    assert "'body.norm.weight' has the shape (4,), the network's has (3,)" in wrong
    assert wrong.isprintable()


def test_many_shapes_that_differ_are_counted() -> None:
    state = {k: torch.zeros(*v.shape, 2) for k, v in WANTED.items()}
    assert fitted(state, WANTED).wrong == (
        "'body.1.weight' has the shape (4, 6, 2), the network's has (4, 6) (and 3 more)"
    )
