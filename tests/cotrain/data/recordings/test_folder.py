"""What is written in the open format comes back equal; the folder is whole or not there; faults are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cotrain.data._image_files import ImageFiles
from cotrain.data.recordings import Recording, Session, load_recording, save_recording
from cotrain.errors import DataError

SIDE = (6, 5)


def photo(stimulus, colour=True):
    """The picture that an id stands for."""
    seed = list(stimulus.encode())
    return np.random.default_rng(seed).integers(0, 256, (*SIDE, 3) if colour else SIDE, np.uint8)


def photos(stimuli, colour=True):
    return np.stack([photo(stimulus, colour) for stimulus in stimuli])


def files(folder, stimuli, suffix=".png", colour=True):
    """The same pictures in files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{stimulus}{suffix}" for stimulus in stimuli)
    for path, stimulus in zip(paths, stimuli, strict=True):
        if suffix == ".npy":
            np.save(path, photo(stimulus, colour))
        else:
            Image.fromarray(photo(stimulus, colour)).save(path)
    return ImageFiles(paths)


def session(stimuli, images=None, *, neurons=3, repeats=None, **more):
    shape = (len(stimuli), neurons) if repeats is None else (len(stimuli), repeats, neurons)
    responses = np.random.default_rng(len(stimuli)).normal(size=shape).astype(np.float32)
    if repeats is not None:
        responses[0, -1] = np.nan
    return Session(tuple(stimuli), responses, images, **more)


def two_sessions(tmp_path):
    return Recording(
        {
            "first day": session(
                "abcd",
                photos("abcd"),
                split=("train", "train", "validation", "test"),
                conditions={"object": ("x", "y", "ä", ""), "size": (1.0, 2.5, np.nan, 4.0)},
                neurons=2,
            ),
            "second": session("bdaef", files(tmp_path / "photos", "bdaef"), repeats=4),
            "third": session(["x"], None, neurons=1),
        },
        "spikes in 100 ms",
        (50.0, 150.0),
        "Doe 2020",
    )


def assert_equal(found, expected):
    assert (found.unit, found.window_ms, found.origin) == (expected.unit, expected.window_ms, expected.origin)
    assert list(found.sessions) == list(expected.sessions)
    for name, held in expected.sessions.items():
        other = found.sessions[name]
        assert (other.stimuli, other.split) == (held.stimuli, held.split)
        assert other.responses.dtype == np.float32
        np.testing.assert_array_equal(other.responses, held.responses)
        for ours, theirs in ((other.conditions, held.conditions), (other.neurons, held.neurons)):
            assert list(ours) == list(theirs)
            for key, values in theirs.items():
                np.testing.assert_array_equal(np.array(ours[key]), np.array(values))


def test_recordings_come_back_equal(tmp_path):
    recording = two_sessions(tmp_path)
    save_recording(recording, tmp_path / "new" / "recording")
    found = load_recording(tmp_path / "new" / "recording")
    assert_equal(found, recording)
    for name in ("first day", "second"):
        held = found.sessions[name]
        assert held.images.shape == (len(held.stimuli), *SIDE, 3)
        np.testing.assert_array_equal(held.images, photos(held.stimuli))
    assert found.sessions["third"].images is None
    # pictures stay on the disk; nobody can write to them, and sessions share them
    first, second = (found.sessions[name].images.array for name in ("first day", "second"))
    assert isinstance(first, np.memmap) and not first.flags.writeable and second is first
    # each picture is stored once
    assert np.load(tmp_path / "new" / "recording" / "images.npy").shape == (6, *SIDE, 3)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["recording"]


def test_some_sessions_alone(tmp_path):
    save_recording(two_sessions(tmp_path), tmp_path / "r")
    assert list(load_recording(str(tmp_path / "r"), sessions=["second"]).sessions) == ["second"]
    with pytest.raises(DataError, match="lacks the sessions fourth; it has: first day, second, third"):
        load_recording(tmp_path / "r", sessions=["fourth"])


@pytest.mark.parametrize("suffix", [".png", ".npy"])
@pytest.mark.parametrize("colour", [True, False])
def test_files_are_decoded(tmp_path, suffix, colour):
    images = files(tmp_path / "photos", "abc", suffix, colour)
    save_recording(Recording({"s": session("abc", images)}, "spikes"), tmp_path / "r")
    found = load_recording(tmp_path / "r").sessions["s"].images
    np.testing.assert_array_equal(found, photos("abc", colour))


def test_without_pictures_no_array_is_written(tmp_path):
    save_recording(Recording({"s": session("abc")}, "spikes"), tmp_path / "r")
    assert not (tmp_path / "r" / "images.npy").exists()
    assert load_recording(tmp_path / "r").sessions["s"].images is None


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True), min_size=1, max_size=4))
def test_shared_pictures_stay_with_their_stimuli(tmp_path_factory, sessions):
    folder = tmp_path_factory.mktemp("shared")
    held = {f"s{i}": session(stimuli, photos(stimuli)) for i, stimuli in enumerate(sessions)}
    save_recording(Recording(held, "spikes"), folder / "r")
    found = load_recording(folder / "r")
    for name, stimuli in zip(held, sessions, strict=True):
        np.testing.assert_array_equal(found.sessions[name].images, photos(stimuli))
    assert len(np.load(folder / "r" / "images.npy")) == len({stimulus for held in sessions for stimulus in held})


def grey_png(path):
    Image.fromarray(photo("a", colour=False)).save(path)


def large_png(path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)


def deep_png(path):
    Image.fromarray(np.zeros(SIDE, np.uint16)).save(path)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (grey_png, r"stimulus c \(.*c.png\): a picture of shape \(6, 5\), but the first is \(6, 5, 3\)"),
        (large_png, r"c.png\): a picture of shape \(9, 9, 3\)"),
        (deep_png, "c.png has .* pixels, more than 8 bits"),
        (lambda path: path.write_bytes(b"no picture"), "c.png cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "c.png cannot be read"),
        (lambda path: path.unlink(), "c.png cannot be read"),
        (
            lambda path: Image.fromarray(photo("z")).save(path),
            r"session s, stimulus c \(.*\): another picture than that of session first, stimulus c. An id",
        ),
    ],
)
def test_pictures_that_cannot_be_stored_leave_nothing_behind(tmp_path, spoil, text):
    images = files(tmp_path / "photos", "abc")
    spoil(tmp_path / "photos" / "c.png")
    first = {} if "another" not in text else {"first": session("c", photos("c"))}
    with pytest.raises(DataError, match=text):
        save_recording(Recording({**first, "s": session("abc", images)}, "spikes"), tmp_path / "out" / "r")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 1), np.uint8), np.zeros(4, np.uint8)])
def test_arrays_that_are_no_pictures(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    recording = Recording({"s": session("a", ImageFiles((tmp_path / "a.npy",)))}, "spikes")
    with pytest.raises(DataError, match=r"a\.npy cannot be read: expected uint8 \(height, width\[, 3\]\), found"):
        save_recording(recording, tmp_path / "r")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "r").mkdir()
    with pytest.raises(DataError, match=r"r exists. Choose another folder"):
        save_recording(two_sessions(tmp_path), tmp_path / "r")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        save_recording(two_sessions(tmp_path), tmp_path / "file" / "r")


def test_what_json_lacks_is_refused(tmp_path):
    held = session("ab", neurons=1)
    recording = Recording({"s": Session(held.stimuli, held.responses, neurons={"depth": (np.inf,)})}, "spikes")
    with pytest.raises(DataError, match="session s, neurons: 'depth' holds an infinite number"):
        save_recording(recording, tmp_path / "r")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/a", "a\\b", "C:", "a\n", " "])
def test_names_that_leave_the_folder(tmp_path, name):
    with pytest.raises(DataError, match="cannot be the name of a folder"):
        save_recording(Recording({name: session("ab")}, "spikes"), tmp_path / "r")
    save_recording(Recording({"s": session("ab")}, "spikes"), tmp_path / "r")
    edit(tmp_path / "r" / "recording.json", sessions=[name])
    with pytest.raises(DataError, match=r"recording.json names a session .* cannot be the name of a folder"):
        load_recording(tmp_path / "r")


def edit(path: Path, **changes):
    """Change entries of a JSON file; ... removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def recording_json(**changes):
    return lambda folder: edit(folder / "recording.json", **changes)


def session_json(**changes):
    return lambda folder: edit(folder / "sessions" / "first day" / "session.json", **changes)


def array(name, values):
    return lambda folder: np.save(folder / name, values, allow_pickle=True)


RESPONSES = "sessions/first day/responses.npy"


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (shutil.rmtree, "recording.json cannot be read"),
        (lambda f: (f / "recording.json").write_text("{"), "recording.json cannot be read"),
        (lambda f: (f / "recording.json").write_text("[]"), "recording.json must hold a JSON object, found list"),
        (recording_json(format="cotrain-recording/2"), "expected the format 'cotrain-recording/1', found 'cotrain-rec"),
        (recording_json(format=...), "found None"),
        (recording_json(sessions=...), "sessions must be a list of texts, found nothing"),
        (recording_json(sessions=[1]), "sessions must be a list of texts"),
        (recording_json(sessions=["second", "second"]), "named twice"),
        (recording_json(sessions=[]), "holds no session"),
        (recording_json(sessions=["other"]), "other/session.json cannot be read"),
        (recording_json(unit=...), "unit must be a text, found nothing"),
        (recording_json(unit=3), "unit must be a text, found 3"),
        (recording_json(origin=3), "origin must be a text, found 3"),
        (recording_json(window_ms=[1]), "window_ms must be"),
        (recording_json(window_ms=["a", "b"]), "window_ms must be"),
        (recording_json(window_ms=[9, 1]), "must begin before it ends"),
        (recording_json(images=None), "has image_rows, but recording.json says that there are no images"),
        (recording_json(images={"shape": [1, 2]}), r"has the shape \[1, 2\], but it has \[6, 6, 5, 3\]"),
        (lambda f: (f / "images.npy").unlink(), "images.npy cannot be read"),
        (lambda f: (f / "images.npy").write_bytes((f / "images.npy").read_bytes()[:300]), "images.npy cannot be read"),
        (array("images.npy", np.zeros((6, 6, 5), np.float32)), "images.npy must be uint8"),
        (array("images.npy", np.array([None])), "images.npy cannot be read"),
        (lambda f: (f / RESPONSES).unlink(), "responses.npy cannot be read"),
        (lambda f: (f / RESPONSES).write_bytes(b"\x93NUMPY"), "responses.npy cannot be read"),
        (
            lambda f: (f / RESPONSES).write_bytes(b"\x93NUMPY\x01\x00\x0a\x00{'descr': (("),
            "responses.npy cannot be read",
        ),
        (array(RESPONSES, np.array([None])), "responses.npy cannot be read: Object arrays"),
        (array(RESPONSES, np.zeros((4, 2), int)), "responses.npy must hold float32 numbers, found int64"),
        (array(RESPONSES, np.zeros((3, 2), np.float32)), "first day: 4 stimuli but responses to 3"),
        (array(RESPONSES, np.full((4, 2), 1e300)), "first day: the response of neuron 0 in row 0 is infinite"),
        (session_json(stimuli=...), "session.json: stimuli must be a list of texts, found nothing"),
        (session_json(stimuli=[1, 2, 3, 4]), "stimuli must be a list of texts"),
        (session_json(stimuli=["a"]), "1 stimuli but 4 image_rows"),
        (session_json(stimuli=list("aacd")), "first day: stimulus ids must stand once each"),
        (session_json(split=["train"] * 3), "4 stimuli but 3 entries of a given split"),
        (session_json(split=["val"] * 4), "found val"),
        (session_json(image_rows=[0, 1, 2, 6]), "whole numbers from 0 to 5 .* found 6 for stimulus 4"),
        (session_json(image_rows=[0, 1, -1, 3]), "found -1 for stimulus 3"),
        (session_json(image_rows=[0, 1, 2.5, 3]), "found 2.5"),
        (session_json(conditions=[1]), "conditions must be an object"),
        (session_json(conditions={"x": ["a"]}), "4 stimuli but 1 values of 'x'"),
        (session_json(conditions={"x": ["a", 1, "b", "c"]}), "'x' in conditions must be texts, or numbers and null"),
        (session_json(neurons={"x": [True, False]}), "'x' in neurons must be texts, or numbers"),
    ],
)
def test_faults_are_named(tmp_path, spoil, text):
    save_recording(two_sessions(tmp_path), tmp_path / "r")
    spoil(tmp_path / "r")
    with pytest.raises(DataError, match=text) as error:
        load_recording(tmp_path / "r")
    assert str(tmp_path / "r") in str(error.value)


def test_what_matlab_and_r_write_is_read(tmp_path):
    """Lists of one value become values there, empty ones [], arrays lie column by column, and numbers are double."""
    folder = tmp_path / "r" / "sessions" / "one"
    folder.mkdir(parents=True)
    pixels = photos("a", colour=False)
    np.save(tmp_path / "r" / "images.npy", np.asfortranarray(pixels))
    np.save(folder / "responses.npy", np.asfortranarray([[1.5, 2.5]]))
    about = {"format": "cotrain-recording/1", "unit": "Hz", "window_ms": [], "sessions": "one", "images": {}}
    (tmp_path / "r" / "recording.json").write_text(json.dumps(about))
    content = {"stimuli": "a", "image_rows": 0, "conditions": {"object": "x"}, "neurons": []}
    (folder / "session.json").write_text(json.dumps(content))
    found = load_recording(tmp_path / "r")
    held = found.sessions["one"]
    assert (found.window_ms, found.origin, held.stimuli, held.split) == (None, "", ("a",), ())
    assert held.conditions == {"object": ("x",)} and held.neurons == {}
    np.testing.assert_array_equal(held.images, pixels)
    np.testing.assert_array_equal(held.responses, np.array([[1.5, 2.5]], np.float32))
