"""Pictures of similarities: bars and curves beside the noise ceiling, and the distances of pairs in two RDMs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cotrain.analysis._arrays import Given
from cotrain.analysis._compare_rdms import compare_rdms
from cotrain.analysis._rdm_figure import PANEL, as_matrices
from cotrain.analysis._style import COLOURS, LARGE, NORMAL, SMALL, bare, broken, draw_legend, draw_title, looks
from cotrain.analysis._tagged_rdm import Rdm
from cotrain.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNIFICANT = 0.05
MOST_BRACKETS = 10
POINTS = 20_000  # more pairs than these are counted in hexagons
CEILING = "0.85"


def ceiling_bars_figure(table: pd.DataFrame, *, tests: pd.DataFrame | None = None, title: str = "") -> Figure:
    """A bar a model or layer, its standard error, and the noise ceiling as a band; a panel an area.

    Args:
        table: Of `RsaBootstrap.table` or `rsa_table`: `model` or `layer`, `similarity`, `standard_error`,
            `ceiling_lower`, `ceiling_upper`, `method`; with `area`, a panel for each.
        tests: Of `rsa_tests`, for a table of one area: a star at a bar that is above 0, and a line above each two
            models that differ (at most 10, the largest differences), by corrected p < 0.05.
        title: Above all.

    Raises:
        DataError: The table has no rows, or lacks a column; or there are tests and several areas.
    """
    from matplotlib.figure import Figure

    label = "model" if "model" in table.columns else "layer"
    needed = [label, "method", "similarity", "standard_error", "ceiling_lower", "ceiling_upper"]
    if missing := [column for column in needed if column not in table.columns]:
        raise DataError(f"The table lacks {', '.join(missing)}. Give that of RsaBootstrap.table or rsa_table.")
    if not len(table):
        raise DataError("The table has no rows: nothing was compared.")
    areas = {str(name): part for name, part in table.groupby("area", sort=False)} if "area" in table else {"": table}
    if tests is not None and len(areas) > 1:
        raise DataError(f"Tests are drawn beside one area, found {len(areas)}. Give the rows of one.")
    most = max(len(part) for part in areas.values())
    width = max(2.4, 0.5 * most + 0.9)
    figure = Figure(figsize=(width * len(areas) + 0.4, 3.4), layout="constrained")
    panels = figure.subplots(1, len(areas), sharey=True, squeeze=False)[0]
    for axes, (area, part) in zip(panels, areas.items(), strict=True):
        _draw_bars(axes, part, label)
        axes.set_title(broken(area), fontsize=NORMAL)
    name = str(table.method.iloc[0]).replace("_", " ")
    bare(panels[0], "", f"similarity of RDMs ({name})")
    if tests is not None:
        _draw_tests(panels[0], table, label, tests)
    if table.ceiling_lower.notna().any():
        from matplotlib.patches import Patch

        figure.legend(
            [Patch(color=CEILING)], ["noise ceiling"], loc="outside lower right", frameon=False, fontsize=SMALL
        )
        figure.set_figheight(figure.get_figheight() + 0.2)
    if title:
        draw_title(figure, title, max(1, round(width * len(areas) / PANEL)))
    return figure


def similarity_curves_figure(
    frame: pd.DataFrame,
    *,
    ceiling: tuple[float, float] | None = None,
    x: str = "epoch",
    y: str = "similarity",
    title: str = "",
) -> Figure:
    """Curves of similarity over epochs, layers or anything in order, with the noise ceiling as a band.

    Args:
        frame: Columns `label`, `value`, and what `x` names, numbers or names that are drawn in the order in which they
            first come; with `low` and `high`, a band about each curve.
        ceiling: (lower, upper).
        x: The column of the horizontal axis.
        y: Name of the vertical axis.
        title: Above all.

    Raises:
        DataError: The frame has no rows, or lacks a column.
    """
    import pandas as pd
    from matplotlib.figure import Figure

    if missing := [column for column in ("label", "value", x) if column not in frame.columns]:
        raise DataError(f"The frame of the curves lacks {', '.join(missing)}.")
    if not len(frame):
        raise DataError("The frame of the curves has no rows.")
    figure = Figure(figsize=(PANEL + 1.2, 3.4), layout="constrained")
    axes = figure.subplots()
    if ceiling is not None:
        axes.axhspan(*ceiling, color=CEILING, lw=0, zorder=0)
        axes.annotate(
            "noise ceiling", (0.99, ceiling[1]), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=SMALL - 1, color="0.4",
        )  # fmt: skip
    numeric = pd.api.types.is_numeric_dtype(frame[x])
    places = {name: number for number, name in enumerate(dict.fromkeys(frame[x]))}
    look = looks(frame.label)
    for label, part in frame.groupby("label", sort=False):
        place = part[x].to_numpy() if numeric else np.array([places[name] for name in part[x]])
        order = np.argsort(place, kind="stable")
        colour, style, marker = look[str(label)]
        few = len(part) <= 12
        axes.plot(place[order], part.value.to_numpy()[order], color=colour, ls=style, lw=1.6,
                  marker=marker if few else None, ms=4)  # fmt: skip
        if {"low", "high"} <= set(part.columns):
            low, high = (part[side].to_numpy(dtype=float)[order] for side in ("low", "high"))
            axes.fill_between(place[order], low, high, color=colour, alpha=0.18, lw=0)
    if not numeric:
        axes.set_xticks(range(len(places)), [broken(str(name), 14) for name in places])
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    bare(axes, x, y)
    if title:
        draw_title(figure, title, 1)
    if len(look) > 1 or next(iter(look)):
        draw_legend(figure, look, 1)
    return figure


def pair_scatter_figure(
    a: Given | Rdm,
    b: Given | Rdm,
    *,
    names: tuple[str, str] = ("first RDM", "second RDM"),
    categories: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """The distance of each pair of stimuli in two RDMs, with both correlations.

    Args:
        a, b: (stimuli, stimuli) each, of the same stimuli.
        names: Of the two.
        categories: Of each stimulus: pairs within one and between two are told apart by colour.
        title: Above all.

    Raises:
        DataError: As `rdm_figure` and `compare_rdms`.
    """
    from matplotlib.figure import Figure

    first, second = as_matrices({names[0]: a, names[1] + " ": b}).values()
    rows, columns = np.triu_indices(len(first), 1)
    x, y = first[rows, columns], second[rows, columns]
    figure = Figure(figsize=(PANEL + 0.3, PANEL + 0.1), layout="constrained")
    axes = figure.subplots()
    groups = {"": np.ones(len(x), dtype=bool)}
    if len(categories):
        if len(categories) != len(first):
            raise DataError(f"An RDM of {len(first)} stimuli needs as many categories, found {len(categories)}.")
        _, group = np.unique(np.asarray(categories, dtype=str), return_inverse=True)
        within = group[rows] == group[columns]
        groups = {"between categories": ~within, "within a category": within}
    if len(x) > POINTS:
        image = axes.hexbin(x, y, gridsize=60, bins="log", cmap="viridis", mincnt=1, linewidths=0)
        figure.colorbar(image, ax=axes, label="pairs", shrink=0.7)
    else:
        size = float(np.clip(2e4 / max(1, len(x)), 2, 24))
        for (label, chosen), colour in zip(groups.items(), COLOURS, strict=False):
            axes.scatter(x[chosen], y[chosen], s=size, color=colour, alpha=0.45, lw=0, label=label, rasterized=True)
        if len(groups) > 1:
            axes.legend(frameon=False, fontsize=SMALL, markerscale=2, loc="best")
    values = {method: float(compare_rdms(first, second, method, missing="omit")) for method in ("pearson", "spearman")}
    axes.set_title(f"Pearson {values['pearson']:.3f}, Spearman {values['spearman']:.3f}", fontsize=NORMAL)
    bare(axes, f"dissimilarity: {names[0]}", f"dissimilarity: {names[1]}")
    if title:
        draw_title(figure, title, 1)
    return figure


def _draw_bars(axes: Axes, part: pd.DataFrame, label: str) -> None:
    place = np.arange(len(part))
    lower, upper = (part[f"ceiling_{side}"].to_numpy(dtype=float) for side in ("lower", "upper"))
    for number in np.flatnonzero(np.isfinite(lower)):
        axes.fill_between([number - 0.5, number + 0.5], lower[number], upper[number], color=CEILING, lw=0, zorder=0)
    value, error = (part[name].to_numpy(dtype=float) for name in ("similarity", "standard_error"))
    axes.bar(place, value, 0.66, color=COLOURS[0], zorder=2)
    known = np.isfinite(error)
    axes.errorbar(
        place[known], value[known], error[known], fmt="none", ecolor="0.15", elinewidth=1.1, capsize=2.5, zorder=3
    )
    axes.axhline(0, color="0.3", lw=0.8, zorder=3)
    names = [broken(str(name), 16) for name in part[label]]
    tilt = max(max(map(len, line.split("\n"))) for line in names) > 6
    bare(axes)
    axes.set_xticks(place, names, rotation=40 if tilt else 0, ha="right" if tilt else "center", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(part) - 0.4)


def _draw_tests(axes: Axes, table: pd.DataFrame, label: str, tests: pd.DataFrame) -> None:
    place = {str(name): number for number, name in enumerate(table[label])}
    error = table.standard_error.fillna(0)
    tops = (np.maximum(table.similarity, 0) + error).to_numpy(dtype=float)
    low, high = axes.get_ylim()
    step = 0.05 * (high - low)
    passed = tests[tests.p_corrected < SIGNIFICANT]
    for name in passed[passed.test == "zero"].model:
        axes.text(place[name], tops[place[name]] + 0.15 * step, "*", ha="center", va="bottom", fontsize=LARGE, zorder=4)
    pairs = passed[passed.test == "models"].copy()
    pairs["size"] = pairs.difference.abs()
    ceiling = table.ceiling_upper.max()
    level = max(float(tops.max()) + 1.4 * step, float(ceiling) if np.isfinite(ceiling) else -np.inf) + 0.6 * step
    shown = pairs.nlargest(MOST_BRACKETS, "size")
    shown = shown.assign(span=[abs(place[a] - place[b]) for a, b in zip(shown.model, shown.other, strict=True)])
    for a, b in shown.sort_values("span")[["model", "other"]].itertuples(index=False):
        ends = sorted((place[a], place[b]))
        axes.plot(
            [ends[0], *ends, ends[1]], [level - 0.25 * step, level, level, level - 0.25 * step], color="0.2", lw=1
        )
        level += 0.6 * step
    axes.set_ylim(low, max(high, level + 0.3 * step))
