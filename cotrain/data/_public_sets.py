"""Published data sets that can be fetched: where from, under which terms, and how they are read afterwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from cotrain.data._fetch import Pause
from cotrain.data._fetch_set import FIGSHARE, Ask, Files, PublicSet, RemoteFile, fetch_set
from cotrain.data._unpack import ARCHIVES
from cotrain.errors import DataError, did_you_mean

log = logging.getLogger(__name__)


def _figshare(article: int) -> Files:
    def find(ask: Ask) -> tuple[RemoteFile, ...]:
        answer = ask(f"articles/{article}")
        try:
            listed = answer["files"]
            if len(listed) >= 10:  # an article tells of ten at most
                listed = ask(f"articles/{article}/files?page_size=1000")
            licence = answer.get("license") or {}
            log.info("figshare %d: licence %s %s", article, licence.get("name", "not stated"), licence.get("url", ""))
            return tuple(_figshare_file(entry) for entry in listed)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"figshare tells of article {article} in a form that is not understood ({error!r}). "
                f"Fetch it by hand from https://doi.org/10.6084/m9.figshare.{article}."
            ) from None

    return find


def _figshare_file(entry: Mapping[str, Any]) -> RemoteFile:
    name, md5 = str(entry["name"]), entry.get("computed_md5") or entry.get("supplied_md5")
    if PurePosixPath(name).name != name or name.startswith(".") or "\\" in name or entry.get("is_link_only"):
        raise DataError(f"figshare lists {name!r}, which is no plain file. Fetch the set by hand.")
    packed = name.lower().endswith(ARCHIVES)
    return RemoteFile(entry["download_url"], name, f"md5:{md5}" if md5 else "", int(entry["size"]), packed)


def _torchvision(name: str) -> Files:
    """Addresses and checksums are those of the installed torchvision, whose class reads the files afterwards."""

    def find(_ask: Ask) -> tuple[RemoteFile, ...]:
        from torchvision import datasets

        held: Any = getattr(datasets, name)
        if name == "SVHN":
            parts = [held.split_list[part] for part in ("train", "test")]
            return tuple(RemoteFile(url, path, f"md5:{md5}") for url, path, md5 in parts)
        if name == "FashionMNIST":
            base, folder = held.mirrors[0], f"{name}/raw"
            return tuple(RemoteFile(base + p, f"{folder}/{p}", f"md5:{md5}", unpack=True) for p, md5 in held.resources)
        return (RemoteFile(held.url, held.filename, f"md5:{held.tgz_md5}", unpack=True),)

    return find


V4_MODELS = "https://raw.githubusercontent.com/cowleygroup/V4_compact_models"
V4_FOLDERS = {"images": "images/images", "responses_avg": "responses_repeat_averaged/responses"}
V4_FOLDERS["responses_raw"] = "responses_raw/responses"
COWLEY = {  # the commit that has the files; their names here, bytes, SHA-256
    "f6cbd03109489bef1bbbb5aaeef4f74d22d0dd7b": """
        images_190923.zip 4024034 e99a4df1c7476bdc4d565ff4408bc421976ecc3a22c41af6bfd0cfbddb508c0c
        images_190925.zip 3967665 765b4d4372302d4ed72c3382d41ece5ca55d7dcc3d84da7402091253529b87d1
        images_190927.zip 4080631 d2469cc2caa629d4ed38e8d4964fb1de8c0b29e9937c25ce1c5838bc4e382653
        images_190928.zip 4186920 6d90fdf2341e038beb57c16ce85f48c3a2bdfd450bc1c6440489529aead0f161
        images_190929.zip 3987552 7fea6a28c092acfa646145813f532b2ea1d5a22a0b1bdade47d392b8f6bfb3f0
    """,
    "af82f72c64315676b33fd5d416e06efdbd4028de": """
        images_210224.zip 2782116 e2690810bee34c2e2821e5dd504c7970f3441579bc57659f27d2c11678b52c6b
    """,
    "9b75e3b89abc14b92a7a4fbbb49a8eb69f1d09e3": """
        images_210305.zip 1492118 9fab651e9c2d0b44091c2ea238c78d68fedf573cd7d4ae6b0545c5d84c121776
    """,
    "c6b96b0d640f9abfc06912b0388e9ea5f23b5b77": """
        images_210325.zip 1841475 992774eca3508a2ad01accb1a31f5f3e3d90248c49f4eec314f2a915a263e454
    """,
    "d1b3526933e6bad537140a53b54abe797588f23b": """
        responses_avg_190923.npy 316928 741672d36541ce39930c8a3b5bd1cfd33c187aa47b1549c9c5569bc21aa97a28
        responses_avg_190925.npy 345728 2f94d7bcef0f68fecdb7472f509737fafac92477cf6b11a4966162b1b1072529
        responses_avg_190927.npy 297728 4c3c75ec72bc4bd3f0e22987a7b2e7e962af249d6577e8a6d727ea9075bde034
        responses_avg_190928.npy 230528 41707e2d31ace45da6d181ad28a91c299971d42430c91cc738602523e7d7eda6
        responses_avg_190929.npy 316928 18639c9e2b2baed54c4fb22e311d84dafbd986a12069370b1004880a721d2c4a
        responses_avg_210224.npy 428928 4dbb7367707a5ca47ab4cea863bbf4e9765b8409cb30216693721bddfad7abfe
        responses_avg_210305.npy 224128 00dce8d39558bfc3f5dd55c6f678c05de1b63895d56193379fd7dfe41fc703f0
        responses_avg_210325.npy 256128 555e67037182611969ab90da291dcc39601de4411f651a64ad60e90572cf59d3
        responses_raw_210325.npy 2560128 4008dbbf31a47d9b1b8d8da609f4a7a3433c7071f0e45c611c220b217dd75b76
    """,
}


def _cowley(_ask: Ask) -> tuple[RemoteFile, ...]:
    files = []
    for commit, rows in COWLEY.items():
        for name, size, digest in (row.split() for row in rows.strip().splitlines()):
            kind, _, session = name.rpartition("_")
            url = f"{V4_MODELS}/{commit}/data_V4_responses/{V4_FOLDERS[kind]}_{session}"
            files.append(RemoteFile(url, name, f"sha256:{digest}", int(size)))
    return tuple(files)


def _zenodo(record: int, name: str, md5: str, size: int) -> Files:
    url = f"https://zenodo.org/records/{record}/files/{name}?download=1"
    return lambda _ask: (RemoteFile(url, name, f"md5:{md5}", size, unpack=True),)


def _tiny_imagenet(_ask: Ask) -> tuple[RemoteFile, ...]:
    md5 = "md5:90528d7ca1a48142e341f4ef8d21d0de"
    return (RemoteFile(TINY_IMAGENET, "tiny-imagenet-200.zip", md5, 248_100_043, unpack=True),)


TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
NONE_STATED = "The origin states no licence; it asks to be cited. Use it for research."
IMAGENET_TERMS = "Pictures of ImageNet, whose terms allow non-commercial research and education only"
KRIZHEVSKY = "Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images, University of Toronto"
CORRUPTIONS = (
    "Hendrycks & Dietterich (2019), Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
    "ICLR"
)
CADENA = (
    "Cadena et al. (2024), Diverse task-driven modeling of macaque V4 reveals functional specialization towards "
    "semantic tasks, PLOS Computational Biology 20(5): e1012056"
)
FIGSHARE_TERMS = "The licence on the page of the record; it is logged when figshare is asked for the files."
IMAGENET_PAPER = "Deng et al. (2009), ImageNet: A Large-Scale Hierarchical Image Database, CVPR"

_SETS = (
    PublicSet(
        name="cifar10",
        title="CIFAR-10",
        content="60,000 colour images of 32 x 32 pixels in 10 classes: 50,000 for training, 10,000 for testing.",
        licence=NONE_STATED,
        citation=KRIZHEVSKY,
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        config="{kind: cotrain.data.torchvision_set, name: cifar10}",
        holds=("cifar-10-batches-py",),
        size=170_498_071,
        unpacked=190_000_000,
        files=_torchvision("CIFAR10"),
    ),
    PublicSet(
        name="cifar100",
        title="CIFAR-100",
        content="60,000 colour images of 32 x 32 pixels in 100 classes: 50,000 for training, 10,000 for testing.",
        licence=NONE_STATED,
        citation=KRIZHEVSKY,
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        config="{kind: cotrain.data.torchvision_set, name: cifar100}",
        holds=("cifar-100-python",),
        size=169_001_437,
        unpacked=190_000_000,
        files=_torchvision("CIFAR100"),
    ),
    PublicSet(
        name="svhn",
        title="Street View House Numbers (SVHN), cropped digits, without the extra images",
        content="99,289 colour images of 32 x 32 pixels in 10 classes: 73,257 for training, 26,032 for testing.",
        licence="For non-commercial use only, as its page says.",
        citation="Netzer et al. (2011), Reading Digits in Natural Images with Unsupervised Feature Learning, NIPS "
        "Workshop on Deep Learning and Unsupervised Feature Learning",
        page="http://ufldl.stanford.edu/housenumbers/",
        config="{kind: cotrain.data.torchvision_set, name: svhn}",
        holds=("train_32x32.mat", "test_32x32.mat"),
        size=182_040_794 + 64_275_384,
        files=_torchvision("SVHN"),
    ),
    PublicSet(
        name="fashion_mnist",
        title="Fashion-MNIST",
        content="70,000 grey images of 28 x 28 pixels in 10 classes: 60,000 for training, 10,000 for testing.",
        licence="MIT",
        citation="Xiao, Rasul & Vollgraf (2017), Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
        "Learning Algorithms, arXiv:1708.07747",
        page="https://github.com/zalandoresearch/fashion-mnist",
        config="{kind: cotrain.data.torchvision_set, name: fashion_mnist}",
        holds=tuple(
            f"FashionMNIST/raw/{part}-ubyte"
            for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        ),
        size=31_000_000,
        unpacked=55_000_000,
        files=_torchvision("FashionMNIST"),
    ),
    PublicSet(
        name="stl10",
        title="STL-10",
        content="Colour images of 96 x 96 pixels: 5,000 for training and 8,000 for testing in 10 classes, and 100,000 "
        "without labels.",
        licence=f"{IMAGENET_TERMS}; the set itself states no licence and asks to be cited.",
        citation="Coates, Lee & Ng (2011), An Analysis of Single-Layer Networks in Unsupervised Feature Learning, "
        "AISTATS",
        page="https://cs.stanford.edu/~acoates/stl10/",
        config="{kind: cotrain.data.torchvision_set, name: stl10}",
        holds=("stl10_binary",),
        size=2_640_397_119,
        unpacked=3_130_000_000,
        files=_torchvision("STL10"),
    ),
    PublicSet(
        name="tiny_imagenet",
        title="Tiny ImageNet",
        content="Colour images of 64 x 64 pixels in 200 classes: 100,000 for training, 10,000 for validation, and "
        "10,000 for testing without labels.",
        licence=f"{IMAGENET_TERMS}.",
        citation=f"Le & Yang (2015), Tiny ImageNet Visual Recognition Challenge, CS 231N; {IMAGENET_PAPER}",
        page="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        config="{kind: cotrain.data.tiny_imagenet}",
        holds=("tiny-imagenet-200",),
        size=248_100_043,
        unpacked=500_000_000,  # small files take up more than their bytes
        files=_tiny_imagenet,
    ),
    PublicSet(
        name="cifar10_c",
        title="CIFAR-10-C",
        content="The test images of CIFAR-10 under 19 corruptions, each in 5 severities, as NumPy arrays.",
        licence="Creative Commons Attribution 4.0",
        citation=CORRUPTIONS,
        page="https://zenodo.org/records/2535967",
        config="arrays in the folder cifar10_c/CIFAR-10-C",
        holds=("CIFAR-10-C",),
        size=2_918_471_680,
        unpacked=2_918_471_680,
        files=_zenodo(2535967, "CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499", 2_918_471_680),
    ),
    PublicSet(
        name="tiny_imagenet_c",
        title="Tiny ImageNet-C, the 15 corruptions of the benchmark",
        content="The 10,000 test images of Tiny ImageNet under 15 corruptions, each in 5 severities, with labels.",
        licence=f"The licence on the page of the record. {IMAGENET_TERMS}.",
        citation=CORRUPTIONS,
        page="https://zenodo.org/records/2536630",
        config="images of the folder tiny_imagenet_c/Tiny-ImageNet-C/<corruption>/<severity>",
        holds=("Tiny-ImageNet-C",),
        size=1_794_775_040,
        unpacked=3_300_000_000,  # small files take up more than their bytes
        files=_zenodo(2536630, "Tiny-ImageNet-C.tar", "f9c9a9dbdc11469f0b850190f7ad8be1", 1_794_775_040),
    ),
    PublicSet(
        name="cadena2024_v1",
        title="Macaque V1, Cadena et al. 2024",
        content="Spike counts of single neurons to natural images, in bins of 10 ms, with repeated test images.",
        licence=FIGSHARE_TERMS,
        citation=CADENA,
        page="https://doi.org/10.6084/m9.figshare.23056805",
        config="{kind: cotrain.data.recorded, path: cadena2024_v1, format: cadena2024, task: v1, grey: true, "
        "window_ms: [40, 160], crop: [70, 70, 70, 70]}",
        holds=("images", "train", "test"),
        files=_figshare(23056805),
    ),
    PublicSet(
        name="cadena2024_v4",
        title="Macaque V4, Cadena et al. 2024",
        content="Spike counts of single neurons to natural images, in bins of 10 ms, with repeated test images.",
        licence=FIGSHARE_TERMS,
        citation=CADENA,
        page="https://doi.org/10.6084/m9.figshare.23060540",
        config="{kind: cotrain.data.recorded, path: cadena2024_v4, format: cadena2024, task: v4, grey: true, "
        "window_ms: [70, 160], crop: [68, 0, 126, 126]}",
        holds=("images", "train", "test"),
        files=_figshare(23060540),
    ),
    PublicSet(
        name="cowley2023_v4",
        title="Macaque V4, eight sessions of Cowley et al. 2023",
        content="Spike counts in 100 ms of 24 to 70 neurons a session to 400 to 1,200 colour images, averaged over "
        "repeats; with all repeats for session 210325.",
        licence="GPL-3.0 (the repository's); the photographs belong to others.",
        citation="Cowley, Stan, Pillow & Smith (2023), Compact deep neural network models of visual cortex, bioRxiv "
        "2023.11.22.568315; in Nature (2026), doi:10.1038/s41586-026-10150-1",
        page="https://github.com/cowleygroup/V4_compact_models",
        config="{kind: cotrain.data.recorded, path: cowley2023_v4, format: cowley2023, task: v4}",
        holds=tuple(row.split()[0] for rows in COWLEY.values() for row in rows.strip().splitlines()),
        size=31_339_663,
        files=_cowley,
    ),
    PublicSet(
        name="imagenet",
        title="ImageNet (ILSVRC 2012)",
        content="1.28 million training and 50,000 validation images in 1,000 classes.",
        licence="ImageNet's terms of access: non-commercial research and education only; registration needed.",
        citation=f"{IMAGENET_PAPER}; Russakovsky et al. (2015), ImageNet Large Scale Visual Recognition Challenge, "
        "IJCV",
        page="https://image-net.org/download.php",
        config="{kind: cotrain.data.image_folder, path: imagenet/train, test_path: imagenet/val, size: 224, "
        "split: {kind: cotrain.data.SplitConfig, validation: 0.02, test: 0.0}}",
        holds=("train", "val"),
        by_hand="Register at https://image-net.org/download.php, fetch the images of ILSVRC 2012 and unpack them to "
        "train/<class>/*.JPEG and val/<class>/*.JPEG.",
    ),
    PublicSet(
        name="majaj2015_it",
        title="Macaque IT, Majaj et al. 2015, as prepared for the EPFL course NX-414",
        content="IT_data.h5: rates of 168 IT sites to 3,200 images of 64 objects.",
        licence="None stated; it is handed out to the course. Ask its teachers before other use.",
        citation="Majaj, Hong, Solomon & DiCarlo (2015), Simple Learned Weighted Sums of Inferior Temporal Neuronal "
        "Firing Rates Accurately Predict Human Core Object Recognition Performance, J Neurosci 35(39): 13402-13418",
        page="https://github.com/amathislab/NX-414",
        config="{kind: cotrain.data.recorded, path: majaj2015_it/IT_data.h5, format: majaj2015, task: it}",
        holds=("IT_data.h5",),
        by_hand="The course's notebooks (https://github.com/amathislab/NX-414) tell where IT_data.h5 lies, a shared "
        "drive without stable address or checksum.",
    ),
)

PUBLIC_SETS: Mapping[str, PublicSet] = MappingProxyType({public_set.name: public_set for public_set in _SETS})


def public_sets() -> Mapping[str, PublicSet]:
    """All sets that `fetch` knows, by name."""
    return PUBLIC_SETS


def fetch(
    name: str,
    folder: str | Path,
    *,
    progress: bool = False,
    accept: Callable[[str], bool] | None = None,
    api: str = FIGSHARE,
    pause: Pause = time.sleep,
) -> Path:
    """Fetch a set of `PUBLIC_SETS`; one that is there already is left alone. See `fetch_set`.

    Raises:
        DataError: No set has this name, and as `fetch_set`.
    """
    if name not in PUBLIC_SETS:
        raise DataError(f"No public data set is called {name!r}.{did_you_mean(name, tuple(PUBLIC_SETS))}")
    return fetch_set(PUBLIC_SETS[name], folder, progress=progress, accept=accept, api=api, pause=pause)
