"""Numerics that scorers share: similarities to the training set, streamed statistics, whitening. No scorer's formula stands here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from oodbench.core.scorer import Network, Outputs

BLOCK = 16_384
"""Rows of a memory-mapped training set that are held at a time."""


def blocks(tensor: Tensor, size: int = BLOCK) -> Iterator[Tensor]:
    """Consecutive row blocks of a (maybe memory-mapped) tensor, float32 or wider."""
    for start in range(0, len(tensor), size):
        block = tensor[start : start + size]
        yield block if block.dtype == torch.float64 else block.float()


def wide(tensor: Tensor) -> Tensor:
    """The tensor itself, or as float32 where it is half precision."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def normalised(features: Tensor) -> Tensor:
    """Rows over their L2 norm, float32 or wider; an all-zero row stays zero."""
    return torch.nn.functional.normalize(wide(features), dim=1)


def unit_features(outputs: Outputs) -> Tensor:
    """Features over their L2 norm, (N, D), float32 or wider; an all-zero row stays zero."""
    return outputs.memo("wide_unit_features", lambda: normalised(outputs.features))


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """-T * logsumexp(z / T) of logits (N, C), (N,): higher for OOD. Source: Liu et al., NeurIPS 2020."""
    return -temperature * torch.logsumexp(wide(logits) / temperature, dim=1)


def log_one_minus_max_probability(logits: Tensor) -> Tensor:
    """log(1 - max_c p_c), (N,), in float64 and without saturation: logsumexp of the other logits minus logsumexp of all."""
    z = logits.double()
    top = z.argmax(dim=1, keepdim=True)
    others = z.scatter(1, top, -torch.inf)
    return torch.logsumexp(others, dim=1) - torch.logsumexp(z, dim=1)


def class_means(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean feature of each class (C, D) in float64 and its count (C,), streamed; a class with no sample has mean zero."""
    known = (labels >= 0) & (labels < classes)
    where = torch.where(known, labels, classes)
    sums = torch.zeros(classes + 1, features.shape[1], dtype=torch.float64, device=features.device)
    for f, y in zip(blocks(features), where.split(BLOCK), strict=True):
        _add_by_class(sums, f.double(), y)
    counts = torch.bincount(where, minlength=classes + 1)[:-1].double()
    return sums[:-1] / counts.clamp(min=1).unsqueeze(1), counts


def scatter(features: Tensor, centres: Tensor, labels: Tensor | None = None) -> Tensor:
    """Mean outer product (D, D) of features minus their centre (D,) or class centre (C, D), in float64, streamed."""
    total = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=features.device)
    rows = 0
    for i, f in enumerate(blocks(features)):
        y = None if labels is None else labels[i * BLOCK : i * BLOCK + len(f)]
        centred = f.double() - (centres if y is None else centres[y])
        total += centred.T @ centred
        rows += len(f)
    return total / max(rows, 1)


def whitening(covariance: Tensor, tolerance: float = 1e-10, floor: float = 0.0) -> Tensor:
    """W (D, R) with W W^T the pseudo-inverse of a covariance (D, D): directions of (relative) eigenvalue below `tolerance` are left out,
    and those of variance below `floor`. ValueError where no direction is left."""
    values, vectors = torch.linalg.eigh(covariance)
    keep = values > max(tolerance * float(values.max()), floor, torch.finfo(values.dtype).tiny)
    if not bool(keep.any()):
        raise ValueError("the training features do not vary (within their classes): no covariance to measure distances by")
    return vectors[:, keep] / values[keep].sqrt()


class Bank:
    """Unit-norm training features to compare with. A copy where it fits into memory, else the mapped features and 1 / norm beside them."""

    COPY = 512 * 2**20
    """Bytes up to which a copy is made."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        copied = 4 * features.numel() <= self.COPY
        self.unit = torch.nn.functional.normalize(features.float(), dim=1) if copied else None
        self.scale = None if copied else torch.cat([1 / f.norm(dim=1).clamp(min=1e-12) for f in blocks(features)])

    def __len__(self) -> int:
        return len(self.features if self.unit is None else self.unit)

    def rows(self, index: Tensor) -> Tensor:
        """The unit features at `index`, (len(index), D)."""
        if self.unit is not None:
            return self.unit[index]
        return torch.nn.functional.normalize(self.features[index.to(self.features.device)].to(index.device).float(), dim=1)

    def product(self, unit: Tensor) -> Tensor:
        """Cosine similarities (N, len(self)) of unit features (N, D)."""
        if self.unit is not None:
            return unit @ self.unit.T
        assert self.scale is not None
        return torch.cat([unit @ f.to(unit.device).float().T for f in blocks(self.features)], dim=1).mul_(self.scale.to(unit.device))

    def to(self, device: torch.device) -> Bank:
        """The copy on another device; mapped features stay where they are and are moved block by block."""
        if self.unit is None or self.unit.device == device:
            return self
        moved = copy.copy(self)
        moved.features, moved.unit = self.features[:0].to(device), self.unit.to(device)
        return moved


def bank(train: Outputs) -> Bank:
    """The one Bank of these training outputs, however many scorers ask for it."""
    return train.memo("bank", lambda: Bank(train.features))


def similarities(outputs: Outputs, bank: Bank) -> Tensor:
    """Cosine similarities (N, N_train) of a chunk to the training set, computed once for all scorers that hold the same Bank."""
    return outputs.memo(("similarities", bank), lambda: bank.product(unit_features(outputs)))


def percentile(values: Tensor, q: float) -> float:
    """The q-th percentile of all elements, linearly interpolated as NumPy's; exact, in bounded memory however many there are."""
    if values.numel() <= 1 << 26 and values.device.type == "cpu":
        return float(np.percentile(values.float().numpy(), q))
    rank = (values.numel() - 1) * q / 100
    below, above = _order_statistics(values, (int(rank), min(int(rank) + 1, values.numel() - 1)))
    return below + (above - below) * (rank - int(rank))


def _order_statistics(values: Tensor, ranks: tuple[int, ...]) -> list[float]:
    """The elements (as float32) at `ranks` in ascending order: first the upper half of their bits is counted, then the lower half."""

    def keys() -> Iterator[Tensor]:  # integers in the order of the floats
        for block in blocks(values, max(1, (1 << 22) // max(values[0].numel(), 1))):
            bits = block.float().contiguous().view(torch.int32).flatten()
            yield bits ^ ((bits >> 31) & 0x7FFFFFFF)

    upper = torch.zeros(1 << 16, dtype=torch.int64, device=values.device)
    for key in keys():
        upper += torch.bincount((key >> 16) + (1 << 15), minlength=1 << 16)
    total = upper.cumsum(0)
    halves = [int(torch.searchsorted(total, rank, right=True)) for rank in ranks]
    lower = {half: torch.zeros(1 << 16, dtype=torch.int64, device=values.device) for half in halves}
    for key in keys():
        for half, counts in lower.items():
            counts += torch.bincount(key[(key >> 16) + (1 << 15) == half] & 0xFFFF, minlength=1 << 16)
    found = []
    for rank, half in zip(ranks, halves, strict=True):
        inside = rank - int(total[half] - upper[half])
        key = torch.tensor([((half - (1 << 15)) << 16) + int(torch.searchsorted(lower[half].cumsum(0), inside, right=True))])
        key = key.to(torch.int32)
        found.append(float((key ^ ((key >> 31) & 0x7FFFFFFF)).view(torch.float32)))
    return found


def evenly_spaced(tensor: Tensor, count: int) -> Tensor:
    """At most `count` rows, evenly spaced, float32: what a fit that cannot read all of them reads instead."""
    step = -(-len(tensor) // count)
    return tensor[::step].float()


def column_percentiles(features: Tensor, percentiles: tuple[float, ...], samples: int) -> tuple[Tensor, ...]:
    """Percentiles of each column (D,), linearly interpolated, from at most `samples` evenly spaced rows."""
    rows = evenly_spaced(features, samples)
    q = torch.tensor(percentiles, dtype=torch.float32, device=rows.device) / 100
    width = max(1, (1 << 24) // max(len(rows), 1))  # torch.quantile takes 16 million elements at most
    parts = [torch.quantile(part, q, dim=0) for part in rows.split(min(width, rows.shape[1]), dim=1)]
    return tuple(torch.cat(parts, dim=1))


def top_share(features: Tensor, q: float) -> tuple[Tensor, Tensor]:
    """Each sample's largest activations, D - round(D q / 100) of them, the others zero; and the 0/1 mask. (N, D) both."""
    width = features.shape[1]
    k = max(1, width - round(width * q / 100))
    index = features.topk(k, dim=1).indices
    mask = torch.zeros_like(features).scatter_(1, index, 1.0)
    return features * mask, mask


def ratio(total: Tensor, part: Tensor) -> Tensor:
    """total / part, and 1 where nothing is left to divide by (an all-zero feature); capped so that exp() stays finite."""
    return torch.where(part > 0, total / part.clamp(min=1e-12), torch.ones_like(total)).clamp(max=50.0)


def log_odds(logits: Tensor) -> tuple[Tensor, Tensor]:
    """log p_c and log(1 - p_c) of the softmax, (N, C) both, in float64: where p is near 1 its complement comes from the other logits."""
    z = logits.double()
    log_p = torch.log_softmax(z, dim=1)
    near_one = log_one_minus_max_probability(z).unsqueeze(1)
    return log_p, torch.where(log_p < -1e-3, torch.log1p(-log_p.exp().clamp(max=1 - 1e-12)), near_one)


def stage_outputs(network: Network, inputs: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, C) of inputs in [0, 1], and what each named stage hands on, (B, C', ...)."""
    found: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, out))
        for name in stages
    ]
    try:
        return network(inputs), found
    finally:
        for hook in hooks:
            hook.remove()


def with_stage(network: Network, inputs: Tensor, stage: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits (B, C) of inputs in [0, 1] through the network whose stage hands on `edit` of its output."""
    hook = network.get_submodule(stage).register_forward_hook(lambda _m, _i, out: edit(out))
    try:
        return network(inputs)
    finally:
        hook.remove()


def stage_objection(network: Network, stages: Sequence[str], dims: int = 2) -> str:
    """Why stages cannot be read (the network names none, or not these, or one hands on fewer dimensions); empty where they can."""
    if not network.stages:
        return "needs the network's stages, and it names none"
    unknown = [name for name in stages if name not in network.stages]
    if unknown:
        return f"stage {unknown[0]!r} is not one of the network's: {', '.join(network.stages)}"
    was, place = network.training, next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            _, found = stage_outputs(network.eval(), torch.zeros(1, *network.task.shape, device=place), network.stages)
    finally:
        network.train(was)
    for name in stages or network.stages:
        if name not in found:
            return f"stage {name!r} takes no part in the network's forward pass"
        if not isinstance(found[name], Tensor) or found[name].dim() < dims:
            return f"stage {name!r} hands on {tuple(found[name].shape)[1:]} per sample, and {dims - 1} dimensions are needed"
    return ""


def log_upper_gamma(a: float, x: Tensor) -> Tensor:
    """log of the regularised upper incomplete gamma function Q(a, x), float64, also where Q itself is below what float64 can hold."""
    x = x.double()
    q = torch.special.gammaincc(torch.full_like(x, a), x)
    # far out by Legendre's continued fraction, from its inside out
    far = x.clamp(min=1.0)
    h = far + 101 - a
    for k in range(50, 0, -1):
        h = far + 2 * k - 1 - a - k * (k - a) / h
    tail = -far + a * far.log() - h.log() - torch.lgamma(torch.tensor(a, dtype=torch.float64))
    return torch.where(q > 1e-250, q.clamp(min=1e-300, max=1.0).log(), tail)


def _add_by_class(sums: Tensor, rows: Tensor, classes: Tensor) -> None:
    """Add each row (N, D) to the sum of its class (C, D): as one product where classes are few, which is several times faster."""
    if len(sums) <= 64:
        sums.addmm_(torch.nn.functional.one_hot(classes, len(sums)).to(rows.dtype).T, rows)
    else:
        sums.index_add_(0, classes, rows)


def _add_moments(outer: Tensor, sums: Tensor, rows: Tensor, classes: Tensor, centre: Tensor) -> None:
    """Add the outer products (D, D) of the rows (N, D) minus their centre, and the sum of each class (C, D); totals in float64.

    On the CPU NumPy does it, since it computes only one half of the product of a matrix with its own transpose, a few rows at a time in
    memory that is used again: 2.2 times as fast as torch's product for 50,000 rows of 512 on two cores.
    """
    if rows.device.type != "cpu":
        centred = rows.double() - centre
        outer.addmm_(centred.T, centred)
        _add_by_class(sums, centred, classes)
        return
    part = min(len(rows), 4096)
    total, by_class = outer.numpy(), sums.numpy()
    held, product = np.empty((part, rows.shape[1])), np.empty(outer.shape)
    for f, y in zip(rows.split(part), classes.split(part), strict=True):
        centred = np.subtract(f.numpy(), centre.numpy(), out=held[: len(f)])
        total += np.matmul(centred.T, centred, out=product)
        of_class = sparse.csr_array((np.ones(len(y)), (y.numpy(), np.arange(len(y)))), shape=(len(sums), len(y)))
        by_class += of_class @ centred


class Moments:
    """Second-order statistics of training features (or of their unit-norm version), float64, from one streamed pass shared by all.

    `mean` (D,) and `total` (D, D), the mean outer product about it, of all rows; class `means` (C, D) and `counts` (C,) of labelled ones.
    """

    def __init__(self, train: Outputs, unit: bool) -> None:
        self.train, self.unit = train, unit
        classes, (rows, width), device = train.classes, train.features.shape, train.features.device
        known = (train.labels >= 0) & (train.labels < classes)
        where = torch.where(known, train.labels, classes)  # rows of no class are gathered in a last one
        counts = torch.bincount(where, minlength=classes + 1).double()
        # about a point near the mean, which is not known yet, so that nothing cancels when the sums are moved to it
        near = next((f[:1024].double().mean(dim=0) for f in self.blocks()), torch.zeros(width, dtype=torch.float64, device=device))
        sums = torch.zeros(classes + 1, width, dtype=torch.float64, device=device)
        outer = torch.zeros(width, width, dtype=torch.float64, device=device)
        for f, y in zip(self.blocks(), where.split(BLOCK), strict=True):
            _add_moments(outer, sums, f, y, near)
        offset = sums.sum(dim=0) / max(rows, 1)
        self.mean, self.total = near + offset, outer / max(rows, 1) - offset.outer(offset)
        self.counts = counts[:-1]
        self.means = torch.where(self.counts.unsqueeze(1) > 0, near + sums[:-1] / self.counts.clamp(min=1).unsqueeze(1), 0.0)
        self.all_known = float(counts[-1]) == 0

    def blocks(self) -> Iterator[Tensor]:
        for f in blocks(self.train.features):
            yield torch.nn.functional.normalize(f, dim=1) if self.unit else f

    @property
    def floor(self) -> float:
        """Variance below which a direction is rounding of float32 features rather than spread."""
        return 1e-13 * float((self.total.diagonal() + self.mean.square()).max())

    def about(self, centre: Tensor) -> Tensor:
        """Mean outer product (D, D) about another centre (D,)."""
        offset = self.mean - centre
        return self.total + offset.outer(offset)

    @property
    def within(self) -> Tensor:
        """Mean outer product (D, D) of labelled features about the mean of their class: the tied covariance."""
        if not bool((self.counts > 0).any()):
            raise ValueError("no training sample has a known class")
        if self.all_known:
            offsets = (self.means - self.mean) * self.counts.sqrt().unsqueeze(1)
            return self.total - offsets.T @ offsets / self.counts.sum()
        labels, spread = self.train.labels.split(BLOCK), torch.zeros_like(self.total)
        for f, y in zip(self.blocks(), labels, strict=True):
            keep = (y >= 0) & (y < len(self.means))
            centred = f[keep].double() - self.means[y[keep]]
            spread += centred.T @ centred
        return spread / self.counts.sum()


def moments(train: Outputs, unit: bool = False) -> Moments:
    """The one Moments of these training outputs, however many scorers ask for it."""
    return train.memo(("moments", unit), lambda: Moments(train, unit))
