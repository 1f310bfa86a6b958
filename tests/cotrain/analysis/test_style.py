"""The style that pictures share."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cotrain.analysis import looks
from cotrain.analysis._style import BANDS, CATEGORIES, COLOURS, OTHER, broken, draw_legend, grouped, ink, words
from cotrain.data.corruptions import corruption_names


def test_every_corruption_has_one_category():
    known = [name for names in CATEGORIES.values() for name in names]
    assert len(known) == len(set(known)) == 19
    assert set(corruption_names(extra=True)) <= set(known)
    assert set(CATEGORIES) | {OTHER} == set(BANDS)


def test_the_order_of_categories_is_the_librarys():
    listed = corruption_names(extra=True)
    assert [name for names in grouped(reversed(listed)).values() for name in names] == list(listed)


def test_unknown_corruptions_come_last_in_their_order():
    assert grouped(["mine", "fog", "ours", "mine"]) == {"weather": ["fog"], OTHER: ["mine", "ours"]}
    assert grouped([]) == {}


def test_labels_look_different_and_the_same_everywhere():
    labels = [f"label {number}" for number in range(28)]
    found = looks([*labels, *labels])
    assert list(found) == labels
    assert len(set(found.values())) == 28
    assert found["label 3"] == looks(labels[:5])["label 3"]
    first = [found[label] for label in labels[: len(COLOURS)]]
    assert len({look.marker for look in first}) == len(COLOURS), "told apart in grey"


def luminance(colour):
    return sum(
        share * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for share, c in zip((0.2126, 0.7152, 0.0722), to_rgb(colour), strict=True)
    )


@pytest.mark.parametrize("colour", list(itertools.product((0, 0.25, 0.5, 0.75, 1), repeat=3)))
def test_ink_is_the_one_with_more_contrast(colour):
    on_black, on_white = (luminance(colour) + 0.05) / 0.05, 1.05 / (luminance(colour) + 0.05)
    assert ink(colour) == ("k" if on_black > on_white else "w")


def test_bands_are_light_enough_for_black_letters():
    assert all((luminance(colour) + 0.05) / 0.05 > 12 for colour in BANDS.values())


def test_names_as_words():
    assert [words(name) for name in ("gaussian_blur", "jpeg_compression", "fog", "elastic_transform")] == [
        "Gaussian blur",
        "JPEG compression",
        "fog",
        "elastic transform",
    ]


@pytest.mark.parametrize("label", ["", "short", "x" * 100, "many words " * 10])
def test_long_labels_are_broken(label):
    lines = broken(label, 20).split("\n")
    assert max(map(len, lines)) <= 20
    assert "".join(lines).replace(" ", "") == label.replace(" ", "")


def test_a_legend_has_a_row_for_each_line_of_its_labels():
    heights = []
    for labels in (["a"], ["b" * 200], ["b" * 200, "c" * 200]):
        figure = Figure(figsize=(4, 3), layout="constrained")
        figure.subplots()
        draw_legend(figure, looks(labels), 1)
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.axes[0].get_window_extent().height > 150
        heights.append(figure.get_figheight())
    assert heights == sorted(set(heights))
