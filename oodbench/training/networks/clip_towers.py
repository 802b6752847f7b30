"""Image encoders of vision-language models: unit features, and those of single patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class Tower(nn.Module):
    """An image encoder whose features have norm 1.

    Args:
        visual: maps normalised images (B, 3, H, W) to embeddings (B, D), in the space of the texts.
        stages: names of its submodules, shallow to deep.

    Returns:
        Called with normalised images: features (B, D) of norm 1.
    """

    def __init__(self, visual: nn.Module, stages: Sequence[str] = ()) -> None:
        super().__init__()
        self.visual = visual
        self.stages = tuple(stages)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.embed(x), dim=-1)

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings (B, D) before they are normalised."""
        found: Any = self.visual(x)
        return found if isinstance(found, Tensor) else found[0]


class PatchTower(Tower):
    """An encoder that can tell what its patches are like, without the attention that mixes them in the end.

    `local(x)` gives unit features (B, P, D) of the P patches, in the space of the texts. Source: Miyai et
    al., IJCV 2025 (GL-MCM), clip/model.py of AtsuMiyai/GL-MCM."""

    def local(self, x: Tensor) -> Tensor:
        given: list[Tensor] = []
        hook = self.last().register_forward_hook(lambda m, args, out: given.append(self.read(args, out)))
        try:
            self.embed(x)
        finally:
            hook.remove()
        return F.normalize(self.patches(given[0]), dim=-1)

    def last(self) -> nn.Module:
        """The part whose input or output the patches come from."""
        raise NotImplementedError

    def read(self, args: tuple[Tensor, ...], output: Any) -> Tensor:
        """What of that part's input and output `patches` takes: by default its input."""
        return args[0]

    def patches(self, given: Tensor) -> Tensor:
        """From that to local features (B, P, D)."""
        raise NotImplementedError


class VisionTransformer(PatchTower):
    """open_clip's VisionTransformer. The last block's values take the place of its attention: v = x +
    W_o W_v LN(x); v + MLP(LN(v)); LN; projection."""

    def last(self) -> nn.Module:
        return self.visual.transformer.resblocks[-1]  # type: ignore[union-attr, index, return-value]

    def patches(self, given: Tensor) -> Tensor:
        visual: Any = self.visual
        block: Any = self.last()
        given = given if visual.transformer.batch_first else given.transpose(0, 1)
        width, attention = given.shape[-1], block.attn
        value = F.linear(
            block.ln_1(given), attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
        )
        x = given + block.ls_1(attention.out_proj(value))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
        return visual.ln_post(x)[:, 1:] @ visual.proj


class ResNet(PatchTower):
    """open_clip's ModifiedResNet. A position of the last maps is projected as the pooling projects values."""

    def last(self) -> nn.Module:
        return self.visual.layer4  # type: ignore[return-value]

    def read(self, args: tuple[Tensor, ...], output: Any) -> Tensor:
        return output

    def patches(self, given: Tensor) -> Tensor:
        pool: Any = self.visual.attnpool
        return pool.c_proj(pool.v_proj(given.flatten(2).transpose(1, 2)))


class HuggingFace(PatchTower):
    """The image encoder and projection of transformers' CLIPModel; patches as of `VisionTransformer`."""

    def __init__(self, vision: nn.Module, projection: nn.Linear) -> None:
        layers: Any = vision.encoder.layers  # type: ignore[union-attr]
        super().__init__(vision, [f"encoder.layers.{i}" for i in range(len(layers))])
        self.projection = projection

    def embed(self, x: Tensor) -> Tensor:
        return self.projection(self.visual(pixel_values=x).pooler_output)

    def last(self) -> nn.Module:
        return self.visual.encoder.layers[-1]  # type: ignore[union-attr, index, return-value]

    def patches(self, given: Tensor) -> Tensor:
        visual: Any = self.visual
        block: Any = self.last()
        x = given + block.self_attn.out_proj(block.self_attn.v_proj(block.layer_norm1(given)))
        x = x + block.mlp(block.layer_norm2(x))
        return self.projection(visual.post_layernorm(x)[:, 1:])


def tower_of(visual: Any) -> Tower:
    """The tower around an image encoder of open_clip: with patches where it is OpenAI's transformer or
    ResNet, pooled as they are."""
    if isinstance(getattr(visual, "attnpool", None), nn.Module) and hasattr(visual, "layer4"):
        return ResNet(visual, [f"layer{i}" for i in range(1, 5)])
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", ())
    stages = [f"transformer.resblocks.{i}" for i in range(len(blocks))]
    plain = getattr(visual, "pool_type", "") == "tok" and getattr(visual, "attn_pool", None) is None
    if blocks and plain and not visual.final_ln_after_pool and _attends(blocks[-1]):
        return VisionTransformer(visual, stages)
    return Tower(visual, stages or [n for n, m in visual.named_children() if any(True for _ in m.children())])


def _attends(block: Any) -> bool:
    attention = getattr(block, "attn", None)
    return isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None
