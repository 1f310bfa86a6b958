"""Published sets in torchvision's own file formats, generated tiny, become tasks with the right pixels and labels."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from cotrain.data import SplitConfig, TorchvisionConfig, torchvision_set
from cotrain.errors import DataError
from cotrain.tasks import SPLITS

RANDOM = np.random.default_rng(0)
DIGITS = tuple("0123456789")
NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path


Parts = dict[str, tuple[np.ndarray, list[int]]]


def drawn(shape: tuple[int, ...], classes: int, train: int = 60, test: int = 20) -> Parts:
    """Pictures (count, *shape) and labels of both parts."""
    return {
        part: (RANDOM.integers(0, 256, (count, *shape), np.uint8), [number % classes for number in range(count)])
        for part, count in (("train", train), ("test", test))
    }


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar(root: Path, patch, name: str) -> Parts:
    """Batches of flat pictures, pickled, as of Krizhevsky; the checksums become those of these files."""
    made, held = getattr(datasets, name), drawn((3, 32, 32), 10)
    fine = name == "CIFAR100"
    folder = root / made.base_folder
    folder.mkdir(parents=True)
    files = {}
    for part, (pixels, labels) in held.items():
        for number, (file, _) in enumerate(made.train_list if part == "train" else made.test_list):
            count = len(labels) if fine or part == "test" else 12
            rows = slice(number * count, (number + 1) * count)
            batch = {"data": pixels[rows].reshape(-1, 3072), "filenames": [b"x"] * count}
            batch |= {"fine_labels": labels[rows], "coarse_labels": [0] * count} if fine else {"labels": labels[rows]}
            files[file] = batch
    files[made.meta["filename"]] = {made.meta["key"]: list(NAMES)}
    for file, content in files.items():
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    for attribute in ("train_list", "test_list"):
        patch.setattr(made, attribute, [[file, md5(folder / file)] for file, _ in getattr(made, attribute)])
    patch.setattr(made, "meta", made.meta | {"md5": md5(folder / made.meta["filename"])})
    return held


def fashion_mnist(root: Path, patch) -> Parts:
    """IDX files."""
    held = drawn((28, 28), 10)
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, (pixels, labels) in held.items():
        stem = "t10k" if part == "test" else "train"
        images = struct.pack(">IIII", 0x803, len(pixels), 28, 28) + pixels.tobytes()
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + bytes(labels))
    return {part: (pixels[:, None], labels) for part, (pixels, labels) in held.items()}


def svhn(root: Path, patch) -> Parts:
    """MATLAB files (height, width, channels, count), where the digit 0 is called 10."""
    held, lists = drawn((3, 32, 32), 10), dict(datasets.SVHN.split_list)
    root.mkdir(parents=True)
    for part, (pixels, labels) in held.items():
        path = root / lists[part][1]
        savemat(path, {"X": pixels.transpose(2, 3, 1, 0), "y": np.array([[label or 10] for label in labels], np.uint8)})
        lists[part] = [*lists[part][:2], md5(path)]
    patch.setattr(datasets.SVHN, "split_list", lists)
    return held


def stl10(root: Path, patch) -> Parts:
    """Raw bytes, column by column; labels from 1."""
    held, made = drawn((3, 96, 96), 10, train=30, test=10), datasets.STL10
    folder = root / made.base_folder
    folder.mkdir(parents=True)
    for part, (pixels, labels) in held.items():
        (folder / f"{part}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    (folder / "class_names.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "fold_indices.txt").write_text("0 1 2\n" * 10)
    for attribute in ("train_list", "test_list"):
        patch.setattr(made, attribute, [[file, md5(folder / file)] for file, _ in getattr(made, attribute)])
    return held


SETS: dict[str, tuple[Callable[..., Parts], tuple[str, ...]]] = {
    "cifar10": (lambda root, patch: cifar(root, patch, "CIFAR10"), NAMES),
    "cifar100": (lambda root, patch: cifar(root, patch, "CIFAR100"), NAMES),
    "fashion_mnist": (fashion_mnist, tuple(datasets.FashionMNIST.classes)),
    "stl10": (stl10, NAMES),
    "svhn": (svhn, DIGITS),
}


def labels_of(held: Parts, part: str) -> dict[bytes, int]:
    pixels, labels = held[part]
    return {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}


def found_labels(data, *splits: str) -> dict[bytes, int]:
    sources = [data.splits[split]["objects"][""] for split in splits]
    return {
        image.numpy().tobytes(): int(label)
        for source in sources
        for image, label in zip(source.images[:], source.targets, strict=True)
    }


@pytest.mark.parametrize("name", SETS)
def test_pixels_labels_and_names_are_those_of_the_files(data, monkeypatch, name):
    write, names = SETS[name]
    held = write(data / name, monkeypatch)
    found = torchvision_set(TorchvisionConfig(name=name), seed=0)
    info = found.info.task("objects")
    assert info.class_names == names
    assert info.image_shape == held["train"][0].shape[1:]
    assert found_labels(found, "train", "validation") == labels_of(held, "train")
    assert found_labels(found, "test") == labels_of(held, "test")
    count = len(held["train"][0])
    assert info.sessions[""].stimuli == {
        "train": count * 9 // 10,
        "validation": count // 10,
        "test": len(held["test"][0]),
    }


@pytest.mark.parametrize("name", SETS)
def test_a_missing_set_says_how_to_get_it(data, name):
    with pytest.raises(DataError, match=f"{name} does not hold all of {name}: .*`cotrain data fetch {name}` puts it"):
        torchvision_set(TorchvisionConfig(name=name), seed=0)


@pytest.mark.parametrize("name", SETS)
def test_damaged_files_are_named_as_a_damaged_set(data, monkeypatch, name):
    SETS[name][0](data / name, monkeypatch)
    for path in (data / name).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=f"does not hold all of {name}: .*cotrain data fetch {name}"):
        torchvision_set(TorchvisionConfig(name=name), seed=0)


@pytest.mark.parametrize("length", [0, 3, 8, 15, 100])
def test_no_length_of_a_cut_idx_file_passes(data, monkeypatch, length):
    fashion_mnist(data / "fashion_mnist", monkeypatch)  # of which torchvision checks no sum
    path = data / "fashion_mnist/FashionMNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="does not hold all of fashion_mnist"):
        torchvision_set(TorchvisionConfig(name="fashion_mnist"), seed=0)


def test_idx_files_may_be_packed(data, monkeypatch):
    fashion_mnist(data / "fashion_mnist", monkeypatch)
    before = torchvision_set(TorchvisionConfig(name="fashion_mnist"), seed=0).info.fingerprint
    for path in (data / "fashion_mnist/FashionMNIST/raw").iterdir():
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    assert torchvision_set(TorchvisionConfig(name="fashion_mnist"), seed=0).info.fingerprint == before


def test_path_size_grey_and_seed_are_those_of_the_config(data, monkeypatch):
    held = cifar(data / "elsewhere", monkeypatch, "CIFAR10")
    config = TorchvisionConfig(name="cifar10", path="elsewhere", size=8, grey=True, task="things")
    found = torchvision_set(config, seed=0)
    assert found.info.task("things").image_shape == (1, 8, 8)
    luma = (held["test"][0].transpose(0, 2, 3, 1) @ [0.299, 0.587, 0.114]).mean()
    assert found.splits["test"]["things"][""].images.float().mean().item() == pytest.approx(luma, abs=1)
    assert torchvision_set(config, seed=0).info.fingerprint == found.info.fingerprint
    assert torchvision_set(config, seed=1).info.fingerprint != found.info.fingerprint
    assert config.replace(storage="files").key() == config.key()


def test_training_pictures_that_equal_test_pictures_are_left_out(data, monkeypatch, caplog):
    copied = drawn((3, 32, 32), 10)
    copied["train"][0][[3, 17]] = copied["test"][0][5]
    monkeypatch.setitem(globals(), "drawn", lambda *_, **__: copied)
    cifar(data / "cifar10", monkeypatch, "CIFAR10")
    found = torchvision_set(TorchvisionConfig(name="cifar10"), seed=0)
    assert "2 of 60 images of the given train split are (near) copies of images for test" in caplog.text
    assert len(found_labels(found, "train", "validation")) == 58


def test_a_published_test_set_leaves_no_share_to_draw():
    with pytest.raises(DataError, match="cifar10 has a published test set; set the split's test share to 0"):
        torchvision_set(TorchvisionConfig(name="cifar10", split=SplitConfig()), seed=0)


WNIDS = {"n01": ("tench", "Tinca tinca"), "n02": ("crane",), "n03": ("crane",)}


@pytest.fixture
def imagenet(data) -> Path:
    """Unpacked archives: a folder a class in both parts, and what torchvision keeps of the development kit."""
    root = data / "imagenet"
    for part, count in (("train", 10), ("val", 3)):
        for label, wnid in enumerate(WNIDS):
            for number in range(count):
                pixels = RANDOM.integers(0, 256, (12 + number, 15, 3), np.uint8)
                pixels[..., 2] = 80 * label
                path = root / part / wnid / f"{wnid}_{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, "png")
    torch.save((WNIDS, [wnid for wnid in WNIDS for _ in range(3)]), root / "meta.bin")
    return root


@pytest.mark.parametrize("storage", ["memory_map", "files"])
def test_imagenet_is_read_from_its_files(imagenet, storage):
    found = torchvision_set(TorchvisionConfig(name="imagenet", size=6, storage=storage), seed=0)
    info = found.info.task("objects")
    assert info.class_names == ("tench", "crane n02", "crane n03")
    assert info.image_shape == (3, 6, 6)
    assert info.sessions[""].stimuli == {"train": 27, "validation": 3, "test": 9}
    for split in SPLITS:
        source = found.splits[split]["objects"][""]
        blue = source.images[:][:, 2].flatten(1).float().mean(1) / 80
        assert blue.round().int().tolist() == source.targets.tolist()


def test_damaged_pictures_of_imagenet_are_skipped_where_the_config_says_so(imagenet, caplog):
    (imagenet / "train/n01/n01_0.JPEG").write_bytes(b"")
    config = TorchvisionConfig(name="imagenet", size=6)
    with pytest.raises(DataError, match=r"n01_0\.JPEG cannot be read"):
        torchvision_set(config, seed=0)
    found = torchvision_set(config.replace(damaged="skip"), seed=0)
    assert "1 of 39 pictures cannot be read and are skipped" in caplog.text
    assert sum(found.info.task("objects").sessions[""].stimuli.values()) == 38
    for split in SPLITS:
        source = found.splits[split]["objects"][""]
        assert (
            source.images[:][:, 2].flatten(1).float().mean(1) / 80
        ).round().int().tolist() == source.targets.tolist()


def test_imagenet_needs_a_size(imagenet):
    with pytest.raises(DataError, match="imagenet: its pictures differ in size; give the size"):
        torchvision_set(TorchvisionConfig(name="imagenet"), seed=0)


def test_a_class_folder_that_only_one_part_of_imagenet_has_shifts_no_labels(imagenet):
    (imagenet / "val/n01").rename(imagenet / "val_n01")
    with pytest.raises(DataError, match="imagenet: its training and its test pictures are not of the same classes"):
        torchvision_set(TorchvisionConfig(name="imagenet", size=6), seed=0)


def unregistered(root: Path) -> None:
    (root / "meta.bin").rename(root / "meta")


def broken_meta(root: Path) -> None:
    (root / "meta.bin").write_bytes(b"\x80\x02broken")


def empty_class(root: Path) -> None:
    for path in (root / "train/n02").iterdir():
        path.unlink()


def unknown_class(root: Path) -> None:
    (root / "train/n02").rename(root / "train/n99")


@pytest.mark.parametrize("change", [unregistered, broken_meta, empty_class, unknown_class])
def test_a_flaw_of_imagenet_is_named(imagenet, change):
    change(imagenet)
    with pytest.raises(DataError, match=r"does not hold all of imagenet: .*Get it from image-net\.org"):
        torchvision_set(TorchvisionConfig(name="imagenet", size=6), seed=0)
