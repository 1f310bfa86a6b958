"""A contact sheet: one image under every corruption at every severity."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._style import BANDS, LARGE, SMALL, grouped, words
from cotrain.data.corruptions import Preset, corrupt, corruption_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 0.8  # inches of a picture's width
GAP = 0.04  # of a picture's side, between pictures
NAMES, MARGIN = 1.35, 0.12  # inches, for the names beside the pictures; around everything
HEAD, BETWEEN = 0.25, 0.12  # inches, for the severities above; between categories
TITLE_LETTERS, TITLE_LINE = 9.5, 0.2  # letters an inch of the title, and inches of each of its lines
ORIGINAL_ROWS = 2.0  # of pictures, that the original is high at least


def contact_sheet(
    image: NDArray[np.uint8],
    *,
    names: Sequence[str] | None = None,
    preset: Preset = "imagenet_c",
    seed: int = 0,
    title: str | None = None,
) -> Figure:
    """Draw an image as corruptions change it: a row a corruption, by category, and a column a severity.

    Args:
        image: uint8 (height, width, channels), 1 or 3 channels, sides of 32 pixels or more. It is corrupted at this
            size; presets are made for 224 (imagenet_c), 64 (tiny_imagenet_c) and 32 pixels (cifar_c).
        names: Of corruptions; None: all that there are.
        preset: Which table of severities.
        seed: Of the random numbers, which are those of the first image of a data set.
        title: None: the preset and the seed.

    Returns:
        The figure; `save_figure(figure, path)` writes it.

    Raises:
        DataError: This is no such image, or a name or the preset is unknown.
    """
    from matplotlib.figure import Figure

    categories = grouped(corruption_names(extra=True) if names is None else names)
    pictures = {
        category: [
            [corrupt(image[None], name, severity, seed=seed, preset=preset)[0] for severity in SEVERITIES]
            for name in of_category
        ]
        for category, of_category in categories.items()
    }
    blocks = _blocks(categories)
    side = SIDE * image.shape[0] / image.shape[1]  # its height
    tall = [HEAD + sum(len(categories[name]) * side + BETWEEN for name in block) for block in blocks]
    shorter = int(np.argmin(tall)) if len(blocks) > 1 else 0
    room = max(max(tall) - tall[shorter], ORIGINAL_ROWS * side + HEAD)  # above it, for the original
    block_width = NAMES + len(SEVERITIES) * SIDE + MARGIN
    width = len(blocks) * block_width + MARGIN
    shape = f"{image.shape[0]} x {image.shape[1]} pixels"
    heading = title or f"Corruptions at severities 1 to 5: preset {preset}, {shape}, seed {seed}"
    lines = textwrap.wrap(heading, int(width * TITLE_LETTERS))
    start = TITLE_LINE * len(lines) + MARGIN
    height = start + max(max(tall), tall[shorter] + room) + MARGIN
    figure = Figure(figsize=(width, height))

    def axes_at(left: float, top: float, wide: float, high: float) -> Axes:
        """Axes at a place in inches from the upper left corner."""
        return figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))

    figure.text(0.5, 1 - MARGIN / 2 / height, "\n".join(lines), ha="center", va="top", fontsize=LARGE)
    for number, block in enumerate(blocks):
        left, top = MARGIN + number * block_width, start
        if number == shorter:
            original = axes_at(left + NAMES, top, len(SEVERITIES) * SIDE, room - HEAD - BETWEEN)
            _show(original, image)
            original.set_ylabel("original", fontsize=SMALL)
            top += room
        for place, category in enumerate(block):
            rows = pictures[category]
            high = len(rows) * side
            top += HEAD if place == 0 else BETWEEN
            axes = axes_at(left + NAMES, top, len(SEVERITIES) * SIDE, high)
            _draw_category(axes, rows, categories[category], severities=place == 0)
            band = axes_at(left, top, 0.2, high)
            band.set_facecolor(BANDS[category])
            band.text(0.5, 0.5, category, rotation=90, ha="center", va="center", fontsize=SMALL)
            _empty(band)
            top += high
    return figure


def _blocks(categories: Mapping[str, list[str]]) -> list[list[str]]:
    """Categories in two columns, cut where the taller one is least tall; in one where there are few."""
    names = list(categories)
    rows = [len(categories[name]) for name in names]
    if sum(rows) <= 8 or len(names) == 1:
        return [names]
    cut = min(range(1, len(names)), key=lambda place: max(sum(rows[:place]), sum(rows[place:])))
    return [names[:cut], names[cut:]]


def _draw_category(axes: Axes, rows: list[list[NDArray[np.uint8]]], names: list[str], *, severities: bool) -> None:
    """All pictures of a category as one, with white lines between them."""
    side = np.array(rows[0][0].shape[:2])
    gap = np.maximum(1, np.round(GAP * side)).astype(int)
    tile = side + gap
    sheet = np.full((*(tile * (len(rows), len(SEVERITIES))), rows[0][0].shape[2]), 255, np.uint8)
    for row, of_row in enumerate(rows):
        for column, shown in enumerate(of_row):
            top, left = tile * (row, column)
            sheet[top : top + side[0], left : left + side[1]] = shown
    _show(axes, sheet, aspect="auto")
    axes.set_yticks(tile[0] * np.arange(len(rows)) + side[0] / 2, [words(name) for name in names], fontsize=SMALL)
    if severities:
        axes.set_xticks(tile[1] * np.arange(len(SEVERITIES)) + side[1] / 2, SEVERITIES, fontsize=SMALL)
        axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=2)


def _show(axes: Axes, pixels: NDArray[np.uint8], aspect: str = "equal") -> None:
    grey = pixels.shape[2] == 1
    axes.imshow(
        pixels[..., 0] if grey else pixels,
        cmap="gray" if grey else None,
        vmin=0,
        vmax=255,
        aspect=aspect,
        resample=True,
    )
    axes.set_anchor("W")
    _empty(axes)


def _empty(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
