"""Pictures of RDMs with the categories and pictures of their stimuli, one or several, or with their difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._arrays import Given
from cotrain.analysis._figures import cluster_order, percentiles
from cotrain.analysis._style import COLOURS, NORMAL, SMALL, broken, draw_title
from cotrain.analysis._tagged_rdm import Rdm, as_distances
from cotrain.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Order = Literal["given", "category", "cluster"]
Scale = Literal["percentile", "shared", "own"]
BAND, ICON, GAP = 0.035, 0.11, 0.012  # shares of the matrix's side
PANEL = 3.9  # inches
DIFFERENCES, DISTANCES = "RdBu_r", "viridis"
UNITS = {"percentile": "dissimilarity (percentile of pairs)", "shared": "dissimilarity", "own": "dissimilarity"}
HATCHES = ("", "////", "....", "xxxx")  # where there are more categories than colours


@dataclass(frozen=True)
class Stimuli:
    """What is drawn beside an RDM, in the order of its rows.

    Args:
        order: Rows in the order in which they are drawn.
        categories: Name of each, drawn as bands; may be empty.
        icons: (stimuli, height, width, channels), or None.
    """

    order: NDArray[np.int64]
    categories: tuple[str, ...]
    icons: NDArray[np.uint8] | None

    @property
    def names(self) -> list[str]:
        """Of the categories, in the order in which they first come."""
        return list(dict.fromkeys(self.categories))


def rdm_figure(
    rdms: Mapping[str, Given | Rdm],
    *,
    categories: Sequence[str] = (),
    icons: Given | None = None,
    order: Order = "given",
    scale: Scale = "percentile",
    title: str = "",
) -> Figure:
    """RDMs side by side, with bands of their stimuli's categories and some of their pictures.

    Args:
        rdms: {name: (stimuli, stimuli)} of the same stimuli; distances or `Rdm`.
        categories: Of each stimulus.
        icons: Pictures of the stimuli, uint8 (stimuli, height, width, 3 or 1); as many are drawn as there is room for.
        order: Of rows: "given", by "category" (stable), or "cluster": like ones of the first RDM together.
        scale: Of colours: "percentile" of each RDM's pairs, which leaves out level and scale; "shared": the same for
            all, in their own units; "own": each by its own range.
        title: Above all.

    Returns:
        The figure; `save_figure(figure, path)` writes it.

    Raises:
        DataError: The RDMs are not of the same stimuli, or categories or icons are not one a stimulus.
    """
    from matplotlib.figure import Figure

    matrices = as_matrices(rdms)
    first = next(iter(matrices.values()))
    stimuli = stimuli_in_order(first, categories, icons, order)
    figure = Figure(figsize=(PANEL * len(matrices) + 0.6, PANEL + 0.1), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    limits = _limits(list(matrices.values()))
    for place, (name, matrix) in zip(axes, matrices.items(), strict=True):
        shown = percentiles(matrix) if scale == "percentile" else _off_diagonal(matrix)
        low, high = {"percentile": (0.0, 100.0), "shared": limits}.get(scale, _limits([matrix]))
        image = _draw(place, shown, stimuli, DISTANCES, low, high)
        place.set_title(broken(name), fontsize=NORMAL)
        if scale == "own":
            _bar(figure, image, [place], "dissimilarity")
    if scale != "own":
        _bar(figure, image, list(axes), UNITS[scale])
    _finish(figure, stimuli, len(matrices), title)
    return figure


def rdm_difference_figure(
    target: Given | Rdm,
    model: Given | Rdm,
    *,
    names: tuple[str, str] = ("target", "model"),
    categories: Sequence[str] = (),
    icons: Given | None = None,
    order: Order = "given",
    scale: Literal["percentile", "shared"] = "percentile",
    title: str = "",
) -> Figure:
    """A target RDM, a model's and their difference, the first two on one scale.

    Args:
        target, model: (stimuli, stimuli) each.
        names: Of the two.
        categories, icons, order, title: As for `rdm_figure`.
        scale: "percentile", or "shared": in units of the dissimilarity, which both must then have.

    Raises:
        DataError: As `rdm_figure`.
    """
    from matplotlib.figure import Figure

    matrices = as_matrices({"target": target, "model": model})
    stimuli = stimuli_in_order(matrices["target"], categories, icons, order)
    limits = (0.0, 100.0) if scale == "percentile" else _limits(list(matrices.values()))
    shown = [percentiles(one) if scale == "percentile" else _off_diagonal(one) for one in matrices.values()]
    figure = Figure(figsize=(3 * PANEL + 1.2, PANEL + 0.1), layout="constrained")
    axes = figure.subplots(1, 3)
    for place, values, name in zip(axes, shown, names, strict=False):
        image = _draw(place, values, stimuli, DISTANCES, *limits)
        place.set_title(broken(name), fontsize=NORMAL)
    _bar(figure, image, list(axes[:2]), UNITS[scale])
    difference = shown[1] - shown[0]
    most = float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else 1.0
    image = _draw(axes[2], difference, stimuli, DIFFERENCES, -(most or 1.0), most or 1.0)
    axes[2].set_title(broken(f"{names[1]} less {names[0]}"), fontsize=NORMAL)
    _bar(figure, image, [axes[2]], "difference" + (" (percentiles)" if scale == "percentile" else ""))
    _finish(figure, stimuli, 3, title)
    return figure


def as_matrices(rdms: Mapping[str, Given | Rdm]) -> dict[str, NDArray[np.float64]]:
    """{name: (stimuli, stimuli)} as NumPy.

    Raises:
        DataError: None is given, or they are not single RDMs of as many stimuli.
    """
    if not rdms:
        raise DataError("There is no RDM to draw. Give {name: RDM}.")
    found = {name: as_distances(rdm, f"The RDM {name!r}").detach().cpu().numpy() for name, rdm in rdms.items()}
    if len(shapes := {matrix.shape for matrix in found.values()}) > 1 or next(iter(shapes))[:1] * 2 != next(
        iter(shapes)
    ):
        raise DataError(
            "RDMs that are drawn together must be (stimuli, stimuli) of the same stimuli, found "
            + ", ".join(f"{name}: {matrix.shape}" for name, matrix in found.items())
        )
    return found


def stimuli_in_order(
    matrix: NDArray[np.float64], categories: Sequence[str], icons: Given | None, order: Order
) -> Stimuli:
    """Categories and pictures, and the order in which they are drawn.

    Raises:
        DataError: They are not one a stimulus.
    """
    number = len(matrix)
    names = tuple(map(str, categories))
    if names and len(names) != number:
        raise DataError(f"An RDM of {number} stimuli needs as many categories, found {len(names)}.")
    pictures = None if icons is None else np.asarray(icons.detach().cpu() if hasattr(icons, "detach") else icons)
    if pictures is not None and (pictures.ndim != 4 or len(pictures) != number or pictures.dtype != np.uint8):
        raise DataError(
            f"Icons of {number} stimuli must be uint8 ({number}, height, width, channels), found {pictures.dtype} "
            f"{pictures.shape}."
        )
    if order == "cluster":
        rows = cluster_order(matrix)
    elif order == "category" and names:
        place = {name: position for position, name in enumerate(dict.fromkeys(names))}
        rows = np.argsort([place[name] for name in names], kind="stable")
    else:
        rows = np.arange(number)
    return Stimuli(rows, names, pictures)


def category_looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and hatch of each category; the first 28 differ."""
    return {
        name: {
            "facecolor": COLOURS[number % len(COLOURS)],
            "hatch": HATCHES[number // len(COLOURS) % len(HATCHES)],
            "edgecolor": "white" if number >= len(COLOURS) else "none",
        }
        for number, name in enumerate(names)
    }


def _off_diagonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)


def _limits(matrices: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """The range of all pairs, 0 to 1 of none."""
    values = np.concatenate([_off_diagonal(matrix).ravel() for matrix in matrices])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return low, high if high > low else low + 1


def _draw(axes: Axes, shown: NDArray[np.float64], stimuli: Stimuli, colours: str, low: float, high: float) -> Any:
    from matplotlib import colormaps

    number = len(shown)
    palette = colormaps[colours].with_extremes(bad="0.85")
    image = axes.imshow(
        shown[np.ix_(stimuli.order, stimuli.order)],
        cmap=palette, vmin=low, vmax=high, interpolation="nearest", extent=(0, number, number, 0),
    )  # fmt: skip
    edge = 0.0
    if stimuli.categories:
        _draw_bands(axes, stimuli, number)
        edge = number * (GAP + BAND)
    if stimuli.icons is not None:
        _draw_icons(axes, stimuli, number, edge + number * GAP)
        edge += number * (GAP + ICON)
    axes.set(xlim=(-edge, number), ylim=(number, -edge), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return image


def _draw_bands(axes: Axes, stimuli: Stimuli, number: int) -> None:
    from matplotlib.patches import Rectangle

    looks = category_looks(stimuli.names)
    width, gap = number * BAND, number * GAP
    for name, start, length in _runs([stimuli.categories[row] for row in stimuli.order]):
        for corner, size in (((start, -gap - width), (length, width)), ((-gap - width, start), (width, length))):
            axes.add_patch(Rectangle(corner, *size, lw=0, **looks[name]))


def _runs(names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """(name, start, length) of equal neighbours."""
    start = 0
    for place in range(1, len(names) + 1):
        if place == len(names) or names[place] != names[start]:
            yield names[start], start, place - start
            start = place


def _draw_icons(axes: Axes, stimuli: Stimuli, number: int, edge: float) -> None:
    assert stimuli.icons is not None
    side = number * ICON
    room = max(1, min(number, int(number // side)))
    for column in range(room):
        middle = (column + 0.5) * number / room
        picture = stimuli.icons[stimuli.order[min(number - 1, int(middle))]]
        shown = np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture
        left = middle - side / 2 * 0.94, middle + side / 2 * 0.94
        far, near = -edge - side * 0.94, -edge
        for extent in ((*left, near, far), (far, near, left[1], left[0])):
            axes.imshow(shown, extent=extent, interpolation="antialiased")


def _bar(figure: Figure, image: Any, axes: list[Axes], label: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=25, pad=0.02)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)


def _finish(figure: Figure, stimuli: Stimuli, panels: int, title: str) -> None:
    if title:
        draw_title(figure, title, panels)
    draw_category_legend(figure, stimuli.names, panels)


def draw_category_legend(figure: Figure, names: Sequence[str], panels: int) -> None:
    """Below all: the colour of each category."""
    from matplotlib.patches import Patch

    if names:
        beside = max(1, min(len(names), int(75 * panels / (max(map(len, names)) + 8))))
        rows = -(-len(names) // beside)
        columns = -(-len(names) // rows)  # as many in each row
        figure.set_figheight(figure.get_figheight() + 0.22 * rows)
        handles = [Patch(**look) for look in category_looks(names).values()]
        figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL)
