"""Arrays that do not say what they should: each case names what is changed in a good folder and what the one
line says of it, before anything is scored. None may end in another library's error or in numbers without a
word. What is unusual and right stands at the end."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save

from oodbench.core import registry
from oodbench.evaluation import metrics
from tests.cli.calls import call

C, D = 3, 8
W, B = (np.random.default_rng(0).normal(size=s).astype("f4") for s in ((C, D), (C,)))
Arrays = dict[str, Any]


def of_network(seed: int, n: int = 30) -> Arrays:
    """A set as a network with a linear head gives it."""
    f = np.abs(np.random.default_rng(seed).normal(size=(n, D))).astype("f4")
    z = f @ W.T + B
    return {"logits": z, "features": f, "labels": z.argmax(1), "head.weight": W, "head.bias": B}


SETS = {"train": of_network(1, 60)} | {
    name: of_network(2 + i) for i, name in enumerate(("val", "test", "ood"))
}
TEST, OOD = SETS["test"], SETS["ood"]
HEADLESS: Arrays = {"head.weight": None, "head.bias": None}
Files = Mapping[str, Any]


def write(folder: Path, files: Files) -> None:
    """The good sets with some changed: {file: arrays to replace, None for what is left out; or bytes; or None
    for a file that is not there}. A name with a suffix is that file."""
    for name in [*SETS, *(n for n in files if n not in SETS)]:
        changed = files.get(name, {})
        place = folder / (name if "." in name else f"{name}.npz")
        if isinstance(changed, bytes):
            place.write_bytes(changed)
        elif changed is not None:
            held = {k: v for k, v in (SETS.get(name, {}) | changed).items() if v is not None}
            np.savez(place, **held)


def suite(folder: Path, scorers: str = "msp", pair: str = "near: [ood]") -> Path:
    file = folder / "s.yaml"
    method = f"{{outputs: {{folder: {folder.name}-arrays}}}}"
    file.write_text(f"name: s\npairs: [{{arrays: {{{pair}}}}}]\nmethods: [{method}]\nscorers: [{scorers}]\n")
    return file


def everywhere(changes: Arrays) -> Files:
    return dict.fromkeys(SETS, changes)


def probabilities(z: Any) -> Any:
    return torch.softmax(torch.from_numpy(z), 1).numpy()


def twice() -> bytes:
    """An archive that holds the logits two times."""
    one = packed({"logits": TEST["logits"]})
    with warnings.catch_warnings(), zipfile.ZipFile(held := io.BytesIO(), "w") as archive:
        warnings.simplefilter("ignore")  # of the name that is there already
        for _ in range(2):
            archive.writestr("logits.npy", zipfile.ZipFile(io.BytesIO(one)).read("logits.npy"))
    return held.getvalue()


def packed(arrays: Arrays, save_to: Callable[..., None] = np.savez) -> bytes:
    held = io.BytesIO()
    save_to(held, **arrays)
    return held.getvalue()


def pickled() -> bytes:
    held = io.BytesIO()
    torch.save({"logits": torch.zeros(3, 3)}, held)
    return held.getvalue()


NAN, BIG = float("nan"), 1e200
N = len(TEST["labels"])

LABELS: dict[str, tuple[Any, str]] = {
    "nan": (np.full(N, NAN), "labels should be whole numbers, got nan"),
    "one-nan": (np.where(np.arange(N) == 7, NAN, TEST["labels"]), "labels should be whole numbers, got nan"),
    "infinite": (np.full(N, np.inf), "labels should be whole numbers, got inf"),
    "halves": (TEST["labels"] + 0.5, "labels should be whole numbers, got"),
    "probabilities": (np.linspace(0, 0.9, N), "labels should be whole numbers, got 0.0310345"),
    "float16": ((TEST["labels"] + 0.5).astype("f2"), "labels should be whole numbers"),
    "complex": (TEST["labels"] + 0j, "labels should be real numbers, got complex128"),
    "bool": (TEST["labels"] > 0, "labels should be real numbers, got bool"),
    "text": (TEST["labels"].astype(str), "labels should be real numbers, got <U"),
    "bytes": (TEST["labels"].astype("S1"), "labels should be real numbers, got |S1"),
    "objects": (TEST["labels"].astype(object), "labels should be real numbers, got Python objects"),
    "dates": (TEST["labels"].astype("M8[D]"), "labels should be real numbers, got datetime64[D]"),
    "column": (TEST["labels"][:, None], "labels should have the shape (30,) like the logits, got (30, 1)"),
    "one-hot": (np.eye(C, dtype=int)[TEST["labels"]], "labels should have the shape (30,)"),
    "too-few": (TEST["labels"][:-1], "labels should have the shape (30,) like the logits, got (29,)"),
    "scalar": (np.array(1), "labels should have the shape (30,) like the logits, got ()"),
    "missing": (None, "'labels' is missing; ID sets need it"),
    "from-1": (TEST["labels"] + 1, "labels should lie in 0..2, got 1..3"),
    "negative": (TEST["labels"] - 1, "labels should lie in 0..2, got -1..1"),
    "one-unknown": (np.where(np.arange(N) == 0, -1, TEST["labels"]), "labels should lie in 0..2, got -1..2"),
    "uint8-wrapped": ((TEST["labels"] - 1).astype("u1"), "labels should lie in 0..2"),
    "uint64-wrapped": ((TEST["labels"] - 1).astype("u8"), "labels should lie in 0..2"),
}
VALUES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "complex": (lambda x: x + 1j, "{} should be real numbers, got complex64"),
    "complex-without-imaginary": (lambda x: x + 0j, "{} should be real numbers, got complex64"),
    "bool": (lambda x: x > 0, "{} should be real numbers, got bool"),
    "text": (lambda x: x.astype(str), "{} should be real numbers, got <U"),
    "objects": (lambda x: x.astype(object), "{} should be real numbers, got Python objects"),
    "void": (lambda x: x.astype("f2").view("V2"), "{} should be real numbers, got |V2"),
    "beyond-float32": (lambda x: x.astype("f8") * BIG, "{} hold values beyond float32"),
    "one-beyond-float32": (lambda x: np.where(x == x.max(), BIG, x.astype("f8")), "up to 1e+200"),
    "flat": (lambda x: x.ravel(), "{} should have the shape"),
    "3-d": (lambda x: x[:, :, None], "{} should have the shape"),
    "scalar": (lambda x: np.float32(1), "{} should have the shape"),
    "no-rows": (lambda x: x[:0], "should have the shape"),
    "no-columns": (lambda x: x[:, :0], "should"),
}
NOT_FINITE: dict[str, Callable[[Any], Any]] = {
    "all-nan": lambda x: np.full_like(x, NAN),
    "one-nan": lambda x: np.where(x == x.max(), NAN, x),
    "one-inf": lambda x: np.where(x == x.max(), np.inf, x),
    "one-minus-inf": lambda x: np.where(x == x.min(), -np.inf, x),
    "one-half-inf": lambda x: np.where(x == x.max(), np.inf, x).astype("f2"),
}
HEADS: dict[str, tuple[Files, str]] = {
    "bias-of-1": (everywhere({"head.bias": B[:1]}), "head.bias should have the shape (3,), got (1,)"),
    "bias-of-4": (everywhere({"head.bias": np.zeros(4)}), "head.bias should have the shape (3,), got (4,)"),
    "bias-column": (
        everywhere({"head.bias": B[:, None]}),
        "head.bias should have the shape (3,), got (3, 1)",
    ),
    "bias-scalar": (everywhere({"head.bias": np.float32(0)}), "head.bias should have the shape (3,), got ()"),
    "bias-nan": (everywhere({"head.bias": B * NAN}), "head.bias are not all finite"),
    "bias-alone": (everywhere({"head.weight": None}), "head.bias stands without head.weight"),
    "weight-nan": (everywhere({"head.weight": W * NAN}), "head.weight are not all finite"),
    "weight-big": (
        everywhere({"head.weight": W.astype("f8") * BIG}),
        "head.weight hold values beyond float32",
    ),
    "weight-complex": (
        everywhere({"head.weight": W + 1j}),
        "head.weight should be real numbers, got complex64",
    ),
    "weight-text": (everywhere({"head.weight": W.astype(str)}), "head.weight should be real numbers, got <U"),
    "weight-turned": (
        everywhere({"head.weight": W.T}),
        "head.weight should have the shape (3, 8), got (8, 3)",
    ),
    "weight-of-4": (everywhere({"head.weight": np.ones((4, D))}), "should have the shape (3, 8), got (4, 8)"),
    "of-another-network": (
        everywhere({"head.weight": -W}),
        "logits are not features @ head.weight.T + head.bias",
    ),
    "without-its-bias": (
        everywhere({"head.bias": None}),
        "logits are not features @ head.weight.T + head.bias",
    ),
    "bias-turned": (everywhere({"head.bias": B[::-1]}), "logits are not features @ head.weight.T"),
    "shuffled-features": ({"test": {"features": TEST["features"][::-1]}}, "logits are not features"),
    "shuffled-ood": ({"ood": {"features": OOD["features"][::-1]}}, "set 'ood': logits are not features"),
    "log-softmaxed": ({"test": {"logits": np.log(probabilities(TEST["logits"]))}}, "logits are not features"),
    "cooled": (
        {"test": {"logits": TEST["logits"] / 2}},
        "give the head that made them, or none where it is not linear",
    ),
    "other-in-train": (
        {"train": {"head.weight": 2 * W}},
        "set 'train': the head is another one than in set 'test'",
    ),
    "other-in-ood": ({"ood": {"head.bias": B + 1}}, "set 'ood': the head is another one than in set 'test'"),
    "lone-differs": ({"head": {"weight": 2 * W, "bias": B}}, "the head is another one than in head.npz"),
    "lone-without-weight": ({"head": {"W": W, "b": B}}, "head.npz: 'weight' is missing; there: W, b"),
    "lone-turned": (
        everywhere(HEADLESS) | {"head": {"weight": W.T}},
        "head.npz: head.weight should have the shape",
    ),
    "lone-of-another": (
        everywhere(HEADLESS) | {"head": {"weight": -W, "bias": B}},
        "logits are not features",
    ),
    "lone-text": ({"head": b"weights"}, "head.npz: cannot be read (it is no .npz archive"),
}
WIDE = {"logits": np.c_[OOD["logits"], OOD["logits"][:, :1]]} | HEADLESS
TALL = {"features": np.c_[OOD["features"], OOD["features"]]} | HEADLESS
NO_HEAD = everywhere(HEADLESS)
TOGETHER: dict[str, tuple[Files, str]] = {
    "classes-in-ood": ({"ood": WIDE}, "set 'ood': logits have the shape (N, 4), but (N, 3) in set 'test'"),
    "fewer-classes-in-ood": ({"ood": {"logits": OOD["logits"][:, :2]} | HEADLESS}, "(N, 2), but (N, 3)"),
    "classes-in-val": (
        {"val": {"logits": WIDE["logits"]} | HEADLESS},
        "set 'val': logits have the shape (N, 4)",
    ),
    "classes-in-train": (
        {"train": {"logits": np.tile(SETS["train"]["logits"], 2)} | HEADLESS},
        "set 'train': logits have the shape (N, 6), but (N, 3) in set 'test'",
    ),
    "width-in-ood": (NO_HEAD | {"ood": TALL}, "set 'ood': features have the shape (N, 16), but (N, 8)"),
    "width-in-train": (
        NO_HEAD | {"train": {"features": SETS["train"]["features"][:, 1:]} | HEADLESS},
        "(N, 7), but (N, 8)",
    ),
    "features-fewer-rows": (
        {"ood": {"features": OOD["features"][1:]}},
        "features should have the shape (30, D)",
    ),
    "extras-fewer-rows": (
        {"ood": {"extras.godin": np.ones((29, 1))}},
        "extras.godin should have the shape (30, ...)",
    ),
    "extras-scalar": (
        {"ood": {"extras.godin": np.float32(1)}},
        "extras.godin should have the shape (30, ...)",
    ),
    "extras-text": (
        {"test": {"extras.godin": np.full(N, "a")}},
        "extras.godin should be real numbers, got <U1",
    ),
    "extras-nan": ({"test": {"extras.godin": np.full(N, NAN)}}, "extras.godin are not all finite"),
    "extras-wider": (
        {"test": {"extras.x": np.ones((N, 1))}, "ood": {"extras.x": np.ones((N, 2))}},
        "set 'ood': extras 'x' have the shape (N, 2), but (N, 1) in set 'test'",
    ),
    "probabilities": (
        {n: {"logits": probabilities(s["logits"])} | HEADLESS for n, s in SETS.items()},
        "give log p or logits",
    ),
    "percentages": (
        NO_HEAD | {"test": {"logits": 100 * probabilities(TEST["logits"])} | HEADLESS},
        "logits are probabilities",
    ),
    "half-probabilities": (
        NO_HEAD | {"ood": {"logits": probabilities(OOD["logits"]).astype("f2")} | HEADLESS},
        "set 'ood': logits are prob",
    ),
    "one-hot-logits": (
        NO_HEAD | {"test": {"logits": np.eye(C)[TEST["labels"]]} | HEADLESS},
        "logits are probabilities",
    ),
    "one-class": (
        {"test": {"logits": TEST["logits"][:, :1], "labels": 0 * TEST["labels"]}},
        "at least two classes",
    ),
    "one-class-ood": (
        {"ood": {"logits": OOD["logits"][:, :1]}},
        "of at least two classes, got the shape (30, 1)",
    ),
    "ood-is-test": ({"ood": TEST}, "set 'ood': every row of its logits stands in the ID set 'test' too"),
    "ood-is-test-turned": (
        {"ood": {k: v[::-1] for k, v in TEST.items() if "head" not in k}},
        "in the ID set 'test' too",
    ),
    "ood-is-half-of-test": (
        {"ood": {k: v[::2] for k, v in TEST.items() if "head" not in k}},
        "in the ID set 'test' too",
    ),
    "ood-is-val": ({"ood": SETS["val"]}, "every row of its logits stands in the ID set 'val' too"),
    "ood-is-train": ({"ood": SETS["train"]}, "every row of its logits stands in the ID set 'train' too"),
    "ood-is-test-in-double": (
        {"ood": {"logits": TEST["logits"].astype("f8")} | HEADLESS},
        "in the ID set 'test' too",
    ),
    "no-logits": ({"ood": {"logits": None}}, "ood.npz: 'logits' is missing; there: features, head.bias"),
}
FILES: dict[str, tuple[Files, str]] = {
    "empty": ({"test": b""}, "test.npz: cannot be read (it is no .npz archive"),
    "text": (
        {"ood": b"version https://git-lfs.github.com/spec/v1\n"},
        "ood.npz: cannot be read (it is no .npz",
    ),
    "cut": ({"ood": packed(OOD)[:500]}, "ood.npz: cannot be read"),
    "cut-in-the-middle": ({"ood": packed(OOD)[:300] + packed(OOD)[900:]}, "ood.npz: cannot be read"),
    "one-array": (
        {"ood": packed({"arr": OOD["logits"]}, lambda f, arr: np.save(f, arr))},
        "it is no .npz archive",
    ),
    "checkpoint": ({"ood": pickled()}, "ood.npz: 'logits' is missing; there: "),
    "pickle": ({"ood": b"\x80\x04N."}, "ood.npz: cannot be read (it is no .npz archive"),
    "twice": ({"ood": twice()}, "ood.npz: 'logits' stands in it twice"),
    "both-forms": ({"ood.safetensors": save({"logits": torch.zeros(3, 3)})}, "are both there; keep one"),
    "not-there": ({"ood": None}, "no ood.npz or ood.safetensors; there: test, train, val"),
    "no-test": ({"test": None}, "no test.npz or test.safetensors"),
    "bad-safetensors": ({"ood": None, "ood.safetensors": b"nothing"}, "ood.safetensors: cannot be read"),
    "empty-safetensors": ({"ood": None, "ood.safetensors": b""}, "ood.safetensors: cannot be read"),
    "bool-safetensors": (
        {"ood": None, "ood.safetensors": save({"logits": torch.ones(9, 3, dtype=torch.bool)})},
        "ood.safetensors: logits should be real numbers, got bool",
    ),
}


def _of_labels() -> dict[str, tuple[Files, str]]:
    """Each bad labels in test; a few of them in the other ID sets too, and kinds in the OOD set."""
    found: dict[str, tuple[Files, str]] = {}
    for name, (labels, said) in LABELS.items():
        found[f"labels-{name}"] = {"test": {"labels": labels}}, f"test.npz: {said}"
    for place in ("val", "train"):
        n = len(SETS[place]["labels"])
        found[f"labels-nan-{place}"] = (
            {place: {"labels": np.full(n, NAN)}},
            f"{place}.npz: labels should be whole",
        )
        found[f"labels-from-1-{place}"] = (
            {place: {"labels": np.arange(n) % C + 1}},
            "labels should lie in 0..2",
        )
        found[f"labels-missing-{place}"] = {place: {"labels": None}}, f"{place}.npz: 'labels' is missing"
    for name in ("halves", "complex", "text", "objects", "too-few"):
        found[f"labels-{name}-ood"] = {"ood": {"labels": LABELS[name][0]}}, f"ood.npz: {LABELS[name][1]}"
    return found


def _of_values() -> dict[str, tuple[Files, str]]:
    """Each bad kind in the logits and in the features, of an ID and of an OOD set; values that are not finite
    in ID sets."""
    found: dict[str, tuple[Files, str]] = {}
    for key in ("logits", "features"):
        for name, (change, said) in VALUES.items():
            for place in ("test", "ood"):
                found[f"{key}-{name}-{place}"] = {place: {key: change(SETS[place][key])}}, said.format(key)
        for name, spoil in NOT_FINITE.items():
            for place in ("test", "train", "val"):
                changed = {place: {key: spoil(SETS[place][key])}}
                found[f"{key}-{name}-{place}"] = changed, f"{place}.npz: {key} are not all finite"
    return found


BAD = {
    **_of_labels(),
    **_of_values(),
    **{f"head-{k}": v for k, v in HEADS.items()},
    **TOGETHER,
    **{f"file-{k}": v for k, v in FILES.items()},
}
ASKED = {
    "features-missing-ood": ({"ood": {"features": None}}, "knn", "needs features, and the arrays of"),
    "features-missing-train": ({"train": {"features": None}}, "knn", "hold only logits of 'train'"),
    "features-missing-everywhere": (everywhere({"features": None}), "knn", "hold only logits of 'test'"),
    "head-missing-ood": (
        {"ood": HEADLESS},
        "react",
        "needs a linear head (weight and bias), and the arrays of",
    ),
    "head-missing-train": ({"train": HEADLESS}, "vim", "have none for 'train'"),
    "head-missing-everywhere": (NO_HEAD, "react", "needs a linear head"),
    "train-missing": ({"train": None}, "knn", "scorer 'knn' needs the train set of pair"),
    "val-missing": ({"val": None}, "klm", "scorer 'klm' needs the val set of pair"),
    "extra-missing": ({}, "confidence", "scorer 'confidence' reads the head 'confidence'"),
    "extra-missing-ood": ({"test": {"extras.confidence": np.ones(N)}}, "confidence", "have none for"),
    "no-network": ({}, "odin", "scorer 'odin' needs a network to look into"),
}


def _refused(folder: Path, capsys: pytest.CaptureFixture[str], file: Path, said: str) -> None:
    assert call("run", file, "--dry-run", "--results", folder / "r") == 1
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert len(line) < 700
    assert not out
    assert not (folder / "r").exists()


def _folder(tmp_path: Path) -> Path:
    made = tmp_path / f"{tmp_path.name}-arrays"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_one_line_before_anything_is_scored(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, said = BAD[name]
    write(_folder(tmp_path), files)
    _refused(tmp_path, capsys, suite(tmp_path), said)


@pytest.mark.parametrize("name", ASKED)
def test_what_a_scorer_reads_and_some_set_lacks_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, scorer, said = ASKED[name]
    write(_folder(tmp_path), files)
    _refused(tmp_path, capsys, suite(tmp_path, scorer), said)


def test_a_shifted_set_is_an_id_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(_folder(tmp_path), {"noisy": of_network(9) | {"labels": None}})
    _refused(
        tmp_path, capsys, suite(tmp_path, pair="near: [ood], shifted: [noisy]"), "'noisy': labels are missing"
    )


LABEL_TYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i4", ">u2", ">f8")


@pytest.mark.parametrize("kind", LABEL_TYPES)
def test_labels_of_any_integer_type_are_labels(kind: str, tmp_path: Path) -> None:
    write(_folder(tmp_path), {"test": {"labels": TEST["labels"].astype(kind)}})
    outputs = registry.build(
        "method", {"outputs": {"folder": str(tmp_path / f"{tmp_path.name}-arrays")}}
    ).outputs("test")
    assert outputs.labels.dtype == torch.int64
    assert outputs.labels.tolist() == TEST["labels"].tolist()
    assert metrics.id_metrics(outputs.logits, outputs.labels)["id_accuracy"] == 1


def _of(form: str) -> Files:
    """The good sets in another form."""
    if form.startswith("npz"):
        kind = form.partition("-")[2]
        return {n: {k: v.astype(kind) for k, v in s.items() if k != "labels"} for n, s in SETS.items()}
    kind = getattr(torch, form)
    files: dict[str, Any] = dict.fromkeys(SETS)
    for n, s in SETS.items():
        held = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in s.items()}
        files[f"{n}.safetensors"] = save({k: v if k == "labels" else v.to(kind) for k, v in held.items()})
    return files


@pytest.mark.parametrize("form", ["npz-f2", "npz-f8", "npz->f4", "npz-g", "float16", "bfloat16", "float64"])
def test_numbers_of_any_precision_pass_with_their_head(form: str, tmp_path: Path) -> None:
    write(_folder(tmp_path), _of(form))
    assert call("run", suite(tmp_path, "msp, react, vim"), "--dry-run", "--results", tmp_path / "r") == 0
    outputs = registry.build(
        "method", {"outputs": {"folder": str(tmp_path / f"{tmp_path.name}-arrays")}}
    ).outputs("test")
    assert outputs.logits.dtype == outputs.features.dtype == torch.float32
    np.testing.assert_allclose(outputs.logits.numpy(), TEST["logits"], rtol=1e-2, atol=1e-2)


RIGHT: dict[str, Files] = {
    "whole-logits": NO_HEAD | {"test": {"logits": np.arange(3 * N).reshape(N, 3) % 7 - 3} | HEADLESS},
    "log-probabilities": {
        n: {"logits": np.log(probabilities(s["logits"]))} | HEADLESS for n, s in SETS.items()
    },
    "no-head": NO_HEAD,
    "lone-head": NO_HEAD | {"head": {"weight": W, "bias": B}},
    "lone-head-of-the-sets": {"head": {"head.weight": W, "head.bias": B}},
    "no-bias": {n: {"logits": s["features"] @ W.T, "head.bias": None} for n, s in SETS.items()},
    "head-in-test-alone": NO_HEAD | {"test": {}},
    "features-in-some": {"ood": {"features": None}},
    "float8": NO_HEAD
    | {
        "ood": None,
        "ood.safetensors": save({"logits": torch.from_numpy(OOD["logits"]).to(torch.float8_e4m3fn)}),
    },
    "other-arrays-beside": {
        "ood": {"ids": np.full(N, "a"), "notes": np.array([{}], object), "flags": OOD["labels"] > 0}
    },
    "labels-of-ood-anything": {"ood": {"labels": np.full(N, 99)}},
    "one-ood-sample": {"ood": {k: v[:1] for k, v in OOD.items() if "head" not in k}},
    "some-rows-of-test": {
        "ood": {k: np.r_[TEST[k][:10], OOD[k][10:]] for k in ("logits", "features", "labels")}
    },
    "computed-in-half": {
        n: {"logits": (s["features"].astype("f2") @ W.T.astype("f2") + B.astype("f2")).astype("f4")}
        for n, s in SETS.items()
    },
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_unusual_and_right_is_planned(name: str, tmp_path: Path) -> None:
    write(_folder(tmp_path), RIGHT[name])
    assert call("run", suite(tmp_path), "--dry-run", "--results", tmp_path / "r") == 0


def test_a_set_that_is_not_finite_costs_its_own_rows(tmp_path: Path) -> None:
    """And bfloat16 arrays beside it give the numbers of the same values as float32."""
    bad = NOT_FINITE["one-nan"](OOD["logits"])
    write(_folder(tmp_path), {"bad": OOD | {"logits": bad}})
    file = suite(tmp_path, "msp, knn", pair="near: [ood, bad]")
    assert call("run", file, "--results", tmp_path / "r", "--device", "cpu", "--no-plots", "--quiet") == 3
    rows = pd.read_csv(tmp_path / "r" / "s" / "results.csv", keep_default_na=False)
    failed = rows[rows.status == "failed"]
    assert set(rows[rows.status == "ok"].ood) == {"", "ood"}
    assert set(failed.ood) == {"bad"}
    assert failed.reason.str.contains("bad.npz: logits are not all finite (1 of 30 rows)", regex=False).all()
