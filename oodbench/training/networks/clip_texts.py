"""The texts of a vision-language network: class names, prompts, and words that stand for what is unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, WithJsonSchema

from oodbench.core.errors import UserError, meant, shown
from oodbench.core.network import Task
from oodbench.core.text_files import read_text
from oodbench.core.usercode import from_folder
from oodbench.data.sources.roots import find


def _file_or_name(given: Any, info: pydantic.ValidationInfo) -> str | Path:
    if not isinstance(given, (str, Path)):
        raise ValueError("should be a name, a file or a folder")
    path = from_folder(Path(given), info)
    return path if str(given) and path.exists() else str(given)


def _texts(given: Any, info: pydantic.ValidationInfo) -> list[str] | str | Path:
    if isinstance(given, (list, tuple)) and all(isinstance(one, str) for one in given):
        return list(given)
    if not isinstance(given, (str, Path)):
        raise ValueError("should be a list of texts (quote numbers), a file with one a line, or a name")
    path = from_folder(Path(given), info)
    return path if path.is_file() else str(given)


FileOrName = Annotated[Any, AfterValidator(_file_or_name), WithJsonSchema({"type": "string"})]
"""A file or folder where one is there (from the folder of the suite), else a name."""
Texts = Annotated[
    Any,
    AfterValidator(_texts),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A list of texts, a file of them where one is there (from the folder of the suite), or the name of some."""

_NEGLABEL = ("the nice {}",)
_CSP = (
    "a close-up photo of the nice {}.", "a photo with the nice {}.", "a good photo with the nice {}.",
    "a photo of the nice {}.", "{}", "the {}", "the good {}", "the nice {}",
)  # fmt: skip
SETS = ("openai-imagenet", "openai-simple", "neglabel", "csp")
"""Prompts with a name: OpenAI's 80 and the 7 of its notebook, as open_clip has them; those of the code of
NegLabel and CSP."""


def prompts_of(given: Any, who: str) -> tuple[str, ...]:
    """Prompts, each with one ``{}`` for the name, of a list, a file with one a line, or a set with a name.
    UserError else."""
    if isinstance(given, Path):
        found: Sequence[str] = lines_of(given)
    elif isinstance(given, str):
        if given not in SETS:
            raise UserError(
                f"network {who}: prompts: no file and no set of prompts {shown(given)}{meant(given, SETS)}"
            )
        found = {"neglabel": _NEGLABEL, "csp": _CSP}.get(given) or _of_open_clip(given, who)
    else:
        found = given
    if not found:
        raise UserError(
            f"network {who}: prompts: there is none; write at least one, such as 'a photo of a {{}}.'"
        )
    for prompt in found:
        if prompt.count("{}") != 1 or prompt.count("{") + prompt.count("}") != 2:
            raise UserError(
                f"network {who}: prompts: each should hold {{}} once, for the name; got {shown(prompt)}"
            )
    return tuple(found)


def _of_open_clip(name: str, who: str) -> tuple[str, ...]:
    metadata = _metadata(f"prompts: {name}", who)
    sets = {
        "openai-imagenet": metadata.OPENAI_IMAGENET_TEMPLATES,
        "openai-simple": metadata.SIMPLE_IMAGENET_TEMPLATES,
    }
    return tuple(prompt("{}") for prompt in sets[name])


def _metadata(what: str, who: str) -> Any:
    try:
        from open_clip import zero_shot_metadata
    except ImportError:
        raise UserError(
            f"network {who}: {what} is read from the package open_clip, which is not installed; pip install"
            " open_clip_torch"
        ) from None
    return zero_shot_metadata


def lines_of(file: Path) -> list[str]:
    """Lines of a text file without those that are empty. UserError where it cannot be read."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


_NUMBER = re.compile(r"n?\d+")


def class_names(given: Any, task: Task, who: str) -> tuple[str, ...]:
    """A name for each class: of a list, a file with one a line, ``imagenet``, or (None) of the pair.

    Names of the pair are those of its folders; underscores in them are spaces. UserError where there are
    none, where they are numbers, or where there are more or fewer than classes."""
    if given is None:
        return _of_pair(task, who)
    if isinstance(given, Path):
        names: Sequence[str] = lines_of(given)
    elif isinstance(given, str):
        if given != "imagenet":
            raise UserError(
                f"network {who}: classes: there is no file {shown(given)}; give one with a name a line,"
                " a list, or `imagenet`"
            )
        names = _metadata("classes: imagenet", who).IMAGENET_CLASSNAMES
    else:
        names = [name.strip() for name in given]
    empty = [i for i, name in enumerate(names) if not name]
    if empty:
        raise UserError(f"network {who}: classes: name {empty[0]} is empty")
    if len(names) != task.classes:
        raise UserError(
            f"network {who}: classes: {len(names)} names for the {task.classes} classes of the pair; one for"
            " each is due, in the order of the labels"
        )
    return tuple(names)


def _of_pair(task: Task, who: str) -> tuple[str, ...]:
    hint = "give them as `classes`: a file with one a line, a list, or `imagenet`"
    if not task.names:
        raise UserError(f"network {who}: the classes of the pair have no names; {hint}")
    if all(_NUMBER.fullmatch(name) for name in task.names):
        raise UserError(
            f"network {who}: the class names of the pair are numbers ({shown(task.names[0])} …); {hint}"
        )
    return tuple(name.replace("_", " ").strip() for name in task.names)


# ---------------------------------------------------------------- words of WordNet

_GROUPS = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling",
    "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object", "noun.person",
    "noun.phenomenon", "noun.plant", "noun.possession", "noun.process", "noun.quantity", "noun.relation",
    "noun.shape", "noun.state", "noun.substance", "noun.time",
)  # fmt: skip
"""WordNet's lexicographer files by their numbers."""
_PARTICIPLES = 44
"""Number of the group adj.ppl; those between are verbs."""
KINDS = ("noun", "adj")
WORDNET = "wordnet"
_INSTALLED = ("/usr/share/wordnet", "~/nltk_data/corpora/wordnet", "/usr/share/nltk_data/corpora/wordnet")


def words_of(words: str | Path, without: Sequence[str], who: str) -> dict[str, list[str]]:
    """Candidate nouns and adjectives, each word once (an adjective before a noun), groups in the order of
    their names.

    Args:
        words: WordNet's own folder (data.noun, data.adj), of each meaning its first word, which is looked for
            where it is called ``wordnet``; or a folder of lists noun.*.txt and adj.*.txt; or one list, whose
            words are nouns.
        without: groups to leave out: WordNet's lexicographer files, or names of lists, such as noun.person.

    Raises:
        MissingData: there is no WordNet.
        UserError: nothing of this is there, or nothing is left.
    """
    place = words if isinstance(words, Path) else _installed()
    if place.is_file():
        groups = {"noun": lines_of(place)}
    elif (place / "data.noun").is_file():
        groups = _wordnet(place)
    else:
        groups = {f.stem: lines_of(f) for f in place.glob("*.txt") if f.stem.split(".")[0] in KINDS}
    if not groups:
        raise UserError(
            f"network {who}: negatives.words: {place} should be a list of words, or a folder with"
            " data.noun and data.adj (WordNet's), or with lists noun.*.txt and adj.*.txt"
        )
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    seen: set[str] = set()
    for group in sorted(set(groups) - set(without)):
        kept = [w for w in dict.fromkeys(groups[group]) if w not in seen]
        seen.update(kept)
        found[group.split(".")[0]] += kept
    if not seen:
        raise UserError(f"network {who}: negatives.words: {place} has no words left")
    return found


def _installed() -> Path:
    return find(
        "wordnet",
        ["wordnet", "WordNet-3.0/dict", "dict"],
        get="Debian's and Ubuntu's package wordnet-base, or WordNet-3.0.tar.gz of wordnet.princeton.edu",
        is_it=lambda p: (p / "data.noun").is_file(),
        also=[Path(p).expanduser() for p in _INSTALLED],
    )


def _wordnet(folder: Path) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for kind in KINDS:
        file = folder / f"data.{kind}"
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if line.startswith(" "):  # the licence
                continue
            fields = line.split(" ", 5)
            known = len(fields) == 6 and fields[1].isdecimal()
            if not known or (int(fields[1]) >= len(_GROUPS) and int(fields[1]) != _PARTICIPLES):
                raise UserError(f"{file}:{number}: is no line of WordNet's; got {shown(line)}")
            group = "adj.ppl" if int(fields[1]) == _PARTICIPLES else _GROUPS[int(fields[1])]
            word = re.sub(r"\((a|p|ip)\)$", "", fields[4])
            groups.setdefault(group, []).append(word.replace("_", " ").lower())
    return groups
