"""Vision-language models of open_clip and transformers: made or loaded, refused in one line where that fails,
and what they were trained on."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from oodbench.core.errors import ANYTHING, UserError, meant, one_line
from oodbench.core.identity import fingerprint, tensor_digest
from oodbench.core.text_files import read_mapping
from oodbench.data.sources.roots import offline
from oodbench.training.foreign_state import why_unread
from oodbench.training.hub import package as library_of
from oodbench.training.networks.clip_towers import HuggingFace, Tower, tower_of

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
CONFIG = "open_clip_config.json"


class Model(NamedTuple):
    """A model of images and texts.

    Attributes:
        module: the whole of it.
        tower: the image encoder.
        encode: from what `tokens` gives for several texts to their embeddings (N, D), not normalised.
        tokens: from texts to the numbers (N, L) that stand for them.
        size: height and width of images.
        digest: of all that an embedding of a text depends on; empty where the weights are drawn.
    """

    module: nn.Module
    tower: Tower
    encode: Callable[[Tensor], Tensor]
    tokens: Callable[[Sequence[str]], Tensor]
    size: tuple[int, int]
    digest: str

    @property
    def scale(self) -> float:
        """What cosines are multiplied with to be logits, as the model was trained."""
        made: Any = self.module
        return float(made.logit_scale.detach().exp())


def _digest(module: nn.Module, tokenizer: str) -> str:
    """sha256 of the weights that encode texts, and of the tokenizer."""
    weights = {k: tensor_digest(v) for k, v in module.state_dict().items() if not k.startswith("vis")}
    return fingerprint([weights, tokenizer])


def loaded(library: str, model: str | Path, pretrained: str | Path | None, who: str) -> Model:
    """The model on the CPU, in evaluation mode. UserError where the package, a file, a name or the hub is
    missing, or weights do not fit."""
    made = (_of_open_clip if library == "open_clip" else _of_hugging_face)(model, pretrained, who)
    made.module.eval()
    return made


def pair(size: Any) -> tuple[int, int]:
    """Height and width of what a configuration calls an image's size: one edge, or both."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


@contextlib.contextmanager
def quietly(who: str, what: str) -> Iterator[None]:
    """Without the libraries' own log lines; what they raise becomes one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except ANYTHING as error:
        said = one_line(error, 300)
        hub = any(word in said.lower() for word in ("connect", "hub", "offline", "download"))
        hint = "; put its files here and name their folder" if hub else ""
        raise UserError(f"network {who}: {what} could not be read ({said}){hint}") from None
    finally:
        logging.disable(before)


# ---------------------------------------------------------------- open_clip


def configuration(
    package: Any, model: str | Path, pretrained: str | Path | None, who: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The architecture of a model of open_clip, and what of its preprocessing is not open_clip's default."""
    if isinstance(model, Path):
        file = model / CONFIG if model.is_dir() else model
        given = read_mapping(file, "a folder of open_clip's holds open_clip_config.json and weights")
        found = given.get("model_cfg", given)
        if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(found):
            raise UserError(f"network {who}: {file} should hold embed_dim, vision_cfg and text_cfg")
        return found, given.get("preprocess_cfg", {})
    if model.startswith("hf-hub:"):
        given = package.factory._get_hf_config(model.removeprefix("hf-hub:"))
        return given["model_cfg"], given.get("preprocess_cfg", {})
    names = package.list_models()
    if model not in names:
        raise UserError(f"network {who}: open_clip has no model {model!r}{meant(model, names)[:400]}")
    preset: dict[str, Any] = {}
    if isinstance(pretrained, str):
        tags = package.list_pretrained_tags_by_model(model)
        preset = package.get_pretrained_cfg(model, pretrained)
        if not preset:
            raise UserError(
                f"network {who}: pretrained: there is no file {pretrained!r}, and {model} has no weights of"
                f" that name{meant(pretrained, tags)}"
            )
    kept = ("mean", "std", "interpolation", "resize_mode", "quick_gelu")
    return package.get_model_config(model), {k: preset[k] for k in kept if k in preset}


def _of_open_clip(model: str | Path, pretrained: str | Path | None, who: str) -> Model:
    package = library_of("open_clip", f"network {who}", "open_clip_torch")
    own = isinstance(model, Path) and model.is_dir()
    if pretrained is not None and (own or str(model).startswith("hf-hub:")):
        raise UserError(f"network {who}: pretrained: {model} brings its own weights; leave it out")
    file = _weights_in(model, who) if isinstance(model, Path) and own else None
    file = _weights_in(pretrained, who) if isinstance(pretrained, Path) else file
    with quietly(who, "the model"):
        found, preset = configuration(package, model, pretrained, who)
        if isinstance(model, Path):
            made, tokens = _from_configuration(package, found, model if own else None)
        else:
            quick = preset.get("quick_gelu", False)
            if isinstance(pretrained, str) and found.get("quick_gelu", False) and not quick:
                raise UserError(
                    f"network {who}: the weights {pretrained!r} were trained without quick GELU; take the"
                    f" model {model.removesuffix('-quickgelu')}"
                )
            tag = pretrained if isinstance(pretrained, str) else None
            made = package.create_model(model, tag, force_quick_gelu=quick, pretrained_text=False)
            tokens = package.get_tokenizer(model)
    if file is not None:
        with quietly(who, f"the weights {file.name}"):
            try:
                package.load_checkpoint(made, str(file))
            except pickle.UnpicklingError as error:
                raise UserError(
                    f"network {who}: the weights {file.name}: {why_unread(file, error)}"
                ) from None
    drawn = file is None and pretrained is None and not str(model).startswith("hf-hub:")
    inner = getattr(getattr(tokens, "tokenizer", None), "backend_tokenizer", None)
    called = "open_clip's own" if inner is None else inner.to_str()
    whole: Any = made
    return Model(
        whole, tower_of(whole.visual), whole.encode_text, lambda texts: tokens(list(texts)),
        pair(whole.visual.image_size), "" if drawn else _digest(whole, called),
    )  # fmt: skip


def _from_configuration(package: Any, found: dict[str, Any], folder: Path | None) -> tuple[nn.Module, Any]:
    """An untrained model and its tokenizer, of a configuration that need not lie in a folder of its own."""
    with tempfile.TemporaryDirectory() as empty:
        if folder is None:
            (Path(empty) / CONFIG).write_text(json.dumps({"model_cfg": found, "preprocess_cfg": {}}))
        name = f"local-dir:{folder or empty}"
        made = package.create_model(name, load_weights=False, pretrained_text=False)
        return made, package.get_tokenizer(name)


def _weights_in(place: Path, who: str) -> Path:
    """A file of weights, or the one in a folder."""
    if place.is_file():
        return place
    there = sorted(f for f in place.iterdir() if f.suffix in WEIGHTS)
    named = [f for f in there if f.stem.startswith("open_clip")] or there
    kept = [f for f in named if f.suffix == ".safetensors"] or named
    if len(kept) != 1:
        names = ", ".join(f.name for f in kept) or f"none of {', '.join(WEIGHTS)}"
        raise UserError(f"network {who}: {place} should hold one file of weights, has {names}; name the file")
    return kept[0]


# ---------------------------------------------------------------- transformers


def _of_hugging_face(model: str | Path, pretrained: str | Path | None, who: str) -> Model:
    package = library_of("transformers", f"network {who}")
    if pretrained is not None:
        raise UserError(
            f"network {who}: pretrained: with library: huggingface the model is the folder or the name on the"
            " hub, which brings its weights; leave it out"
        )
    package.utils.logging.disable_progress_bar()
    with quietly(who, "the model"):
        config = package.AutoConfig.from_pretrained(str(model), local_files_only=local(model))
        if config.model_type != "clip":
            raise UserError(f"network {who}: {model} is a model of type {config.model_type!r}, not clip")
        made = package.CLIPModel.from_pretrained(
            str(model), local_files_only=local(model), dtype=torch.float32
        )
    with quietly(who, "the tokenizer"):
        tokenizer = package.CLIPTokenizer.from_pretrained(str(model), local_files_only=local(model))
        _check_tokenizer(tokenizer, made, model, who)
    length = made.config.text_config.max_position_embeddings

    def tokens(texts: Sequence[str]) -> Tensor:
        return tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids

    def encode(ids: Tensor) -> Tensor:
        return made.text_projection(made.text_model(input_ids=ids).pooler_output)

    return Model(
        made, HuggingFace(made.vision_model, made.visual_projection), encode, tokens,
        pair(made.config.vision_config.image_size), _digest(made, tokenizer.backend_tokenizer.to_str()),
    )  # fmt: skip


def local(model: str | Path) -> bool:
    """Whether nothing of a model is to be asked of the hub: it is a folder, or the user said so."""
    return isinstance(model, Path) or offline()


def _check_tokenizer(tokenizer: Any, made: Any, model: str | Path, who: str) -> None:
    """A folder without a vocabulary gives a tokenizer that knows no word, without a complaint."""
    text = made.config.text_config
    if len(tokenizer) < 10 or max(tokenizer.get_vocab().values()) >= text.vocab_size:
        raise UserError(
            f"network {who}: the tokenizer in {model} has {len(tokenizer)} tokens, the model"
            f" {text.vocab_size}; a folder should hold tokenizer.json, or vocab.json and merges.txt, of the"
            " same model"
        )
