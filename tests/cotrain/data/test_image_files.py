"""One picture file becomes the pixels that a naive use of Pillow gives, or an error that names it."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cotrain.data import Preparation, find_pictures
from cotrain.data._image_files import channels_of, picture
from cotrain.errors import DataError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (13, 17, 3), np.uint8)
GREY = COLOUR[..., 0].copy()


def palette() -> Image.Image:
    image = Image.fromarray(COLOUR).quantize(16)
    image.info["transparency"] = bytes(range(0, 256, 16))  # Pillow warns of these
    return image


IMAGES = {
    "colour.png": lambda: Image.fromarray(COLOUR),
    "colour.jpg": lambda: Image.fromarray(COLOUR),
    "colour.bmp": lambda: Image.fromarray(COLOUR),
    "colour.webp": lambda: Image.fromarray(COLOUR),
    "grey.png": lambda: Image.fromarray(GREY),
    "grey.jpeg": lambda: Image.fromarray(GREY),
    "grey.pgm": lambda: Image.fromarray(GREY),
    "black_and_white.tif": lambda: Image.fromarray(GREY > 127),
    "palette.png": palette,
    "palette.gif": lambda: Image.fromarray(COLOUR).quantize(32),
    "alpha.png": lambda: Image.fromarray(np.dstack([COLOUR, GREY])),
    "grey_alpha.png": lambda: Image.fromarray(GREY).convert("LA"),
    "cmyk.jpg": lambda: Image.fromarray(COLOUR).convert("CMYK"),
}


@pytest.fixture
def write(tmp_path):
    """Write one of the images, or an array as `.npy`, and give its path."""

    def written(name: str, array: np.ndarray | None = None) -> Path:
        path = tmp_path / name
        if array is None:
            IMAGES[name]().save(path)
        else:
            with path.open("wb") as file:
                np.save(file, array)
        return path

    return written


def naive(path: Path, mode: str) -> np.ndarray:
    """(height, width[, 3]) by Pillow alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_pillow_in_every_format(write, name, channels):
    path = write(name)
    found = picture(path, Preparation(channels=channels))
    expected = naive(path, "L")[None] if channels == 1 else naive(path, "RGB").transpose(2, 0, 1)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["some.npy", "SOME.NPY"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_pictures_too(write, name, order):
    colour = picture(write(name, np.asarray(COLOUR, order=order)), Preparation())
    np.testing.assert_array_equal(colour, COLOUR.transpose(2, 0, 1))
    grey = picture(write(name, np.asarray(GREY, order=order)), Preparation())
    np.testing.assert_array_equal(grey, np.stack([GREY] * 3))
    luma = picture(write(name, COLOUR), Preparation(channels=1))
    np.testing.assert_allclose(luma[0], COLOUR @ [0.299, 0.587, 0.114], atol=1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.integers(0, 12)] * 2), st.tuples(*[st.integers(0, 16)] * 2))
def test_the_crop_cuts_top_bottom_left_and_right(write, rows, columns):
    path, crop = write("some.npy", COLOUR), (*rows, *columns)
    expected = COLOUR[rows[0] : 13 - rows[1], columns[0] : 17 - columns[1]]
    if sum(rows) >= 13 or sum(columns) >= 17:
        with pytest.raises(DataError, match=r"some\.npy has 13x17 pixels; cutting \(.*\) leaves none"):
            picture(path, Preparation(crop=crop))
    else:
        np.testing.assert_array_equal(picture(path, Preparation(crop=crop)), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [5, 13, 30])
@pytest.mark.parametrize("crop", [(0, 0, 0, 0), (1, 2, 3, 0)])
def test_stretching_is_a_resize_of_what_the_crop_leaves(write, size, crop):
    top, bottom, left, right = crop
    part = Image.fromarray(COLOUR[top : 13 - bottom, left : 17 - right])
    expected = np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))
    found = picture(write("colour.png"), Preparation(crop=crop, size=size))
    # the filter sees nothing of what is cut off
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("crop", [(0, 0, 0, 0), (2, 2, 2, 2)])
def test_fitting_by_cutting_scales_the_shorter_side_and_keeps_the_middle(write, turned, crop):
    wide = RANDOM.integers(0, 256, (12 + crop[0] * 2, 20 + crop[0] * 2, 3), np.uint8)
    inner = wide[crop[0] : crop[0] + 12, crop[0] : crop[0] + 20]
    scaled = np.asarray(Image.fromarray(inner.copy()).resize((10, 6), Image.Resampling.BILINEAR))
    middles = {6: scaled[:, 2:8], 12: inner[:, 4:16]}
    for size, middle in middles.items():
        path = write("some.npy", wide.swapaxes(0, 1) if turned else wide)
        found = picture(path, Preparation(crop=crop, size=size, fit="crop")).transpose(1, 2, 0)
        # where the sides are not treated in the same order, rounding may differ
        np.testing.assert_allclose(found.astype(int), middle.swapaxes(0, 1) if turned else middle, atol=1)


@pytest.mark.parametrize("width", [14, 15])
def test_an_odd_rest_is_cut_off_in_equal_parts(write, width):
    ramp = np.repeat(np.arange(0, 10 * width, 10, np.uint8)[None], 6, axis=0)
    found = picture(write("some.npy", ramp), Preparation(channels=1, size=3, fit="crop"))[0].astype(float)
    assert found[0, 1] == pytest.approx(5 * (width - 1), abs=1)
    assert found[0, 0] + found[0, 2] == pytest.approx(2 * found[0, 1], abs=1)


def test_a_size_that_a_picture_has_leaves_its_pixels(write):
    square = COLOUR[:13, :13]
    for fit in ("stretch", "crop"):
        found = picture(write("some.npy", square), Preparation(size=13, fit=fit))
        np.testing.assert_array_equal(found, square.transpose(2, 0, 1))


@pytest.mark.parametrize("name", IMAGES)
def test_channels_are_known_from_the_header(write, name):
    assert channels_of(write(name)) == (1 if name.startswith(("grey", "black")) else 3)


def truncated(path: Path) -> None:
    Image.fromarray(np.repeat(np.repeat(COLOUR, 8, 0), 8, 1)).save(path, "jpeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 40000 x 40000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))


def sixteen_bits(path: Path) -> None:
    Image.fromarray(RANDOM.integers(0, 65535, (5, 5)).astype(np.uint16)).save(path)


def wide_array(path: Path) -> None:
    np.save(path, COLOUR.astype(np.uint16))


def several_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, one=COLOUR)


def pickled(path: Path) -> None:
    np.save(path, np.array([{}], object), allow_pickle=True)


def cut_header(path: Path) -> None:
    np.save(path, COLOUR)
    path.write_bytes(path.read_bytes().replace(b"}", b"{"))


DAMAGED = {
    "truncated.jpg": (truncated, "cannot be read: image file is truncated"),
    "text.png": (lambda path: path.write_text("no picture"), "cannot be read: cannot identify image file"),
    "empty.png": (lambda path: path.write_bytes(b""), "cannot be read: cannot identify image file"),
    "empty.npy": (lambda path: path.write_bytes(b""), "cannot be read: EOF"),
    "missing.png": (lambda path: None, "cannot be read: .*No such file"),
    "missing.npy": (lambda path: None, "cannot be read: .*No such file"),
    "folder.png": (lambda path: path.mkdir(), "cannot be read: .*Is a directory"),
    "sixteen.png": (sixteen_bits, "has I;16 pixels, more than 8 bits; convert it"),
    "bomb.png": (bomb, "cannot be read: Image size .* could be decompression bomb"),
    "wide.npy": (wide_array, r"cannot be read: expected uint8 .* found uint16 \(13, 17, 3\)"),
    "several.npy": (several_arrays, "cannot be read: "),
    "pickled.npy": (pickled, "cannot be read: Object arrays cannot be loaded"),
    "header.npy": (cut_header, "cannot be read: "),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_holds_no_picture_is_named(tmp_path, name):
    make, text = DAMAGED[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=f"{tmp_path / name} {text}"):
        picture(tmp_path / name, Preparation())


@pytest.mark.parametrize("name", ["text.png", "missing.png", "header.npy"])
def test_channels_of_a_file_that_holds_no_picture_name_it(tmp_path, name):
    DAMAGED[name][0](tmp_path / name)
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        channels_of(tmp_path / name)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["colour.png", "colour.jpg", "palette.gif", "black_and_white.tif", "grey.pgm", "some.npy"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_whatever_bytes_are_damaged_there_are_pixels_or_a_data_error(write, name, changes, header):
    path = write(name, COLOUR if name.endswith(".npy") else None)
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[int(place * (min(len(raw), 60) if header else len(raw)))] = value
    path.write_bytes(raw)
    try:
        assert picture(path, Preparation(size=4)).shape == (3, 4, 4)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_picture_that_is_merely_large_is_read_without_a_warning(write, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)  # Pillow warns from here, and refuses twice as many
    np.testing.assert_array_equal(picture(write("colour.png"), Preparation()), COLOUR.transpose(2, 0, 1))
    assert channels_of(write("colour.png")) == 3
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="decompression bomb"):
        picture(write("colour.png"), Preparation())


def test_threads_that_decode_at_once_leave_the_filters_of_warnings_as_they_were(write):
    path, before = write("palette.png"), list(warnings.filters)
    meeting = threading.Barrier(6)

    def work() -> None:
        meeting.wait()
        for _ in range(100):
            picture(path, Preparation())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_pictures_of_a_folder_are_sorted_and_hidden_ones_left_out(tmp_path):
    for name in ("b.PNG", "a.jpg", "deep/er/c.npy", ".hidden.png", ".git/d.png", "notes.txt", "e.png.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a_folder.png").mkdir()
    assert find_pictures(tmp_path) == [tmp_path / name for name in ("a.jpg", "b.PNG", "deep/er/c.npy")]
    hidden_above = tmp_path / ".git"
    assert find_pictures(hidden_above) == [hidden_above / "d.png"]
    assert find_pictures(tmp_path / "missing") == []
