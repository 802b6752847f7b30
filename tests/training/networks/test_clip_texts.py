"""Prompts, class names, and words of WordNet's files and of lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.core import registry
from oodbench.core.errors import MissingData, SpecError, UserError
from oodbench.core.network import Task
from oodbench.training.networks import clip_texts
from oodbench.training.networks.clip_texts import class_names, prompts_of, words_of

WORDNET = """  1 This software and database is being provided to you, the LICENSEE, by
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is perceived
00002000 05 n 02 Great_Dane 0 dog 0 001 @ 00001740 n 0000 | an animal
00002100 06 n 02 car 0 auto 0 000 | a machine
00002200 18 n 01 car_driver 0 000 | a person
"""
ADJECTIVES = """00003000 00 a 01 able 0 000 | x
00003100 01 a 01 Roman 0 000 | x
00003200 00 s 01 galore(ip) 0 000 | x
00003300 44 s 01 spent 0 000 | x
00003400 00 s 01 car 0 000 | no adjective, to be found twice
"""


def task(*names: str, classes: int | None = None) -> Task:
    return Task("image", (3, 8, 8), len(names) if classes is None else classes, (0.0,), (1.0,), names)


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    folder = tmp_path / "wordnet"
    folder.mkdir()
    (folder / "data.noun").write_text(WORDNET)
    (folder / "data.adj").write_text(ADJECTIVES)
    return folder


def test_words_of_wordnet(wordnet: Path) -> None:
    found = words_of(wordnet, (), "x")
    assert found == {
        "noun": ["entity", "great dane", "car driver"],
        "adj": ["able", "galore", "car", "roman", "spent"],
    }
    less = words_of(wordnet, ("noun.animal", "noun.person", "adj.pert"), "x")
    assert less == {"noun": ["entity"], "adj": ["able", "galore", "car", "spent"]}


def test_wordnet_is_found_in_a_data_root_or_said_to_be_missing(
    wordnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_texts, "_INSTALLED", ())
    monkeypatch.setenv("OODBENCH_DATA", str(wordnet.parent))
    assert words_of("wordnet", (), "x") == words_of(wordnet, (), "x")
    monkeypatch.setenv("OODBENCH_DATA", str(wordnet / "nowhere"))
    with pytest.raises(MissingData, match="wordnet-base"):
        words_of("wordnet", (), "x")


def test_words_of_lists_and_of_one_list(tmp_path: Path) -> None:
    (tmp_path / "noun.b.txt").write_text("moss\nfern\n")
    (tmp_path / "noun.a.txt").write_text("reed\nmoss\n\n reed \n")
    (tmp_path / "adj.txt").write_text("green\nfern\n")
    (tmp_path / "verb.txt").write_text("run\n")
    assert words_of(tmp_path, (), "x") == {"noun": ["reed", "moss"], "adj": ["green", "fern"]}
    assert words_of(tmp_path, ("noun.a",), "x")["noun"] == ["moss"]
    assert words_of(tmp_path / "noun.b.txt", (), "x") == {"noun": ["moss", "fern"], "adj": []}


def test_words_that_are_none(tmp_path: Path, wordnet: Path) -> None:
    with pytest.raises(
        UserError, match=r"negatives.words: .* should be a list of words, or a folder with data.noun"
    ):
        words_of(tmp_path, (), "x")
    (tmp_path / "noun.txt").write_text("\n")
    with pytest.raises(UserError, match="has no words left"):
        words_of(tmp_path, (), "x")
    for line in ("no line of wordnet's", "00003300 30 v 01 run 0 000 | a verb", ""):
        (wordnet / "data.adj").write_text(ADJECTIVES + line + "\n00003000 00 a 01 able 0 000 | x\n")
        with pytest.raises(UserError, match=r"data.adj:6: is no line of WordNet's"):
            words_of(wordnet, (), "x")


def test_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a {}.\n\nthe {}\n")
    assert prompts_of(file, "x") == ("a {}.", "the {}")
    assert prompts_of("neglabel", "x") == ("the nice {}",)
    assert len(prompts_of("csp", "x")) == 8
    for wrong in ("a {0}", "a { }", "{} and {}", "a"):
        with pytest.raises(UserError, match=r"each should hold \{\} once"):
            prompts_of([wrong], "x")
    file.write_text("\n")
    with pytest.raises(UserError, match="prompts: there is none"):
        prompts_of(file, "x")


def test_prompts_and_names_of_open_clip() -> None:
    metadata = pytest.importorskip("open_clip.zero_shot_metadata")
    found = prompts_of("openai-imagenet", "x")
    assert [p.replace("{}", "cat") for p in found] == [p("cat") for p in metadata.OPENAI_IMAGENET_TEMPLATES]
    assert (len(found), len(prompts_of("openai-simple", "x"))) == (80, 7)
    names = class_names("imagenet", task(*map(str, range(1000))), "x")
    assert (len(names), names[:2]) == (1000, ("tench", "goldfish"))


def test_class_names(tmp_path: Path) -> None:
    assert class_names(None, task("polar_bear", "cat"), "x") == ("polar bear", "cat")
    assert class_names(None, task("0", "cat"), "x") == ("0", "cat"), "digits with a name among them"
    file = tmp_path / "names.txt"
    file.write_text("polar_bear\ncat\n")
    assert class_names(file, task("0", "1"), "x") == ("polar_bear", "cat"), "as written"
    for numbers in (("0", "1"), ("n01440764", "n01443537")):
        with pytest.raises(UserError, match="are numbers"):
            class_names(None, task(*numbers), "x")
    with pytest.raises(UserError, match="name 1 is empty"):
        class_names(["cat", " "], task("0", "1"), "x")
    with pytest.raises(UserError, match="3 names for the 2 classes"):
        class_names(["a", "b", "c"], task("0", "1"), "x")


@pytest.mark.parametrize("key", ["prompts", "classes"])
@pytest.mark.parametrize("given", [5, [0, 1, 2], {"a": "b"}, [None]])
def test_texts_that_are_none_are_said_where_they_stand(key: str, given: object) -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve("network", {"clip": {"model": "ViT-B-32", key: given}})
    ((place, message),) = caught.value.problems
    assert place == f"clip.{key}"
    assert "should be a list of texts" in message


@pytest.mark.parametrize("key", ["model", "pretrained"])
def test_a_model_is_a_name_or_a_file(key: str) -> None:
    with pytest.raises(SpecError) as caught:
        registry.resolve("network", {"clip": {"model": "ViT-B-32", key: ["x"]}})
    assert [place for place, _ in caught.value.problems] == [f"clip.{key}"]


def test_a_folder_does_not_take_the_place_of_a_set_with_its_name(tmp_path: Path) -> None:
    for name in ("imagenet", "neglabel"):
        (tmp_path / name).mkdir()
    (tmp_path / "own.txt").write_text("a {}")
    given = {"clip": {"model": "ViT-B-32", "prompts": "neglabel", "classes": "imagenet"}}
    made = registry.resolve("network", given, folder=tmp_path).params
    assert (made["prompts"], made["classes"]) == ("neglabel", "imagenet")
    given = {"clip": {"model": "ViT-B-32", "prompts": "own.txt"}}
    assert registry.resolve("network", given, folder=tmp_path).params["prompts"] == tmp_path / "own.txt"
