"""Would the tests notice? By hand: ``python tests/mutants.py [ROOM or MODULE ...]``, minutes on two cores.

Each mutant is one wrong sign, constant or branch in a copy of the package. It is caught if the test file that
mirrors the module fails. A mutant whose text is no longer in the file is an error: give it its new text.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("oodbench", "tests", "suites", "docs", "benchmarks", "pyproject.toml", "README.md")


class Mutant(NamedTuple):
    """Where (module below ``oodbench/``), what stands there, what it becomes, and the test file that should
    notice, if it is not the one that mirrors the module."""

    module: str
    old: str
    new: str
    tests: str = ""

    @property
    def test_file(self) -> str:
        folder, _, name = self.module.rpartition("/")
        return f"tests/{self.tests or f'{folder}/test_{name}'}.py"


MUTANTS: Sequence[Mutant] = (
    # core
    Mutant("core/identity", "sort_keys=True", "sort_keys=False"),
    Mutant("core/identity", 'f"{t.dtype}{tuple(t.shape)}"', 'f"{t.dtype}"'),
    Mutant(
        "core/spec",
        "plain_value(defaults[k]) != plain_value(v)",
        "plain_value(defaults[k]) == plain_value(v)",
    ),
    Mutant("core/spec", "if isinstance(v, float) and v.is_integer():", "if False:"),
    Mutant("core/spec", '"version": c.version,', '"version": 1,'),
    Mutant("core/files", "            draft.unlink()", "            pass"),
    Mutant("core/usercode", 'if target.__module__.split(".")[0] == "oodbench":', "if True:"),
    Mutant("core/signature", "if isinstance(value, bool):", "if False:"),
    Mutant("core/registry", "if taken is not None:", "if False:"),
    Mutant("core/errors", 'f"; did you mean {close[0]!r}?" if close else ";"', '";"'),
    # data
    Mutant("data/images", "[0.299, 0.587, 0.114]", "[0.114, 0.587, 0.299]"),
    Mutant("data/images", "div_(255)", "div_(256)"),
    Mutant("data/images", "correction=0", "correction=1"),
    Mutant("data/images", "edge * h // short, edge * w // short", "edge * w // short, edge * w // short"),
    Mutant("data/altered", "(one + two) / 2", "(one + two) / 3"),
    Mutant("data/altered", "order.roll(n // 2)", "order.roll(1)"),
    Mutant("data/duplicates", "64 - 2 * bits", "64 - bits"),
    Mutant("data/duplicates", "elif float(best[row]) <= limit:", "elif float(best[row]) <= 10 * limit:"),
    Mutant("data/corruptions", "rng.poisson(x * c) / c", "rng.poisson(x * c) / (c + 1)"),
    # evaluation
    Mutant("evaluation/metrics/detection", "+ int(i.other.sum())) / 2", "+ int(i.other.sum())) / 2 + 0.5"),
    Mutant("evaluation/metrics/detection", "return k if k / n >= 0.95 else k + 1", "return k + 1"),
    Mutant("evaluation/metrics/risk", "(above + tied / 2)", "(above + tied)"),
    Mutant("evaluation/metrics/risk", 'side="right")\n    tied', 'side="left")\n    tied'),
    Mutant(
        "evaluation/metrics/classifier",
        "np.ceil(confidence * bins).astype(int) - 1",
        "np.floor(confidence * bins).astype(int)",
    ),
    Mutant("evaluation/metrics/classifier", "- 2 * p[at, y] + 1", "- 2 * p[at, y]"),
    Mutant("evaluation/statistics/trials", "if n >= 6:", "if n >= 5:"),
    Mutant(
        "evaluation/statistics/trials", "np.arange(len(order), 0, -1)", "np.arange(len(order), 0, -1)[::-1]"
    ),
    Mutant("evaluation/statistics/ranking", "x if lower_is_better else -x", "-x if lower_is_better else x"),
    Mutant(
        "evaluation/statistics/ranking",
        "math.sqrt(k * (k + 1) / (6 * n))",
        "math.sqrt(k * (k - 1) / (6 * n))",
    ),
    Mutant("evaluation/statistics/within_trial", "* 20 >= 19 * n", "* 20 > 19 * n"),
    Mutant(
        "evaluation/verdicts", 'counts["supported"] and not counts["contradicted"]:', 'counts["supported"]:'
    ),
    Mutant("evaluation/verdicts", "claim.margin, claim.alpha / len(cells))", "claim.margin, claim.alpha)"),
    Mutant(
        "evaluation/verdicts",
        'at = 0.0 if expect == "higher" else -margin',
        'at = 0.0 if expect == "higher" else margin',
    ),
    Mutant(
        "evaluation/verdicts",
        "max(_below(d, margin), _above(d, -margin))",
        "min(_below(d, margin), _above(d, -margin))",
    ),
    Mutant("evaluation/leaderboard", "present.to_numpy() == wanted[:, None]", "present.to_numpy() > 0"),
    Mutant("evaluation/rows", '{"ok": 0, "failed": 1}', '{"ok": 1, "failed": 0}'),
    # training
    Mutant("training/optimiser", "(rho / (norm + 1e-12))", "(-rho / (norm + 1e-12))"),
    Mutant("training/optimiser", "(1 + step) / (10 + step)", "(1 + step) / (2 + step)"),
    Mutant("training/loop", ">= progress.best[0]", "> progress.best[0]"),
    Mutant("training/loop", "epoch + 1 < recipe.epochs", "epoch < recipe.epochs"),
    Mutant(
        "training/methods/als",
        'correction=1 if self.std == "unbiased" else 0',
        'correction=0 if self.std == "unbiased" else 1',
    ),
    Mutant("training/methods/als", 'logits.argmax(dim=1) if self.k == "argmax" else labels', "labels"),
    Mutant("training/methods/mixing", "share = 1 - inside.float().mean()", "share = inside.float().mean()"),
    Mutant(
        "training/methods/virtual_outliers",
        ".topk(self.select).indices",
        ".topk(self.select, largest=False).indices",
    ),
    # scoring
    Mutant(
        "scoring/functional/logits",
        "k = max(1, width - round(width * q / 100))",
        "k = max(1, round(width * q / 100))",
    ),
    Mutant("scoring/functional/logits", "(log_p < -1e-3, torch.log1p", "(log_p < 1e-3, torch.log1p"),
    Mutant("scoring/scorers/logits", "(self.gamma * (log_p + log_q)).exp()", "(self.gamma * log_p).exp()"),
    Mutant(
        "scoring/scorers/logits",
        "return -functional.wide(outputs.logits).amax(dim=1)",
        "return functional.wide(outputs.logits).amax(dim=1)",
    ),
    Mutant(
        "scoring/scorers/shaping", "features.clamp(max=self.threshold)", "features.clamp(min=self.threshold)"
    ),
    Mutant("scoring/scorers/distances", "alpha=-2", "alpha=-1"),
    Mutant("scoring/tuning", "key=lambda i: (auroc[i], -i)", "key=lambda i: (-auroc[i], -i)"),
    Mutant("scoring/tuning", "inside[~among], inside[among]", "inside[among], inside[~among]"),
    # report
    Mutant("report/distributions", "1 - c.id[::-1] / c.id[-1]", "1 - c.ood[::-1] / c.ood[-1]"),
    Mutant("report/distributions", "(trim, 1 - trim)", "(0, 1 - trim)"),
    Mutant(
        "report/formats", "c.ljust(w) if i < left else c.rjust(w)", "c.rjust(w) if i < left else c.ljust(w)"
    ),
    Mutant(
        "report/ranks",
        "ranking.p_conover[place[name], place[other]] < alpha",
        "ranking.p_conover[place[name], place[other]] > alpha",
    ),
    Mutant(
        "report/page/numbers", "round(value, digits) if np.isfinite(value)", "round(value, digits) if True"
    ),
    # suite
    Mutant("suite/sets", 'self._of_roles(*KNOWN, "shifted", "tune")', "self._of_roles(*KNOWN)"),
    Mutant(
        "suite/trainable",
        "m.spec.plain == spec.plain",
        "m.spec.identity == spec.identity",
        "suite/test_per_seed",
    ),
    Mutant("suite/inputs", "made.mean is not None", "made.mean is None"),
    Mutant("suite/run", 'if "outliers" in self.built_method.needs:', "if False:"),
    Mutant("suite/run", "list(scorer.sets) if scorer.attack else self.scored_sets", "self.scored_sets"),
    Mutant("suite/keys", "if scorer.view is None:", "if True:"),
    # runs
    Mutant("runs/lookup", "if folder not in self._verified:", "if False:", "runs/test_store"),
    Mutant("runs/lookup", "self._damaged.add(name)", "pass", "runs/test_store"),
    Mutant("runs/fleet", "if count > 1}", "if count > 2}"),
    Mutant("runs/fleet", "return None if attempts < ATTEMPTS else", "return"),
    Mutant("runs/fleet", "            if done.wrong:\n", "            if False:\n"),
    Mutant("runs/jobs", 'if seen != job["expected"]:', "if False:"),
    Mutant("runs/jobs", "if code() != terms.code:", "if False:"),
    Mutant("runs/execution", "if len(given) > 1:", "if len(given) > 2:"),
    Mutant("runs/board", "running = min(self._at_once(s), given)", "running = given"),
    Mutant("runs/beats", "part and now - self._said < EVERY", "False"),
    Mutant("runs/held", "- math.log(len(members))", "+ math.log(len(members))"),
    Mutant("runs/measure", "self._right_under.get(asked.attack.attack) if on_id else clean", "clean"),
    Mutant("runs/measure", "(other if on_id else mine)[asked.ood]", "mine[asked.ood]"),
    Mutant("runs/merge", "found.drop_duplicates()", "found"),
    Mutant("runs/folder", "(plain if compressed else packed).unlink(missing_ok=True)", "pass"),
    Mutant("runs/verify_store", "rtol=TOLERANCE, atol=TOLERANCE", "rtol=1, atol=1"),
    Mutant("runs/verify_remade", "if float(rows.double().mean()) > slack:", "if False:"),
    Mutant("runs/verify_page", "if self.policies != [policy]:", "if False:"),
    Mutant("runs/verify_records", "yield from _differences(row, record, name)", "yield from ()"),
    Mutant("evaluation/tables", 'if content and not content.endswith("\\n"):', "if False:"),
    Mutant("core/names", "    if hidden:\n", "    if False:\n"),
    Mutant("runs/per_sample", "min(len(logits), most)", "len(logits)"),
    # cli
    Mutant("cli/run", "sys.exit(3)", "sys.exit(0)"),
    Mutant("cli/run", "if any(n < 0 for n in numbers) or", "if"),
    Mutant("cli/main", '"status", 130', '"status", 0'),
    Mutant("cli/components", "if complaints:", "if not complaints:"),
    Mutant("cli/results", "f.state == findings.CONTRADICTED", "f.state != findings.CONTRADICTED"),
)


def stale(mutant: Mutant) -> str:
    """Why a mutant cannot be made or tried any more; empty where it can."""
    times = (ROOT / "oodbench" / f"{mutant.module}.py").read_text().count(mutant.old)
    if times != 1:
        return f"{mutant.module}: {mutant.old!r} stands there {times} times, not once"
    return "" if (ROOT / mutant.test_file).is_file() else f"{mutant.test_file}: no such file"


def caught(mutant: Mutant) -> tuple[bool, float]:
    """Whether the tests fail on the mutant, and how many seconds they took."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        root = Path(place)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                shutil.copy(source, root / name)
        file = root / "oodbench" / f"{mutant.module}.py"
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(
                f"{mutant.module}: {mutant.old!r} stands there {text.count(mutant.old)} times, not once"
            )
        file.write_text(text.replace(mutant.old, mutant.new))
        environment = os.environ | {
            "PYTHONPATH": str(root),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            mutant.test_file,
        ]
        start = time.monotonic()
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1, 2):  # 2: the module cannot even be imported
            raise SystemExit(f"{mutant.module}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.returncode != 0, time.monotonic() - start


def main(places: Sequence[str]) -> None:
    """Print a table of the mutants and how many were caught; exit with 1 if fewer than nine of ten."""
    chosen = [m for m in MUTANTS if not places or m.module.startswith(tuple(places))]
    wrong = [why for m in chosen if (why := stale(m))]
    if wrong:
        raise SystemExit("\n".join(wrong))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = list(pool.map(caught, chosen))
    print("| module | was | became | caught | seconds |\n|---|---|---|---|---|")
    for m, (ok, seconds) in zip(chosen, found, strict=True):
        old, new = (" ".join(t.split()).replace("|", "\\|") for t in (m.old, m.new))
        print(f"| {m.module} | `{old}` | `{new}` | {'yes' if ok else '**no**'} | {seconds:.0f} |")
    n = sum(ok for ok, _ in found)
    print(f"\n{n} of {len(chosen)} caught ({100 * n / max(len(chosen), 1):.0f} %)")
    sys.exit(n < 0.9 * len(chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
