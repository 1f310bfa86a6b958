"""`cotrain data`: what each command prints and leaves behind, its exit status, and one clear line for each error."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from cotrain import cli
from cotrain.cli._data import FORMATS
from cotrain.data import public_sets
from cotrain.data.recordings import Format, read_recording
from cotrain.errors import DataError

COMMANDS = ("inspect", "convert", "fetch", "list")
PUBLIC_SETS = public_sets()
SESSIONS = {"190923": 4, "190925": 3}


def write_cowley(folder):
    """Two sessions of twelve pictures, of which two are equal; the first has repeats."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, neurons in SESSIONS.items():
        pictures = random.integers(0, 256, (12, 16, 16, 3), np.uint8)
        pictures[5] = pictures[0]
        with zipfile.ZipFile(folder / f"images_{name}.zip", "w") as archive:
            for number, picture in enumerate(pictures, 1):
                buffer = io.BytesIO()
                Image.fromarray(picture).save(buffer, "JPEG", quality=95)
                archive.writestr(f"{number:04d}.jpg", buffer.getvalue())
        trials = random.normal(5, 2, (neurons, 12, 1)) + random.normal(0, 0.5, (neurons, 12, 4))
        if name == "190923":
            np.save(folder / f"responses_raw_{name}.npy", trials)
        np.save(folder / f"responses_avg_{name}.npy", trials.mean(2))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder with a data folder that holds a recording."""
    for name in [name for name in os.environ if name.startswith(("COTRAIN_", "DJ_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "data").mkdir()
    write_cowley(tmp_path / "data" / "v4")
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(place, capsys):
    """A function that runs `cotrain data ...` here: its status, output and errors."""

    def run(*arguments, group="data"):
        capsys.readouterr()
        try:
            status = cli.main([group, *arguments])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def refused(command):
    """A function that runs what must fail, and gives its one line."""

    def run(*arguments):
        status, out, err = command(*arguments)
        assert (status, out) == (1, ""), (out, err)
        assert err.startswith("cotrain: ") and err.count("\n") == 1 and "unexpected" not in err
        return err.removeprefix("cotrain: ").strip()

    return run


# --- help and usage ---


def test_help_at_each_level(command):
    status, out, err = command("--help")
    assert (status, err) == (0, "")
    assert re.findall(r"^    (\w+) ", out, re.MULTILINE) == list(COMMANDS)
    assert re.search(r"^examples:\n(  cotrain data \w+ .*\n)+\Z", out, re.MULTILINE)
    for name in COMMANDS:
        status, out, err = command(name, "--help")
        assert (status, err) == (0, "")
        assert out.startswith(f"usage: cotrain data {name} ")
        assert name == "list" or re.search(rf"^examples:\n(  cotrain data {name} .*\n)+\Z", out, re.MULTILINE)
    assert re.search(r"^    data +look at data files", command(group="--help")[1], re.MULTILINE)


def test_the_formats_are_those_of_the_readers():
    assert get_args(Format) == FORMATS


def test_help_needs_no_torch(place):
    text = (
        "import sys\nfrom cotrain.cli import main\n"
        "try:\n    main(['data', 'inspect', '--help'])\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=place)
    assert done.stdout.endswith("False\n"), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("inspct", "v4"),
        ("inspect",),
        ("inspect", "v4", "--format", "cowley"),
        ("inspect", "v4", "--near", "many"),
        ("convert", "v4"),
        ("convert", "v4", "open", "--window-ms", "70"),
        ("fetch",),
        ("list", "all"),
        ("--debug", "list"),
    ],
)
def test_wrong_usage_is_status_2(arguments, command):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: cotrain") and "Traceback" not in err


def test_debug_shows_the_traceback(command):
    with pytest.raises(DataError, match="There is no"):
        command("inspect", "nowhere", "--debug")


# --- inspect ---


def test_a_recording_is_looked_at_from_here_or_from_the_data_folder(command, place):
    status, out, err = command("inspect", "data/v4")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "data/v4"
    assert (
        "Cowley, Stan, Pillow & Smith 2023, bioRxiv 2023.11.22.568315: 2 sessions, responses in spikes in 100 ms."
        in (lines)
    )
    assert "190923: 2 images are in 1 groups of equal ones (at most 2); splits keep groups together." in lines
    header, first, second = (re.split(r"\s{2,}", line.strip()) for line in lines[2:6] if not line.startswith("session"))
    assert header[:3] == ["neurons", "stimuli", "repeats"]
    assert first[:4] == ["190923", "4", "12", "4"] and second[:4] == ["190925", "3", "12", "averaged"]
    assert second[-1] == "-", "what is not known is a dash"
    assert command("inspect", "v4")[1].splitlines()[1:] == lines[1:]
    assert not (place / "data" / "v4" / "cache").exists()


def test_a_picture_is_drawn(command, place):
    status, out, err = command("inspect", "v4", "--out", "v4.png", "--near", "0")
    assert (status, err) == (0, "")
    assert out.endswith("\npicture: v4.png\n")
    with Image.open(place / "v4.png") as image:
        assert image.format == "PNG" and image.width > 800


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere",), r"There is no data/nowhere\."),
        (("/nowhere",), r"There is no /nowhere\."),
        (("empty",), "empty is no recording in a known format, no NPZ file, and holds no pictures"),
        (("v4", "--format", "cadena2024"), "There is no folder .*train"),
        (("v4", "--near", "300"), "Hashes of near copies differ in 0 to 64 bits, found 300"),
        (("v4", "--out", "nowhere/v4.png"), "There is no folder nowhere for the picture"),
        (("v4", "--out", "v4.txt"), r"Name the picture \.png, \.pdf, \.svg, not 'v4\.txt'"),
        (("v4", "--out", "v4"), r"Name the picture \.png, \.pdf, \.svg, not 'v4'"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(refused, place, arguments, text):
    (place / "empty").mkdir()
    assert re.match(text, refused("inspect", *arguments))
    assert not list(place.glob("v4*"))


# --- convert ---


def test_a_converted_recording_says_the_same(command, place):
    status, out, err = command("convert", "v4", "open")
    assert (status, err) == (0, "")
    assert out == "open: 2 sessions, 24 stimuli, in spikes in 100 ms.\n"
    one, other = read_recording(place / "data" / "v4"), read_recording(place / "open")
    for name, session in one.sessions.items():
        np.testing.assert_array_equal(session.responses, other.sessions[name].responses)
        np.testing.assert_array_equal(session.images, other.sessions[name].images[:])
    before, after = (command("inspect", path)[1].splitlines() for path in ("data/v4", "open"))
    assert before[1:] == after[1:]


def test_some_sessions_are_converted(command, place):
    status, out, _ = command("convert", "v4", "one", "--session", "190925", "--format", "cowley2023")
    assert (status, out) == (0, "one: 1 sessions, 12 stimuli, in spikes in 100 ms.\n")
    assert list(read_recording(place / "one").sessions) == ["190925"]


def test_a_window_of_time_bins_is_converted(command, place):
    folder = place / "data" / "cadena"
    (folder / "images").mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / "images" / f"{number}.png")
    for number, tier in ((1, "train"), (2, "test")):
        (folder / tier / "a").mkdir(parents=True)
        (folder / tier / "a" / "responses.csv").write_text(f'responses,image_id\n"[[1, 2, 4, 8]]",{number}\n')
        (folder / tier / "a" / "meta_data.json").write_text(json.dumps({"subject_id": 1, "session_id": "a"}))
    assert command("convert", "cadena", "open", "--window-ms", "50", "70")[0] == 0
    held = read_recording(place / "open")
    assert (held.window_ms, held.unit) == ((50.0, 70.0), "spikes in 20 ms")
    assert held.sessions["a"].responses.tolist() == [[6.0], [6.0]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere", "open"), r"There is no data/nowhere\. Paths of data configs start from"),
        (("data", "open"), r"data is no recording in a known format \(brain_observatory, .*sinz_pickles\)"),
        (("v4", "data"), r"data exists\. Choose another folder"),
        (("v4", "open", "--session", "1"), r"data/v4 lacks the images of 1; it has: 190923, 190925"),
        (("v4", "open", "--window-ms", "70", "160"), "files of format 'cowley2023' hold no time bins"),
        (("v4", "file/open"), "cannot be written"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_leaves_nothing(refused, place, arguments, text):
    (place / "file").write_text("")
    assert re.search(text, refused("convert", *arguments))
    assert {path.name for path in place.iterdir()} == {"data", "file"}
    assert [path.name for path in (place / "data").iterdir()] == ["v4"]


# --- list and fetch ---


def test_all_public_sets_are_listed(command):
    status, out, err = command("list")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(PUBLIC_SETS)
    for line, held in zip(out.splitlines(), PUBLIC_SETS.values(), strict=True):
        assert line.endswith(held.title) and ("by hand" in line) == bool(held.by_hand and not held.size)


def fetchable():
    return next(name for name, held in PUBLIC_SETS.items() if held.files)


@pytest.mark.parametrize("name", [name for name, held in PUBLIC_SETS.items() if held.by_hand])
def test_sets_that_are_got_by_hand_say_how(refused, place, name):
    text = refused("fetch", name, "--yes")
    assert "cannot be fetched by a program" in text and f"Put it into data/{name}" in text
    assert not (place / "data" / name).exists()


def test_an_unknown_set_is_named(refused):
    assert refused("fetch", "cifar11") == "No public data set is called 'cifar11'. Did you mean 'cifar10'?"


def test_terms_are_not_accepted_where_nobody_can_be_asked(command, place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    status, out, err = command("fetch", fetchable())
    assert status == 1
    assert err == "cotrain: Say --yes to accept these terms; there is no terminal to ask at.\n"
    assert "Terms: " in out and "Please cite: " in out
    assert [path.name for path in (place / "data").iterdir()] == ["v4"]


@pytest.mark.parametrize("answer", ["", "n", "no", "maybe"])
def test_terms_that_are_not_accepted_fetch_nothing(command, place, monkeypatch, answer):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    status, _, err = command("fetch", fetchable())
    assert status == 1 and re.fullmatch(r"cotrain: .* was not fetched: its terms were not accepted\.\n", err)
    assert [path.name for path in (place / "data").iterdir()] == ["v4"]


def test_a_set_that_is_there_is_not_fetched_again(command, place):
    held = PUBLIC_SETS[fetchable()]
    for name in held.holds:
        (place / "data" / held.name / name).mkdir(parents=True)
    status, out, err = command("fetch", held.name)
    assert (status, err) == (0, "")
    assert out.endswith(f"data/{held.name}\nRead it with the data config {held.config}\n")
