"""How fast image files become batches, side by side with what one would write by hand, in one run.

    python benchmarks/loading.py                                      decoding per core: about two minutes
    python benchmarks/loading.py --openood ../OpenOOD                 and OpenOOD's loader, from a checkout
    python benchmarks/loading.py --memory 100000                      memory over so many files, nothing else
    python benchmarks/loading.py --extract resnet50 vit_b_16 --device cuda --precision bf16
                                                     extraction against the bare forward pass, nothing else

The pictures are photographs of scikit-image and scikit-learn, cut and saved as JPEGs of about 500x375. Every
loop gives floats 3x224x224 in [0, 1] in batches: resized to 256, the centre cropped. What is compared takes
turns; a number is the median over the rounds, a ratio the median of the rounds' ratios. Seconds are CPU
seconds of this process and of its children, so that a machine busy with something else disturbs little; those
of extraction are wall seconds. Nothing is asserted: the targets stand beside the ratios."""

from __future__ import annotations

import argparse
import io
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import in_turns, table
from PIL import Image

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.network import Task
from oodbench.data.reading import batches
from oodbench.data.sources import decoding, roots
from oodbench.data.sources.files import FileSamples, folder
from oodbench.data.sources.roots import settings
from oodbench.scoring.extract import Extract, outputs_of
from oodbench.training.optimiser import body_as

GEOMETRY = Geometry((3, 224, 224), 256)
BATCH = 64


# ---------------------------------------------------------------- measuring


def cpu_seconds() -> float:
    """Of this process and of all that it started, whether they have ended or not."""
    spent = sum(os.times()[:4])
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


# ---------------------------------------------------------------- pictures


DIFFERENT = 512
"""So many pictures are made; where more are wanted, the files are the same again."""


def photographs(place: Path, count: int) -> Path:
    """A folder of JPEGs: cuts of real photographs, about 500x375."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    whole = [Image.fromarray(p) for p in (data.astronaut(), data.chelsea(), *load_sample_images().images)]
    rng = np.random.default_rng(0)
    place.mkdir()
    for i in range(count):
        file = place / f"{i:05d}.jpg"
        if i >= DIFFERENT:
            os.link(place / f"{i % DIFFERENT:05d}.jpg", file)
            continue
        picture = whole[i % len(whole)]
        share = rng.uniform(0.7, 1)
        w, h = round(picture.width * share), round(picture.height * share)
        left, top = rng.integers(0, picture.width - w + 1), rng.integers(0, picture.height - h + 1)
        size = (500 + int(rng.integers(-20, 21)), 375 + int(rng.integers(-15, 16)))
        cut = picture.crop((left, top, left + w, top + h)).resize(size, Image.Resampling.BICUBIC)
        cut.save(file, quality=int(rng.integers(85, 96)))
    return place


# ---------------------------------------------------------------- the loops


class _Files(torch.utils.data.Dataset):
    """As torchvision's ImageFolder: a Pillow image through a transform."""

    def __init__(self, files: Sequence[Path], read: Callable[[Path], Any]) -> None:
        self.files, self.read = files, read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        return self.read(self.files[i])


def _torchvision() -> Callable[[Path], torch.Tensor]:
    from torchvision import transforms

    chain = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])

    def read(file: Path) -> torch.Tensor:
        with Image.open(file) as image:
            return chain(image.convert("RGB"))

    return read


def _ours(file: Path) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(decoding.as_seen(file, "rgb", GEOMETRY)))


def _dataloader(data: torch.utils.data.Dataset, count: int) -> Callable[[], None]:
    def run() -> None:
        for images in torch.utils.data.DataLoader(data, BATCH, num_workers=count):
            images = images["data"] if isinstance(images, dict) else images
            images = images.float().div_(255) if images.dtype == torch.uint8 else images

    return run


def _openood(checkout: Path, files: Sequence[Path]) -> torch.utils.data.Dataset:
    """OpenOOD's own data set and preprocessing, from its source; its packages import more than is installed
    here and are passed over."""
    for name in ("openood", "openood.datasets", "openood.preprocessors", "openood.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(checkout.joinpath(*name.split(".")))]
        sys.modules[name] = package
    from openood.datasets.imglist_dataset import ImglistDataset
    from openood.preprocessors.test_preprocessor import TestStandardPreProcessor

    listed = files[0].parent / "list.txt"
    listed.write_text("".join(f"{f.name} 0\n" for f in files))
    imagenet = types.SimpleNamespace(
        name="imagenet", pre_size=256, image_size=224, interpolation="bilinear", normalization_type="imagenet"
    )
    prepare = TestStandardPreProcessor(types.SimpleNamespace(dataset=imagenet))
    return ImglistDataset("photographs", str(listed), str(files[0].parent), 1, prepare, prepare)


def _read(samples: FileSamples, processes: int, quick: bool = True) -> Callable[[], None]:
    def run() -> None:
        found = decoding._quick
        if not quick:
            decoding._quick = lambda: None
        try:
            with settings(readers=processes):
                for _ in batches(samples, GEOMETRY, BATCH, "cpu"):
                    pass
        finally:
            decoding._quick = found

    return run


def per_core(place: Path, count: int, rounds: int, checkout: Path | None, processes: int) -> None:
    samples = folder("photographs", photographs(place / "photographs", count), flat=True)
    files = [samples.root / p for p in samples.paths]
    plain, own = _Files(files, _torchvision()), _Files(files, _ours)
    works = {
        "threads of this process (`--readers 0`)": _read(samples, 0),
        "the same, decoding by Pillow": _read(samples, 0, quick=False),
        f"{processes} processes (`--readers {processes}`)": _read(samples, processes),
        f"our decoding in a DataLoader with {processes} workers": _dataloader(own, processes),
        "DataLoader + torchvision, same process": _dataloader(plain, 0),
        f"DataLoader + torchvision, {processes} workers": _dataloader(plain, processes),
    }
    theirs = list(works)[-2:]
    if checkout is not None:
        data = _openood(checkout, files)
        works |= {"OpenOOD's loader, same process": _dataloader(data, 0)}
        works |= {f"OpenOOD's loader, {processes} workers": _dataloader(data, processes)}
        theirs = list(works)[-4:]
    found = in_turns(works, rounds, cpu_seconds)
    rows = []
    for name, spent in found.items():
        against = (
            [f"{ratio(spent, found[t]):.2f} x" for t in theirs]
            if name not in theirs
            else ["" for _ in theirs]
        )
        rows.append([name, f"{count / statistics.median(spent):,.0f}", *against])
    table(
        f"{count} JPEGs of about 500x375 to batches of floats 3x224x224, {rounds} rounds",
        ("", "images per CPU second", *(f"against {t} (target: 1.5 x)" for t in theirs)), rows,
    )  # fmt: skip
    decoders(files[: min(count, 100)], rounds)


# ---------------------------------------------------------------- decoding alone


def _decoders() -> dict[str, Callable[[bytes], np.ndarray]]:
    """Everything here that decodes the bytes of a JPEG to pixels (H, W, 3)."""
    made: dict[str, Callable[[bytes], np.ndarray]] = {}

    def pillow(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)

    made["Pillow"] = pillow
    try:
        import simplejpeg

        made["simplejpeg"] = lambda data: simplejpeg.decode_jpeg(data, "RGB")
    except ImportError:
        pass
    try:
        from torchvision.io import ImageReadMode, decode_jpeg

        made["torchvision.io.decode_jpeg"] = lambda data: (
            decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
            .permute(1, 2, 0)
            .numpy()
        )
    except ImportError:
        pass
    try:
        import turbojpeg

        by = turbojpeg.TurboJPEG()
        made["PyTurboJPEG"] = lambda data: by.decode(data, pixel_format=turbojpeg.TJPF_RGB)
    except (ImportError, RuntimeError, OSError):  # it looks for a libjpeg-turbo of the system's
        pass
    try:
        from torchcodec.decoders import _image_decoders as codec  # not public yet

        made["torchcodec"] = lambda data: codec.decode_jpeg(data).permute(1, 2, 0).numpy()
    except (ImportError, RuntimeError, OSError):
        pass
    return made


def decoders(files: Sequence[Path], rounds: int) -> None:
    made, contents = _decoders(), [f.read_bytes() for f in files]
    expected = [made["Pillow"](data) for data in contents]

    def all_of(decode: Callable[[bytes], np.ndarray]) -> Callable[[], None]:
        return lambda: [decode(data) for data in contents] and None

    found = in_turns({n: all_of(d) for n, d in made.items()}, rounds, time.thread_time)
    rows = []
    for name, spent in found.items():
        same = sum(np.array_equal(made[name](d), e) for d, e in zip(contents, expected, strict=True))
        rows.append([
            name, f"{1e3 * statistics.median(spent) / len(files):.2f}",
            f"{ratio(spent, found['Pillow']):.2f} x", f"{same} of {len(files)}",
        ])  # fmt: skip
    table("Decoding alone", ("", "ms per image", "faster than Pillow", "same pixels as Pillow"), rows)


# ---------------------------------------------------------------- memory


def _anonymous() -> float:
    """MiB of this process that belong to no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def memory(place: Path, count: int) -> None:
    top, rng = place / "many", np.random.default_rng(0)
    for i in range(count):
        if i % 1000 == 0:
            (top / f"{i // 1000:04d}").mkdir(parents=True)
        pixels = np.repeat(np.repeat(rng.integers(0, 256, (4, 5, 3), np.uint8), 12, 0), 12, 1)
        Image.fromarray(pixels).save(top / f"{i // 1000:04d}" / f"{i % 1000:03d}.jpg")
    samples = folder("many", top, flat=True)
    rows, done, every = [], 0, max(1, count // 10)
    for images in batches(samples, Geometry((3, 32, 32), 36), 256, "cpu"):
        before, done = done, done + len(images)
        if before // every != done // every or before == 0:
            rows.append([f"{done:,}", f"{_anonymous():.0f}"])
    table(f"Memory over {count:,} JPEGs", ("images read", "RssAnon, MiB"), rows)


# ---------------------------------------------------------------- extraction


def _repeated(inputs: torch.Tensor, times: int) -> Iterator[torch.Tensor]:
    return itertools.repeat(inputs, times)


def extraction(place: Path, models: Sequence[str], given: argparse.Namespace) -> None:
    """Images per second of extraction from JPEGs and of the network alone, on inputs that lie on the
    device."""
    device = torch.device(given.device)
    samples = folder("photographs", photographs(place / "photographs", given.images), flat=True)
    size = given.size
    geometry = Geometry((3, size, size), size + size // 7)
    how = Extract(precision=given.precision, channels_last=given.channels_last, batch_size=given.batch)
    rows = []
    for model in models:
        task = Task("image", (3, size, size), 1000, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        network = registry.build("network", {"torchvision": {"model": model}}, task).to(device).eval()
        inputs = torch.rand(given.batch, 3, size, size, device=device)

        def bare(network: Any = network, inputs: torch.Tensor = inputs) -> None:
            with torch.inference_mode(), body_as(network, device, how.precision, how.channels_last):
                for x in _repeated(inputs, -(-len(samples) // len(inputs))):
                    network(x)
                if device.type == "cuda":
                    torch.cuda.synchronize()

        def ours(network: Any = network) -> None:
            for rows in outputs_of(network, samples, geometry, how=how, device=device):
                rows["logits"].cpu()

        def loading() -> None:
            for images in batches(samples, geometry, given.batch, device):
                images[0, 0, 0, 0].item()

        found = in_turns({"ours": ours, "bare": bare, "loading": loading}, given.rounds, time.perf_counter)
        n = len(samples)
        speed = {k: n / statistics.median(v) for k, v in found.items()}
        share = 100 * statistics.median(b / a for a, b in zip(found["ours"], found["bare"], strict=True))
        rows.append([model, *(f"{speed[k]:,.0f}" for k in ("ours", "bare", "loading")), f"{share:.0f} %"])
    name = torch.cuda.get_device_name() if device.type == "cuda" else str(device)
    table(
        f"Extraction of {given.images:,} JPEGs on {name}, {given.precision}, batches of {given.batch},"
        f" {roots.cpus()} CPUs, {given.readers} processes",
        ("", "extraction, images/s", "bare forward", "loading alone", "share of the bare (target: 90 %)"),
        rows,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readers", type=int, default=2, help="processes, ours and DataLoader's")
    parser.add_argument("--openood", type=Path, help="a checkout of OpenOOD")
    parser.add_argument("--memory", type=int, help="so many files are read, and nothing else is done")
    parser.add_argument(
        "--extract", nargs="+", metavar="MODEL", help="torchvision's, and nothing else is done"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--batch", type=int, default=256, help="of the extraction")
    parser.add_argument("--size", type=int, default=224, help="of the images that networks see")
    given = parser.parse_args()
    torch.set_num_threads(1)
    about = [_version(p) for p in ("torch", "torchvision", "pillow", "simplejpeg", "torchcodec")]
    print(f"Python {platform.python_version()}, {', '.join(about)}, {roots.cpus()} CPUs")
    with tempfile.TemporaryDirectory() as place:
        os.environ["OODBENCH_CACHE"] = f"{place}/cache"
        if given.memory:
            memory(Path(place), given.memory)
        elif given.extract:
            with settings(readers=given.readers):
                extraction(Path(place), given.extract, given)
        else:
            per_core(Path(place), given.images, given.rounds, given.openood, given.readers)


if __name__ == "__main__":
    main()
