"""Unit features and those of patches: a patch alone in the last block sees only itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oodbench.training.networks.clip_libraries import loaded
from oodbench.training.networks.clip_towers import PatchTower, Tower, tower_of
from tests.training.networks.clip_models import ARCHITECTURE, RESNET, made

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def one_by_one(block: nn.Module, module: nn.Module, x: Tensor) -> Tensor:
    """What a block makes of each of its tokens if that is all there is: attention over one is its value."""
    seen: list[Tensor] = []
    hook = block.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    module(x)
    hook.remove()
    batch, length, width = seen[0].shape
    alone: Any = block(seen[0].reshape(-1, 1, width))
    return alone.reshape(batch, length, width)[:, 1:]


@torch.no_grad()
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "with layer scale"])
def test_patches_of_open_clips_transformer(scaled: bool) -> None:
    vision = ARCHITECTURE["vision_cfg"] | ({"ls_init_value": 0.5} if scaled else {})
    visual = made(ARCHITECTURE | {"vision_cfg": vision}).visual
    tower = tower_of(visual)
    assert isinstance(tower, PatchTower)
    alone = one_by_one(visual.transformer.resblocks[-1], visual, IMAGES)
    torch.testing.assert_close(tower.local(IMAGES), F.normalize(visual.ln_post(alone) @ visual.proj, dim=-1))
    assert tower.local(IMAGES).shape == (3, 16, 24)
    torch.testing.assert_close(tower(IMAGES), F.normalize(visual(IMAGES), dim=-1))
    assert len(visual.transformer.resblocks[-1]._forward_hooks) == 0, "no hook is left"


@torch.no_grad()
def test_patches_of_transformers_model(hugging_face_model: Path) -> None:
    model = loaded("huggingface", hugging_face_model, None, "x")
    tower, vision = model.tower, model.module.vision_model
    assert isinstance(tower, PatchTower)
    block = vision.encoder.layers[-1]
    seen: list[Tensor] = []
    hook = block.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    due = model.module.visual_projection(vision(IMAGES).pooler_output)
    hook.remove()
    batch, length, width = seen[0].shape
    alone = block(seen[0].reshape(-1, 1, width), None).reshape(batch, length, width)[:, 1:]
    local = model.module.visual_projection(vision.post_layernorm(alone))
    torch.testing.assert_close(tower.local(IMAGES), F.normalize(local, dim=-1))
    torch.testing.assert_close(tower(IMAGES), F.normalize(due, dim=-1))


@torch.no_grad()
def test_patches_of_open_clips_resnet() -> None:
    """A map of one position, without places: its mean and itself are the same, and so what is pooled."""
    visual = made(RESNET).visual
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = x
    for part in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        maps = part(maps)
    assert maps.shape[2:] == (2, 2)
    tower = tower_of(visual)
    assert isinstance(tower, PatchTower)
    pool = visual.attnpool
    places = pool.positional_embedding.data.clone()
    pool.positional_embedding.data.zero_()
    positions = maps.flatten(2).permute(0, 2, 1).reshape(-1, maps.shape[1], 1, 1)
    due = F.normalize(pool(positions).view(3, 4, -1), dim=-1)
    pool.positional_embedding.data = torch.cat([places, places, places])[:5]
    torch.testing.assert_close(tower.local(x), due)


@torch.no_grad()
def test_other_encoders_have_no_patches() -> None:
    package = pytest.importorskip("open_clip")
    vision = ARCHITECTURE["vision_cfg"]
    for change in (
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_heads": 4},
        {"final_ln_after_pool": True},
    ):
        tower = tower_of(package.CLIP(**ARCHITECTURE | {"vision_cfg": vision | change}).visual.eval())
        assert type(tower) is Tower
        torch.testing.assert_close(tower(IMAGES).norm(dim=-1), torch.ones(3))
