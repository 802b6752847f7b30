"""Bad suites, by the hundred: each ends in one line that says where and what, before anything is written.

A row of the table is a change to a good suite, by hand or made by a rule from the schema of a key; whoever
adds a key gets its bad values here for nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from oodbench.core import registry
from tests.cli.calls import call

GOOD: dict[str, Any] = {
    "name": "s",
    "pairs": [{"name": "p", "id": {"digits": {"classes": [0, 1, 2]}}, "near": {"seven": {"digits": {"classes": [7]}}}}],
    "networks": [{"mlp": {"hidden": [8]}}],
    "methods": ["cross-entropy", {"als": {"lam": 2.0}}],
    "scorers": ["msp", {"knn": {"k": 5}}],
    "seeds": [0],
    "recipe": {"epochs": 1, "batch_size": 64, "lr": 0.05},
    "tune": ["none"],
    "attacks": [{"pgd": {"eps": "8/255", "steps": 2}}],
    "claims": [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "higher"}],
    "reference": [{"method": "cross-entropy", "id_accuracy": 90.0, "source": "a paper"}],
    "inapplicable": "refuse",
}  # fmt: skip

NESTED: Any = "x"
for _ in range(40):
    NESTED = [NESTED]

WRONG: list[Any] = [None, True, -1, 0.5, "", "nothing-of-that-name", [], {}, [[]], {"a": {"b": 1}}, NESTED,
                    float("inf"), float("nan"), 2**63, 10**400, "x\x1b[31m", "a\nb", "x" * 20_000]  # fmt: skip
"""Values that fit few keys: what does fit one is left out below."""

KEYS: dict[str, list[Any]] = {
    "name": [w for w in WRONG if w != "nothing-of-that-name"] + ["a/b", "..", "a b", "-a", "é", "a\u202eb"],
    "pairs": WRONG + [["nothing-of-that-name"], [{"digits": {"split": -1}}], [{"digits": {"spilt": 0}}]],
    "networks": WRONG + [["mlpp"], [{"mlp": {"hidden": [0]}}], [{"mlp": {"hidden": "8"}}], [{"mlp": {"width": 8}}],
                         [{"mlp": {}, "resnet18-32": {}}], ["mlp", "mlp"], [{"mlp": {"hidden": [10**13]}}],
                         [{"module": {"target": "none.py:Net"}}], [{"module": {"target": "os:path"}}],
                         [{"module": {"target": "json:loads"}}], [{"module": {"target": "nothing"}}],
                         [{"torchvision": {"model": "resnet19"}}], [{"torchvision": {"model": "resnet18"}}]],
    "methods": WRONG + [["cross-entropy", "cross-entropy"], [{"als": {"lam": float("inf")}}],
                        [{"als": {"lam": -1}}], [{"als": {"lamda": 1}}], [{"als": {"lam": "1"}}], [{"als": 3}],
                        [{"als": {"lam": {"grid": []}}}], [{"als": {"lam": {"grid": 3}}}],
                        [{"als": {"lam": {"grid": list(range(10_001))}}}],
                        [{"als": {}, "recipe": {"lr": -1}}], [{"als": {}, "recipe": "none"}],
                        [{"als": {}, "start": "als", "recipe": {"lr": 0}}], [{"als": {}, "strat": "als"}],
                        [{"als": {}, "start": "nothing"}], [{"als": {}, "start": {"checkpoint": {"file": "no.pt"}}}],
                        [{"als": {}, "start": {"ensemble": {"members": 2}}}], [{"als": {}, "as": ""}],
                        [{"als": {}, "as": ["a"]}], [{"als": {}, "as": "a\x1b[31mb"}], [{"als": {}, "as": "a\nb"}],
                        [{"als": {}, "as": "a\u202eb"}], [{"als": {}, "as": "=1+1"}], [{"als": {}, "as": "@SUM(A1)"}],
                        [{"ensemble": {"members": 1}}], [{"ensemble": {"of": {"ensemble": {}}}}],
                        [{"ensemble": {"of": "pretrained"}}], [{"checkpoint": {"file": "none.pt"}}],
                        [{"checkpoint": {}}], [{"outputs": {"folder": "none"}}], ["outlier-exposure"],
                        [{"pretrained": {}, "start": "als"}], [{"vos": {}}], [{"npos": {}}],
                        [{"als": {}, "as": "a"}, {"cross-entropy": {}, "as": "a"}]],
    "scorers": WRONG + [["ennergy"], [{"knn": {"k": 0}}], [{"knn": {"k": "five"}}], [{"knn": {"kk": 5}}], [{"knn": 5}],
                        ["msp", "msp"], ["openmax", {"openmax": {"alpha": 0}}], ["rotation"], ["confidence"],
                        ["members"], ["mutual-information"], [{"react": {"percentile": 101}}],
                        [{"react": {"percentile": float("nan")}}], [{"mds-odin": {"of": "odin"}}],
                        [{"fisher": {"of": []}}], [{"knn": {}, "recipe": {}}], [{"msp": {"x": {"grid": [1]}}}]],
    "seeds": [w for w in WRONG] + [[-1], [0, 0], [0.5], ["0"], [True], [2**63], [10**30], [None], "0", 3],
    "tune": [w for w in WRONG] + [["id", "id"], ["ood"], "test", ["none", "oodval"], {"id": 1}],
    "attacks": [w for w in WRONG if w != []] + [["odin"], ["rotations"], [{"pgd": {"eps": "1/0"}}], [{"pgd": {"eps": "a/b"}}],
                        [{"pgd": {"eps": 2}}], [{"pgd": {"eps": 0}}], [{"pgd": {"steps": 0}}], ["pgd", "pgd"],
                        [{"fgsm": {"eps": float("inf")}}], [{"fgsm": {"eps": "8/255/2"}}]],
    "claims": [w for w in WRONG if w != []] + [[{}], [{"id": "c"}], [{"id": "a b", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "higher"}],
               [{"id": "c", "says": "x", "compare": ["als"], "expect": "higher"}],
               [{"id": "c", "says": "x", "compare": ["als(lam=3)", "cross-entropy"], "expect": "higher"}],
               [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "best"}],
               [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": {"equal-within": -1}}],
               [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": {"equal-within": float("inf")}}],
               [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "higher", "metric": "aurocc"}],
               [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "higher", "alpha": float("nan")}],
               [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "higher", "pairs": ["q"]}],
               [{"id": "c", "says": "x", "compare": ["als(lam=2)", "cross-entropy"], "expect": "higher", "scorers": ["vim"]}]],
    "reference": [w for w in WRONG if w != []] + [[{}], [{"source": "x"}], [{"id_accuracy": 3.0}], [{"id_accuracy": "x", "source": "y"}],
                  [{"id_accuracy": 300, "source": "y"}], [{"id_accuracy": -1, "source": "y"}],
                  [{"near_auroc": 90, "source": "y"}], [{"method": "x", "id_accuracy": 90, "source": "y"}],
                  [{"id_accuracy": float("nan"), "source": "y"}], [{"id_accuracy": float("inf"), "source": "y"}]],
    "inapplicable": [w for w in WRONG] + ["Skip", ["skip"]],
    "plugins": [w for w in WRONG if w not in ([], None)] + [["none.py"], ["."], [3], "none.py", ["s.yaml"]],
    "recipe": [w for w in WRONG if w not in ({}, None)] + ["openood", {"openood-cifar": 3}, {"openood-cifar": {}, "lr": 1}],
    "nonsense": [1],
}  # fmt: skip

RECIPE: dict[str, list[Any]] = {
    **{k: [w for w in WRONG if w != 0.5] + [0, "one"] for k in ("epochs", "batch_size", "accumulate", "restarts", "world_size")},
    **{k: [w for w in WRONG if w not in (0.5, 2**63)] + ["a tenth"] for k in ("lr", "rho", "gamma")},
    **{k: [w for w in WRONG if w not in (0.5,)] + [1.0] for k in ("momentum", "ema")},
    **{k: [w for w in WRONG if w not in (0.5, 2**63)] for k in ("weight_decay", "lr_min", "warmup_epochs", "clip")},
    **{k: [w for w in WRONG if w is not True] for k in ("nesterov", "compile", "channels_last")},
    **{k: WRONG for k in ("optimizer", "schedule", "precision", "select")},
    "augment": [w for w in WRONG if w != []] + [["flipp"], [{"pad-crop": {"padding": -1}}], [{"pad-crop": {"padding": "two"}}],
                [{"flip": {"p": 2}}], ["flip", 3], [{"flip": {}, "pad-crop": {}}]],
    "milestones": [w for w in WRONG if w != []] + [[float("inf")], ["a"]],
    "nonsense": [1],
}  # fmt: skip

PAIR: dict[str, list[Any]] = {
    "id": WRONG + ["noise", {"digits": {"classes": [0, 0]}}, {"digits": {"classes": [11]}}, {"digits": {"classes": []}},
                   {"folder": {"root": "none"}}, {"csv": {"file": "none.csv"}}, {"digits": {"classes": [3]}}],
    "near": [w for w in WRONG] + [["nothing"], ["noise", "noise"], {"test": "noise"}, {"val": "noise"}, {"train": "noise"},
             {"": "noise"}, {"a/b": "noise"}, {"../x": "noise"}, {"a\nb": "noise"}, {"x\x1b": "noise"}, {"tune:id": "noise"},
             {"a": {"digits": {"classes": [1]}}}, {"a": {"digits": {"classes": [2, 1, 0]}}}, {"a": {"folder": {"root": "none"}}}],
    "outliers": [w for w in WRONG if w is not None] + [{"digits": {"classes": [7]}}, "nothing"],
    "geometry": [w for w in WRONG if w is not None] + [{"shape": [0, 8, 8]}, {"shape": [1, -8, 8]}, {"shape": [2, 8, 8]},
                 {"shape": [1, 8]}, {"shape": [1, 8, 8, 8]}, {"shape": ["1", 8, 8]}, {"shape": [1, 8.5, 8]},
                 {"shape": [1, 8, 8], "resize": 0}, {"shape": [1, 8, 8], "size": 9}, {"shape": [1, 2**40, 8]}, {"resize": 9},
                 {"shape": None}, {"shape": [1, float("inf"), 8]}],
    "recipe": [w for w in WRONG if w not in ({},)] + [{"lr": float("inf")}, {"epoch": 3}],
    "name": [w for w in WRONG if w not in ("nothing-of-that-name",)] + ["a\u202eb"],
    "nonsense": [1],
}  # fmt: skip


def changes() -> Iterator[tuple[str, dict[str, Any]]]:
    for key, values in KEYS.items():
        for i, value in enumerate(values):
            yield f"{key}-{i}", GOOD | {key: value}
    for key in ("name", "pairs", "networks", "methods", "scorers"):
        yield f"without-{key}", {k: v for k, v in GOOD.items() if k != key}
    for key, values in RECIPE.items():
        for i, value in enumerate(values):
            yield f"recipe.{key}-{i}", GOOD | {"recipe": GOOD["recipe"] | {key: value}}
    for key, values in PAIR.items():
        for i, value in enumerate(values):
            yield f"pair.{key}-{i}", GOOD | {"pairs": [GOOD["pairs"][0] | {key: value}]}


CHANGES = dict(changes())

TEXTS = {
    "empty": "", "a comment": "# nothing\n", "a list": "- a\n", "a number": "3\n", "a text": "abc\n", "tabs": "name:\t[\n",
    "open bracket": "name: [", "key twice": "name: a\nname: b\n", "two documents": "name: a\n---\nname: b\n",
    "python tag": "name: !!python/object/apply:os.system [echo]\n", "unknown tag": "name: !x y\n",
    "bad date": "name: 2024-99-99\n", "bad time": "name: 2024-01-01 99:99:99\n", "long integer": f"seeds: [{'9' * 5000}]\n",
    "bad binary": "name: !!binary '@@@'\n", "bad float": "name: !!float abc\n", "bad int": "name: !!int 0x\n",
    "deep": "claims: " + "[" * 3000 + "]" * 3000 + "\n", "deep mapping": "claims: " + "{a: " * 3000 + "1" + "}" * 3000,
    "alias of itself": "name: &a [*a]\n", "unknown alias": "name: *a\n",
    "laughs": "x0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)) + "scorers: *a11\n",
    "merge of itself": "a: &a {<<: *a}\n", "nul": "name: a\0b\n", "control": "name: \"a\x07b\"\n",
    "list as key": "? [a, b]\n: 1\n", "mapping as key": "? {a: b}\n: 1\n", "set": "name: !!set {a, b}\n",
    "unclosed quote": "name: 'a\n", "wrong indent": "name: a\n  pairs: b\n", "directive": "%YAML 9.9\n---\nname: a\n",
}  # fmt: skip
FILES = {
    "latin1": "name: caf\xe9\n".encode("latin-1"), "utf-16": "name: a\n".encode("utf-16"), "binary": bytes(range(256)),
    "gzip": b"\x1f\x8b\x08\x00abc", "pdf": b"%PDF-1.4\x00\xff",
}  # fmt: skip


def refused(args: list[object], capsys: pytest.CaptureFixture[str], cwd: Path) -> str:
    """What a command says that must end with status 1, in lines of a bearable length, and leave nothing."""
    before = sorted(cwd.rglob("*"))
    with registry.isolated():
        status = call(*args)
    captured = capsys.readouterr()
    assert status == 1, (status, captured.out[-300:], captured.err[-300:])
    lines = captured.err.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines), captured.err[:600]
    assert len(lines) <= 4
    assert max(map(len, lines)) <= 2010
    assert all(line.isprintable() for line in lines), captured.err[:600]
    assert sorted(cwd.rglob("*")) == before, "nothing is left behind"
    return captured.err


def test_the_good_suite_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(GOOD))
    assert call("run", tmp_path / "s.yaml", "--results", tmp_path / "r", "--dry-run") == 0
    assert "2 runs, 0 of" in capsys.readouterr().out


@pytest.mark.parametrize("case", CHANGES)
def test_a_bad_value_is_one_line_with_its_place(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(copy.deepcopy(CHANGES[case]), allow_unicode=True))
    said = refused(["run", file, "--results", tmp_path / "r", "--dry-run", "--offline"], capsys, tmp_path)
    key = case.removeprefix("without-").partition("-")[0].partition(".")[0]
    assert str(file) in said
    assert key.removesuffix("s") in said, "where"


@pytest.mark.parametrize("case", [*TEXTS, *FILES])
def test_a_file_that_is_no_suite_is_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "s.yaml"
    file.write_bytes(FILES[case] if case in FILES else TEXTS[case].encode())
    said = refused(["run", file, "--results", tmp_path / "r", "--dry-run"], capsys, tmp_path)
    assert str(file) in said
