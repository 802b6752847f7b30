"""Functions of logits that several scores share."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor itself, or as float32 where it is half precision."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """-T * logsumexp(z / T) of logits (N, C), (N,): higher for OOD. Source: Liu et al., NeurIPS 2020."""
    return -temperature * torch.logsumexp(wide(logits) / temperature, dim=1)


def log_one_minus_max_probability(logits: Tensor) -> Tensor:
    """log(1 - max_c p_c), (N,), in float64 and without saturation: logsumexp of the other logits minus
    logsumexp of all."""
    z = logits.double()
    top = z.argmax(dim=1, keepdim=True)
    others = z.scatter(1, top, -torch.inf)
    return torch.logsumexp(others, dim=1) - torch.logsumexp(z, dim=1)


def top_share(features: Tensor, q: float) -> tuple[Tensor, Tensor]:
    """Each sample's largest activations, D - round(D q / 100) of them, the others zero; and the 0/1 mask. (N,
    D) both."""
    width = features.shape[1]
    k = max(1, width - round(width * q / 100))
    index = features.topk(k, dim=1).indices
    mask = torch.zeros_like(features).scatter_(1, index, 1.0)
    return features * mask, mask


def ratio(total: Tensor, part: Tensor) -> Tensor:
    """total / part, and 1 where nothing is left to divide by (an all-zero feature); capped so that exp()
    stays finite."""
    return torch.where(part > 0, total / part.clamp(min=1e-12), torch.ones_like(total)).clamp(max=50.0)


def log_odds(logits: Tensor) -> tuple[Tensor, Tensor]:
    """log p_c and log(1 - p_c) of the softmax, (N, C) both, in float64: where p is near 1 its complement
    comes from the other logits."""
    z = logits.double()
    log_p = torch.log_softmax(z, dim=1)
    near_one = log_one_minus_max_probability(z).unsqueeze(1)
    return log_p, torch.where(log_p < -1e-3, torch.log1p(-log_p.exp().clamp(max=1 - 1e-12)), near_one)


def log_upper_gamma(a: float, x: Tensor) -> Tensor:
    """log of the regularised upper incomplete gamma function Q(a, x), float64, also where Q itself is below
    what float64 can hold."""
    x = x.double()
    q = torch.special.gammaincc(torch.full_like(x, a), x)
    # far out by Legendre's continued fraction, from its inside out
    far = x.clamp(min=1.0)
    h = far + 101 - a
    for k in range(50, 0, -1):
        h = far + 2 * k - 1 - a - k * (k - a) / h
    tail = -far + a * far.log() - h.log() - torch.lgamma(torch.tensor(a, dtype=torch.float64))
    return torch.where(q > 1e-250, q.clamp(min=1e-300, max=1.0).log(), tail)
