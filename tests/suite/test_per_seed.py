"""Checkpoints and arrays of one trial each: `{seed}` in their path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import UserError
from oodbench.core.method import Method
from oodbench.core.network import Task
from oodbench.evaluation.leaderboard import over_trials
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from oodbench.suite.per_seed import at_seed, is_per_seed
from oodbench.suite.plan import make_plan
from oodbench.training.initialise import fresh_weights
from tests.suite.written import FAMILY, runs_of

TASK = Task("image", (1, 8, 8), 4, (0.3,), (0.3,))


def saved(folder: Path, seeds: tuple[int, ...] = (0, 1, 2), hidden: int = 8) -> dict[str, Any]:
    """Checkpoints ``s0/best.ckpt``, ``s1/best.ckpt``, as OpenOOD names them, and the keys of a suite of
    them."""
    for seed in seeds:
        file = folder / f"s{seed}" / "best.ckpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        network = fresh_weights({"mlp": {"hidden": [hidden]}}, Method(), TASK, seed=seed)
        torch.save(network.state_dict(), file)
    file = folder / "s{seed}" / "best.ckpt"
    return {"methods": [{"checkpoint": {"file": str(file)}}], "seeds": list(seeds)}


def test_the_number_of_the_seed_stands_in_every_path() -> None:
    spec = registry.resolve("method", {"checkpoint": {"file": "/a{seed}/s{seed}.ckpt"}})
    assert is_per_seed(spec)
    assert at_seed(spec, 12).params["file"] == Path("/a12/s12.ckpt")
    assert spec.params["file"] == Path("/a{seed}/s{seed}.ckpt"), "the declared one is left alone"
    plain = registry.resolve("method", {"checkpoint": {"file": "/a/best.ckpt"}})
    assert not is_per_seed(plain)
    assert at_seed(plain, 3) is plain


def test_checkpoints_of_each_seed_are_trials_with_mean_and_deviation(tmp_path: Path) -> None:
    keys = saved(tmp_path / "c")
    done = run(parse_suite(FAMILY | keys), results=tmp_path / "r", device="cpu")
    known = done.rows[(done.rows.scorer == "msp") & (done.rows.ood != "")]
    assert known.seed.tolist() == ["0", "1", "2"]
    assert known.auroc.nunique() == 3
    assert known.method.unique().tolist() == ["checkpoint(file=best.ckpt)"]
    assert known.method_params.nunique() == 1
    (line,) = over_trials(done.rows).query("scorer == 'msp'").to_dict("records")
    assert line["n_trials"] == 3
    assert line["near_auroc"] == pytest.approx(known.auroc.mean())
    assert line["near_auroc_std"] == pytest.approx(known.auroc.std(ddof=1))
    alone = saved(tmp_path / "c", (1,))
    (one,) = runs_of(**alone)
    assert one.key == known.run_key.iloc[1], "a trial is the same beside others and alone"


def test_arrays_of_each_seed_are_trials(tmp_path: Path) -> None:
    for seed in (3, 5):
        rng = np.random.default_rng(seed)
        (tmp_path / f"s{seed}").mkdir()
        for name in ("test", "near"):
            logits, labels = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
            np.savez(tmp_path / f"s{seed}" / f"{name}.npz", logits=logits, labels=labels)
    suite = FAMILY | {
        "pairs": [{"arrays": {"near": ["near"]}}], "seeds": [3, 5],
        "methods": [{"outputs": {"folder": str(tmp_path / "s{seed}")}}],
    }  # fmt: skip
    done = run(parse_suite(suite), results=tmp_path / "r", device="cpu")
    known = done.rows[(done.rows.scorer == "msp") & (done.rows.ood != "")]
    assert known.seed.tolist() == ["3", "5"]
    assert known.auroc.nunique() == 2


def test_a_seed_without_a_file_is_refused_before_any_data_are_read(tmp_path: Path) -> None:
    keys = saved(tmp_path, (0, 2)) | {"seeds": [0, 1, 2], "pairs": ["openood-cifar10"]}
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/s1/best.ckpt: no such file")) as caught:
        make_plan(parse_suite(FAMILY | keys))
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_that_does_not_fit_is_refused_with_its_name(tmp_path: Path) -> None:
    saved(tmp_path, (1,), hidden=9)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/s1/best.ckpt: ")) as caught:
        runs_of(**(saved(tmp_path, (0,)) | {"seeds": [0, 1]}))
    assert "(9, 64)" in str(caught.value)


def test_weights_that_do_not_fit_are_refused_before_an_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the pair says what its images are like."""

    def unread(split: str) -> Any:
        return lambda: pytest.fail(f"{split} was read")

    with registry.isolated():

        @registry.dataset("unread", source="a test")
        def made() -> Dataset:
            """Two classes that nobody may read."""
            return Dataset({s: unread(s) for s in ("train", "val", "test")}, ["a", "b"])

        pair = {"name": "p", "id": "unread", "near": ["noise"], "geometry": {"shape": [1, 8, 8]}}
        keys = saved(tmp_path, (0, 1)) | {"pairs": [pair]}
        with pytest.raises(UserError, match=r"gives 4 classes|has the shape") as caught:
            runs_of(**keys)
    assert f"{tmp_path}/s0/best.ckpt" in str(caught.value)
    assert f"{tmp_path}/s1/best.ckpt" in str(caught.value)


def test_one_file_is_not_counted_as_several_trials(tmp_path: Path) -> None:
    keys = saved(tmp_path)
    (tmp_path / "s2" / "best.ckpt").write_bytes((tmp_path / "s0" / "best.ckpt").read_bytes())
    with pytest.raises(UserError, match="the files of seeds 0 and 2 hold the same"):
        runs_of(**keys)


def test_a_seed_that_is_left_out_is_said(tmp_path: Path) -> None:
    saved(tmp_path, (0,))
    method = {"checkpoint": {"file": str(tmp_path / "s0" / "best.ckpt")}}
    plan = make_plan(parse_suite(FAMILY | {"methods": [method], "seeds": [4, 5, 6]}))
    assert [r.seed for r in plan.runs] == [0]
    (line,) = plan.skipped
    assert "that of seed 0; seeds left out: 4, 5, 6" in line


def test_one_trial_stays_one_where_seeds_are_run_apart(tmp_path: Path) -> None:
    saved(tmp_path, (0,))
    method = {"checkpoint": {"file": str(tmp_path / "s0" / "best.ckpt")}}
    suite = parse_suite(FAMILY | {"methods": [method, "pretrained"], "seeds": [0, 1]})
    whole = [r.key for r in make_plan(suite).runs]
    parts = [[r.key for r in make_plan(suite.restricted(seeds=[s])).runs] for s in (0, 1)]
    assert len(whole) == 2
    assert parts == [whole, whole]


def test_files_that_training_starts_from_are_asked_for_before_data(tmp_path: Path) -> None:
    """Every seed's, those below the data roots too."""
    raw = FAMILY | {"pairs": [{"name": "p", "id": {"folder": {"root": "nowhere"}}, "near": ["noise"]}]}
    for file, says in (
        (f"{tmp_path}/s{{seed}}.pt", "s1.pt: no such file"),
        ("{data}/s{seed}.pt", "(seed 0, seed 1)"),
    ):
        start = {"cross-entropy": {}, "start": {"checkpoint": {"file": file}}}
        with pytest.raises(UserError) as caught:
            make_plan(parse_suite(raw | {"methods": [start], "seeds": [0, 1]}))
        assert says in str(caught.value)


def test_training_starts_from_the_checkpoint_of_its_seed(tmp_path: Path) -> None:
    keys = saved(tmp_path)
    start = {"cross-entropy": {}, "start": keys["methods"][0]}
    runs = runs_of(methods=[start], seeds=[0, 2])
    parents = {r.seed: r.parent.spec.params["file"] for r in runs}  # type: ignore[attr-defined]
    assert parents == {s: tmp_path / f"s{s}" / "best.ckpt" for s in (0, 2)}
    assert len({r.parent.key for r in runs}) == 2  # type: ignore[attr-defined]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    grid = [str(tmp_path / "a" / f"s{s}" / "best.ckpt") for s in (0, 1)]
    labels = [
        m.label for m in parse_suite(FAMILY | {"methods": [{"checkpoint": {"file": {"grid": grid}}}]}).methods
    ]
    assert labels == ["checkpoint(file=s0/best.ckpt)", "checkpoint(file=s1/best.ckpt)"]
    listed = [{"checkpoint": {"file": f}} for f in grid]
    assert [m.label for m in parse_suite(FAMILY | {"methods": listed}).methods] == labels


def test_a_start_is_not_taken_for_another_method_of_files(tmp_path: Path) -> None:
    """Before the seed is known, `{seed}` stands for no file, and no content tells two of them apart."""
    one, other = saved(tmp_path / "a", (0, 1)), saved(tmp_path / "b", (0, 1))
    start = {"cross-entropy": {}, "start": other["methods"][0]}
    runs = runs_of(methods=[{**one["methods"][0], "as": "a"}, start], seeds=[0, 1])
    parents = [r.parent.spec.params["file"] for r in runs if r.parent is not None]  # type: ignore[attr-defined]
    assert parents == [tmp_path / "b" / f"s{s}" / "best.ckpt" for s in (0, 1)]
