"""The nouns: everything that flows from a suite file to a leaderboard. Stages are functions between these types.

Directions, once and for all: an OOD score is HIGHER for samples that look MORE out-of-distribution; logits, features and
scores are float32 or wider; labels are int64; images are uint8 or float32 in [0, 1], channels first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

T = TypeVar("T")

SpecLike = Any
"""A component as a suite file writes it: its name, or ``{name: {parameter: value}}`` (or a `registry.Spec`, already resolved)."""


def fingerprint(value: Any) -> str:
    """sha256 (hex) over the canonical JSON of `value`: keys sorted, no spaces, no NaN. The one hash that identity is made of."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- data


class Geometry(NamedTuple):
    """How a stored image becomes a network's input: the shape (channels, height, width) and, where the protocol crops, the
    length of the shorter edge before the centre crop (``None``: resize straight to the shape)."""

    shape: tuple[int, int, int]
    resize: int | None = None


class Task(NamedTuple):
    """What a network must fit. Injected by the runner; mean and std are those of the ID training images in [0, 1], per channel."""

    kind: str
    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@runtime_checkable
class Samples(Protocol):
    """A labelled set of samples. Small ones are one tensor, large ones are decoded by workers; the interface is the same.

    `labels` is int64 (N,) and known without decoding anything; OOD sets keep their own labels. `ids` names each sample (a
    file, an index) for reports. `digest` is a sha256 of the content, labels included: it is the set's identity.
    """

    kind: str
    labels: Tensor
    ids: Sequence[str]
    digest: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int] | Tensor, geometry: Geometry | None = None) -> Tensor:
        """The samples at `indices` as one tensor, uint8 or float32 in [0, 1]: (B, C, H, W), fitted to `geometry` if given."""
        ...


class Dataset:
    """The named splits of one source (``train``, ``val``, ``test``, or what a protocol adds); each is read when first asked for.

    The role decides the split that a pair uses: ID train / val / test, an OOD set its ``test``, OOD validation its ``val``,
    outliers for training its ``train``.
    """

    def __init__(self, splits: Mapping[str, Callable[[], Samples]], classes: Sequence[str] = ()) -> None:
        self._splits = dict(splits)
        self._read: dict[str, Samples] = {}
        self.classes = tuple(classes)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def __contains__(self, split: str) -> bool:
        return split in self._splits

    def __getitem__(self, split: str) -> Samples:
        if split not in self._read:
            self._read[split] = self._splits[split]()
        return self._read[split]


@dataclass(frozen=True)
class Pair:
    """An ID/OOD pair, in names: which data set is known, and which are near-, far- and covariate-shifted to *it*.

    Everything is a data-set spec, so that a pair can be listed, checked and hashed without reading an image. `id` is None
    for a pair that exists as arrays only (method ``outputs``).
    """

    id: SpecLike | None
    near: Mapping[str, SpecLike] = field(default_factory=dict)
    far: Mapping[str, SpecLike] = field(default_factory=dict)
    shifted: Mapping[str, SpecLike] = field(default_factory=dict)
    ood_val: SpecLike | None = None
    outliers: SpecLike | None = None
    geometry: Geometry | None = None
    note: str = ""


# ---------------------------------------------------------------- networks and methods


class Head(NamedTuple):
    """A linear classification head: weight (C, D), bias (C,); logits = features @ weight.T + bias."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return torch.nn.functional.linear(features, self.weight, self.bias)


class Network(nn.Module):
    """logits = head(features(x)). Normalisation with the ID statistics lives inside, so that OOD inputs meet it too.

    `body` maps normalised inputs (B, C, H, W) to penultimate features (B, D); `head` maps those to exactly the known
    classes. `heads` are further functions of the features (rotation, confidence, projection) that methods attach and
    extraction stores by name. `stages` names submodules, shallow to deep, whose outputs a view may read or replace by hook.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, task: Task, body: nn.Module, head: nn.Module, stages: Sequence[str] = ()) -> None:
        super().__init__()
        shape = (len(task.mean),) + (1,) * (len(task.shape) - 1)
        self.task = task
        self.body = body
        self.head = head
        self.heads = nn.ModuleDict()
        self.stages = tuple(stages)
        self.register_buffer("mean", torch.tensor(task.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(task.std).view(shape), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features (B, D) of inputs in [0, 1], (B, *task.shape)."""
        return self.body((x - self.mean) / self.std)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.head(self.features(x))

    def linear_head(self) -> Head | None:
        """Weight and bias of the head where it is a plain linear layer (a missing bias is zero), else None."""
        if type(self.head) is not nn.Linear:
            return None
        weight, bias = self.head.weight.detach(), self.head.bias
        return Head(weight, torch.zeros_like(weight[:, 0]) if bias is None else bias.detach())


class Batch(NamedTuple):
    """What a training step sees: inputs (B, C, H, W) in [0, 1] and labels (B,); outliers where the method needs them;
    further augmented views of the same samples; progress of training in [0, 1]; a generator for all randomness."""

    inputs: Tensor
    labels: Tensor
    outliers: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    progress: float = 0.0
    rng: torch.Generator | None = None


class Method:
    """How a network gets its weights. Keyword-only parameters of `__init__` are its configuration.

    `provides` says what the method brings: a ``loss`` to train with, ready-made ``weights``, ready-made ``outputs``, or ``members``: the
    networks that its parameter `of` trains, `members` of them.
    `needs` lists what each batch must carry beyond inputs and labels (``outliers``); `views` is the number of further
    augmented views. All state (queues, averages, centres, heads) is put on the network by `setup`, so that it is saved,
    resumed and synchronised with it.
    """

    provides: ClassVar[Literal["loss", "weights", "outputs", "members"]] = "loss"
    needs: frozenset[str] = frozenset()
    views: int = 0

    def setup(self, network: Network) -> None:
        """Attach heads and buffers: called once, before the optimiser is made and before weights are loaded."""

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each sample, (B,), from logits (B, C) and labels (B,)."""
        raise NotImplementedError

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """Scalar loss of a batch. The default is the mean criterion."""
        return self.criterion(network(batch.inputs), batch.labels).mean()

    def load(self, network: Network) -> None:
        """For `provides == "weights"`: put the weights into the network, or raise UserError."""
        raise NotImplementedError

    def outputs(self, name: str) -> Outputs:
        """For `provides == "outputs"`: the ready-made outputs of the set `name` (train, val, test or an OOD set)."""
        raise NotImplementedError

    def digest(self, name: str) -> str:
        """For `provides == "outputs"`: sha256 of what `outputs(name)` holds, its identity; MissingData where there is no such set."""
        raise NotImplementedError


class Recipe(BaseModel):
    """How weights are trained. Everything here changes numbers, so all of it is identity; device and worker count are not here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(128, ge=1, description="samples in a forward pass")
    accumulate: int = Field(1, ge=1, description="forward passes whose gradients make one step: batch_size x accumulate samples")
    optimizer: Literal["sgd", "adamw", "sam"] = Field("sgd", description="sam: sharpness-aware minimisation around sgd")
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = Field(True, description="sgd and sam, where momentum is not 0")
    weight_decay: float = Field(5e-4, ge=0)
    rho: float = Field(0.05, gt=0, description="sam: radius of the neighbourhood")
    schedule: Literal["cosine", "restarts", "step", "constant"] = Field("cosine", description="restarts: cosine, begun anew")
    lr_min: float = Field(0.0, ge=0, description="cosine and restarts: where a cycle ends")
    restarts: int = Field(2, ge=1, description="restarts schedule: how often the cosine begins anew, in cycles of equal length")
    milestones: tuple[float, ...] = Field((0.5, 0.75), description="step schedule: fractions of training at which lr drops")
    gamma: float = Field(0.1, gt=0, le=1, description="step schedule: factor at each milestone")
    warmup_epochs: float = Field(0.0, ge=0)
    clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0: no limit")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the moving average that is kept instead of the weights; 0: off")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the network's body; head and loss are float32")
    channels_last: bool = Field(False, description="memory layout in which convolutions run")
    compile: bool = Field(False, description="torch.compile the network's body")
    world_size: int = Field(1, ge=1, description="processes, one for each GPU, that share every batch; started by torchrun")
    augment: tuple[Any, ...] = Field((), description="augmentations, in order: names or {name: {parameter: value}}")
    select: Literal["last", "best-val"] = Field("last", description="which epoch's weights are kept")

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.optimizer == "sam" and self.accumulate > 1:
            raise ValueError(f"optimizer sam takes a step on one batch: accumulate should be 1, got {self.accumulate}")
        if self.optimizer == "sam" and self.precision == "fp16":
            raise ValueError("optimizer sam knows no loss scaling: precision should be fp32 or bf16, got fp16")
        if self.batch_size < 2 * self.world_size:
            raise ValueError(f"batch_size should be at least 2 for each of {self.world_size} processes, got {self.batch_size}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_bool_for_number(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for name, value in data.items():
                info = cls.model_fields.get(name)
                if isinstance(value, bool) and info is not None and info.annotation is not bool:
                    raise ValueError(f"{name} should be a {getattr(info.annotation, '__name__', 'number')}, got {str(value).lower()}")
        return data


class Side(BaseModel):
    """One side of a claim's comparison: a method of the suite by its label, or the best variant of a method by a validation metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(description="a label, such as als(lam=10); with `select`, the method's name")
    scorer: str = Field("", description="a scorer of the suite for this side alone; default: each of the claim's")
    select: Literal["", "val_accuracy", "val_nll"] = Field("", description="per split, the variant that is best on ID validation")


class Claim(BaseModel):
    """A statement that two trained methods differ (or do not), which a run's rows support, contradict or leave undecided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    says: str = Field(min_length=1)
    source: str = ""
    basis: Literal["", "found in the paper's text", "inferred"] = ""
    compare: tuple[Side, Side] = Field(description="A and B; `expect` speaks of A - B")
    metric: str = "auroc"
    shift: Literal["near", "far", "any"] = "near"
    scorers: tuple[str, ...] = Field((), description="labels of the suite's scorers, the primary one first; default: the suite's first")
    pairs: tuple[str, ...] = Field((), description="labels of the suite's pairs; default: all")
    condition: str = "clean"
    expect: Literal["lower", "higher", "not-lower", "not-higher", "equal-within"]
    margin: float = Field(0.005, gt=0, description="what still counts as equal, for not-lower, not-higher and equal-within")
    alpha: float = Field(0.05, gt=0, lt=0.5)


# ---------------------------------------------------------------- what scorers see


class Outputs:
    """All that a scorer may see of one set through one network, on one device.

    `logits` (N, C) and `features` (N, D) float32 (`features` may be None for arrays without them), `labels` (N,) int64,
    `head` where the network's head is linear, `extras` whatever heads and views added, each (N, ...). Derived tensors are
    memoised for the life of the object, so that scorers of one chunk share work without knowing one another.
    """

    def __init__(
        self,
        logits: Tensor,
        features: Tensor | None = None,
        labels: Tensor | None = None,
        head: Head | None = None,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        n = len(logits)
        self.logits = logits
        self._features = features
        self.labels = torch.full((n,), -1, dtype=torch.int64, device=logits.device) if labels is None else labels
        self.head = head
        self.extras: Mapping[str, Tensor] = dict(extras or {})
        self._memo: dict[Any, Any] = {}
        named = {"features": features, "labels": self.labels, **{f"extras[{k!r}]": v for k, v in self.extras.items()}}
        wrong = [f"{name} has {len(t)}" for name, t in named.items() if t is not None and len(t) != n]
        if wrong:
            raise ValueError(f"logits has {n} samples, but {', '.join(wrong)}")

    @property
    def features(self) -> Tensor:
        if self._features is None:
            raise ValueError("these outputs hold no features, only logits")
        return self._features

    @property
    def has_features(self) -> bool:
        return self._features is not None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    @property
    def device(self) -> torch.device:
        return self.logits.device

    def map(self, f: Callable[[Tensor], Tensor]) -> Outputs:
        """New outputs with `f` applied to every per-sample tensor; the head is kept."""
        extras = {name: f(t) for name, t in self.extras.items()}
        return Outputs(f(self.logits), None if self._features is None else f(self._features), f(self.labels), self.head, extras)

    def __getitem__(self, index: slice | Tensor) -> Outputs:
        return self.map(lambda t: t[index])

    def to(self, device: torch.device | str) -> Outputs:
        moved = self.map(lambda t: t.to(device))
        moved.head = None if self.head is None else Head(self.head.weight.to(device), self.head.bias.to(device))
        return moved

    def chunks(self, size: int) -> Iterator[Outputs]:
        """Consecutive views of at most `size` samples."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def memo(self, key: Any, make: Callable[[], T]) -> T:
        """`make()` the first time `key` is asked for, then the same object again."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    @property
    def log_probabilities(self) -> Tensor:
        """log softmax of the logits, (N, C)."""
        return self.memo("log_probabilities", lambda: torch.log_softmax(self.logits, dim=1))

    @property
    def probabilities(self) -> Tensor:
        """softmax of the logits, (N, C)."""
        return self.memo("probabilities", lambda: torch.softmax(self.logits, dim=1))

    @property
    def predictions(self) -> Tensor:
        """Predicted class, (N,)."""
        return self.memo("predictions", lambda: self.logits.argmax(dim=1))

    @property
    def unit_features(self) -> Tensor:
        """Features divided by their L2 norm, (N, D); an all-zero row stays zero."""
        return self.memo("unit_features", lambda: torch.nn.functional.normalize(self.features, dim=1))


class View:
    """What extraction runs per batch while the network is at hand. It only ever adds extras; it never changes the plain outputs."""

    def objection(self, network: Network) -> str:
        """Why this view cannot run on that network (a stage it lacks), in one line; empty where it can. Asked when a suite is planned."""
        return ""

    def prepare(self, network: Network, train: Outputs | None, val: Outputs | None) -> None:
        """Optional, once per run, after the plain extraction: fit what the view holds."""

    def __call__(self, network: Network, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Extras of a batch of inputs (B, C, H, W) in [0, 1]: name -> (B, ...)."""
        raise NotImplementedError


class Scorer:
    """A post-hoc OOD score: HIGHER MEANS MORE OOD. Keyword-only parameters of `__init__` are its configuration.

    `needs` is a subset of {"train", "val", "head", "features"}: what `fit` and `score` read, so that the plan extracts for each set
    only what somebody needs. `extras` names the extras that `score` reads beyond those its own view adds: the scorer is offered only
    where a method attaches a head of that name. `differentiable` is False where no useful gradient reaches the outputs.
    `search` is the declared search space, {parameter: values}.
    """

    needs: frozenset[str] = frozenset()
    extras: frozenset[str] = frozenset()
    differentiable: ClassVar[bool] = True
    search: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def view(self) -> View | None:
        """The view whose extras this scorer reads, built from its own parameters by `oodbench.build("view", ...)`."""
        return None

    def fit(self, train: Outputs | None, val: Outputs | None) -> None:
        """Learn what is needed from ID train and validation outputs (each None unless in `needs`)."""

    def score(self, outputs: Outputs) -> Tensor:
        """OOD scores (N,), each sample by itself. Higher is more OOD."""
        raise NotImplementedError

    def logits(self, outputs: Outputs) -> Tensor:
        """Logits (N, C) of the network as this scorer edits it, for those that edit (ReAct, ASH, DICE, SCALE)."""
        return outputs.logits

    @property
    def edits(self) -> bool:
        """Whether the scorer edits the network, so that the accuracy of the edited network stands in its row."""
        return type(self).logits is not Scorer.logits


# ---------------------------------------------------------------- rows

ROW_KEYS = (
    "suite", "pair", "pair_params", "split", "network", "method", "method_params", "seed", "scorer", "scorer_params", "tune",
    "chosen", "condition", "id_set", "ood", "shift", "status", "reason", "run_key",
)  # fmt: skip
"""The columns of results.csv before the metrics. A row with an empty `ood` carries ID-only metrics."""
