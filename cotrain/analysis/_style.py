"""How all pictures look: colours, lines, letters, bands of categories; readable in print and by the colour-blind."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Okabe & Ito's colours, which colour-blind readers tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one a colour, so that labels are told apart in grey, too
LOOKS = tuple((colour, style, marker) for style in STYLES for colour, marker in zip(COLOURS, MARKERS, strict=True))
TITLE_LETTERS, LEGEND_LETTERS = 46, 60  # that find room in the width of one panel
SMALL, NORMAL, LARGE = 8, 10, 12  # points: axes, panels, the whole figure
LABEL_LETTERS = 34  # of a label beside a panel or in a legend; longer ones are broken into lines

CATEGORIES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
"""The categories of corruptions, as of Hendrycks & Dietterich (2019), figure 1; the last are those that they add."""

OTHER = "other"
BANDS = {  # pale, so that black letters are read on them and they stay apart in grey
    "noise": "#D9D9D9",
    "blur": "#CFE3F2",
    "weather": "#FBE3C0",
    "digital": "#CDEBE1",
    "extra": "#EFDCE8",
    OTHER: "#F2F2F2",
}


class Look(NamedTuple):
    """Of one label, the same in all panels."""

    colour: str
    style: str
    marker: str


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """A look for each label, in their order; the first 28 differ in colour or line."""
    return {label: Look(*LOOKS[number % len(LOOKS)]) for number, label in enumerate(dict.fromkeys(labels))}


def grouped(corruptions: Iterable[str]) -> dict[str, list[str]]:
    """Corruptions by category, both in the order of the benchmark; unknown ones come last, under "other"."""
    given = list(dict.fromkeys(corruptions))
    found = {category: [name for name in names if name in given] for category, names in CATEGORIES.items()}
    known = {name for names in found.values() for name in names}
    found[OTHER] = [name for name in given if name not in known]
    return {category: names for category, names in found.items() if names}


def ink(colour: Sequence[float]) -> str:
    """Black or white, whichever has more contrast on a colour (red, green, blue; 0 to 1).

    WCAG 2.2, relative luminance and contrast ratio: the two are equal at a luminance of 0.179.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return "k" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 else "w"


def words(name: str) -> str:
    """A name from a file or table as people read it."""
    return {"jpeg_compression": "JPEG compression", "gaussian_noise": "Gaussian noise"}.get(
        name, name.replace("gaussian", "Gaussian").replace("_", " ")
    )


def broken(label: str, letters: int = LABEL_LETTERS) -> str:
    """A long label in lines."""
    return "\n".join(textwrap.wrap(label, letters, break_long_words=True)) or label


def draw_title(figure: Figure, title: str, panels: int) -> None:
    """Above all, in as many lines as it needs above so many panels; the figure grows by them."""
    lines = textwrap.wrap(title, TITLE_LETTERS * panels)
    figure.set_figheight(figure.get_figheight() + 0.2 * len(lines))
    figure.suptitle("\n".join(lines), fontsize=LARGE)


def draw_legend(figure: Figure, look: Mapping[str, Look], panels: int, *, note: str | None = None) -> None:
    """Below all, in as many columns as there is room for below so many panels, with a note above it; the figure grows
    by its rows."""
    from matplotlib.lines import Line2D

    if look:
        names = [broken(label, LEGEND_LETTERS * panels - 8) for label in look]
        letters = max(len(line) for name in names for line in name.split("\n")) + 8  # with the line before it
        beside = max(1, min(len(look), LEGEND_LETTERS * panels // letters))
        rows = math.ceil(len(look) / beside) * max(name.count("\n") + 1 for name in names)
        figure.set_figheight(figure.get_figheight() + 0.2 * rows + 0.2)
        handles = [
            Line2D([], [], color=colour, ls=style, lw=1.6, marker=marker, ms=4)
            for colour, style, marker in look.values()
        ]
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=beside,
            frameon=False,
            fontsize=9,
            title=note,
            title_fontsize=SMALL,
        )


def bare(axes: Axes, x: str = "", y: str = "") -> None:
    """Axes with small letters and without the frame's upper and right side."""
    axes.set_xlabel(x, fontsize=SMALL)
    axes.set_ylabel(y, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def draw_letter(figure: SubFigure, letter: str) -> None:
    """The letter by which a caption names this part."""
    figure.text(0.004, 0.995, letter, fontsize=LARGE, fontweight="bold", va="top", ha="left", in_layout=False)
