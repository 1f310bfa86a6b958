"""`cotrain plot` where no database is needed: contact sheets, and what is refused before one is asked."""

from __future__ import annotations

import os
import re
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from cotrain.cli._plot import PRESETS, _image
from cotrain.data.corruptions import Preset


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder, and a data folder with a picture."""
    for name in [name for name in os.environ if name.startswith(("COTRAIN_", "DJ_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "data").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "data" / "cat.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_presets_are_the_librarys():
    assert tuple(PRESETS) == get_args(Preset)


@pytest.mark.parametrize("name", ["corruptions", "contact-sheet", "manifolds", "smooth-manifolds"])
def test_each_command_has_help_with_examples(name, command):
    status, out, err = command("plot", name, "--help")
    assert (status, err) == (0, "")
    assert re.search(rf"^examples:\n(  cotrain plot {name}\b.*\n?)+\Z", out, re.MULTILINE), out


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--preset", "cifar_c"], "sheet.png"),
        (["--image", "cat.png", "--size", "32", "--seed", "7"], "sheet.svg"),
        (["--image", "grey.png", "--preset", "cifar_c"], "sheet.pdf"),
    ],
)
def test_a_contact_sheet(arguments, name, command, place):
    before = {path.name for path in place.iterdir()}
    assert command("plot", "contact-sheet", *arguments, "--out", name) == (0, f"picture: {name}\n", "")
    assert {path.name for path in place.iterdir()} - before == {name}, "no database, no home"
    assert (place / name).stat().st_size > 3000


def test_the_middle_of_the_picture_is_shown(place):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    found = _image(place / "data" / "cat.png", 50)
    assert np.array_equal(found, pixels[:, 15:65])
    assert _image(place / "grey.png", 32).shape == (32, 32, 1)
    assert _image(None, 224).shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["contact-sheet", "--out", "no/sheet.png"], 1, r"There is no folder no for the picture\. Make it"),
        (["contact-sheet", "--out", "sheet.jpg"], 1, r"Name the picture \.png, \.pdf, \.svg, not 'sheet\.jpg'\."),
        (["contact-sheet", "--image", "dog.png", "--out", "a.png"], 1, r"data/dog\.png cannot be read: .*No such file"),
        (["contact-sheet", "--size", "31", "--out", "a.png"], 1, r"Corruptions are defined from 32 pixels a side"),
        (["contact-sheet", "--seed", "-1", "--out", "a.png"], 1, r"A seed is 0 or larger, found -1\."),
        (["contact-sheet", "--frost-folder", "ice", "--out", "a.png"], 1, r"data/ice"),
        (["contact-sheet"], 2, "the following arguments are required: --out"),
        (["contact-sheet", "--preset", "mnist_c", "--out", "a.png"], 2, "invalid choice: 'mnist_c'"),
        (["corruptions", "--out", "no/a.png"], 1, r"There is no folder no for the picture\."),
        (["corruptions", "--out", "a.doc"], 1, r"Name the picture \.png, \.pdf, \.svg"),
        ([], 2, "COMMAND"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(arguments, status, text, command, place):
    before = {path.name for path in place.iterdir()}
    found, out, err = command("plot", *arguments)
    assert (found, out) == (status, "")
    assert re.search(text, err), err
    assert "Traceback" not in err
    assert {path.name for path in place.iterdir()} == before
