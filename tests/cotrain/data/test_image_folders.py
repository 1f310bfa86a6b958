"""Folders of labelled pictures become one task: the right labels, a split by content, and flaws that are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain.data import ImageFolderConfig, SplitConfig, TinyImageNetConfig, image_folder, tiny_imagenet
from cotrain.errors import ConfigError, DataError
from cotrain.tasks import SPLITS

CLASSES = ("cat", "dog", "fish")
WNIDS = ("n01443537", "n01629819", "n01641577")
SIZE = 8
GIVEN = SplitConfig(validation=0.25, test=0.0)


def save(path: Path, red: int, seed: int) -> None:
    """A noisy picture whose red channel tells the class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    pixels[..., 0] = red
    Image.fromarray(pixels).save(path)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch) -> Path:
    """The data folder; the cache is beside it."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture
def pets(data) -> Path:
    """12 pictures of each of three classes for training, 4 for testing."""
    for part, count in (("train", 12), ("test", 4)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                deep = "deep/" if number % 5 == 0 else ""
                save(
                    data / "pets" / part / name / f"{deep}{number}.png", label, 100 * label + number + 1000 * len(part)
                )
    return data / "pets"


@pytest.fixture
def tiny(data) -> Path:
    """Tiny ImageNet as it is published, but smaller."""
    root = data / "tiny_imagenet" / "tiny-imagenet-200"
    for label, wnid in enumerate(WNIDS):
        for number in range(10):
            save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", label, 100 * label + number)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t62\t63\n")
    lines = []
    for number in range(9):
        label = (number * 2) % 3
        save(root / "val" / "images" / f"val_{number}.JPEG", label, 5000 + number)
        lines.append(f"val_{number}.JPEG\t{WNIDS[label]}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    save(root / "test" / "images" / "test_0.JPEG", 0, 9000)  # published without labels
    return root


def pets_config(**fields) -> ImageFolderConfig:
    return ImageFolderConfig(**{"path": "pets/train", "size": SIZE} | fields)


def reds(source) -> list[int]:
    """The class of each picture, as its pixels tell."""
    return source.images[:][:, 0].flatten(1).float().mean(1).round().int().tolist()


def sizes(data) -> dict[str, int]:
    return data.info.task("objects").sessions[""].stimuli


def test_each_picture_has_the_label_of_its_folder(pets):
    found = image_folder(pets_config(), seed=0)
    assert found.info.task("objects").class_names == CLASSES
    assert found.info.task("objects").image_shape == (3, SIZE, SIZE)
    assert sum(sizes(found).values()) == 36
    for split in SPLITS:
        source = found.splits[split]["objects"][""]
        assert source.targets.tolist() == reds(source)
        counts = source.targets.bincount(minlength=3)
        assert counts.max() - counts.min() <= 1


def test_pixels_are_those_of_the_files(pets):
    found = image_folder(pets_config(), seed=0)
    held = {image.numpy().tobytes() for split in SPLITS for image in found.splits[split]["objects"][""].images[:]}
    files = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in (pets / "train").rglob("*.png")}
    assert held == files and len(files) == 36


def test_classes_are_chosen_and_labelled_in_the_order_given(pets):
    found = image_folder(pets_config(classes=("fish", "cat"), task="pets"), seed=0)
    assert found.info.task("pets").class_names == ("fish", "cat")
    for split in SPLITS:
        source = found.splits[split]["pets"][""]
        assert [{2: 0, 0: 1}[red] for red in reds(source)] == source.targets.tolist()
        assert set(source.targets.tolist()) == {0, 1}


def test_a_given_test_set_is_the_test_set(pets):
    found = image_folder(pets_config(test_path="pets/test", split=GIVEN), seed=0)
    assert sizes(found) == {"train": 27, "validation": 9, "test": 12}
    held = {image.numpy().tobytes() for image in found.splits["test"]["objects"][""].images[:]}
    assert held == {np.asarray(Image.open(p)).transpose(2, 0, 1).tobytes() for p in (pets / "test").rglob("*.png")}
    assert reds(found.splits["test"]["objects"][""]) == found.splits["test"]["objects"][""].targets.tolist()


def test_a_test_class_that_is_not_chosen_is_left_out(pets):
    found = image_folder(pets_config(test_path="pets/test", split=GIVEN, classes=("dog", "cat")), seed=0)
    assert sizes(found)["test"] == 8
    source = found.splits["test"]["objects"][""]
    assert [1 - red for red in reds(source)] == source.targets.tolist()


def test_training_copies_of_test_pictures_are_left_out_with_a_warning(pets, caplog):
    shutil.copy(pets / "test" / "dog" / "1.png", pets / "train" / "dog" / "1.png")
    shutil.copy(pets / "test" / "fish" / "2.png", pets / "train" / "fish" / "another.png")
    found = image_folder(pets_config(test_path="pets/test", split=GIVEN), seed=0)
    assert "2 of 37 images of the given train split are (near) copies of images for test" in caplog.text
    stimuli = sizes(found)
    assert stimuli["test"] == 12 and stimuli["train"] + stimuli["validation"] == 35


def test_equal_pictures_of_a_drawn_split_stay_together(pets):
    for number in range(12):
        shutil.copy(pets / "train" / "cat" / ("deep/" * (number % 5 == 0)) / f"{number}.png", pets / f"{number}.png")
        shutil.move(pets / f"{number}.png", pets / "train" / "cat" / f"copy_{number}.png")
    for seed in range(5):
        found = image_folder(pets_config(), seed=seed)  # assemble refuses a picture in two splits
        assert sum(sizes(found).values()) == 48


def test_the_seed_decides_the_split_and_where_pixels_are_held_does_not(pets):
    config = pets_config()
    first, again, other = (image_folder(config, seed=seed).info.fingerprint for seed in (0, 0, 1))
    assert first == again != other
    filed = config.replace(storage="files")
    assert image_folder(filed, seed=0).info == image_folder(config, seed=0).info
    assert filed.key() == config.key()
    assert TinyImageNetConfig(storage="files").key() == TinyImageNetConfig().key()
    assert pets_config(fit="stretch").key() != config.key() != pets_config(damaged="skip").key()


def test_statistics_are_those_of_training_pictures_alone(pets):
    found = image_folder(pets_config(test_path="pets/test", split=GIVEN), seed=0)
    train = found.splits["train"]["objects"][""].images[:].double() / 255
    info = found.info.task("objects")
    assert info.image_mean == pytest.approx(train.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert info.image_std == pytest.approx(train.std((0, 2, 3), correction=0).tolist(), abs=1e-9)
    for path in (pets / "test").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert image_folder(pets_config(test_path="pets/test", split=GIVEN), seed=0).info.task("objects") == info


def test_size_fit_and_grey_are_those_of_the_config(pets):
    for number, path in enumerate((pets / "train").rglob("*.png")):
        wide = np.random.default_rng(number).integers(0, 256, (10, 20, 3), np.uint8)
        Image.fromarray(wide).save(path)
    one, other = (image_folder(pets_config(fit=fit, grey=True, size=5), seed=0) for fit in ("crop", "stretch"))
    assert one.info.task("objects").image_shape == (1, 5, 5)
    assert one.info.fingerprint != other.info.fingerprint


def test_damaged_pictures_stop_or_are_skipped_with_their_labels(pets, caplog):
    (pets / "train" / "cat" / "1.png").write_text("no picture")
    (pets / "train" / "dog" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cat/1\.png cannot be read"):
        image_folder(pets_config(), seed=0)
    found = image_folder(pets_config(damaged="skip", test_path="pets/test", split=GIVEN), seed=0)
    assert "2 of 48 pictures cannot be read and are skipped" in caplog.text
    assert sum(sizes(found).values()) == 46
    for split in SPLITS:
        source = found.splits[split]["objects"][""]
        assert source.targets.tolist() == reds(source)


def test_a_class_of_which_every_picture_is_damaged_is_named(pets):
    for path in (pets / "test" / "dog").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"of the test pictures of the classes \['dog'\] none can be read"):
        image_folder(pets_config(damaged="skip", test_path="pets/test", split=GIVEN), seed=0)


FLAWS = [
    (lambda root: (root / "train" / "bird").mkdir(), {}, r"bird holds no pictures \(\.bmp.*Remove it, or fill it"),
    (lambda root: shutil.rmtree(root / "train"), {}, r"There is no folder .*pets/train\. Set COTRAIN_DATA"),
    (lambda root: None, {"path": "."}, r"has .* two or more classes|expected two or more classes.* found \['pets'\]"),
    (lambda root: None, {"path": "pets/train/cat"}, r"expected two or more classes, each once, found \['deep'\]"),
    (lambda root: None, {"path": "pets/train/cat/deep"}, "holds no folders: expected one a class"),
    (lambda root: None, {"classes": ("cat", "dogs")}, r"pets/train has no class 'dogs'\. Did you mean 'dog'\?"),
    (lambda root: None, {"classes": ("cat",)}, "expected two or more classes"),
    (lambda root: None, {"classes": ("cat", "dog", "cat")}, "expected two or more classes, each once"),
    (lambda root: None, {"test_path": "pets/test"}, "with a test_path, set the split's test share to 0"),
    (lambda root: None, {"test_path": "pets/tests", "split": GIVEN}, "There is no folder .*pets/tests"),
    (
        lambda root: shutil.rmtree(root / "test" / "dog"),
        {"test_path": "pets/test", "split": GIVEN},
        r"the test pictures lack the classes \['dog'\]",
    ),
    (
        lambda root: shutil.move(root / "test" / "dog", root / "test" / "wolf"),
        {"test_path": "pets/test", "split": GIVEN},
        r"the test pictures have classes that training lacks: \['wolf'\]",
    ),
]


@pytest.mark.parametrize(("change", "fields", "text"), FLAWS)
def test_a_flaw_of_the_folders_is_named(pets, change, fields, text):
    change(pets)
    with pytest.raises(DataError, match=text):
        image_folder(pets_config(**fields), seed=0)


def test_hidden_folders_are_no_classes(pets):
    (pets / "train" / ".cache").mkdir()
    (pets / "train" / "notes.txt").touch()
    assert image_folder(pets_config(), seed=0).info.task("objects").class_names == CLASSES


@pytest.mark.parametrize("fields", [{"size": 0}, {"fit": "pad"}, {"storage": "ram"}, {"damaged": "ignore"}])
def test_values_that_mean_nothing_are_refused(fields):
    with pytest.raises(ConfigError, match=f"cotrain.data.image_folder: {next(iter(fields))}: "):
        pets_config(**fields)


def test_tiny_imagenet_is_read_as_published(tiny):
    found = tiny_imagenet(TinyImageNetConfig(size=SIZE), seed=0)
    assert found.info.task("objects").class_names == WNIDS
    assert sizes(found) == {"train": 27, "validation": 3, "test": 9}
    test = found.splits["test"]["objects"][""]
    assert test.targets.tolist() == [(number * 2) % 3 for number in range(9)]
    for number, image in enumerate(test.images[:]):
        expected = np.asarray(Image.open(tiny / "val" / "images" / f"val_{number}.JPEG")).transpose(2, 0, 1)
        assert torch.equal(image, torch.from_numpy(expected.copy()))
    train = found.splits["train"]["objects"][""]
    # JPEG changes the red that tells the class a little
    held = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes(): path for path in tiny.rglob("*.JPEG")}
    names = [held[image.numpy().tobytes()].parts[-3] for image in train.images[:]]
    assert [WNIDS.index(name) for name in names] == train.targets.tolist()


def test_classes_of_tiny_imagenet_are_chosen(tiny):
    found = tiny_imagenet(TinyImageNetConfig(size=SIZE, classes=(WNIDS[2], WNIDS[0]), grey=True), seed=0)
    assert found.info.task("objects").class_names == (WNIDS[2], WNIDS[0])
    assert found.info.task("objects").image_shape == (1, SIZE, SIZE)
    old = [(number * 2) % 3 for number in range(9)]
    labels = found.splits["test"]["objects"][""].targets.tolist()
    assert labels == [{2: 0, 0: 1}[label] for label in old if label != 1]


def annotate(change):
    def changed(root: Path) -> None:
        path = root / "val" / "val_annotations.txt"
        path.write_text(change(path.read_text()))

    return changed


TINY_FLAWS = [
    (
        annotate(lambda text: "\n\nval_0.JPEG n01443537\n" + text),
        r"val_annotations\.txt, line 3: expected file name, tab",
    ),
    (annotate(lambda text: text.replace(WNIDS[1], "n99999999")), r"classes that training lacks: \['n99999999'\]"),
    (annotate(lambda text: text.replace(WNIDS[1], WNIDS[0])), r"the test pictures lack the classes \['n01629819'\]"),
    (annotate(lambda text: ""), "the test pictures lack the classes"),
    (annotate(lambda text: text.replace("val_3", "val_33")), r"val_33\.JPEG cannot be read: No such file"),
    (lambda root: (root / "val" / "val_annotations.txt").unlink(), r"val_annotations\.txt cannot be read"),
    (
        lambda root: (root / "val" / "val_annotations.txt").write_bytes(b"\xff\xfe\x00"),
        "annotations.txt cannot be read",
    ),
    (lambda root: shutil.rmtree(root / "train" / WNIDS[0] / "images"), "n01443537/images holds no pictures"),
    (lambda root: shutil.rmtree(root / "train"), "There is no folder .*tiny-imagenet-200/train"),
]


@pytest.mark.parametrize(("change", "text"), TINY_FLAWS)
def test_a_flaw_of_tiny_imagenet_is_named(tiny, change, text):
    change(tiny)
    with pytest.raises(DataError, match=text):
        tiny_imagenet(TinyImageNetConfig(size=SIZE), seed=0)


def test_blank_lines_and_windows_line_ends_of_annotations_are_harmless(tiny):
    before = tiny_imagenet(TinyImageNetConfig(size=SIZE), seed=0).info.fingerprint
    path = tiny / "val" / "val_annotations.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert tiny_imagenet(TinyImageNetConfig(size=SIZE), seed=0).info.fingerprint == before


def test_tiny_imagenet_has_a_test_set_already(tiny):
    with pytest.raises(DataError, match="its published validation pictures are the test set; set the test share to 0"):
        tiny_imagenet(TinyImageNetConfig(split=SplitConfig()), seed=0)
