"""A vision transformer for small images."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt
from torch import nn

from oodbench.core.errors import NotApplicable
from oodbench.core.network import Network, Task
from oodbench.core.registry import network


@network(
    "vit-small-32",
    source=(
        "Dosovitskiy et al., ICLR 2021; torchvision.models.VisionTransformer in the size of ViT-S (DeiT-S:"
        " 384, 12, 6)"
    ),
)
def vit_small_32(
    task: Task, *, patch: PositiveInt = 4, dim: PositiveInt = 384, depth: PositiveInt = 12,
    heads: PositiveInt = 6,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Network:  # fmt: skip
    """Vision transformer for small images: patches of `patch` x `patch` pixels, `depth` blocks of width `dim`
    with `heads` heads."""
    channels, height, width = task.shape
    if height != width or height % patch:
        raise NotApplicable(
            f"network 'vit-small-32' needs square images whose side is a multiple of patch={patch}, got"
            f" {height} x {width}"
        )
    if dim % heads:
        raise NotApplicable(f"network 'vit-small-32': dim={dim} should be a multiple of heads={heads}")
    from torchvision.models import VisionTransformer

    body: Any = VisionTransformer(
        height, patch, depth, heads, dim, 4 * dim, dropout, num_classes=task.classes
    )
    body.conv_proj = nn.Conv2d(channels, dim, patch, patch)
    nn.init.trunc_normal_(body.conv_proj.weight, std=(1 / (channels * patch * patch)) ** 0.5)
    nn.init.zeros_(body.conv_proj.bias)
    body.heads = nn.Identity()
    # torchvision's own head begins at zero, through which no gradient reaches the body in the first step
    return Network(
        task,
        body,
        nn.Linear(dim, task.classes),
        [f"body.encoder.layers.encoder_layer_{i}" for i in range(depth)],
    )
