"""Recordings as neural tasks: pictures that sessions share, given splits, statistics of training, and refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain.data import RecordedConfig, SplitConfig, recorded
from cotrain.data._image_rows import ImageRows
from cotrain.data.recordings import read_recording, save_recording
from cotrain.errors import DataError
from cotrain.tasks import SPLITS, DataInfo

BINS, HEIGHT, WIDTH = 12, 10, 12
NEURONS = {"3631": 4, "3632": 3}
TRAIN = {"3631": range(1, 31), "3632": range(11, 41)}  # 20 of them shared
TEST, REPEATS = range(41, 47), 4
EARLY = SplitConfig(validation=0.25)


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH), np.uint8)


def write_session(folder, name, *, train, test=TEST, neurons=3, repeats=REPEATS):
    """Trials in any order; returns {tier: {image: [counts (neurons, bins)]}} in the order of the trial ids."""
    rng, written = np.random.default_rng(int(name)), {}
    for tier, ids, times in (("train", train, 1), ("test", test, repeats)):
        place = folder / tier / name
        place.mkdir(parents=True)
        shown = rng.permutation(np.repeat(ids, times))
        written[tier] = {}
        with (place / "responses.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["responses", "image_id", "trial_id"])
            for trial, number in enumerate(shown):
                # responses to test images are larger: statistics that include them are found out
                counts = rng.poisson(1.0 + 3 * (tier == "test"), (neurons, BINS))
                table.writerow([json.dumps(counts.tolist()), number, trial])
                written[tier].setdefault(int(number), []).append(counts)
        (place / "meta_data.json").write_text(json.dumps({"subject_id": int(name) % 2, "session_id": name}))
    return written


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COTRAIN_CACHE", raising=False)
    return tmp_path


@pytest.fixture
def written(place):
    """The folder v4 with two sessions, and what was written."""
    (place / "v4" / "images").mkdir(parents=True)
    for number in range(1, 47):
        Image.fromarray(pixels(number)).save(place / "v4" / "images" / f"{number:06d}.png")
    return {
        name: write_session(place / "v4", name, train=TRAIN[name], neurons=count) for name, count in NEURONS.items()
    }


def read(seed=0, **changes):
    return recorded(RecordedConfig(**{"path": "v4", "split": EARLY, **changes}), seed=seed)


def numbers_of(data, split, name):
    """Which pictures a split of a session shows, found by their pixels."""
    known = {pixels(number).tobytes(): number for number in range(1, 47)}
    source = data.splits[split]["v4"][name]
    return [known[image[0].numpy().tobytes()] for image in source.images[:]]


def test_the_given_test_split_is_kept_and_validation_is_drawn_from_training(written):
    data = read(sessions=("3632", "3631"))
    assert list(data.info.tasks["v4"].sessions) == ["3632", "3631"]
    for name in NEURONS:
        found = {split: numbers_of(data, split, name) for split in SPLITS}
        assert found["test"] == list(TEST)
        assert sorted(found["train"] + found["validation"]) == list(TRAIN[name])
        assert 3 <= len(found["validation"]) <= 12


@pytest.mark.parametrize("seed", range(5))
def test_no_image_stands_in_two_splits_over_sessions(written, seed):
    data = read(seed)
    seen = {split: {n for name in NEURONS for n in numbers_of(data, split, name)} for split in SPLITS}
    assert not (seen["train"] & seen["validation"] or seen["train"] & seen["test"] or seen["validation"] & seen["test"])
    assert len(set.union(*seen.values())) == 46


def test_the_seed_decides_validation_and_nothing_else(written):
    drawn = {seed: [numbers_of(read(seed), "validation", name) for name in NEURONS] for seed in range(4)}
    assert len({str(numbers) for numbers in drawn.values()}) == 4
    assert numbers_of(read(3), "test", "3631") == list(TEST)
    assert read(2).info.fingerprint == read(2).info.fingerprint


@pytest.mark.parametrize(("window", "bins"), [(None, slice(None)), ((70.0, 160.0), slice(3, 12))])
def test_every_response_is_next_to_its_picture(written, window, bins):
    data = read(standardise=False, window_ms=window)
    for name, tiers in written.items():
        for split in SPLITS:
            source = data.splits[split]["v4"][name]
            trials = tiers["test" if split == "test" else "train"]
            for row, number in enumerate(numbers_of(data, split, name)):
                counts = np.stack([held[:, bins].sum(1) for held in trials[number]])
                np.testing.assert_allclose(source.targets[row], counts.mean(0), rtol=1e-6)
                if split == "test":
                    np.testing.assert_array_equal(source.repeats[row], counts)
    assert data.info.tasks["v4"].sessions["3631"].unit == f"spikes in {90 if window else 120} ms"


def test_statistics_are_those_of_training_images_and_responses_alone(written):
    plain, scored = read(standardise=False), read()
    for name, neurons in NEURONS.items():
        known = plain.splits["train"]["v4"][name].targets.double().numpy()
        centre, spread = known.mean(0), known.std(0)
        for split in SPLITS:
            one, other = (data.splits[split]["v4"][name] for data in (plain, scored))
            np.testing.assert_allclose(other.targets, (one.targets.numpy() - centre) / spread, atol=1e-5)
            if split == "test":
                np.testing.assert_allclose(other.repeats, (one.repeats.numpy() - centre) / spread, atol=1e-5)
        info = scored.info.tasks["v4"].sessions[name]
        np.testing.assert_allclose(info.mean_response, np.zeros(neurons), atol=1e-6)
        np.testing.assert_allclose(info.std_response, np.ones(neurons), atol=1e-6)
        assert scored.splits["test"]["v4"][name].targets.mean() > 1  # in units of training
    shown = np.stack([pixels(n) for name in NEURONS for n in numbers_of(plain, "train", name)]) / 255
    np.testing.assert_allclose(plain.info.tasks["v4"].image_mean, [shown.mean()], rtol=1e-9)
    np.testing.assert_allclose(plain.info.tasks["v4"].image_std, [shown.std()], rtol=1e-9)


def test_repeats_are_trimmed_and_gone_where_one_response_is_all_there_is(written):
    data = read()
    for name, count in NEURONS.items():
        assert data.splits["train"]["v4"][name].repeats is data.splits["validation"]["v4"][name].repeats is None
        assert data.splits["test"]["v4"][name].repeats.shape == (len(TEST), REPEATS, count)


def test_one_response_a_stimulus_is_no_repeat_whichever_column_it_stands_in(place):
    folder = place / "v4"
    folder.mkdir()
    write_cowley(folder, "a")
    path = folder / "responses_avg_a.npy"
    mean = np.load(path)
    trials = np.full((*mean.shape, 2), np.nan)
    trials[:, ::2, 0], trials[:, 1::2, 1] = mean[:, ::2], mean[:, 1::2]
    np.save(folder / "responses_raw_a.npy", trials)
    data = read(format="cowley2023", split=SplitConfig(validation=0.2, test=0.2))
    assert all(data.splits[split]["v4"]["a"].repeats is None for split in SPLITS)


def test_sessions_share_one_decoded_stack(written, place):
    data = read()
    sources = [source for part in data.splits.values() for source in part["v4"].values()]
    assert all(isinstance(source.images, ImageRows) for source in sources)
    assert len({id(source.images.stack) for source in sources}) == 1
    assert sources[0].images.stack.shape == (46, 1, HEIGHT, WIDTH)
    assert len(list((place / "home" / "cache" / "images").glob("*/images.npy"))) == 1


def test_a_converted_recording_shares_one_stack_and_gives_the_same_data(written, place):
    save_recording(read_recording(place / "v4"), place / "open")
    one, other = read(), read(path="open", format="cotrain")
    assert one.info == other.info
    stacks = {id(source.images.stack): source for part in other.splits.values() for source in part["v4"].values()}
    assert len(stacks) == 1 and next(iter(stacks.values())).images.stack.shape[0] == 46
    assert read(path="open", format="cotrain", size=6, sessions=("3632",)).info.tasks["v4"].image_shape == (1, 6, 6)


def test_where_pixels_are_kept_changes_nothing(written):
    one, other = read(size=7, crop=(1, 2, 0, 3)), read(size=7, crop=(1, 2, 0, 3), storage="files")
    assert one.info == other.info
    assert torch.equal(one.splits["test"]["v4"]["3631"].images[:], other.splits["test"]["v4"]["3631"].images[:])


def test_pictures_are_cropped_before_they_are_scaled(written):
    whole, cut = read(), read(crop=(1, 2, 3, 4))
    assert cut.info.tasks["v4"].image_shape == (1, 7, 5)
    full = whole.splits["test"]["v4"]["3631"].images[:]
    assert torch.equal(cut.splits["test"]["v4"]["3631"].images[:], full[:, :, 1:-2, 3:-4])


@pytest.mark.parametrize("kind", ["cotrain", "cadena2024"])
def test_no_pixel_that_is_cut_off_leaks_into_the_scaled_image(written, place, kind):
    save_recording(read_recording(place / "v4"), place / "open")
    before = read(path="open" if kind == "cotrain" else "v4", format=kind, crop=(1, 2, 3, 4), size=4)
    expected = Image.fromarray(pixels(41)[1:-2, 3:-4]).resize((4, 4), Image.Resampling.BILINEAR)
    found = before.splits["test"]["v4"]["3631"].images[:][0, 0].int()
    assert (found - torch.from_numpy(np.array(expected)).int()).abs().max() <= 1


def test_crops_that_leave_nothing_are_refused(written, place):
    with pytest.raises(DataError, match=r"0000..\.png has 10x12 pixels; cutting \(5, 5, 0, 0\) leaves none"):
        read(crop=(5, 5, 0, 0))
    (place / "cowley").mkdir()
    write_cowley(place / "cowley", "a")
    with pytest.raises(DataError, match=r"cowley, session a: cutting \(0, 0, 8, 8\) pixels off 16x16 leaves none"):
        read(path="cowley", format="cowley2023", crop=(0, 0, 8, 8))


def test_one_grey_picture_makes_no_other_session_grey(written, place):
    for number in range(31, 47):  # those that session 3631, which is read first, does not begin with
        rgb = np.stack([pixels(number), pixels(number) // 2, pixels(number) // 4], 2)
        Image.fromarray(rgb).save(place / "v4" / "images" / f"{number:06d}.png")
    for tier in ("train", "test"):
        shutil.rmtree(place / "v4" / tier / "3632")
    write_session(place / "v4", "3632", train=range(31, 41))
    data = read()
    assert data.info.tasks["v4"].image_shape[0] == 3
    assert read(grey=True).info.tasks["v4"].image_shape[0] == 1
    expected = np.asarray(Image.open(place / "v4" / "images" / "000041.png").convert("L"))
    assert torch.equal(read(grey=True).splits["test"]["v4"]["3632"].images[:][0, 0], torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("number", [1, 15, 43])
def test_a_damaged_picture_is_left_out_of_every_session(written, place, number, caplog):
    (place / "v4" / "images" / f"{number:06d}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=rf"{number:06d}\.png cannot be read"):
        read()
    data = read(damaged="skip", standardise=False)
    assert "1 of 46 pictures cannot be read and are skipped" in caplog.text
    for name, tiers in written.items():
        assert number not in [n for split in SPLITS for n in numbers_of(data, split, name)]
        for row, kept in enumerate(numbers_of(data, "test", name)):
            expected = np.stack([held.sum(1) for held in tiers["test"][kept]]).mean(0)
            np.testing.assert_allclose(data.splits["test"]["v4"][name].targets[row], expected, rtol=1e-6)


def test_a_session_without_a_readable_picture_is_named(written, place):
    for number in range(47, 57):
        (place / "v4" / "images" / f"{number:06d}.png").write_bytes(b"")
    write_session(place / "v4", "3633", train=range(47, 53), test=range(53, 57))
    with pytest.raises(DataError, match="session 3633: no stimuli for train, validation, test"):
        read(damaged="skip")


def test_test_images_that_equal_training_images_leave_training(written, place, caplog):
    for session_image, test_image in ((5, 41), (20, 42)):
        Image.fromarray(pixels(test_image)).save(place / "v4" / "images" / f"{session_image:06d}.png")
    data = read()
    # 20 is in both sessions
    assert "3 of 60 images of the given train split are (near) copies of images for test and are left out" in (
        caplog.text
    )
    for name, count in (("3631", 28), ("3632", 29)):
        held = data.info.tasks["v4"].sessions[name].stimuli
        assert held["train"] + held["validation"] == count and held["test"] == 6


def test_without_the_given_split_all_three_are_drawn(written):
    data = read(given_split=False, split=SplitConfig(validation=0.2, test=0.2))
    assert numbers_of(data, "test", "3631") != list(TEST)
    found = [numbers_of(data, split, "3632") for split in SPLITS]
    assert sorted(number for part in found for number in part) == [*range(11, 47)]


def test_given_splits_of_some_sessions_only_are_refused(written, place):
    save_recording(read_recording(place / "v4"), place / "open")
    path = place / "open" / "sessions" / "3632" / "session.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "split": []}))
    with pytest.raises(DataError, match=r"the sessions 3632 have no given split, others have\. Use given_split=False"):
        read(path="open", format="cotrain")
    shares = SplitConfig(validation=0.2, test=0.2)
    assert read(path="open", format="cotrain", given_split=False, split=shares).info.tasks["v4"].sessions.keys() == {
        "3631",
        "3632",
    }


def test_zeros_in_front_of_numbers_do_not_matter(written, place):
    before = read().info.fingerprint
    for path in (place / "v4" / "images").glob("*.png"):
        path.rename(path.with_name(f"{int(path.stem)}.png"))
    assert read().info.fingerprint == before


def test_metadata_reach_the_info_and_survive_a_record(written, place):
    save_recording(read_recording(place / "v4"), place / "open")
    path = place / "open" / "sessions" / "3632" / "session.json"
    columns = {"area": ["V4", "V1", "V4"], "depth": [10.5, None, 3.0]}
    path.write_text(json.dumps({**json.loads(path.read_text()), "neurons": columns}))
    info = read(path="open", format="cotrain").info
    held = info.tasks["v4"].sessions["3632"]
    assert held.neuron_metadata["area"] == ("V4", "V1", "V4")
    assert np.array_equal(held.neuron_metadata["depth"], [10.5, np.nan, 3.0], equal_nan=True)
    assert held.unit == "spikes in 120 ms, z-scored"
    assert info.tasks["v4"].sessions["3631"].neuron_metadata == {"animal": ("1",) * 4}
    text = json.dumps(info.record(), allow_nan=False)  # the database's JSON knows no NaN
    assert DataInfo.from_record(json.loads(text)) == info
    older = json.loads(text)
    for session in older["tasks"]["v4"]["sessions"].values():
        for name in ("std_response", "unit", "neuron_metadata"):
            del session[name]
    found = DataInfo.from_record(older).tasks["v4"].sessions["3632"]
    assert (found.std_response, found.unit, dict(found.neuron_metadata)) == ((), "", {})
    assert found.mean_response == held.mean_response


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sessions": ("9999",)}, r"lacks the sessions 9999; it has: 3631, 3632"),
        ({"path": "v5"}, r"There is no .*v5\. Paths of data configs start from the folder that COTRAIN_DATA names"),
        ({"window_ms": (75.0, 160.0)}, "cuts a bin"),
        ({"window_ms": (40.0, 50.0), "path": "cowley", "format": "cowley2023"}, "'cowley2023' hold no time bins"),
        ({"split": SplitConfig(validation=0.0)}, "The given split has no stimuli for validation"),
        ({"split": SplitConfig(validation=0.001)}, "no stimuli for validation"),
    ],
)
def test_what_cannot_be_is_refused(written, place, changes, text):
    (place / "cowley").mkdir()
    with pytest.raises(DataError, match=text):
        read(**changes)


def test_a_recording_without_pictures_is_refused(place):
    from scipy.io import savemat

    columns = [f"{name}{i}.png {name} " + " ".join([str(i % 2)] * 10) for name in "ab" for i in range(4)]
    content = {"features": np.random.default_rng(0).random((8, 3)), "meta": np.array(columns)}
    savemat(place / "NeuralData_IT_multiunits.mat", content)
    with pytest.raises(DataError, match="session IT_multiunits: the recording was published without its pictures"):
        read(path="NeuralData_IT_multiunits.mat", format="cadieu2014")


# --- recordings of pictures in archives, without a given split ---

IMAGES = 24


def write_cowley(folder, name, *, images=IMAGES, raw=False, brightness=0):
    """A session of Cowley et al. 2023; picture number n is of brightness n, and so is its response."""
    with zipfile.ZipFile(folder / f"images_{name}.zip", "w") as archive:
        for number in np.random.default_rng(0).permutation(images):
            picture = np.full((16, 16, 3), 5 * number + brightness, np.uint8)
            picture[:8] = 255 - picture[:8]
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=95)
            archive.writestr(f"images_{name}/image{number + 1:04d}.jpg", buffer.getvalue())
    mean = np.arange(images) + 0.1 * np.arange(5)[:, None]
    if raw:
        repeats = mean[:, :, None] + np.array([-1.0, 0.0, 1.0, 0.0])
        repeats[:, ::2, 3] = np.nan
        np.save(folder / f"responses_raw_{name}.npy", repeats)
    np.save(folder / f"responses_avg_{name}.npy", mean)


def test_equal_pictures_of_two_sessions_stay_in_one_split(place):
    (place / "v4").mkdir()
    write_cowley(place / "v4", "a")
    write_cowley(place / "v4", "b", raw=True)  # the very pictures of a
    write_cowley(place / "v4", "c", brightness=2)
    split = SplitConfig(validation=0.25, test=0.25)
    data = read(3, format="cowley2023", split=split, standardise=False)
    for part in data.splits.values():
        rows = {name: sorted(source.targets[:, 0].tolist()) for name, source in part["v4"].items()}
        assert rows["a"] == rows["b"]
    assert data.splits["train"]["v4"]["b"].repeats is not None
    assert {name: sum(held.stimuli.values()) for name, held in data.info.tasks["v4"].sessions.items()} == dict.fromkeys(
        "abc", IMAGES
    )
