"""Methods with a term that may never act: each says in a training when it did, and before it that it
cannot."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from oodbench.core import registry
from oodbench.core.errors import NotApplicable
from oodbench.core.method import Course, Method
from oodbench.core.network import Network, Task
from oodbench.data.contract import toy_images
from oodbench.training.initialise import fresh_weights
from oodbench.training.loop import never_acted
from oodbench.training.recipe import Recipe
from oodbench.training.schedule import course_of
from tests.training.common import make_samples, run
from tests.training.methods.common import data

registry.load_builtin()
TASK = Task("image", (1, 8, 8), 3, (0.5,), (0.25,))


def trained(spec: Any, **recipe: Any) -> tuple[Network, list[float], str, Course]:
    """A network after epochs of 18, 18 and 17 images a class in batches of 16; in which share of each epoch
    its method's term acted, what is said of that, and what was known before."""
    method: Method = registry.build("method", spec)
    made = Recipe(**{"epochs": 3, "batch_size": 16, "lr": 0.02} | recipe)
    network = fresh_weights("small-cnn", method, TASK, seed=0)
    outliers = toy_images(16, ood=True) if "outliers" in method.needs else None
    network, history = run(made, network, method, val=None, outliers=outliers)
    course = course_of(made, make_samples().labels, 3)
    return network, [r["acted"] for r in history], never_acted(method, made, history), course


NPOS = {"k": 3, "border": 4, "draws": 20, "kept": 5, "start": 0.0}
NEVER: dict[str, tuple[Any, str]] = {
    "vos: queues too long": ({"vos": {"size": 52}}, "17 training images.*3 epochs bring 51.*takes 52"),
    "vos: starts after the end": ({"vos": {"size": 9, "start": 0.95}}, "start is 0.95.*at 0.9167"),
    "npos: queues too long": ({"npos": {"size": 103, **NPOS}}, "17 training images.*bring 102.*takes 103"),
    "npos: starts after the end": ({"npos": {"size": 9, **NPOS, "start": 1.0}}, "start is 1"),
    "mcd": ({"mcd": {"start": 0.92}}, "start is 0.92"),
    "decoupled": ({"decoupled": {"start": 1.0}}, "start is 1"),
    "online-label-smoothing": ({"online-label-smoothing": {"updates": 1}}, "updates is 1.*set it higher"),
    "cutmix": ({"cutmix": {"p": 0.0}}, "p is 0"),
    "inside another": ({"adversarial": {"of": {"vos": {"size": 52}}}}, "takes 52"),
    "inside two": ({"ddu": {"of": {"adversarial": {"of": {"vos": {"size": 52}}}}}}, "takes 52"),
    "in mixup, which shows it each image twice": (
        {"mixup": {"of": {"vos": {"size": 103}}}},
        "bring 102.*takes 103",
    ),
    "in regmixup, four times": ({"regmixup": {"of": {"vos": {"size": 205}}}}, "bring 204.*takes 205"),
}


@pytest.mark.parametrize("name", NEVER)
def test_what_can_never_act_is_known_before_and_said_after(name: str) -> None:
    spec, says = NEVER[name]
    _, acted, reason, course = trained(spec)
    objection = registry.build("method", spec).objection(course)
    assert re.search(says, objection), objection
    assert "\n" not in objection
    assert acted == [0, 0, 0]
    assert "never acted in all epochs" in reason


SOMETIMES: dict[str, tuple[Any, int]] = {
    "vos": ({"vos": {"size": 18, "draws": 40}}, 1),
    "vos from two thirds on": ({"vos": {"size": 18, "draws": 40, "start": 0.66}}, 2),
    "npos": ({"npos": {"size": 40, **NPOS}}, 1),
    "mcd": ({"mcd": {"start": 0.9}}, 2),
    "decoupled": ({"decoupled": {}}, 1),
    "online-label-smoothing": ({"online-label-smoothing": {"updates": 3}}, 1),
    "mixup of vos": ({"mixup": {"of": {"vos": {"size": 36, "draws": 40}}}}, 1),
}


@pytest.mark.parametrize("name", SOMETIMES)
def test_the_first_epoch_in_which_a_term_acted(name: str) -> None:
    spec, first = SOMETIMES[name]
    _, acted, reason, course = trained(spec)
    assert registry.build("method", spec).objection(course) == ""
    assert [a > 0 for a in acted] == [epoch >= first for epoch in range(3)]
    assert reason == ""


def test_queues_that_only_the_last_batches_fill_are_said_after() -> None:
    """So many images come, but not before the last batch: known only when training is over."""
    spec = {"vos": {"size": 51}}
    _, acted, reason, course = trained(spec)
    assert registry.build("method", spec).objection(course) == ""
    assert acted == [0, 0, 0]
    assert "it acts once the queues of all classes are full (size) and start is over" in reason


@pytest.mark.parametrize(
    ("spec", "plain"),
    [
        ({"vos": {"size": 52}}, "cross-entropy"), ({"mbls": {"margin": 1e3}}, "cross-entropy"),
        ({"acls": {"margin": 1e3}}, "cross-entropy"), ({"cutmix": {"p": 0.0}}, "cross-entropy"),
        ({"online-label-smoothing": {"updates": 1}}, {"label-smoothing": {"epsilon": 0.5}}),
    ],
    ids=str,
)  # fmt: skip
def test_without_its_term_a_method_is_another(spec: Any, plain: Any) -> None:
    """That is why its rows must not stand under its name."""
    network, acted, reason, _ = trained(spec)
    other, *_ = trained(plain)
    assert acted == [0, 0, 0]
    assert reason
    own = network.state_dict()
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(own[name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mbls", "acls"])
def test_a_term_above_a_margin_acts_where_some_logit_passes_it(name: str) -> None:
    method: Method = registry.build("method", {name: {"margin": 2.0}})
    for top, acts in ((1.9, False), (2.1, True)):
        method.criterion(torch.tensor([[0.0, 0.0, 0.5], [0.0, top, 0.5]]), torch.tensor([0, 1]))
        assert bool(method.acted) is acts


def test_cutmix_acts_in_the_batches_that_it_mixes() -> None:
    """They are those whose loss is not that of the images as they are."""
    method: Method = registry.build("method", {"cutmix": {"p": 0.5}})
    network = fresh_weights("small-cnn", method, TASK._replace(classes=4), seed=0).double()
    seen = set()
    for seed in range(12):
        batch = data(8)._replace(rng=torch.Generator().manual_seed(seed))
        plain = torch.nn.functional.cross_entropy(network(batch.inputs), batch.labels)
        moved = not torch.allclose(method.loss(network, batch), plain, rtol=1e-9)
        assert moved <= bool(method.acted)
        seen.add(bool(method.acted))
    assert seen == {True, False}


WRAPPERS = [name for name in registry.methods if "of" in registry.methods[name].defaults]


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_passes_on_what_the_inner_method_says(name: str) -> None:
    """A new one is covered as it registers. Those that take criteria alone refuse such a method."""
    made: Method = registry.build("method", {name: {"of": {"vos": {"size": 10**6}}}})
    if made.provides != "loss":
        return  # an ensemble, of which the plan asks each member
    try:
        fresh_weights("small-cnn", made, TASK, seed=0)
    except NotApplicable:
        return
    assert type([*made.nested()][-1]).__name__ == "VOS"
    assert "takes 1000000" in made.objection(Course((10, 10), 2, 8))
