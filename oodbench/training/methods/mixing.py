"""Methods that change a batch and hand it to another method: mixing of samples, adversarial training."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodbench.core.method import Batch, Course, Method
from oodbench.core.network import Network
from oodbench.core.registry import method
from oodbench.training.methods.shared import CROSS_ENTROPY, beta, mixed_loss, rectangle


class Wrapper(Method):
    """A method around another: it asks for whatever the inner one needs."""

    def __init__(self, of: Method) -> None:
        self.of = of
        self.needs, self.views = of.needs, of.views

    def setup(self, network: Network) -> None:
        self.of.setup(network)


class Mixing(Wrapper):
    """A wrapper that hands each batch to the inner method once with either label of its mixed samples."""

    times = 2
    """How often the inner method sees a sample in an epoch, where its loss is more than a criterion."""

    def objection(self, course: Course) -> str:
        return super().objection(course._replace(counts=tuple(self.times * n for n in course.counts)))


def permutation(batch: Batch) -> Tensor:
    """A random order of the batch's samples, (B,), drawn from the batch's own generator."""
    return torch.randperm(len(batch.inputs), generator=batch.rng, device=batch.inputs.device)


@method("mixup", source="Zhang et al., ICLR 2018, by way of OpenOOD v1.5 mixup_trainer.py")
class Mixup(Mixing):
    """Mixup: inputs s x_i + (1 - s) x_j, loss s L(., y_i) + (1 - s) L(., y_j), s ~ Beta(alpha, alpha) once
    per batch, j a permutation.

    L is the loss of the method `of`. alpha = 0.2 is OpenOOD's default.
    """

    def __init__(self, *, alpha: PositiveFloat = 0.2, of: Method = CROSS_ENTROPY) -> None:
        super().__init__(of)
        self.alpha = alpha

    def loss(self, network: Network, batch: Batch) -> Tensor:
        share, other = beta(self.alpha, self.alpha, batch), permutation(batch)
        mixed = share * batch.inputs + (1 - share) * batch.inputs[other]
        return mixed_loss(self.of, network, batch, mixed, batch.labels[other], share)


@method("cutmix", source="Yun et al., ICCV 2019, by way of OpenOOD v1.5 cutmix_trainer.py")
class CutMix(Mixing):
    """CutMix: a rectangle of about 1 - s of the area, s ~ Beta(beta, beta), is pasted from another sample;
    the loss is mixed as its area.

    The rectangle has the image's proportions, its centre is uniform, and what lies outside is cut off. It
    happens to a batch with probability `p` (0.5 in OpenOOD's scripts)."""

    acts_once = "a batch is mixed (with probability p)"

    def __init__(
        self,
        *,
        beta: PositiveFloat = 1.0,
        p: Annotated[float, Field(ge=0, le=1)] = 0.5,
        of: Method = CROSS_ENTROPY,
    ) -> None:
        super().__init__(of)
        self.beta, self.p = beta, p

    def objection(self, course: Course) -> str:
        return super().objection(course) if self.p else "p is 0; set it above"

    def loss(self, network: Network, batch: Batch) -> Tensor:
        x, rng = batch.inputs, batch.rng
        inside = rectangle(batch, beta(self.beta, self.beta, batch))
        self.acted = torch.rand((), generator=rng, device=x.device) < self.p
        inside &= self.acted
        other = permutation(batch)
        share = 1 - inside.float().mean()
        return mixed_loss(
            self.of, network, batch, torch.where(inside, x[other], x), batch.labels[other], share.to(x.dtype)
        )


@method("regmixup", source="Pinto et al., NeurIPS 2022, by way of OpenOOD v1.5 regmixup_trainer.py")
class RegMixup(Mixing):
    """RegMixup: half the loss of the batch as it is plus half its mixup loss, both in one forward pass; s ~
    Beta(alpha, alpha).

    alpha = 20 mixes nearly evenly (OpenOOD's default; the authors use 20 for CIFAR-10, 10 for CIFAR-100).
    """

    times = 4

    def __init__(self, *, alpha: PositiveFloat = 20.0, of: Method = CROSS_ENTROPY) -> None:
        super().__init__(of)
        self.alpha = alpha

    def loss(self, network: Network, batch: Batch) -> Tensor:
        share, other = beta(self.alpha, self.alpha, batch), permutation(batch)
        mixed = share * batch.inputs + (1 - share) * batch.inputs[other]
        twice = batch._replace(
            inputs=torch.cat([batch.inputs, mixed]),
            labels=torch.cat([batch.labels, batch.labels]),
            outliers=None if batch.outliers is None else torch.cat([batch.outliers, batch.outliers]),
            views=tuple(torch.cat([v, v]) for v in batch.views),
        )
        labels = torch.cat([batch.labels, batch.labels[other]])
        return mixed_loss(self.of, network, twice, twice.inputs, labels, share)


@method(
    "adversarial",
    source="Madry et al., ICLR 2018, by way of CIFAR10/train_pgd.py of locuslab/fast_adversarial",
)
class Adversarial(Wrapper):
    """Adversarial training: the loss of `of` at inputs that projected gradient ascent of the cross-entropy
    has moved.

    x' starts uniform in the box |x' - x| <= epsilon and takes `steps` steps of `step` times the sign of the
    gradient, clipped to the box and to [0, 1]. The attack runs in evaluation mode, so that batch norm and
    dropout meet only the moved samples that are learnt from."""

    def __init__(
        self, *, epsilon: NonNegativeFloat = 8 / 255, step: PositiveFloat = 2 / 255, steps: PositiveInt = 7,
        of: Method = CROSS_ENTROPY,
    ) -> None:  # fmt: skip
        super().__init__(of)
        self.epsilon, self.step, self.steps = epsilon, step, steps

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return self.of.loss(network, batch._replace(inputs=self.attacked(network, batch)))

    def attacked(self, network: Network, batch: Batch) -> Tensor:
        """Inputs (B, C, H, W) moved against the network's cross-entropy; its parameters get no gradient from
        it."""
        x = batch.inputs
        low, high = (x - self.epsilon).clamp(min=0), (x + self.epsilon).clamp(max=1)
        moved = low + (high - low) * torch.rand(x.shape, generator=batch.rng, device=x.device, dtype=x.dtype)
        training = network.training
        network.eval()
        try:
            for _ in range(self.steps):
                moved = moved.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(cross_entropy(network(moved), batch.labels), moved)
                moved = (moved.detach() + self.step * gradient.sign()).clamp(low, high)
        finally:
            network.train(training)
        return moved.detach()
