"""Macaque V4 files of Cowley et al. 2023: read in the order of their numbers, split by image content."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotrain.data import RecordedConfig, SplitConfig, recorded
from cotrain.data.recordings import read_cowley2023
from cotrain.errors import DataError

IMAGES, NEURONS, REPEATS = 24, 5, 4


def write_session(folder, name, *, images=IMAGES, raw=False, shuffled=True, brightness=0, first=1):
    """A session in that exact format; picture number n is of brightness n, and so is its response."""
    order = np.random.default_rng(0).permutation(images) if shuffled else np.arange(images)
    with zipfile.ZipFile(folder / f"images_{name}.zip", "w") as archive:
        for number in order:
            picture = np.full((16, 16, 3), 5 * number + brightness, np.uint8)
            picture[:8] = 255 - picture[:8]
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=95)
            archive.writestr(f"images_{name}/image{number + first:04d}.jpg", buffer.getvalue())
    mean = np.arange(images) + 0.1 * np.arange(NEURONS)[:, None]
    if raw:
        repeats = mean[:, :, None] + np.array([-1.0, 0.0, 1.0, 0.0])
        repeats[:, ::2, 3] = np.nan
        np.save(folder / f"responses_raw_{name}.npy", repeats)
    np.save(folder / f"responses_avg_{name}.npy", mean)


def test_pictures_stand_in_the_order_of_their_numbers(tmp_path):
    write_session(tmp_path, "a")
    session = read_cowley2023(tmp_path).sessions["a"]
    assert session.images.shape == (IMAGES, 16, 16, 3) and session.images.dtype == np.uint8
    np.testing.assert_allclose(session.images[:, 12, 8, 0], 5 * np.arange(IMAGES), atol=2)
    assert session.responses.shape == (IMAGES, NEURONS) and session.responses.dtype == np.float32
    np.testing.assert_allclose(session.responses[:, 0], np.arange(IMAGES))


def test_repeats_are_preferred_to_averages(tmp_path):
    write_session(tmp_path, "a", raw=True)
    responses = read_cowley2023(tmp_path, sessions=["a"]).sessions["a"].responses
    assert responses.shape == (IMAGES, REPEATS, NEURONS)
    np.testing.assert_allclose(np.nanmean(responses, 1)[:, 0], np.arange(IMAGES))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda f: (f / "images_a.zip").unlink(), "holds no images_<session>.zip"),
        (lambda f: (f / "images_a.zip").write_bytes(b"no archive"), "cannot be read"),
        (lambda f: (f / "responses_avg_a.npy").write_bytes(b"no array"), "cannot be read"),
        (lambda f: (f / "responses_avg_a.npy").unlink(), "cannot be read"),
        (lambda f: np.save(f / "responses_avg_a.npy", np.zeros((NEURONS, 7))), "24 images but responses to 7"),
        (lambda f: np.save(f / "responses_avg_a.npy", np.zeros(7)), r"expected \(neurons, images\)"),
        (lambda f: write_session(f, "a", first=3), "numbered 1 to 24, found 3 to 26"),
    ],
)
def test_damaged_folders_are_named(tmp_path, spoil, text):
    write_session(tmp_path, "a")
    spoil(tmp_path)
    with pytest.raises(DataError, match=text):
        read_cowley2023(tmp_path)


def test_unknown_places_are_named(tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        read_cowley2023(tmp_path / "nowhere")
    write_session(tmp_path, "a")
    with pytest.raises(DataError, match="lacks the images of b; it has: a"):
        read_cowley2023(tmp_path, sessions=["a", "b"])


def test_equal_pictures_of_two_sessions_stay_in_one_split(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    (tmp_path / "v4").mkdir()
    write_session(tmp_path / "v4", "a")
    write_session(tmp_path / "v4", "b", raw=True)  # the very pictures of a
    write_session(tmp_path / "v4", "c", brightness=2)
    split = SplitConfig(validation=0.25, test=0.25)
    data = recorded(RecordedConfig(path="v4", sessions=("a", "b", "c"), split=split, standardise=False), seed=3)
    for part in data.splits.values():
        rows = {name: sorted(source.targets[:, 0].tolist()) for name, source in part["v4"].items()}
        assert rows["a"] == rows["b"]
    assert data.splits["train"]["v4"]["b"].repeats is not None
    sizes = {name: sum(held.stimuli.values()) for name, held in data.info.tasks["v4"].sessions.items()}
    assert sizes == {"a": IMAGES, "b": IMAGES, "c": IMAGES}


def test_real_sessions_load():
    folder = Path(os.environ.get("COTRAIN_TEST_DATA", "")) / "cowley_v4"
    if not folder.is_dir():
        pytest.skip("COTRAIN_TEST_DATA names no folder with cowley_v4")
    recording = read_cowley2023(folder, sessions=["190925", "210325"])
    first, second = recording.sessions["190925"], recording.sessions["210325"]
    # the file order inside the archive is shuffled, and 0-299 equal 900-1199 pixel by pixel
    assert len(first.images) == 1200 and np.array_equal(first.images[:300], first.images[900:])
    assert second.responses.shape == (640, 10, 50) and np.isnan(second.responses).any()
