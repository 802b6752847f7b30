"""`oodbench verify` on a real run's folder: it holds, and one changed byte, metric or suite is said
clearly."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
from torch import Tensor

from oodbench.core.outputs import Outputs
from oodbench.evaluation.rows import read_rows, to_csv
from oodbench.runs import verify
from oodbench.runs.findings import CONTRADICTED, HOLDS, UNCHECKED
from oodbench.runs.runner import run
from oodbench.scoring.scorers.logits import MSP
from oodbench.suite.parse import parse_suite
from tests.cli.test_results import SUITE, call, copied, made
from tests.suite.written import FAMILY as PARENTS

__all__ = ["copied", "made"]


def states(folder: Path, **more: Path) -> dict[str, str]:
    return {f.what: f.state for f in verify.folder(folder, **more)}


def only_wrong(folder: Path, what: str) -> str:
    """The command exits 1, prints the finding, and everything else still holds; returns why."""
    done = call("verify", folder)
    assert done.exit_code == 1, done.output
    wrong = [line for line in done.output.splitlines() if line.startswith(CONTRADICTED)]
    assert [line.split(": ")[1] for line in wrong] == [what], done.output
    return wrong[0]


def rewrite(folder: Path, scorer: str, metric: str, change: float) -> str:
    """One metric of one row of results.csv changed, in the file's text; returns the row's OOD set."""
    rows = read_rows(folder / "results.csv")
    at = rows.index[(rows["scorer"] == scorer) & (rows["ood"] != "")][0]
    file = folder / "results.csv"
    lines = file.read_text().splitlines()
    old = f"{rows.loc[at, metric]:.10g}"
    cells = lines[at + 1].split(old)
    assert len(cells) >= 2
    lines[at + 1] = f"{rows.loc[at, metric] + change:.10g}".join([cells[0], old.join(cells[1:])])
    file.write_text("\n".join(lines) + "\n")
    return str(rows.loc[at, "ood"])


def test_what_a_run_left_behind_holds(made: Path) -> None:
    done = call("verify", made)
    assert done.exit_code == 0, done.output
    expected = {
        "results.csv",
        "leaderboard.csv",
        "report.html",
        "suite",
        "keys",
        "checksums",
        "metrics",
        "versions",
    }
    found = states(made)
    assert set(found) == expected
    assert {s for w, s in found.items() if w != "versions"} == {HOLDS}
    before = sorted(p for p in made.parent.rglob("*"))
    verify.folder(made)
    assert sorted(p for p in made.parent.rglob("*")) == before


def test_without_the_store_the_files_alone_are_checked(copied: Path) -> None:
    shutil.rmtree(copied.parent / ".store")
    found = states(copied)
    assert (found["checksums"], found["metrics"]) == (UNCHECKED, UNCHECKED)
    assert {found[w] for w in ("results.csv", "leaderboard.csv", "report.html", "suite", "keys")} == {HOLDS}
    assert call("verify", copied).exit_code == 0
    rewrite(copied, "msp", "auroc", -0.01)
    done = call("verify", copied)
    assert done.exit_code == 1
    assert re.search(
        r"contradicted: leaderboard\.csv: (near|far)_auroc of digits / .* is 0\.\d+, the rows give",
        done.output,
    )


def test_an_ensemble_is_read_through_its_members_and_a_failed_scorer_left_nothing_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: MSP, outputs: Outputs) -> Tensor:
        raise ValueError("as a test wants it")

    methods, scorers = [{"ensemble": {"members": 2}}], ["msp", "mutual-information"]
    with monkeypatch.context() as broken:
        broken.setattr(MSP, "score", fails)
        done = run(
            parse_suite(PARENTS | {"methods": methods, "scorers": scorers, "seeds": [0]}),
            results=tmp_path,
            device="cpu",
        )
    assert set(done.rows.loc[done.rows["scorer"] == "msp", "status"]) == {"failed"}
    assert states(done.folder)["metrics"] == HOLDS


def test_the_store_may_lie_elsewhere(copied: Path, tmp_path: Path) -> None:
    (copied.parent / ".store").rename(tmp_path / "elsewhere")
    assert states(copied)["metrics"] == UNCHECKED
    assert states(copied, store=tmp_path / "elsewhere")["metrics"] == HOLDS


@pytest.mark.parametrize("kind", ["outputs", "scores", "weights"])
def test_one_byte_of_a_stored_file_changed(copied: Path, kind: str) -> None:
    file = sorted((copied.parent / ".store" / kind).rglob(f"{kind}.safetensors"))[0]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    why = only_wrong(copied, "checksums")
    assert f"{kind} {file.parent.name[:12]} (" in why
    assert f"{kind}.safetensors does not match its checksum" in why
    assert file.read_bytes() == bytes(data)  # told, not touched


def test_scores_forged_together_with_their_checksum_contradict_the_metrics(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    from oodbench.core.identity import file_sha256

    scored = list((copied.parent / ".store" / "scores").rglob("scores.safetensors"))
    file = next(
        f
        for f in scored
        if json.loads((f.parent / "meta.json").read_text())["set"] not in ("train", "val", "test")
    )
    save_file({k: t * 0 for k, t in load_file(file).items()}, file)
    manifest = json.loads((file.parent / "manifest.json").read_text())
    manifest[file.name] = {"sha256": file_sha256(file), "bytes": file.stat().st_size}
    (file.parent / "manifest.json").write_text(json.dumps(manifest))
    assert "auroc of digits / " in only_wrong(copied, "metrics")


def test_one_metric_in_the_csv_changed(copied: Path) -> None:
    ood = rewrite(copied, "msp", "ks", -0.001)
    done = call("verify", copied)
    assert done.exit_code == 1
    wrong = {line.split(": ")[1]: line for line in done.output.splitlines() if line.startswith(CONTRADICTED)}
    assert set(wrong) == {"leaderboard.csv", "report.html", "metrics"}
    assert "metrics: ks of digits / mlp(hidden=[16]) / cross-entropy / msp / " in wrong["metrics"]
    assert re.search(
        rf"/ {ood} / split 0 / seed 0 is \S+ in results\.csv, the store gives ", wrong["metrics"]
    )


def test_the_suite_changed(copied: Path) -> None:
    file = copied / "suite.yaml"
    text = file.read_text()
    file.write_text(text.replace("lr: 0.05", "lr: 0.06"))
    why = call("verify", copied).output
    assert re.search(
        r"contradicted: keys: digits / .*: rows carry [0-9a-f]{12}, suite, data and code here give"
        r" [0-9a-f]{12}",
        why,
    )
    file.write_text(text.replace("k: 5", "k: 6"))
    assert "contradicted: suite: results.csv has digits / " in call("verify", copied).output
    file.write_text(text.replace("seeds: [0]", "seeds: [0, 1]"))
    assert "contradicted: suite: the suite asks for digits / " in call("verify", copied).output
    file.write_text(text.replace("name: two", "name: three"))
    assert "contradicted: suite: rows say 'two', suite.yaml 'three'" in call("verify", copied).output
    file.unlink()
    assert "cannot be checked here: suite and keys: " in call("verify", copied).output


def test_a_parameter_behind_a_name_changed_in_the_suite(copied: Path) -> None:
    shutil.rmtree(copied.parent / ".store")  # the files alone show it
    rows = read_rows(copied / "results.csv").replace({"scorer": {"knn(k=5)": "knn"}})
    (copied / "results.csv").write_text(to_csv(rows))
    suite = parse_suite(SUITE | {"scorers": ["msp", {"knn": {"k": 5}, "as": "knn"}]}).dump()
    (copied / "suite.yaml").write_text(suite)
    assert states(copied)["suite"] == HOLDS
    (copied / "suite.yaml").write_text(suite.replace("k: 5", "k: 6"))
    found = call("verify", copied).output
    assert re.search(
        r'contradicted: suite: scorer_params of .* is \{"k": 5\} in results.csv, suite.yaml asks for'
        r' \{"k": 6\}',
        found,
    )


def test_a_row_missing_doubled_or_impossible(copied: Path) -> None:
    file = copied / "results.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n")
    assert "which results.csv lacks" in call("verify", copied).output
    file.write_text("\n".join([*lines, lines[-1]]) + "\n")
    assert "contradicted: results.csv: digits / " in call("verify", copied).output
    file.write_text("\n".join(lines) + "\n")
    rewrite(copied, "knn(k=5)", "auroc", 1.0)
    assert re.search(
        r"contradicted: results.csv: .*: auroc is 1\.\d+, which it cannot be", call("verify", copied).output
    )


def test_the_page_changed(copied: Path) -> None:
    file = copied / "report.html"
    text = file.read_text()
    at = re.search(r'"cells":\[{"k":[^v]*"v":\[\[(0\.\d+)', text)
    file.write_text(text[: at.start(1)] + "0.99999" + text[at.end(1) :])
    assert "near_auroc of digits" in only_wrong(copied, "report.html")


def test_a_verdict_changed(tmp_path: Path) -> None:
    claim = {
        "id": "up",
        "says": "More is more.",
        "compare": ["label-smoothing", "cross-entropy"],
        "scorers": ["msp"],
        "expect": "higher",
    }
    run(parse_suite(SUITE | {"claims": [claim]}), results=tmp_path, device="cpu")
    folder = tmp_path / "two"
    assert states(folder)["claims.csv"] == HOLDS
    file = folder / "claims.csv"
    text = file.read_text()
    assert "undecided" in text
    file.write_text(text.replace("undecided", "supported", 1))
    assert "verdict of up (" in only_wrong(folder, "claims.csv")


# ---------------------------------------------------------------- attacks (rows beside the clean ones)


def test_an_honest_run_under_attack_holds(attacked: Path) -> None:
    found = {f.what: f for f in verify.folder(attacked)}
    assert {f.state for what, f in found.items() if what != "versions"} == {HOLDS}, found
    rows = read_rows(attacked / "results.csv")
    assert set(rows["condition"]) == {"clean", "fgsm(eps=0.1) on ID", "fgsm(eps=0.1) on OOD"}
    assert found["metrics"].why.startswith(f"{len(rows)} rows "), "every row is checked, attacks included"


@pytest.mark.parametrize("where", ["clean", "on ID", "on OOD"])
def test_a_falsified_number_is_found_under_every_condition(attacked: Path, where: str) -> None:
    rows = read_rows(attacked / "results.csv")
    mine = rows["condition"].str.endswith(where) & (rows["ood"] != "")
    at = rows.index[mine][-1]
    rows.loc[at, "auroc"] = 1 - rows.loc[at, "auroc"]
    (attacked / "results.csv").write_text(to_csv(rows))
    found = {f.what: f for f in verify.folder(attacked)}
    assert found["metrics"].state == CONTRADICTED
    assert "auroc" in found["metrics"].why


@pytest.mark.parametrize("where", ["clean", "on ID", "on OOD"])
def test_a_row_left_out_is_missed_under_every_condition(attacked: Path, where: str) -> None:
    rows = read_rows(attacked / "results.csv")
    mine = rows["condition"].str.endswith(where) & (rows["ood"] != "")
    (attacked / "results.csv").write_text(to_csv(rows.drop(rows.index[mine][0])))
    found = {f.what: f for f in verify.folder(attacked)}
    assert found["suite"].state == CONTRADICTED
    assert "lacks" in found["suite"].why


def test_a_condition_that_the_suite_does_not_ask_for_is_named(attacked: Path) -> None:
    rows = read_rows(attacked / "results.csv")
    rows["condition"] = rows["condition"].str.replace("fgsm", "pgd")
    (attacked / "results.csv").write_text(to_csv(rows))
    why = {f.what: f for f in verify.folder(attacked)}["suite"].why
    assert "pgd(eps=0.1) on ID" in why or "fgsm(eps=0.1) on ID" in why


def test_compressed_tables_are_verified_too(attacked: Path) -> None:
    for name in ("results", "timing", "history"):
        file = attacked / f"{name}.csv"
        (attacked / f"{name}.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert {s for what, s in states(attacked).items() if what != "versions"} == {HOLDS}
