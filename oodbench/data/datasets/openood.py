"""OpenOOD's folder as its download script leaves it: image lists and two folders of images. Nothing has to be
moved."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from oodbench.core.dataset import Dataset, Samples
from oodbench.core.registry import dataset
from oodbench.data.samples import carve
from oodbench.data.sources.files import OnError, from_items
from oodbench.data.sources.lists import image_list, list_digest
from oodbench.data.sources.roots import find

_GET = (
    "python scripts/download/download.py --contents datasets --datasets {} --save_dir DATA_ROOT of"
    " github.com/Jingkang50/OpenOOD (zip files on Google Drive, which `oodbench data download` does not get)"
)
_BENCHMARKS = {
    "cifar10": "cifar-10",
    "cifar100": "cifar-100",
    "imagenet200": "imagenet-200",
    "imagenet": "imagenet-1k",
    "mnist": "mnist",
}
"""What that script calls them."""
_CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet200": 200, "imagenet": 1000, "mnist": 10}


@lru_cache(1)
def official_lists() -> dict[str, dict[str, tuple[int, str]]]:
    """Lines and sha256 of the lists of v1.5 that were at hand (the lists themselves are OpenOOD's)."""
    return json.loads(Path(__file__).with_name("openood_lists.json").read_text())


Benchmark = Literal["cifar10", "cifar100", "imagenet200", "imagenet", "mnist"]


@dataset(
    "openood",
    source="github.com/Jingkang50/OpenOOD, evaluation_api/datasets.py and datasets/imglist_dataset.py (v1.5)",
)
def openood(
    *, benchmark: Benchmark, name: str, folder: Literal["classic", "largescale"] = "classic",
    known: bool = False,
    validation: Literal["list", "train"] = "list", root: Path | None = None, on_error: OnError = "fail",
) -> Dataset:  # fmt: skip
    """Images of ``benchmark_imglist/<benchmark>/<split>_<name>.txt``, in the order and with the labels of the
    list.

    `root` holds benchmark_imglist/, images_classic/ and images_largescale/ (else they are searched below the
    data root and its folder openood/). With `known`, labels must be those of the benchmark's classes; lists
    of OOD sets say -1. `validation`: the benchmark's own list, or a tenth of each class of its training list,
    which that then lacks."""

    def part(split: str) -> Callable[[], Samples]:
        def read() -> Samples:
            wanted = Path("benchmark_imglist", benchmark, f"{split}_{name}.txt")
            place = find(
                wanted.stem, ["openood", "OpenOOD/data", "data", "."], root=root,
                download=f"OpenOOD's download {_BENCHMARKS[benchmark]!r} with {wanted.parent}/",
                get=_GET.format(_BENCHMARKS[benchmark]),
                is_it=lambda p: (p / wanted).is_file() and (p / f"images_{folder}").is_dir(),
            )  # fmt: skip
            file = place / wanted
            sha256 = list_digest(file)
            samples = from_items(
                f"openood {benchmark} {name}",
                place / f"images_{folder}",
                f"{sha256}{known}",
                lambda: image_list(file, classes=_CLASSES[benchmark] if known else 0),
                on_error=on_error,
            )
            expected = official_lists().get(benchmark, {}).get(file.name)
            if expected is not None and expected[1] != sha256:
                samples.note = (
                    f"{file} is not OpenOOD v1.5's list ({expected[0]} lines, sha256 {expected[1][:16]}...;"
                    f" here {sha256[:16]}...), so that results do not compare with its leaderboard"
                )
                warnings.warn(samples.note, stacklevel=2)
            return samples

        return read

    names = tuple(str(c) for c in range(_CLASSES[benchmark])) if known else ()
    splits = {split: part(split) for split in ("train", "val", "test")}
    if validation == "train":
        parts = lru_cache(1)(lambda: carve(part("train")()))
        splits |= {"train": lambda: parts()[0], "val": lambda: parts()[1]}
    return Dataset(splits, names)
