"""Outputs that are extracted where the store lacks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oodbench.core import registry
from oodbench.core.network import Network
from oodbench.core.outputs import Outputs
from oodbench.runs.held import LazyOutputs, artefact
from oodbench.runs.reopen import reopened
from oodbench.runs.store import Store
from oodbench.training.initialise import fresh_weights
from tests.runs.suites import arrays_suite, run_file, write_arrays
from tests.unpacked import unpacked

NOTHING = {"weights": 0, "outputs": 0, "choices": 0, "scores": 0}


def test_a_deleted_or_damaged_artefact_alone_is_made_again(tiny_file: Path, copied: Path) -> None:
    before, store = (copied / "results.csv").read_bytes(), copied.parent / ".store"
    victim = next((store / "outputs").rglob("outputs.safetensors"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 255
    victim.write_bytes(data)
    assert run_file(tiny_file, copied.parent).made == NOTHING | {"outputs": 1}
    next((unpacked(store) / "scores").rglob("manifest.json")).unlink()
    assert run_file(tiny_file, copied.parent).made == NOTHING | {"scores": 1}
    assert (copied / "results.csv").read_bytes() == before


def network_of(run: Any, store: Store) -> Network:
    """The run's network with its stored weights."""
    network = fresh_weights(run.network.spec, run.built_method, run.task, seed=run.seed)
    network.load_state_dict(artefact(store, "weights", run.key).tensors("weights"))
    return network.eval()


def images_of(run: Any, name: str) -> Tensor:
    samples = run.sets[name].samples
    images = samples.read(range(len(samples)), run.data.geometry)
    return images / 255 if images.dtype == torch.uint8 else images


def test_what_is_extracted_is_what_the_network_says(rich_run: Path) -> None:
    """Each set through the stored weights, in one batch and by hand."""
    run, store = reopened(rich_run).plan.runs[0], Store.opened(rich_run.parent / ".store")
    network = network_of(run, store)
    for name, planned in run.sets.items():
        found = artefact(store, "outputs", run.outputs_key(name))
        with torch.no_grad():
            features = network.features(images_of(run, name))
            logits = network.head(features)
        tensors = found.tensors("outputs")
        torch.testing.assert_close(tensors["logits"], logits)
        torch.testing.assert_close(tensors["features"], features)
        assert torch.equal(tensors["labels"], planned.samples.labels)
        assert found.json("meta")["n"] == len(logits)


def test_a_view_is_prepared_with_the_outputs_that_are_stored(rich_run: Path) -> None:
    """ReAct under attack, by hand: its threshold from the stored training outputs, one step up its
    gradient."""
    run, store = reopened(rich_run).plan.runs[0], Store.opened(rich_run.parent / ".store")
    outputs, network = LazyOutputs(store, run), network_of(run, store)
    react = registry.build("scorer", {"react": {"percentile": 80}})
    react.fit(outputs.of("train"), outputs.of("val"))

    def score(x: Tensor) -> Tensor:
        features = network.features(x)
        return react.score(Outputs(network.head(features), features, head=network.linear_head()))

    clean = images_of(run, "test").requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(clean).sum(), clean)
    with torch.no_grad():
        expected = score((clean + 0.1 * gradient.sign()).clamp(0, 1))
    attacked = next(
        s
        for s in run.scorers
        if s.attack and "react" in s.declared.label and s.spec.params["direction"] == "raise"
    )
    found = outputs.of("test", attacked.view).extras["attack.score"]
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


def test_a_folder_of_arrays_is_scored_without_a_network(tmp_path: Path) -> None:
    write_arrays(tmp_path / "out")
    file = arrays_suite(tmp_path)
    done = run_file(file, tmp_path)
    assert (done.rows.status == "ok").all()
    assert set(done.rows.scorer) == {"", "msp", "knn", "vim", "react"}
    assert done.made["weights"] == 0
    assert run_file(file, tmp_path).made == NOTHING
