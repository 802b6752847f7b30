"""Networks whose layers are kept from stretching distances."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, normalize
from torch.nn.utils.parametrize import register_parametrization

from oodbench.core.method import Batch, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import CROSS_ENTROPY


class SoftSpectralNorm(nn.Module):
    """A layer's weight over max(1, s / coefficient): s is its largest singular value as an operator on inputs
    of `shape`.

    s = u . W v, with u and v from one step of power iteration at each use in training.
    """

    u: Tensor
    v: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear, shape: Sequence[int], coefficient: float) -> None:
        super().__init__()
        self.coefficient, self.shape = coefficient, (1, *shape)
        self.keywords = (
            {n: getattr(layer, n) for n in ("stride", "padding", "dilation", "groups")}
            if isinstance(layer, nn.Conv2d)
            else None
        )
        with torch.no_grad():
            v = normalize(torch.randn(self.shape).flatten(), dim=0)
            self.register_buffer("v", v)
            self.register_buffer("u", normalize(torch.randn_like(self.times(layer.weight, v)), dim=0))
            for _ in range(5):
                self.step(layer.weight)

    def times(self, weight: Tensor, v: Tensor) -> Tensor:
        """W v, flat."""
        x = v.view(self.shape)
        return (linear(x, weight) if self.keywords is None else conv2d(x, weight, **self.keywords)).flatten()

    def step(self, weight: Tensor) -> None:
        x = self.v.view(self.shape).requires_grad_()
        with torch.enable_grad():  # the adjoint of a linear map is its gradient
            (back,) = torch.autograd.grad(self.times(weight.detach(), x), x, self.u)
        self.v.copy_(normalize(back.flatten(), dim=0))
        self.u.copy_(normalize(self.times(weight.detach(), self.v), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            self.step(weight)
        s = torch.dot(self.u.clone(), self.times(weight, self.v.clone()))
        return weight / (s / self.coefficient).clamp(min=1)


@method(
    "ddu",
    source="Mukhoti et al., CVPR 2023; net/spectral_normalization and net/resnet.py of omegafragger/DDU",
)
class DDU(Method):
    """Deep deterministic uncertainty: the loss of `of` on a network whose body's layers are softly spectrally
    normalised.

    Each convolution and linear layer of the body is divided by max(1, s / coefficient), s its largest
    singular value as an operator (by power iteration). The uncertainty is the density of features under a
    Gaussian for each class, the scorer `gmm`. The authors' other changes of the network (leaky ReLU,
    average-pooled shortcuts) are not made."""

    def __init__(self, *, coefficient: PositiveFloat = 3.0, of: Method = CROSS_ENTROPY) -> None:
        self.coefficient, self.of = coefficient, of
        self.needs, self.views = of.needs, of.views

    def setup(self, network: Network) -> None:
        self.of.setup(network)
        for layer, shape in input_shapes(network):
            register_parametrization(layer, "weight", SoftSpectralNorm(layer, shape, self.coefficient))

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return self.of.loss(network, batch)


def input_shapes(network: Network) -> list[tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]]:
    """Convolutions and linear layers of the body that take part, each with the shape of one input to it."""
    met: list[tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]] = []

    def remember(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        if all(layer is not other for other, _ in met):
            shape = args[0].shape
            met.append((layer, tuple(shape[1:] if isinstance(layer, nn.Conv2d) else shape[-1:])))

    layers = [m for m in network.body.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(remember) for layer in layers]
    training = network.training
    with torch.no_grad():
        network.eval().features(torch.zeros(1, *network.task.shape))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return met
