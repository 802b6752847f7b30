"""What a suite asks for before anything is paid for: keys of artefacts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodbench.core import registry
from oodbench.core.dataset import Dataset
from oodbench.core.errors import MissingData, UserError
from oodbench.suite.asked import asked_of
from oodbench.suite.keys import made_for
from oodbench.suite.load import load_suite
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import Planner, artefacts, make_plan
from oodbench.suite.run import Run
from tests.suite.written import FAMILY, SHIFTED

BASE: dict[str, Any] = {
    "name": "k", "networks": ["mlp"], "methods": ["cross-entropy"], "scorers": ["msp", "knn"],
    "recipe": {"epochs": 1},
    "pairs": [{"name": "p", "id": {"digits": {"classes": [0, 1, 2, 3]}},
    "near": [{"digits": {"classes": [4, 5]}}]}],
}  # fmt: skip


def _keys(raw: dict[str, Any]) -> set[tuple[str, str]]:
    return {(kind, key) for kind, key, _ in artefacts(make_plan(parse_suite(raw)))}


def test_adding_a_set_a_scorer_a_view_or_a_method_changes_no_existing_key() -> None:
    base = _keys(BASE)
    pair = BASE["pairs"][0]
    for change in (
        {"pairs": [pair | {"far": ["noise"]}]},
        {"pairs": [pair | {"near": [*pair["near"], {"digits": {"classes": [6]}}]}]},
        {"scorers": ["msp", "knn", "vim"]},
        {"scorers": ["msp", "knn", "odin"]},
        {"methods": ["cross-entropy", "als"]},
        {"seeds": [0, 1]},
        {"name": "other"},
    ):
        assert base <= _keys(BASE | change), change


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        (["vos"], "method 'vos' on pair 'p': its own term would never act: .* 1 epochs bring .* takes 1000"),
        ([{"mixup": {"of": "npos"}}], r"method 'mixup\(of=npos\)' on pair 'p': .* takes 1000"),
        ([{"vos": {"size": 9, "start": 1.0}}], "start is 1, .* set it lower"),
        ([{"ensemble": {"of": "vos", "members": 2}}], "method 'vos' on pair 'p': .* takes 1000"),
        ([{"cross-entropy": {}, "start": "vos", "as": "tuned"}], "method 'vos' on pair 'p': .* takes 1000"),
    ],
    ids=str,
)
def test_a_method_whose_term_could_never_act_is_refused(methods: list[Any], says: str) -> None:
    """One line, before anything is trained; a suite that skips what does not apply goes on without it."""
    with pytest.raises(UserError, match=says) as found:
        make_plan(parse_suite(BASE | {"methods": methods}))
    assert "\n" not in str(found.value)
    skipping = {"methods": [*methods, "cross-entropy"], "inapplicable": "skip"}
    plan = make_plan(parse_suite(BASE | skipping))
    assert [r.method.label for r in plan.runs] == ["cross-entropy"]
    assert len(plan.skipped) == 1


def test_a_method_whose_term_may_act_is_planned() -> None:
    methods = [{"vos": {"size": 40}}, {"ensemble": {"of": {"vos": {"size": 40}}, "members": 2}}]
    base = BASE | {"scorers": ["msp"]}
    assert len(make_plan(parse_suite(base | {"methods": methods})).runs) == 2
    assert len(make_plan(parse_suite(base | {"methods": ["vos"], "recipe": {"epochs": 20}})).runs) == 1


def test_a_spelled_out_default_is_the_same_key() -> None:
    assert _keys(BASE | {"scorers": ["msp", {"knn": {"k": 50}}]}) == _keys(BASE)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"recipe": {"epochs": 2}}, {"weights", "outputs", "scores"}),
        ({"seeds": [1]}, {"weights", "outputs", "scores"}),
        ({"networks": [{"mlp": {"hidden": [8]}}]}, {"weights", "outputs", "scores"}),
        ({"methods": [{"label-smoothing": {"epsilon": 0.2}}]}, {"weights", "outputs", "scores"}),
        ({"scorers": ["msp", {"knn": {"k": 3}}]}, {"scores"}),
    ],
)
def test_what_an_artefact_depends_on_changes_its_key_and_no_other(
    change: dict[str, Any], kinds: set[str]
) -> None:
    base, changed = _keys(BASE), _keys(BASE | change)
    assert {kind for kind, _ in base - changed} == kinds


def test_an_ood_set_equal_to_the_id_set_image_for_image_is_refused() -> None:
    raw = BASE | {
        "pairs": [
            {
                "name": "p",
                "id": {"digits": {"classes": [0, 1, 2]}},
                "near": {"same": {"digits": {"classes": [0, 1, 2]}}},
            }
        ]
    }
    with pytest.raises(UserError, match="is the ID set"):
        parse_suite(raw)


@pytest.mark.parametrize(
    ("outliers", "message"),
    [
        ({"noise": {"size": 8, "channels": 1}}, "the outliers for training are the OOD set 'noise'"),
        (
            {"joined": {"of": [{"noise": {"size": 8, "channels": 1}}]}},
            "hold images of the OOD test set 'twice'",
        ),
    ],
)
def test_outliers_that_are_an_ood_set_are_refused(outliers: dict[str, Any], message: str) -> None:
    """The second by its images: what is trained on is the training split of one set, and the test split of
    another."""
    noise = {"noise": {"size": 8, "channels": 1}}
    part = {"sampled-test": {"of": noise}}

    @registry.dataset("sampled-test", source="the test")
    def backwards(*, of: Dataset) -> Dataset:
        "The training images of a set as its test images."
        return Dataset({"test": lambda: of["train"]}, of.classes)

    pair = {"name": "p", "id": "digits", "far": {"noise": noise, "twice": part}, "outliers": outliers}
    raw = BASE | {"pairs": [pair], "methods": ["outlier-exposure"]}
    with pytest.raises(UserError, match=message):
        make_plan(parse_suite(raw))
    if "joined" in outliers:
        make_plan(parse_suite(raw | {"methods": ["cross-entropy"]}))  # nobody asks for them


def test_a_network_is_needed_to_train() -> None:
    with pytest.raises(UserError, match="networks"):
        make_plan(parse_suite({k: v for k, v in BASE.items() if k != "networks"}))


def test_the_parents_recipe_is_part_of_the_key(tmp_path: Path) -> None:
    def key(**recipe: Any) -> str:
        parent = {"cross-entropy": {}, "recipe": recipe} if recipe else "cross-entropy"
        plan = make_plan(parse_suite(FAMILY | {"methods": [{"als": {}, "start": "cross-entropy"}, parent]}))
        return plan.runs[0].key

    assert key() == key(epochs=1)
    assert key() != key(epochs=2)


def test_a_resolved_suite_keeps_the_start(tmp_path: Path) -> None:
    suite = parse_suite(FAMILY | {"methods": [{"als": {"lam": {"grid": [1, 2]}}, "start": "cross-entropy"}]})
    file = tmp_path / "family.yaml"
    file.write_text(suite.dump())
    assert [m.label for m in load_suite(file).methods] == [
        "als from cross-entropy",
        "als(lam=2) from cross-entropy",
    ]
    assert [k for _, k, _ in artefacts(make_plan(load_suite(file)))] == [
        k for _, k, _ in artefacts(make_plan(suite))
    ]


def test_members_of_an_ensemble_are_the_runs_of_their_seeds() -> None:
    methods = [{"ensemble": {"members": 3}}, "cross-entropy"]
    suite = parse_suite(FAMILY | {"methods": methods, "seeds": [0, 1]})
    ensembles, singles = make_plan(suite).runs[:2], make_plan(suite).runs[2:]
    assert [[m.seed for m in e.members] for e in ensembles] == [[0, 1, 2], [3, 4, 5]]
    assert [m.key for m in ensembles[0].members[:2]] == [s.key for s in singles]
    assert len({key for kind, key, _ in artefacts(make_plan(suite)) if kind == "weights"}) == 6


def test_what_a_pair_does_not_have_is_refused_or_left_out() -> None:
    raw = FAMILY | {"methods": ["outlier-exposure", "cross-entropy"]}
    with pytest.raises(UserError, match="'outlier-exposure' needs outliers, but pair 'two' names none"):
        make_plan(parse_suite(raw))
    plan = make_plan(parse_suite(raw | {"inapplicable": "skip"}))
    assert [r.method.label for r in plan.runs] == ["cross-entropy"]
    assert len(plan.skipped) == 1
    with pytest.raises(UserError, match="nothing is left to run: method 'outlier-exposure' needs"):
        make_plan(parse_suite(raw | {"inapplicable": "skip", "methods": ["outlier-exposure"]}))


def _gone() -> Dataset:
    raise MissingData("it is not here\nget it there")


def test_missing_data_of_every_pair_is_told_at_once_or_left_out() -> None:
    registry.dataset("t-gone", source="a test")(_gone)
    absent = {"id": "t-gone", "near": ["noise"]}
    raw = FAMILY | {"pairs": [*FAMILY["pairs"], {"name": "p", **absent}, {"name": "q", **absent}]}
    with pytest.raises(UserError) as caught:
        make_plan(parse_suite(raw))
    assert str(caught.value).splitlines() == [
        "family: pair 'p': it is not here", "family: pair 'p': get it there",
        "family: pair 'q': it is not here", "family: pair 'q': get it there",
    ]  # fmt: skip
    plan = make_plan(parse_suite(raw), skip_missing=True)
    assert {r.pair.label for r in plan.runs} == {"two"}
    assert plan.skipped == [line.removeprefix("family: ") for line in str(caught.value).splitlines()]


def test_pairs_that_lack_one_download_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path))
    lacking = [{"name": n, "id": "mnist", "near": ["fashion-mnist"]} for n in ("p", "q")]
    raw = FAMILY | {"pairs": [*lacking, "openood-cifar10"]}
    with pytest.raises(UserError) as caught:
        make_plan(parse_suite(raw))
    lines = str(caught.value).splitlines()
    assert [line.split(" is not here")[0] for line in lines if "fashion" not in line] == [
        "family: pair 'p', pair 'q': data set 'mnist'",
        "family: pair 'openood-cifar10': OpenOOD's download 'cifar-10' with benchmark_imglist/cifar10/"
        " (train_cifar10, val_cifar10, test_cifar10, test_cifar100, test_tin, test_mnist, test_svhn,"
        " test_texture, test_places365)",
    ]


def test_a_file_that_a_network_loads_is_part_of_every_key(tmp_path: Path) -> None:
    """Whether its weights are used as they are, trained from, or started from by another method."""
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def make(file):\n"
        "    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4))\n"
        "    net[1].load_state_dict(torch.load(file))\n"
        "    return net\n"
    )
    network = {"module": {"target": f"{tmp_path}/net.py:make", "options": {"file": str(tmp_path / "w.pt")}}}
    methods = [
        "pretrained",
        "cross-entropy",
        {"als": {}, "start": "pretrained"},
        {"ensemble": {"members": 2}},
    ]
    keys = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        torch.save(torch.nn.Linear(64, 8).state_dict(), tmp_path / "w.pt")
        keys.append(_keys(BASE | {"networks": [network], "methods": methods, "scorers": ["msp"]}))
    assert keys[0].isdisjoint(keys[1])
    assert keys[0] == keys[2]


_OUTPUTS = {"outputs": {"folder": "nowhere"}}
_MADE_OF = {
    "members that are arrays": (
        {"ensemble": {"of": _OUTPUTS, "members": 2}}, "its members should be trained",
    ),
    "members that are ensembles": (
        {"ensemble": {"of": {"ensemble": {"members": 2}}, "members": 2}}, "its members should be trained",
    ),
    "members that are all one file": (
        {"ensemble": {"of": {"checkpoint": {"file": "w.pt"}}, "members": 2}}, "its members should be trained",
    ),
    "members of pretrained weights": ({"ensemble": {"of": "pretrained", "members": 2}}, "trains nothing"),
    "a start from arrays": ({"als": {}, "start": _OUTPUTS}, "start: should be a method that gives"),
    "a start from an ensemble": ({"als": {}, "start": "ensemble"}, "start: should be a method that gives"),
    "a start of what trains nothing": ({"pretrained": {}, "start": "als"}, "leave out `start:`"),
    "a start from a file that is not there": (
        {"als": {}, "start": {"checkpoint": {"file": "none.pt"}}}, "checkpoint .*none.pt: no such file",
    ),
    "a file that is not there": ({"checkpoint": {"file": "none.pt"}}, "checkpoint .*none.pt: no such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(_MADE_OF))
def test_a_method_that_could_not_be_made_is_refused_before_any_work(case: str) -> None:
    method, words = _MADE_OF[case]
    with pytest.raises(UserError, match=words) as caught:
        make_plan(parse_suite(BASE | {"methods": [method]}))
    assert len(str(caught.value).splitlines()) == 1


def test_a_member_whose_seed_no_generator_takes_is_refused() -> None:
    with pytest.raises(UserError, match="more than 63 bits"):
        make_plan(parse_suite(BASE | {"methods": [{"ensemble": {"members": 2}}], "seeds": [2**63 - 1]}))
    assert make_plan(parse_suite(BASE | {"seeds": [2**63 - 1]})).runs


RAISES = """
import oodbench
@oodbench.scorer("t-raises", source="t")
class A(oodbench.Scorer):
    "t"
    def __init__(self, *, where: str = "init"):
        self.where = where
        self.fails("init")
    def fails(self, where):
        if where == self.where: raise {error}
    def view(self): self.fails("view")
    @property
    def needs(self): self.fails("needs"); return frozenset()
    def score(self, outputs): return outputs.logits[:, 0]
@oodbench.method("t-setup", source="t")
class B(oodbench.Method):
    "t"
    def setup(self, network): raise {error}
@oodbench.network("t-network", source="t")
def c(task): raise {error}
@oodbench.dataset("t-dataset", source="t")
def d(): raise {error}
"""


@pytest.mark.parametrize("error", ["AttributeError('x')", "AssertionError", "MemoryError()", "SystemExit(0)"])
@pytest.mark.parametrize("where", ["init", "view", "needs", "t-setup", "t-network", "t-dataset"])
def test_whatever_a_users_component_raises_in_the_plan_is_one_line(
    tmp_path: Path, where: str, error: str
) -> None:
    (tmp_path / "own.py").write_text(RAISES.format(error=error))
    kind = where.removeprefix("t-")
    change: dict[str, Any] = {"scorers": [{"t-raises": {"where": where}}]}
    if kind == "setup":
        change = {"methods": [where]}
    elif kind == "network":
        change = {"networks": [where]}
    elif kind == "dataset":
        change = {"pairs": [BASE["pairs"][0] | {"near": [where]}]}
    with registry.isolated(), pytest.raises(UserError, match=error.partition("(")[0]) as caught:
        make_plan(parse_suite(BASE | change, plugins=[tmp_path / "own.py"]))
    assert len(str(caught.value).splitlines()) == 1
    assert "own.py:" in str(caught.value), "where to look"


@pytest.mark.parametrize("text", ["raise SystemExit(0)", "import sys; sys.exit('bye')", "1/0", "def", "\0"])
def test_a_plugin_that_ends_or_fails_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.py").write_text(text)
    with registry.isolated(), pytest.raises(UserError, match=r"own.py: \w+") as caught:
        parse_suite(BASE, plugins=[tmp_path / "own.py"])
    assert len(str(caught.value).splitlines()) == 1


OUTLIERS = SHIFTED | {"ood_val": {"digits": {"classes": [8]}}, "outliers": {"digits": {"classes": [9]}}}
STUDIES: dict[str, dict[str, Any]] = {
    "methods, networks and splits": {
        "pairs": [OUTLIERS, {"digits": {"split": {"grid": [0, 1]}}}], "networks": ["mlp", "small-cnn"],
        "methods": ["cross-entropy", {"als": {"lam": {"grid": [1, 2]}}}, "outlier-exposure"],
        "scorers": ["msp", "knn", "odin", "godin"], "seeds": [0, 4],
    },
    "parents and members": {
        "methods": [
            {"ensemble": {"of": "als", "members": 2}}, {"als": {}, "start": "cross-entropy"},
            {"cross-entropy": {}, "recipe": {"epochs": 2}}, {"mixup": {"of": "als"}},
        ],
        "scorers": ["msp", "disagreement", "vim"], "seeds": [0, 1], "fit": {"train": 0.5},
    },
    "tuned and attacked": {
        "pairs": [OUTLIERS], "tune": ["none", "id", "noise", "ood-val"],
        "scorers": ["msp", {"knn": {}, "search": {"k": [1, 5]}}, "odin"], "attacks": [{"fgsm": {"eps": 0.1}}],
        "methods": ["cross-entropy", {"ensemble": {"members": 2}}],
    },
    "fed otherwise": {
        "networks": [
            {"mlp": {"hidden": [8]}, "input": {"mean": [0.5], "std": [0.25]}},
            {"mlp": {"hidden": [8]}, "input": {"crop": [12, 12], "resize": 14}},
        ],
        "scorers": ["msp", "odin"],
    },
}  # fmt: skip


def _told(run: Run) -> list[Any]:
    made = [(m.kind, m.of, tuple(m.keys), tuple(m.titles)) for m in made_for(run)]
    owed = [(a[:3], a.scorer and a.scorer.label, a[4:6], a.reason) for a in asked_of(run)]
    return [run.place, run.key, run.expected, [r.key for r in run.lineage], list(run.scorers), made, owed]


@pytest.mark.parametrize("study", STUDIES)
def test_a_run_planned_alone_is_that_of_the_plan(study: str) -> None:
    """By a planner that has planned nothing before, and by one that has planned the others, in any order."""
    suite = parse_suite(FAMILY | {"inapplicable": "skip"} | STUDIES[study])
    runs = make_plan(suite).runs
    assert len(runs) >= 2
    planner = Planner(suite)
    for run in reversed(runs):
        due = _told(run)
        assert _told(planner.run(run.place)) == due
        if run is runs[-1] or run is runs[0]:
            assert _told(Planner(suite).run({k: str(v) for k, v in run.place.items()})) == due
    assert [_told(r) for r in planner.plan().runs] == [_told(r) for r in runs]


def test_runs_of_arrays_are_planned_alone_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        for name in ("train", "val", "test", "near"):
            labels = rng.integers(0, 3, 40)
            np.savez(tmp_path / str(seed) / name, logits=rng.normal(size=(40, 3)), labels=labels)
    methods = [{"outputs": {"folder": str(tmp_path / "{seed}")}}]
    raw = {
        "pairs": [{"arrays": {"near": ["near"]}}],
        "methods": methods,
        "seeds": [0, 1],
        "tune": ["none", "id"],
    }
    suite = parse_suite(
        FAMILY | {"scorers": ["msp", "knn"], "inapplicable": "skip", "fit": {"train": 9}} | raw
    )
    runs, planner = make_plan(suite).runs, Planner(suite)
    assert [r.seed for r in runs] == [0, 1]
    assert [_told(planner.run(r.place)) for r in runs] == [_told(r) for r in runs]


PLACE = {"pair": "two", "split": "", "network": "mlp(hidden=[8])", "method": "cross-entropy", "seed": 0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pair": "tow"}, "no run with the pair 'tow'; did you mean 'two'"),
        ({"split": 1}, "no run with the pair 'two split 1'"),
        ({"network": ""}, r"no run with the network ''; allowed: mlp\(hidden"),
        ({"method": "als"}, "no run with the method 'als'; allowed: cross-entropy"),
        ({"seed": 3}, "no run with the seed '3'; allowed: 0, 1"),
    ],
    ids=str,
)
def test_a_run_that_the_suite_does_not_have_is_refused(change: dict[str, Any], says: str) -> None:
    planner = Planner(parse_suite(FAMILY | {"seeds": [0, 1]}))
    with pytest.raises(UserError, match=f"^family: {says}") as caught:
        planner.run(PLACE | change)
    assert "\n" not in str(caught.value)
    assert planner.run(PLACE).seed == 0


def test_a_refusal_names_some_of_many() -> None:
    planner = Planner(parse_suite(FAMILY | {"seeds": list(range(5_000))}))
    with pytest.raises(UserError, match="and 4980 more") as caught:
        planner.run(PLACE | {"seed": "x"})
    assert len(str(caught.value)) < 500


def test_one_run_is_refused_for_its_own_reasons_alone() -> None:
    registry.dataset("t-gone", source="a test")(_gone)
    pairs = [*FAMILY["pairs"], {"name": "p", "id": "t-gone", "near": ["noise"]}]
    methods = ["cross-entropy", "outlier-exposure", "vos"]
    suite = parse_suite(FAMILY | {"pairs": pairs, "methods": methods})
    with pytest.raises(UserError, match="needs outliers"):
        make_plan(suite)
    planner = Planner(suite)
    assert planner.run(PLACE).title.startswith("two / ")
    for change, says in (
        ({"pair": "p"}, ["family: pair 'p': it is not here", "family: pair 'p': get it there"]),
        ({"method": "outlier-exposure"}, None),
        ({"method": "vos"}, None),
    ):
        with pytest.raises(UserError) as caught:
            planner.run(PLACE | change)
        lines = str(caught.value).splitlines()
        assert lines == says if says else len(lines) == 1
    with pytest.raises(UserError, match="nothing is left to run: pair 'p': it is not here"):
        Planner(suite, skip_missing=True).run(PLACE | {"pair": "p"})


def test_artefacts_of_several_runs_are_told_once() -> None:
    methods = ["cross-entropy", {"cross-entropy": {}, "as": "again"}, {"ensemble": {"members": 2}}]
    pairs = [*FAMILY["pairs"], FAMILY["pairs"][0] | {"name": "same", "far": ["photo-patches"]}]
    plan = make_plan(parse_suite(FAMILY | {"methods": methods, "pairs": pairs, "scorers": ["msp", "odin"],
                                           "inapplicable": "skip", "seeds": [0, 1]}))  # fmt: skip
    found = [(kind, key) for kind, key, _ in artefacts(plan)]
    assert len(found) == len(set(found))
    every = {(m.kind, key) for run in plan.runs for m in made_for(run) for key in m.keys}
    assert set(found) == every
    assert sum(kind == "weights" for kind, _ in found) == 4, "members are of seeds 0 to 3"
