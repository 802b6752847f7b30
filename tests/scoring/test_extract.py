"""Extraction: what a network says of a set, row for row, in any batch size, and what views add."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.network import Network, Task
from oodbench.core.scorer import View
from oodbench.data.contract import toy_images
from oodbench.data.samples import TensorSamples
from oodbench.scoring import extract
from oodbench.scoring.extract import Extract, extract_view, outputs_of
from oodbench.training.contract import toy_network

GEOMETRY = Geometry((1, 8, 8))
IMAGES, MANY = toy_images(50, seed=7), toy_images(300, seed=8)


def _convolutional() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten())
    return Network(Task("image", (1, 8, 8), 3, (0.5,), (0.5,)), body, nn.Linear(256, 3))


def _joined(network: Network, size: int | Literal["auto"] = "auto", **how: Any) -> dict[str, Tensor]:
    return _cat(outputs_of(network, IMAGES, GEOMETRY, how=Extract(batch_size=size, **how)))


def _cat(batches: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    rows = [*batches]
    return {name: torch.cat([r[name] for r in rows]) for name in rows[0]}


def test_outputs_are_the_networks_whatever_the_batch_size() -> None:
    network = toy_network()
    one, other = _joined(network, 50), _joined(network, 7)
    with torch.no_grad():
        torch.testing.assert_close(one["logits"], network(IMAGES.images))
        torch.testing.assert_close(one["features"], network.features(IMAGES.images))
    for name, rows in one.items():
        torch.testing.assert_close(other[name], rows, rtol=1e-4, atol=1e-4)
    assert one["labels"].tolist() == IMAGES.labels.tolist()
    assert one["logits"].dtype == one["features"].dtype == torch.float32


def test_further_heads_are_stored_by_name() -> None:
    network = toy_network()
    network.heads["turn"] = nn.Linear(network.features(IMAGES.images).shape[1], 4)
    try:
        assert _joined(network, 50)["extras.turn"].shape == (50, 4)
    finally:
        del network.heads["turn"]


def test_dropout_is_off_and_bytes_become_fractions() -> None:
    network = toy_network()
    network.train()
    as_bytes = TensorSamples((IMAGES.images.clamp(0, 1) * 255).round().to(torch.uint8), IMAGES.labels)
    first = next(outputs_of(network, as_bytes, GEOMETRY))["logits"]
    assert not network.training
    torch.testing.assert_close(first, network(as_bytes.images.float() / 255).detach())


@pytest.mark.parametrize("cuts", [[0, 50], [0, 7, 50], [0, 21, 28, 50]])
def test_parts_of_a_set_are_its_rows(cuts: list[int]) -> None:
    network, how = toy_network(), Extract(batch_size=7)
    whole = _joined(network, 7)
    parts = [
        rows
        for start, end in itertools.pairwise(cuts)
        for rows in outputs_of(network, IMAGES, GEOMETRY, how=how, places=range(start, end))
    ]
    for name, rows in whole.items():
        assert torch.equal(torch.cat([p[name] for p in parts]), rows), name
    assert [*outputs_of(network, IMAGES, GEOMETRY, places=range(0))] == []


# ---------------------------------------------------------------- views


class Jitter(View):
    """Draws in several ways, as views and layers do."""

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        first = torch.rand(len(inputs), generator=rng)
        noise = torch.randn(inputs.shape, generator=rng)
        coins = torch.empty_like(inputs).bernoulli_(0.3, generator=rng)
        kept = torch.bernoulli(inputs.abs().clamp(0, 1), generator=rng)
        seed = int(torch.randint(2**31, (1,), generator=rng))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            dropped = nn.functional.dropout(inputs, 0.5, training=True)
        return {"jitter": first, "all": (noise + coins + kept + dropped).flatten(1)}


def _jitter(
    seed: int, places: range | None = None, size: int | Literal["auto"] = "auto"
) -> dict[str, Tensor]:
    return _cat(extract_view(
        toy_network(), Jitter(), MANY, GEOMETRY, seed=seed, how=Extract(batch_size=size), places=places
    ))  # fmt: skip


def test_a_views_randomness_belongs_to_the_run_and_the_place() -> None:
    one = _jitter(1)["jitter"]
    assert torch.equal(_jitter(1)["jitter"], one)
    assert not torch.equal(_jitter(2)["jitter"], one)
    assert len(one.unique()) == 300
    rng = torch.Generator().manual_seed(1_000_003 + 1)  # the run and its second block
    assert torch.equal(one[128:256], torch.rand(128, generator=rng))
    parts = [_jitter(1, range(0, 128))["jitter"], _jitter(1, range(128, 300))["jitter"]]
    assert torch.equal(torch.cat(parts), one)
    with pytest.raises(ValueError, match="multiple of 128"):
        _jitter(1, range(64, 300))


@pytest.mark.parametrize("size", [1, 50, 64, 128, 256])
def test_a_views_randomness_does_not_depend_on_the_batch_size(size: int) -> None:
    whole = _jitter(3)
    for name, rows in _jitter(3, size=size).items():
        assert torch.equal(rows, whole[name]), name


@pytest.mark.parametrize("view", ["mc-dropout", {"pgd": {"eps": 0.1, "steps": 2}}])
def test_so_do_the_views_of_the_package(view: Any) -> None:
    def rows(size: int | Literal["auto"]) -> dict[str, Tensor]:
        how = Extract(batch_size=size)
        made = registry.build("view", view)
        return _cat(extract_view(toy_network(), made, MANY, GEOMETRY, seed=0, how=how))

    few, whole = rows(20), rows("auto")
    for name in whole:
        torch.testing.assert_close(few[name], whole[name], rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- precision


def test_bf16_and_channels_last_change_digits_and_are_taken_back() -> None:
    network = _convolutional()
    plain = _joined(network)
    for how in ({"precision": "bf16"}, {"channels_last": True}, {"precision": "bf16", "channels_last": True}):
        other = _joined(network, **how)
        assert {rows.dtype for name, rows in other.items() if name != "labels"} == {torch.float32}
        torch.testing.assert_close(other["logits"], plain["logits"], rtol=0.05, atol=0.05)
        assert "precision" not in how or not torch.equal(other["features"], plain["features"])
        # logits are those of the features that are stored, to the last digits of float32
        torch.testing.assert_close(other["logits"], network.head(other["features"]).detach())
    for name, rows in _joined(network).items():
        assert torch.equal(rows, plain[name]), name
    assert all(p.is_contiguous() for p in network.parameters())


def test_what_changes_numbers_enters_keys_and_nothing_else_does() -> None:
    assert Extract().identity == Extract(batch_size=3).identity == {}
    assert Extract(precision="fp16").identity == {"extract": {"precision": "fp16"}}
    assert Extract(channels_last=True, batch_size=3).identity == {"extract": {"channels_last": True}}


@pytest.mark.parametrize(
    "wrong",
    [{"precision": "fp8"}, {"batch_size": 0}, {"batch_size": "all"}, {"batch_size": True},
     {"batch_size": 2.5}, {"channels_last": 1}, {"batch": 3}],
)  # fmt: skip
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Extract(**wrong)


# ---------------------------------------------------------------- on a GPU


def test_a_gpu_has_the_next_batch_before_the_rows_of_this_one_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    class Event:
        def record(self, stream: object) -> None:
            done.append("recorded")

        def synchronize(self) -> None:
            done.append("waited")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)

    def made() -> Iterator[dict[str, Tensor]]:
        for i in range(3):
            done.append(f"made {i}")
            yield {"logits": torch.tensor([float(i)])}

    rows = [float(r["logits"]) for r in extract._landed(made(), torch.device("cuda"))]
    assert rows == [0.0, 1.0, 2.0]
    assert done == [
        "made 0", "recorded", "made 1", "recorded", "waited", "made 2", "recorded", "waited", "waited",
    ]  # fmt: skip
    assert [*extract._landed(iter(()), torch.device("cuda"))] == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("how", [{}, {"precision": "bf16"}, {"precision": "fp16", "channels_last": True}])
def test_rows_of_a_gpu_are_those_of_the_cpu(how: dict[str, Any]) -> None:
    network, few = _convolutional(), Extract(batch_size=20, **how)
    here = _cat(outputs_of(network, IMAGES, GEOMETRY))
    there = _cat(outputs_of(network, IMAGES, GEOMETRY, how=few, device="cuda"))
    assert {rows.device.type for rows in there.values()} == {"cpu"}
    tolerance = 0.05 if how else 1e-3
    for name, rows in here.items():
        torch.testing.assert_close(there[name], rows, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- memory


class _Short(nn.Module):
    """Passes its inputs on, but for more than `most` at a time there is no memory."""

    def __init__(
        self, most: int, error: type[BaseException] = torch.OutOfMemoryError, said: str = ""
    ) -> None:
        super().__init__()
        self.most, self.error, self.said, self.sizes = most, error, said, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise self.error(self.said)
        return x.flatten(1)


def _short(most: int, *how: Any) -> tuple[Network, _Short]:
    body, torch_rng = _Short(most, *how), torch.Generator().manual_seed(0)
    head = nn.Linear(64, 3)
    head.weight.data, head.bias.data = torch.rand(3, 64, generator=torch_rng), torch.zeros(3)
    return Network(Task("image", (1, 8, 8), 3, (0.5,), (0.5,)), body, head), body


def _all_rows(network: Network, images: TensorSamples = None) -> dict[str, Tensor]:  # type: ignore[assignment]
    return _cat(outputs_of(network, images or MANY, GEOMETRY))


SHORT = [
    (torch.OutOfMemoryError, ""), (RuntimeError, "CUDA out of memory. Tried to allocate 2 GiB"),
    (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    (RuntimeError, "MPS backend out of memory"), (MemoryError, ""),
    (RuntimeError, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]  # fmt: skip


@pytest.mark.parametrize("how", SHORT)
def test_a_batch_that_does_not_fit_is_halved_from_where_it_failed(how: tuple[Any, str]) -> None:
    expected = _all_rows(_short(1000)[0])
    network, body = _short(70, *how)
    with pytest.warns(UserWarning, match="does not fit") as notes:
        found = _all_rows(network)
    for name, rows in expected.items():
        torch.testing.assert_close(found[name], rows)
    assert body.sizes == [256, 128, 64, 64, 64, 64, 44]
    assert [str(n.message) for n in notes] == [
        "extraction: a batch of 256 does not fit the memory of cpu; going on with 128",
        "extraction: a batch of 128 does not fit the memory of cpu; going on with 64",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _all_rows(network)  # it is remembered for the next set, and not said again
    assert max(body.sizes[7:]) == 64


def test_memory_that_gets_short_on_the_way_costs_no_row() -> None:
    network, body = _short(1000)
    rows = outputs_of(network, MANY, GEOMETRY)
    first = next(rows)
    body.most = 10
    with pytest.warns(UserWarning, match="a batch of 44 does not fit"):
        found = _cat([first, *rows])
    for name, expected in _all_rows(_short(1000)[0]).items():
        torch.testing.assert_close(found[name], expected)
    assert body.sizes == [256, 44, 22, 11, 5, 5, 5, 5, 5, 5, 5, 5, 4][: len(body.sizes)]


def test_what_is_left_when_nothing_can_be_halved_is_one_line() -> None:
    with (
        pytest.warns(UserWarning, match="going on with 1"),
        pytest.raises(UserError, match="not even one sample fits the memory of cpu"),
    ):
        _all_rows(_short(0)[0])
    with pytest.raises(UserError, match=r"a batch of 100 does not fit .* lower `extract: {batch_size: 100}`"):
        [*outputs_of(_short(70)[0], MANY, GEOMETRY, how=Extract(batch_size=100))]


def test_another_error_is_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        _all_rows(_short(0, RuntimeError, "shapes cannot be multiplied")[0])


def test_views_are_halved_too_with_the_numbers_of_the_whole() -> None:
    class Seen(Jitter):
        def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
            return super().__call__(network, inputs, rng) | {"seen": network(inputs)}

    def rows(network: Network) -> dict[str, Tensor]:
        return _cat(extract_view(network, Seen(), MANY, GEOMETRY, seed=5))

    whole, (network, body) = rows(_short(1000)[0]), _short(40)
    with pytest.warns(UserWarning, match=r"view Seen: a batch of 64 .* going on with 32"):
        found = rows(network)
    for name in ("jitter", "all"):
        assert torch.equal(found[name], whole[name]), name
    torch.testing.assert_close(found["seen"], whole["seen"])
    assert body.sizes[:4] == [128, 64, 32, 32]
    assert _all_rows(network)  # its own sizes are tried for the plain outputs
    assert body.sizes[-1] <= 40
