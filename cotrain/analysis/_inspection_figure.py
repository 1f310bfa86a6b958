"""The picture of an inspection: a contact sheet, near copies side by side, and histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.analysis._inspect import Inspection
from cotrain.analysis._style import COLOURS, LARGE, NORMAL, bare
from cotrain.data import Images, image_facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN, COLUMNS = 48, 16  # images of the contact sheet
COPIES_SHOWN, OF_A_GROUP = 8, 3
LABELS = 14  # sessions that fit below one axis with their names


def inspection_figure(inspection: Inspection) -> Figure:
    """Images evenly chosen from each set, groups of near copies, responses and their reliability.

    Returns:
        The figure; `figure.savefig(path)` writes it.
    """
    from matplotlib.figure import Figure

    sets = list(inspection.images.items())
    groups = [(name, group) for name, found in inspection.copies.items() for group in found.groups]
    panels = [bool(sets), bool(groups), True]
    heights = [2.7 * panels[0], 1.9 * panels[1], 2.7]
    figure = Figure(figsize=(12, sum(heights) + 0.5), layout="constrained")
    figure.suptitle(inspection.title, fontsize=LARGE)
    rows = figure.subfigures(sum(panels), 1, height_ratios=[height for height in heights if height], squeeze=False)
    place = iter(rows[:, 0])
    if sets:
        _sheet(next(place).subplots(), sets)
    if groups:
        _copies(next(place).subplots(), inspection, groups)
    axes = next(place).subplots(1, 3)
    _pixels(axes[0], sets)
    _responses(axes[1], inspection)
    _reliability(axes[2], inspection)
    return figure


def _picture(images: Images, row: int, side: int) -> NDArray[np.uint8]:
    """One image as a square of colour, (side, side, 3)."""
    pixels = images[torch.tensor([row])].float()
    square = torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return square[0].expand(3, -1, -1).permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def _tiles(pictures: list[NDArray[np.uint8] | None], columns: int, side: int) -> NDArray[np.uint8]:
    """Squares in rows with white lines between them; None leaves one out."""
    count = -(-len(pictures) // columns)
    sheet = np.full((count * (side + 2), columns * (side + 2), 3), 255, np.uint8)
    for number, held in enumerate(pictures):
        if held is not None:
            top, left = number // columns * (side + 2), number % columns * (side + 2)
            sheet[top : top + side, left : left + side] = held
    return sheet


def _sheet(axes: Axes, sets: list[tuple[str, Images]]) -> None:
    share = max(1, SHOWN // len(sets))
    pictures: list[NDArray[np.uint8] | None] = []
    for _, images in sets[:SHOWN]:
        rows = np.unique(np.linspace(0, len(images) - 1, share).round().astype(int))
        pictures += [_picture(images, int(row), 96) for row in rows]
    axes.imshow(_tiles(pictures, COLUMNS, 96), interpolation="nearest")
    total = sum(len(images) for _, images in sets)
    shapes = sorted({"x".join(map(str, images.shape[2:])) for _, images in sets})
    axes.set_title(f"{len(pictures)} of {total} images ({', '.join(shapes)} pixels)", fontsize=NORMAL)
    axes.axis("off")


def _copies(axes: Axes, inspection: Inspection, groups: list[tuple[str, tuple[int, ...]]]) -> None:
    pictures: list[NDArray[np.uint8] | None] = []
    chosen = [groups[i] for i in np.unique(np.linspace(0, len(groups) - 1, COPIES_SHOWN).astype(int))]
    for name, group in chosen:
        shown = group[:OF_A_GROUP]
        pictures += [_picture(inspection.images[name], row, 96) for row in shown]
        pictures += [None] * (OF_A_GROUP + 1 - len(shown))  # and a gap between groups
    axes.imshow(_tiles(pictures, 4 * (OF_A_GROUP + 1), 96), interpolation="nearest")
    total = sum(found.near["groups"] for found in inspection.copies.values())
    axes.set_title(
        f"{len(chosen)} of {total} groups of images that are equal or alike (up to three each)", fontsize=NORMAL
    )
    axes.axis("off")


def _pixels(axes: Axes, sets: list[tuple[str, Images]]) -> None:
    bare(axes, "mean brightness of each image", "images")
    for number, (name, images) in enumerate(sets):
        sums = image_facts(images).sums[:, :, 0].sum(1)
        brightness = sums / np.prod(images.shape[1:])
        axes.hist(
            brightness, bins=40, range=(0, 255), histtype="step", color=COLOURS[number % len(COLOURS)], label=name
        )
    if not sets:
        axes.set_visible(False)
    elif 1 < len(sets) <= len(COLOURS):
        axes.legend(fontsize=7, frameon=False)


def _responses(axes: Axes, inspection: Inspection) -> None:
    bare(axes, f"mean response of each neuron ({inspection.unit})", "neurons")
    means = {name: _means(values) for name, values in inspection.responses.items()}
    if not any(len(values) for values in means.values()):
        axes.set_visible(False)
        return
    axes.hist(list(means.values()), bins=30, stacked=True, label=list(means))
    if 1 < len(means) <= LABELS:
        axes.legend(fontsize=7, frameon=False)


def _means(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean of each neuron that has a response and none that is infinite."""
    known = ~np.isnan(values)
    shown = known.any(0) & ~np.isinf(values).any(0)
    return np.asarray(np.mean(values[:, shown], 0, np.float64, where=known[:, shown]))


def _reliability(axes: Axes, inspection: Inspection) -> None:
    bare(axes, "session", "reliability (Spearman-Brown)")
    held = inspection.reliability
    if not held:
        axes.set_visible(False)
        return
    for number, values in enumerate(held.values()):
        known = np.sort(values[~np.isnan(values)])
        spread = np.linspace(-0.3, 0.3, len(known)) if len(known) > 1 else np.zeros(len(known))
        axes.plot(number + spread, known, ".", color=COLOURS[number % len(COLOURS)], ms=4)
        if len(known):
            axes.hlines(float(np.median(known)), number - 0.35, number + 0.35, color="0.2", lw=1)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1)
    axes.set_xlim(-0.6, len(held) - 0.4)
    axes.set_xticks(range(len(held)) if len(held) <= LABELS else [], list(held) if len(held) <= LABELS else [])
    axes.tick_params(axis="x", labelsize=7)
