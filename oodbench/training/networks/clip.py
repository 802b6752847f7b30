"""Vision-language models as classifiers: the texts of the classes are the head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveFloat
from torch import Tensor, nn

from oodbench.core.errors import NotApplicable
from oodbench.core.identity import fingerprint
from oodbench.core.network import Input, Network, Task
from oodbench.core.registry import network
from oodbench.training.networks.clip_embedding import Average, embedded
from oodbench.training.networks.clip_inputs import input_of
from oodbench.training.networks.clip_libraries import loaded
from oodbench.training.networks.clip_negatives import Asked, Negatives, far_labels
from oodbench.training.networks.clip_texts import FileOrName, Texts, class_names, prompts_of


def _own_input(params: Mapping[str, Any]) -> Input:
    """The images that a model was made for: their size belongs to it, trained or not."""
    model = params["model"]
    return input_of(params["library"], model, params["pretrained"], _named(model))


def _named(model: str | Path) -> str:
    return f"'clip' ({model.name if isinstance(model, Path) else model})"


@network(
    "clip",
    source=(
        "Radford et al., ICML 2021; zero_shot_classifier.py of open_clip 3.3; transformers 5 CLIPModel;"
        " negative labels: multi_modal.py of XueJiang16/NegLabel and of MengyuanChen21/NeurIPS2024-CSP"
    ),
    own_input=_own_input,
)
def clip(
    task: Task, *, model: FileOrName, pretrained: FileOrName | None = None,
    library: Literal["open_clip", "huggingface"] = "open_clip",
    prompts: Texts = ["a photo of a {}."],  # noqa: B006 - a signature is a schema
    classes: Texts | None = None,
    scale: PositiveFloat | None = None,
    average: Average = "unit",
    negatives: Asked | None = None,
) -> Network:  # fmt: skip
    """A model of images and texts (an extra: pip install 'oodbench[clip]'). Features are image embeddings of
    norm 1, logits = `scale` * cosine with the text of each class. Method `pretrained` takes it as it is.

    Args:
        model: a name of open_clip; a folder of open_clip's (open_clip_config.json and weights); an
            architecture as JSON; ``hf-hub:owner/name``. With `library` huggingface: a folder or a name on the
            hub.
        pretrained: for a name or an architecture: a name of open_clip's weights, a file of weights (or the
            folder of one); None: untrained.
        library: whose files and names.
        prompts: texts with {} for the name; a file of them; or a set: openai-imagenet (80), openai-simple
            (7), neglabel, csp.
        classes: names in the order of the labels; a file with one a line; imagenet, the 1,000 names that
            OpenAI, MCM and NegLabel use; None: those of the pair.
        scale: of the cosines; None: as the model was trained (100 for OpenAI's).
        average: a class is the mean of its texts' embeddings, each of norm 1 (unit) or as they are (raw).
        negatives: {words, recipe, share, percentile, without, seed}: attaches the head ``negatives``, cosines
            with words that are far from all classes.

    Raises:
        UserError: a package, file, name or hub is missing, or names do not fit the classes.
        NotApplicable: the images have another size.
    """
    who = _named(model)
    names, forms = class_names(classes, task, who), prompts_of(prompts, who)
    made = loaded(library, model, pretrained, who)
    if task.shape != (3, *made.size):
        due, got = (" x ".join(map(str, shape)) for shape in ((3, *made.size), task.shape))
        raise NotApplicable(f"network {who} takes images of {due}, got {got}; write `input: auto` beside it")
    texts = [[form.replace("{}", name) for form in forms] for name in names]
    known = embedded(made, texts, average)
    head = _linear(known * (made.scale if scale is None else scale))
    built = Network(task, made.tower, head, [f"body.visual.{stage}" for stage in made.tower.stages])
    built.derived["head.weight"] = source = fingerprint([made.digest, texts, average, scale])
    if negatives is not None:
        labels = far_labels(made, known, Negatives(**negatives), forms, average, who)
        built.heads["negatives"] = _linear(labels.embeddings).requires_grad_(False)
        built.derived["heads.negatives.weight"] = fingerprint([source, labels.texts])
    return built


def _linear(weight: Tensor) -> nn.Linear:
    """A layer with these weights (C, D) and without bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    return layer
