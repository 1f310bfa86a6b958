"""Pictures are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from cotrain.analysis import check_picture_path, save_figure
from cotrain.errors import CotrainError

BEGINNINGS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml", ".SVG": b"<?xml"}


def figure(text="fog 3"):
    found = Figure(figsize=(2, 1))
    found.text(0.5, 0.5, text)
    return found


class Failing(Figure):
    """Cannot be drawn to its end."""

    def draw(self, renderer):
        """Some of it is drawn."""
        super().draw(renderer)
        raise RuntimeError("the pen broke")


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_the_suffix_says_the_format(suffix, tmp_path):
    path = tmp_path / f"picture{suffix}"
    save_figure(figure(), path)
    content = path.read_bytes()
    assert content.startswith(BEGINNINGS[suffix])
    assert [found.name for found in tmp_path.iterdir()] == [path.name], "nothing else is left"
    save_figure(figure(), path)
    assert path.read_bytes() == content, "the same picture is the same file"


def test_letters_stay_letters(tmp_path):
    save_figure(figure(), tmp_path / "picture.svg")
    assert "fog 3" in (tmp_path / "picture.svg").read_text()


def test_dots_an_inch(tmp_path):
    save_figure(figure(), str(tmp_path / "picture.png"), dpi=50)
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size == (100, 50)


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="pen broke"):
        save_figure(Failing(figsize=(1, 1)), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CotrainError, match=r"The picture .*picture\.png cannot be written: .*No space left"):
        save_figure(figure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no/picture.png", r"There is no folder .*no for the picture\. Make it, or name another\."),
        ("picture.gif", r"Name the picture \.png, \.pdf, \.svg, not 'picture\.gif'\."),
        ("picture", r"Name the picture \.png, \.pdf, \.svg, not 'picture'\."),
        ("folder.png", r"folder\.png is a folder\. Name a file in it for the picture\."),
    ],
)
def test_places_where_no_picture_can_be(name, text, tmp_path):
    (tmp_path / "folder.png").mkdir()
    for refuse in (check_picture_path, lambda path: save_figure(figure(), path)):
        with pytest.raises(CotrainError, match=text):
            refuse(tmp_path / name)


def test_a_name_without_a_folder_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_picture_path(Path("picture.png"))
