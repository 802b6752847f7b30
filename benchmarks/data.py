"""Speed of reading data, side by side with what one would write by hand, in one run.

    python benchmarks/data.py                    everything, small: about two minutes on two cores
    python benchmarks/data.py --images 50000     epochs of CIFAR-10's length
    python benchmarks/data.py --lines 1000000    an image list of ImageNet's length (writes a million small
    files)

Three tables: an epoch of in-memory images with augmentation against a DataLoader over torchvision's
transforms; image files read through a set against bare decoding by as many threads; first and second start of
a long image list. What is compared takes turns; each number is the median over the rounds, each ratio the
median of the rounds' ratios. Seconds are those that this process and its threads were given (wall seconds
against worker processes), so that a machine busy with something else disturbs little. Nothing is asserted:
the targets stand beside the ratios."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import in_turns, table
from PIL import Image

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.data.samples import TensorSamples
from oodbench.data.sources.files import folder, from_items
from oodbench.data.sources.lists import image_list
from oodbench.data.sources.workers import decoding_threads
from oodbench.training.reader import Reader


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


# ---------------------------------------------------------------- in memory


class _Pictures(torch.utils.data.Dataset):
    """Images as torchvision's CIFAR10 and FashionMNIST give them: a Pillow image through a transform."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Any]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def in_memory(n: int, batch: int, rounds: int) -> None:
    from torchvision import transforms

    rng = np.random.default_rng(0)
    rows = []
    for name, shape in (("CIFAR size, 3x32x32", (3, 32, 32)), ("Fashion-MNIST size, 1x28x28", (1, 28, 28))):
        channels, height, width = shape
        pixels = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
        labels = rng.integers(0, 10, n)
        samples = TensorSamples(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
        )
        augment = [registry.build("augmentation", a) for a in ("flip", {"pad-crop": {"padding": 4}})]
        reader = Reader(samples, Geometry(shape), "cpu")

        def ours(reader: Reader = reader, augment: list[Any] = augment) -> None:
            generator = torch.Generator().manual_seed(0)
            for inputs, _ in reader.batches(torch.randperm(n, generator=generator), batch):
                for change in augment:
                    inputs = change(inputs, generator)

        chain = transforms.Compose(
            [
                transforms.RandomCrop(height, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )
        pictures = _Pictures(pixels[..., 0] if channels == 1 else pixels, labels, chain)
        workers = min(4, len(os.sched_getaffinity(0)))

        def theirs(count: int, pictures: _Pictures = pictures) -> None:
            for _ in torch.utils.data.DataLoader(pictures, batch, shuffle=True, num_workers=count):
                pass

        for count, label in (
            (0, "DataLoader in the same process"),
            (workers, f"DataLoader with {workers} workers"),
        ):
            found = in_turns(
                {"ours": ours, "theirs": lambda t=theirs, c=count: t(c)},
                rounds,
                time.perf_counter if count else time.process_time,
            )  # type: ignore[misc]
            a, b = statistics.median(found["ours"]), statistics.median(found["theirs"])
            rows.append(
                [
                    f"{name} against {label}",
                    f"{a:.2f}",
                    f"{b:.2f}",
                    f"{1 / ratio(found['ours'], found['theirs']):.1f} x",
                ]
            )
    table(
        f"An epoch of {n:,} images, crop and flip, batches of {batch}",
        ("", "ours, s", "theirs, s", "faster by (target: above 1)"),
        rows,
    )


# ---------------------------------------------------------------- from files


def _bare(files: Sequence[Path], threads: int, resize: int | None) -> None:
    """Decode as anyone would: Pillow in a pool of threads, to a uint8 array, resized by Pillow where a size
    is asked for."""

    def one(file: Path) -> np.ndarray:
        with Image.open(file) as image:
            made = image.convert("RGB")
            return np.array(
                made if resize is None else made.resize((resize, resize), Image.Resampling.BILINEAR)
            )

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), 256):
            np.stack(list(pool.map(one, files[start : start + 256])))


def from_files(n: int, rounds: int, place: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    cases = (
        ("32x32 PNG", 32, "png", None, n),
        ("224x224 JPEG", 224, "jpg", None, n // 4),
        ("256x256 JPEG to 224x224", 256, "jpg", 224, n // 4),
    )
    for name, size, suffix, resize, count in cases:
        top = place / name.replace(" ", "-")
        top.mkdir()
        for i in range(count):
            smooth = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)).resize(
                (size, size)
            )
            smooth.save(top / f"{i:06d}.{suffix}", quality=90)
        files = sorted(top.iterdir())
        samples = folder(name, top, flat=True)
        geometry = Geometry((3, resize or size, resize or size))

        def ours(samples: Any = samples, geometry: Geometry = geometry) -> None:
            for start in range(0, len(samples), 256):
                samples.read(range(start, min(start + 256, len(samples))), geometry)

        found = in_turns(
            {"ours": ours, "bare": lambda f=files, r=resize: _bare(f, decoding_threads(), r)},
            rounds,
            time.process_time,
        )  # type: ignore[misc]
        a, b = (count / statistics.median(found[k]) for k in ("ours", "bare"))
        rows.append(
            [name, f"{a:,.0f}", f"{b:,.0f}", f"{100 * (ratio(found['ours'], found['bare']) - 1):+.0f} %"]
        )
    table(
        f"Image files, {decoding_threads()} threads",
        ("", "ours, images per CPU second", "bare Pillow", "overhead (target: below +10 %)"),
        rows,
    )


def long_list(lines: int, rounds: int, place: Path) -> None:
    top = place / "list"
    content = b"a small file that no one decodes"
    for start in range(0, lines, 1000):
        sub = top / f"{start // 1000:04d}"
        sub.mkdir(parents=True)
        for i in range(min(1000, lines - start)):
            (sub / f"{i:03d}.png").write_bytes(content)
    file = place / "list.txt"
    file.write_text("".join(f"{i // 1000:04d}/{i % 1000:03d}.png {i % 1000}\n" for i in range(lines)))

    def start_up() -> float:
        from oodbench.core.identity import file_sha256

        begin = time.perf_counter()
        samples = from_items("list", top, file_sha256(file), lambda: image_list(file, classes=1000))
        assert len(samples) == lines
        assert samples.digest
        return time.perf_counter() - begin

    first = start_up()
    later = statistics.median(start_up() for _ in range(rounds))
    table(
        "A long image list",
        ("lines", "first start, s (reads every file)", "second start, s (target: below 1)"),
        [[f"{lines:,}", f"{first:.1f}", f"{later:.2f}"]],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000, help="images of an epoch in memory")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--files", type=int, default=4_000, help="small image files (a quarter as many large ones)"
    )
    parser.add_argument("--lines", type=int, default=100_000, help="lines of the image list")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch, in memory")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(os.sched_getaffinity(0))} CPU"
        " cores"
    )
    with tempfile.TemporaryDirectory() as place:
        os.environ["OODBENCH_CACHE"] = f"{place}/cache"
        in_memory(given.images, given.batch, given.rounds)
        from_files(given.files, given.rounds, Path(place))
        long_list(given.lines, given.rounds, Path(place))


if __name__ == "__main__":
    main()
