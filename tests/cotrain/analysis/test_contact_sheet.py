"""Contact sheets: the pictures on them are those that `corrupt` gives, each at its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from cotrain.analysis import contact_sheet
from cotrain.analysis._contact_sheet import GAP, _blocks
from cotrain.analysis._style import CATEGORIES, grouped, words
from cotrain.data.corruptions import corrupt, corruption_names
from cotrain.errors import DataError

NAMES = corruption_names(extra=True)


def image(height=40, width=40, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def test_each_picture_is_where_its_names_say():
    pixels = image()
    figure = contact_sheet(pixels, preset="cifar_c", seed=3)
    original, *categories = [axes for axes in figure.axes if axes.images]
    if original.get_ylabel() != "original":
        original = next(axes for axes in categories if axes.get_ylabel() == "original")
        categories = [axes for axes in figure.axes if axes.images and axes is not original]
    assert np.array_equal(original.images[0].get_array(), pixels)
    expected = grouped(NAMES)
    assert len(categories) == len(expected)
    step = 40 + max(1, round(GAP * 40))
    for axes, names in zip(categories, expected.values(), strict=True):
        shown = axes.images[0].get_array()
        assert [text.get_text() for text in axes.get_yticklabels()] == [words(name) for name in names]
        for row, name in enumerate(names):
            assert row * step <= axes.get_yticks()[row] < row * step + 40
            for column in range(5):
                found = shown[row * step :, column * step :][:40, :40]
                assert np.array_equal(found, corrupt(pixels[None], name, column + 1, seed=3, preset="cifar_c")[0])
    bands = [axes.texts[0].get_text() for axes in figure.axes if not axes.images]
    assert bands == list(expected)


@pytest.mark.parametrize("shape", [(32, 64, 3), (64, 32, 1), (33, 33, 1)], ids=str)
def test_pictures_keep_their_shape(shape):
    pixels = image(*shape)
    figure = contact_sheet(pixels, names=NAMES[:1])
    original, category = (axes for axes in figure.axes if axes.images)
    assert np.array_equal(np.squeeze(original.images[0].get_array()), pixels.squeeze())
    figure.draw_without_rendering()
    box = category.get_window_extent()
    shown = category.images[0].get_array()
    assert box.height / box.width == pytest.approx(shown.shape[0] / shown.shape[1], rel=0.1)
    assert category.images[0].get_cmap().name == ("gray" if shape[2] == 1 else "viridis")  # unused of colour
    assert category.images[0].get_clim() == (0, 255)


@pytest.mark.parametrize("names", [NAMES[:1], NAMES], ids=["one", "all"])
def test_all_letters_are_on_the_sheet(names):
    figure = contact_sheet(image(), names=names)
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    said = {text.get_text().replace("\n", " ") for text in texts}
    assert "Corruptions at severities 1 to 5: preset imagenet_c, 40 x 40 pixels, seed 0" in said
    assert {words(name) for name in names} | {"original", "1", "2", "3", "4", "5"} <= said
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text.get_text()


def test_a_title_of_ones_own():
    figure = contact_sheet(image(), names=NAMES[:1], title="A cat")
    assert figure.texts[0].get_text() == "A cat"


@given(st.lists(st.sampled_from(sorted(CATEGORIES)), unique=True, min_size=1), st.randoms(use_true_random=False))
def test_blocks_hold_each_category_once_and_are_balanced(chosen, random):
    categories = {name: CATEGORIES[name][: random.randint(1, 4)] for name in chosen}
    blocks = _blocks(categories)
    assert [name for block in blocks for name in block] == list(categories)
    assert all(blocks)
    rows = [sum(len(categories[name]) for name in block) for block in blocks]
    assert len(blocks) == (1 if sum(rows) <= 8 else 2)
    if len(blocks) == 2:
        assert abs(rows[0] - rows[1]) <= 4 + 4 % len(chosen)


@pytest.mark.parametrize(
    ("pixels", "changes", "text"),
    [
        (image(31), {}, "from 32 pixels a side"),
        (image().astype(float), {}, "uint8"),
        (image(), {"names": ["fogg"]}, "no corruption 'fogg'"),
        (image(), {"preset": "imagenet"}, "no preset 'imagenet'"),
    ],
)
def test_what_cannot_be_corrupted(pixels, changes, text):
    with pytest.raises(DataError, match=text):
        contact_sheet(pixels, **changes)
