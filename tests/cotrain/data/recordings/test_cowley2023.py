"""Macaque V4 files of Cowley et al. 2023: read in the order of their numbers, damage named by file and entry."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotrain.data.recordings import read_cowley2023
from cotrain.errors import DataError

IMAGES, NEURONS, REPEATS = 24, 5, 4


def jpeg(brightness, size=16) -> bytes:
    picture = np.full((size, size, 3), brightness, np.uint8)
    picture[: size // 2] = 255 - picture[: size // 2]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_session(folder, name, *, images=IMAGES, raw=False, first=1, entries=None):
    """A session in that exact format; picture number n is of brightness n, and so is its response."""
    with zipfile.ZipFile(folder / f"images_{name}.zip", "w") as archive:
        for number in np.random.default_rng(0).permutation(images):
            archive.writestr(f"images_{name}/image{number + first:04d}.jpg", jpeg(5 * number))
        for entry, content in (entries or {}).items():
            archive.writestr(entry, content)
    mean = np.arange(images) + 0.1 * np.arange(NEURONS)[:, None]
    if raw:
        repeats = mean[:, :, None] + np.array([-1.0, 0.0, 1.0, 0.0])
        repeats[:, ::2, 3] = np.nan
        np.save(folder / f"responses_raw_{name}.npy", repeats)
    np.save(folder / f"responses_avg_{name}.npy", mean)


def test_pictures_stand_in_the_order_of_their_numbers(tmp_path):
    write_session(tmp_path, "a")
    recording = read_cowley2023(tmp_path)
    session = recording.sessions["a"]
    assert recording.unit == "spikes in 100 ms" and "Cowley" in recording.origin
    assert session.images.shape == (IMAGES, 16, 16, 3) and session.images.dtype == np.uint8
    np.testing.assert_allclose(session.images[:, 12, 8, 0], 5 * np.arange(IMAGES), atol=2)
    assert session.responses.shape == (IMAGES, NEURONS) and session.responses.dtype == np.float32
    np.testing.assert_allclose(session.responses[:, 0], np.arange(IMAGES))
    assert session.stimuli[:2] == ("a/1", "a/2")


def test_repeats_are_preferred_to_averages(tmp_path):
    write_session(tmp_path, "a", raw=True)
    session = read_cowley2023(tmp_path, sessions=["a"]).sessions["a"]
    assert session.responses.shape == (IMAGES, REPEATS, NEURONS)
    np.testing.assert_allclose(session.mean[:, 0], np.arange(IMAGES))
    assert session.repeats[:4].tolist() == [3, 4, 3, 4]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda f: (f / "images_a.zip").unlink(), "holds no images_<session>.zip"),
        (lambda f: (f / "images_a.zip").write_bytes(b"no archive"), "images_a.zip cannot be read"),
        (lambda f: truncate(f / "images_a.zip"), "images_a.zip cannot be read"),
        (lambda f: (f / "responses_avg_a.npy").write_bytes(b"no array"), "responses_avg_a.npy cannot be read"),
        (lambda f: truncate(f / "responses_avg_a.npy"), "responses_avg_a.npy cannot be read"),
        (lambda f: (f / "responses_avg_a.npy").unlink(), "cannot be read"),
        (lambda f: np.save(f / "responses_avg_a.npy", np.zeros((NEURONS, 7))), "24 images but responses to 7"),
        (lambda f: np.save(f / "responses_avg_a.npy", np.zeros(7)), r"expected \(neurons, images\)"),
        (lambda f: np.save(f / "responses_avg_a.npy", np.zeros((5, 24), "U3")), "expected an array of numbers"),
        (
            lambda f: np.save(f / "responses_avg_a.npy", np.full((5, 24), 1e300)),
            "a: the response of neuron 0 .*infinite",
        ),
        (lambda f: write_session(f, "a", first=3), "numbered 1 to 24, found 3 to 26"),
        (lambda f: write_session(f, "a", images=0), "numbered 1 to 0"),
        (
            lambda f: write_session(f, "a", entries={"25.jpg": jpeg(3, 8)}),
            r"differ in size: .*0001.jpg is 16x16, 25.jpg 8x8",
        ),
        (lambda f: write_session(f, "a", entries={"25.jpg": b"no picture"}), "images_a.zip: 25.jpg cannot be read"),
        (lambda f: write_session(f, "a", entries={"25.jpg": jpeg(3)[:300]}), "images_a.zip: 25.jpg cannot be read"),
        (
            lambda f: write_session(f, "a", entries={"../25.jpg": jpeg(3)}),
            r"'../25.jpg', whose name leaves the archive",
        ),
        (lambda f: write_session(f, "a", entries={"x/../../25.txt": b""}), "whose name leaves the archive"),
        (lambda f: write_session(f, "a", entries={"/25.jpg": jpeg(3)}), "whose name leaves the archive"),
        (lambda f: write_session(f, "a", entries={"..\\25.jpg": jpeg(3)}), "whose name leaves the archive"),
        (lambda f: write_session(f, "a", entries={"C:25.jpg": jpeg(3)}), "whose name leaves the archive"),
    ],
)
def test_damaged_folders_are_named(tmp_path, spoil, text):
    write_session(tmp_path, "a")
    spoil(tmp_path)
    with pytest.raises(DataError, match=text):
        read_cowley2023(tmp_path)


def test_a_picture_whose_bytes_changed_is_named(tmp_path):
    write_session(tmp_path, "a", images=2)
    path = tmp_path / "images_a.zip"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo("images_a/image0002.jpg").header_offset
    content[begin + 200] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"images_a.zip: images_a/image0002.jpg cannot be read: Bad CRC"):
        read_cowley2023(tmp_path)


def test_archives_of_responses_are_refused(tmp_path):
    write_session(tmp_path, "a")
    with (tmp_path / "responses_avg_a.npy").open("wb") as file:
        np.savez(file, x=np.zeros(3))
    with pytest.raises(DataError, match="found an archive"):
        read_cowley2023(tmp_path)


def test_unknown_places_are_named(tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        read_cowley2023(tmp_path / "nowhere")
    write_session(tmp_path, "a")
    with pytest.raises(DataError, match="lacks the images of b; it has: a"):
        read_cowley2023(tmp_path, sessions=["a", "b"])


def test_real_sessions_load():
    folder = Path(os.environ.get("COTRAIN_TEST_DATA", "")) / "cowley_v4"
    if not folder.is_dir():
        pytest.skip("COTRAIN_TEST_DATA names no folder with cowley_v4")
    recording = read_cowley2023(folder, sessions=["190925", "210325"])
    first, second = recording.sessions["190925"], recording.sessions["210325"]
    # the file order inside the archive is shuffled, and 0-299 equal 900-1199 pixel by pixel
    assert len(first.images) == 1200 and np.array_equal(first.images[:300], first.images[900:])
    assert second.responses.shape == (640, 10, 50) and np.isnan(second.responses).any()
    assert second.repeats.min() >= 6 and second.repeats.max() == 10
