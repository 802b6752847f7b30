"""Small image classifiers of transformers, saved as they are on the hub."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
import torch


def saved(folder: Path, classes: int = 4, size: int = 32, processor: bool = True) -> Path:
    """A tiny ViT with random weights and its image processor."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=size,
        patch_size=8, num_labels=classes,
    )  # fmt: skip
    torch.manual_seed(2)
    model = transformers.ViTForImageClassification(config)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    model.save_pretrained(folder)
    if processor:
        transformers.ViTImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return folder


@functools.cache
def small_vit() -> Path:
    """One folder for all tests of a process that only read it."""
    return saved(Path(tempfile.mkdtemp(prefix="oodbench-vit-")) / "vit")
