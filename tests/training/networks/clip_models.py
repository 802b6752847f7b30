"""Small random CLIPs in the on-disk forms of open_clip and transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from oodbench.core.network import Task

SIZE = 32
NAMES = ("ant", "bee", "cat", "dog")
ARCHITECTURE: dict[str, Any] = json.loads(Path(__file__).with_name("clip.json").read_text())
RESNET = ARCHITECTURE | {
    "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
}
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
TASK = Task("image", (3, SIZE, SIZE), 4, MEAN, STD, NAMES)


def made(of: dict[str, Any] = ARCHITECTURE, seed: int = 0) -> Any:
    """open_clip's own model, its weights drawn."""
    package = pytest.importorskip("open_clip")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = package.CLIP(**of).eval()
        for name, p in model.named_parameters():
            if "bias" in name or "bn3.weight" in name:  # drawn as zero, which would hide an error
                torch.nn.init.normal_(p, std=0.3)
    return model


def open_clip_folder(
    folder: Path, of: dict[str, Any] = ARCHITECTURE, seed: int = 0, preset: dict[str, Any] | None = None
) -> Path:
    """A folder as open_clip writes it for a hub."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": of, "preprocess_cfg": preset or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(made(of, seed).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def hugging_face_folder(folder: Path, seed: int = 0, tokenizer: bool = True) -> Path:
    """A folder as transformers writes it: CLIPModel, tokenizer and image processor."""
    package = pytest.importorskip("transformers")
    letters = sorted({c for n in (*NAMES, "a photo of a great . x") for c in n if c != " "})
    tokens = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    config = package.CLIPConfig(
        text_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "vocab_size": len(tokens), "max_position_embeddings": 40, "projection_dim": 24,
            "bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1,
            "pad_token_id": len(tokens) - 1,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": SIZE, "patch_size": 8, "projection_dim": 24,
        },
        projection_dim=24,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = package.CLIPModel(config)
        for p in model.parameters():  # small by default: all texts would be alike
            p.data += 0.2 * torch.randn(p.shape)
    package.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if tokenizer:
        (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
    package.CLIPImageProcessor(
        size={"shortest_edge": 40}, crop_size={"height": SIZE, "width": SIZE}, image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(folder)  # fmt: skip
    return folder
