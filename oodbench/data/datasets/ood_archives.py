"""Sets that serve as OOD or as shifted ID sets, in the folder layout of their archives: all their images are
one set, whatever the role."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from oodbench.core.dataset import Dataset
from oodbench.core.registry import dataset
from oodbench.data.sources.archives import unpacked
from oodbench.data.sources.download import downloads
from oodbench.data.sources.files import FileSamples, OnError, folder
from oodbench.data.sources.roots import find
from oodbench.data.sources.walk import class_folders


class _Tree(NamedTuple):
    """A set whose images all lie below one folder: what it is, where, by what it is labelled, and where to
    get it."""

    about: str
    places: tuple[str, ...]
    source: str
    classes: bool = False
    url: str = ""
    md5: str = ""
    page: str = ""


_ODIN = (
    "the archives of github.com/facebookresearch/odin, as pytorch-ood 0.4.0 dataset/img/odin.py reads them"
)
_MOS = "the folders that the README and eval_ood_detection.py of deeplearning-wisc/MCM name"
_DROPBOX = "https://www.dropbox.com/s/raw/"
_OPENOOD = "OpenOOD's download: github.com/Jingkang50/OpenOOD, scripts/download"
_TREES = {
    "isun": _Tree(
        "8,925 patches of iSUN, 32x32",
        ("iSUN/iSUN_patches", "iSUN"),
        "the archive that github.com/facebookresearch/odin names",
        url=_DROPBOX + "ssz7qxfqae0cca5/iSUN.tar.gz",
        md5="be77b0f2c26fda898afac5f99645ee70",
    ),
    "lsun-c": _Tree(
        "10,000 LSUN photographs, 36x36, to be cropped",
        ("LSUN/test", "LSUN"),
        _ODIN,
        url=_DROPBOX + "fhtsw1m3qxlwj6h/LSUN.tar.gz",
        md5="458a0a0ab8e5f1cb4516d7400568e460",
    ),
    "lsun-r": _Tree(
        "10,000 LSUN photographs resized to 32x32",
        ("LSUN_resize/LSUN_resize", "LSUN_resize"),
        _ODIN,
        url=_DROPBOX + "moqh2wh8696c3yl/LSUN_resize.tar.gz",
        md5="278b7b31c8cb7e804a1465a8ce03a2dc",
    ),
    "tin-crop": _Tree(
        "10,000 Tiny-ImageNet test images, 36x36, to be cropped",
        ("Imagenet/test", "Imagenet"),
        _ODIN,
        url=_DROPBOX + "avgm2u562itwpkl/Imagenet.tar.gz",
        md5="7c0827e4246c3718a5ee076e999e52e5",
    ),
    "tin-resize": _Tree(
        "10,000 Tiny-ImageNet test images resized to 32x32",
        ("Imagenet_resize/Imagenet_resize", "Imagenet_resize"),
        _ODIN,
        url=_DROPBOX + "kp3my3412u5k9rl/Imagenet_resize.tar.gz",
        md5="0f9ff11d45babf2eff5fe12281d1ac31",
    ),
    "ssb-hard": _Tree(
        "49,000 images of 980 ImageNet-21K classes close to ImageNet-1K's",
        ("ssb_hard", "images_largescale/ssb_hard"),
        "pytorch-ood 0.4.0 dataset/img/openood.py",
        classes=True,
        page=_OPENOOD,
    ),
    "ninco": _Tree(
        "5,879 hand-checked images of 64 classes that are not in ImageNet-1K",
        ("NINCO/NINCO_OOD_classes", "NINCO_OOD_classes"),
        "the archive's layout, as pytorch-ood 0.4.0 dataset/img/ninco.py reads it",
        classes=True,
        url="https://zenodo.org/record/8013288/files/NINCO_all.tar.gz",
        md5="b9ffae324363cd900a81ce3c367cd834",
    ),
    "inaturalist": _Tree(
        "10,000 plants of iNaturalist 2017 that are not in ImageNet-1K",
        ("iNaturalist/images", "iNaturalist", "images_largescale/inaturalist"),
        "pytorch-ood 0.4.0 dataset/img/openood.py",
        page="https://github.com/deeplearning-wisc/large_scale_ood, or " + _OPENOOD,
    ),
    "mos-sun": _Tree(
        "10,000 images of scenes of SUN that are not in ImageNet-1K, as MOS chose them",
        ("SUN/images", "SUN"),
        _MOS,
        page="https://github.com/deeplearning-wisc/large_scale_ood (SUN.tar.gz)",
    ),
    "mos-places": _Tree(
        "10,000 images of scenes of Places that are not in ImageNet-1K, as MOS chose them",
        ("Places/images", "Places"),
        _MOS,
        page="https://github.com/deeplearning-wisc/large_scale_ood (Places.tar.gz)",
    ),
    "mos-textures": _Tree(
        "all 5,640 images of the Describable Textures, whatever their split",
        ("Textures/images_collate", "Textures/dtd/images", "dtd/dtd/images", "dtd/images"),
        _MOS,
        page="`oodbench data download dtd`, or https://www.robots.ox.ac.uk/~vgg/data/dtd",
    ),
    "openimage-o": _Tree(
        "17,632 images of OpenImages that are not in ImageNet-1K",
        ("OpenImagesO/images", "openimage_o", "images_largescale/openimage_o"),
        "pytorch-ood 0.4.0 dataset/img/openood.py",
        page="https://github.com/haoqiwang/vim, or " + _OPENOOD,
    ),
    "imagenet-o": _Tree(
        "2,000 images of ImageNet-21K that networks take for ImageNet-1K",
        ("imagenet-o",),
        "pytorch-ood 0.4.0 dataset/img/imagenet.py",
        classes=True,
        url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-o.tar",
        md5="86bd7a50c1c4074fb18fc5f219d6d50b",
    ),
    "imagenet-v2": _Tree(
        "10,000 new photographs of ImageNet-1K's classes, in folders 0 to 999",
        ("imagenetv2-matched-frequency-format-val", "imagenetv2"),
        "the archive's layout, github.com/modestyachts/ImageNetV2",
        classes=True,
        page="https://huggingface.co/datasets/vaishaal/ImageNetV2 (imagenetv2-matched-frequency.tar.gz)",
    ),
    "imagenet-r": _Tree(
        "30,000 renditions of 200 ImageNet classes, numbered in the order of their sorted WordNet ids",
        ("imagenet-r",),
        "pytorch-ood 0.4.0 dataset/img/imagenet.py",
        classes=True,
        url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
        md5="a61312130a589d0ca1a8fca1f2bd3337",
    ),
}


def _register(name: str, tree: _Tree) -> None:
    get = f"oodbench data download {name}" if tree.url else tree.page

    def component(*, root: Path | None = None, on_error: OnError = "fail") -> Dataset:
        def read() -> FileSamples:
            place = find(
                name,
                [p for top in tree.places for p in (f"{name}/{top}", top)] + [name],
                get=get,
                is_it=Path.is_dir,
                root=root,
            )
            return _labelled(name, place, tree.classes, on_error)

        return Dataset(dict.fromkeys(("test", "val", "train"), read))

    component.__doc__ = f"{tree.about}; one set for whatever role it plays."
    component.__name__ = component.__qualname__ = name.replace("-", "_")
    dataset(name, source=tree.source)(component)
    if tree.url:
        downloads[name] = unpacked(tree.url, tree.md5)


def _labelled(name: str, place: Path, classes: bool, on_error: OnError) -> FileSamples:
    if not classes:
        return folder(name, place, flat=True, on_error=on_error)
    names = class_folders(place)
    if names and all(n.isdecimal() for n in names):  # numbers, which do not sort as text
        names.sort(key=int)
    return folder(name, place, classes=names, on_error=on_error)


for _name, _tree in _TREES.items():
    _register(_name, _tree)
