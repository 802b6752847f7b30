"""What a network is fed: read, checked, labelled, and what comes of it in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.network import Input, Network, Task
from oodbench.evaluation.rows import read_rows
from oodbench.runs import verify
from oodbench.runs.findings import CONTRADICTED
from oodbench.runs.runner import run
from oodbench.suite import inputs
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan
from oodbench.suite.run import TrainedRun
from oodbench.training.own_input import CannotBeFed
from tests.suite.written import FAMILY, mistakes, runs_of, written

GREY = {"mean": [0.5], "std": [0.25]}
"""Normalisation of grey images."""


def fed(given: Any, name: str = "mlp", **params: Any) -> dict[str, Any]:
    return {"networks": [{name: params, "input": given}]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"means": [0.5]}, "input.means: unknown key; did you mean 'mean'?"),
        ({"mean": [0.5]}, "std is missing; mean and std belong together"),
        ({"std": [0.5]}, "mean is missing; mean and std belong together"),
        ({"mean": [123.7], "std": [0.5]}, "mean[0]: should be less than or equal to 1, got 123.7"),
        ({"mean": [0.5], "std": [0]}, "std[0]: should be greater than 0, got 0"),
        ({"mean": [float("nan")], "std": [0.5]}, "mean[0]: "),
        ({"mean": [0.5, 0.5], "std": [0.5]}, "mean has 2 numbers, std 1; one per channel is due"),
        ({"mean": [], "std": []}, "mean: should be a list of at least one entry"),
        ({"resize": 20, "crop": 24}, "resize (20) should be at least as large as the crop (24)"),
        ({"resize": [40, 20], "crop": [30, 24]}, "resize (40x20) should be at least as large"),
        ({"resize": [40]}, "resize[1]: is missing"),
        ({"resize": 0}, "resize: "), ({"resize": "x"}, "resize: "),
        ({"margin": "up"}, "margin: should be rounded or floored, got 'up'"),
        ({"crop": [8]}, "crop[1]: is missing"),
        ({"crop": 0}, "crop: should be greater than or equal to 1, got 0"),
        ({"crop": True}, "crop: should be an integer"),
        ({"crop": [8, 8, 8]}, "crop: should be one number of pixels, or [height, width], got [8, 8, 8]"),
        ({"crop": "8"}, "crop: should be one number of pixels, or [height, width], got '8'"),
        ({"mean": [True], "std": [0.5]}, "mean[0]: should be a valid number, got True"),
        ({"mean": [0.5], "std": ["0.5"]}, "std[0]: should be a valid number, got '0.5'"),
        ({"interpolation": "lanczos"}, "interpolation: should be bilinear, bicubic or bicubic-torch"),
        ({"antialias": "yes"}, "antialias: "),
        ("automatic", "should be auto or {mean, std, resize, crop, interpolation, antialias, margin}"),
        ([1], "should be auto or"),
    ],
)  # fmt: skip
def test_what_cannot_be_fed_is_one_line(given: Any, says: str) -> None:
    found = mistakes(written(**fed(given)))
    assert any(says in line and "networks[0].input" in line for line in found), found
    assert (
        len(found) == len(given) if isinstance(given, dict) and given.get("mean") == [] else len(found) == 1
    )


def test_auto_needs_weights_that_say_what_they_were_trained_on() -> None:
    with pytest.raises(UserError, match="input: auto: it comes with no weights") as caught:
        make_plan(parse_suite(FAMILY | fed("auto")))
    assert len(str(caught.value).splitlines()) == 1


def test_the_label_and_the_resolved_suite_say_it() -> None:
    given = GREY | {"resize": 12, "crop": [10, 8], "interpolation": "bicubic", "antialias": False}
    suite = parse_suite(FAMILY | fed(given, hidden=[8]))
    (network,) = suite.networks
    assert network.label == "mlp(hidden=[8]) [input 10x8 of 12 bicubic no antialias mean 0.5 std 0.25]"
    assert suite.model_dump()["networks"][0]["input"] == given
    named = parse_suite(FAMILY | {"networks": [{"mlp": {}, "input": given, "as": "mine"}]})
    assert named.networks[0].label == "mine"
    plain = parse_suite(FAMILY).model_dump()["networks"]
    assert plain == [{"mlp": {"hidden": [8]}}], "nothing is written where nothing is given"


def test_what_the_pair_says_is_kept_where_the_network_says_nothing() -> None:
    pair = Geometry((3, 24, 20), 28, "bicubic", False)
    assert Input().geometry(pair) == pair
    assert Input(resize=30).geometry(pair) == pair._replace(resize=30)
    assert Input(crop=(8, 8)).geometry(pair) == Geometry((3, 8, 8), None, "bicubic", False)
    assert Input(mean=(0.5,), std=(0.5,)).geometry(pair).shape == (1, 24, 20)
    assert Input(interpolation="bilinear", antialias=True).geometry(pair) == Geometry((3, 24, 20), 28)


def test_it_enters_every_key_where_it_differs_and_none_where_it_does_not() -> None:
    def keys(given: Any) -> tuple[str, str, str]:
        (one,) = runs_of(**fed(given, hidden=[8]))
        return one.key, one.outputs_key("test"), one.scores_key(one.scorers[0], "test")

    plain = keys(None)
    same = [{"crop": 8}, {"interpolation": "bilinear"}, {"antialias": True}]
    assert all(keys(given) == plain for given in same), "that is what the pair says"
    other = [GREY, {"crop": 9}, {"resize": 10, "crop": 8}, {"interpolation": "bicubic"}, {"antialias": False}]
    found = [keys(given) for given in other]
    for each in zip(plain, *found, strict=True):
        assert len(set(each)) == len(other) + 1


def test_the_network_sees_what_it_is_fed() -> None:
    (one,) = runs_of(**fed(GREY | {"crop": 12, "interpolation": "bicubic"}, hidden=[8]))
    assert isinstance(one, TrainedRun)
    assert one.geometry == Geometry((1, 12, 12), None, "bicubic")
    assert one.task._replace(names=()) == Task("image", (1, 12, 12), 4, (0.5,), (0.25,))


def test_a_network_of_three_channels_makes_grey_images_rgb() -> None:
    (one,) = runs_of(**fed({"mean": [0.5] * 3, "std": [0.5] * 3}, hidden=[8]))
    assert isinstance(one, TrainedRun)
    assert one.task.shape == (3, 8, 8)


def test_weights_that_say_their_input_are_normalised_so_and_sized_so_by_auto() -> None:
    own = Input((0.4,), (0.3,), resize=14, crop=(12, 12), interpolation="bicubic")
    with registry.isolated():

        @registry.network("with-weights", source="a test", own_input=lambda params: own)
        def made(task: Task) -> Network:
            """A network that says on what its weights were trained."""
            flat = task.shape[0] * task.shape[1] * task.shape[2]
            return Network(task, torch.nn.Flatten(), torch.nn.Linear(flat, task.classes))

        tasks = {}
        for given in (None, "auto", GREY, {"crop": 10}):
            (one,) = runs_of(**fed(given, "with-weights"))
            assert isinstance(one, TrainedRun)
            tasks[str(given)] = (one.task.mean, one.geometry)
    pair = Geometry((1, 8, 8))
    assert tasks == {
        "None": ((0.4,), pair), "auto": ((0.4,), Geometry((1, 12, 12), 14, "bicubic")),
        str(GREY): ((0.5,), pair), "{'crop': 10}": ((0.4,), Geometry((1, 10, 10))),
    }  # fmt: skip


@pytest.mark.parametrize("known", [Input(), Input((0.4,), (0.3,))])
def test_weights_whose_input_cannot_be_made_here(known: Input) -> None:
    """By `auto` never; else where their mean and deviation are known, or given."""
    with registry.isolated():

        def asks(params: Any) -> Input:
            raise CannotBeFed("network 'odd': wants another filter", known)

        @registry.network("odd", source="a test", own_input=asks)
        def made(task: Task) -> Network:
            """A network whose weights want what is not here."""
            return Network(task, torch.nn.Flatten(), torch.nn.Linear(64, task.classes))

        for given in ("auto", *([] if known.mean else [None, {"crop": 8}])):
            with pytest.raises(UserError, match="wants another filter"):
                runs_of(**fed(given, "odd"))
        (one,) = runs_of(**fed(GREY, "odd"))
        assert isinstance(one, TrainedRun)
        assert one.task.mean == (0.5,)
        if known.mean:
            (one,) = runs_of(**fed(None, "odd"))
            assert isinstance(one, TrainedRun)
            assert one.task.mean == known.mean


@pytest.mark.parametrize("numbers", [2, 4])
def test_grey_images_have_no_other_number_of_channels(numbers: int) -> None:
    given = {"mean": [0.5] * numbers, "std": [0.5] * numbers}
    with pytest.raises(UserError, match=f"mean and std have {numbers} numbers, and images with 1 channels"):
        runs_of(**fed(given))


def test_images_of_many_sizes_need_no_geometry_of_the_pair(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for c in ("a", "b"):
            (tmp_path / split / c).mkdir(parents=True)
            for i in range(6):
                size = (20 + 3 * i, 24, 3)
                Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(tmp_path / split / c / f"{i}.png")
    pair = {
        "name": "own", "id": {"folder": {"root": str(tmp_path)}},
        "far": {"n": {"noise": {"size": 16, "count": 10}}},
    }  # fmt: skip
    suite = FAMILY | {"pairs": [pair], "networks": [{"mlp": {"hidden": [4]}}]}
    with pytest.raises(UserError, match="differ in size"):
        make_plan(parse_suite(suite))
    (one,) = make_plan(parse_suite(suite | fed({"resize": 18, "crop": 16}, hidden=[4]))).runs
    assert isinstance(one, TrainedRun)
    assert one.geometry == Geometry((3, 16, 16), 18)
    odd = GREY | {"crop": 12, "interpolation": "bicubic", "antialias": False, "margin": "floored"}
    both = [{"mlp": {"hidden": [n]}, "input": i} for n, i in ((3, odd), (4, {"resize": 18, "crop": 16}))]
    for networks in (both, both[::-1]):  # what one network says is not the other's
        planned = make_plan(parse_suite(suite | {"networks": networks})).runs
        fed_to = {r.network_label[:13]: r for r in planned if isinstance(r, TrainedRun)}
        assert fed_to["mlp(hidden=[4"].geometry == Geometry((3, 16, 16), 18)
        assert fed_to["mlp(hidden=[4"].key == one.key
        assert fed_to["mlp(hidden=[3"].geometry == Geometry((1, 12, 12), None, "bicubic", False, "floored")


def test_the_rows_say_what_each_network_was_fed_and_verify_knows(tmp_path: Path) -> None:
    both = {"networks": [{"mlp": {"hidden": [4]}}, {"mlp": {"hidden": [4]}, "input": GREY | {"crop": 10}}]}
    done = run(parse_suite(FAMILY | both), results=tmp_path, device="cpu")
    folder = tmp_path / "family"
    rows = read_rows(folder / "results.csv")
    by_network = rows.groupby("network")["input"].unique().map(list)
    assert by_network.tolist() == [[""], ["1x10x10 bilinear mean 0.5 std 0.25"]]
    assert list(done.rows["input"]) == list(rows["input"])

    def wrong() -> list[str]:
        return [f.what + ": " + f.why for f in verify.folder(folder) if f.state == CONTRADICTED]

    assert not wrong()
    text = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(text.replace("1x10x10 bilinear", "1x8x8 bicubic"))
    assert any("input is '1x8x8 bicubic" in line for line in wrong())


def test_described_and_text() -> None:
    geometry = Geometry((3, 224, 224), 232, "bicubic")
    given = Input((0.5, 0.5, 0.5), (0.5, 0.4, 0.5))
    assert inputs.described(geometry, given) == "3x224x224 of 232 bicubic mean 0.5 std 0.5,0.4,0.5"
    assert inputs.text(None) == ""
    assert inputs.text("auto") == "auto"
