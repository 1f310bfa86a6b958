"""Scores of networks against what the networks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._network_table import network_correlations
from cotrain.analysis._style import COLOURS, NORMAL, SMALL, bare, draw_title
from cotrain.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOGARITHMIC = 8  # facts that span more than this factor
TICKS = 6  # so many values of a fact are written below a logarithmic axis, else the ends


def network_figure(
    table: pd.DataFrame,
    facts: Sequence[str] = ("depth", "width", "accuracy"),
    *,
    score: str = "median r over neurons",
    title: str = "",
) -> Figure:
    """One panel a fact: each network's score with its interval over neurons; untrained networks are hollow.

    Each panel's title says the Spearman correlation over trained networks, and how many they are.

    Args:
        table: Of `network_table`, for one area. A column `trained` (bool) tells which networks are; without it all are.
        facts: Numeric columns; networks without a fact (untrained ones have no accuracy) are not in its panel.
        score: What the values are, in words.
        title: Above all.

    Raises:
        DataError: The table is empty, lacks a fact, or has a network twice.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    if table.empty or not facts:
        raise DataError("network_figure: give a table with a network or more, and a fact or more.")
    trained = table.trained.astype(bool) if "trained" in table else np.ones(len(table), bool)
    found = network_correlations(table[trained], facts)
    figure = Figure(figsize=(3.2 * len(facts) + 0.4, 3.1), layout="constrained")
    panels = figure.subplots(1, len(facts), sharey=True, squeeze=False)[0]
    for axes, fact, correlation in zip(panels, facts, found.to_dict("records"), strict=True):
        x = table[fact].astype(float)
        for held, colour, label in ((trained, COLOURS[0], "trained"), (~trained, COLOURS[1], "untrained")):
            part = table[held & x.notna()]
            if part.empty:
                continue
            spread = np.abs(part[["low", "high"]].to_numpy(float).T - part.value.to_numpy(float))
            axes.errorbar(
                x[part.index], part.value, yerr=np.nan_to_num(spread), fmt="o", ms=5, lw=0, elinewidth=1,
                color=colour, mfc=colour if label == "trained" else "w", label=label,
            )  # fmt: skip
        values: NDArray[np.float64] = np.unique(np.asarray(x.dropna(), np.float64))
        # counts alone: a share, as an accuracy, is read on a linear axis
        if len(values) and values[0] >= 1 and values[-1] > LOGARITHMIC * values[0]:
            axes.set_xscale("log")
            axes.set_xticks(values if len(values) <= TICKS else values[[0, -1]])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
        bare(axes, fact.replace("_", " "), score if axes is panels[0] else "")
        if np.isfinite(correlation["spearman"]):
            rho, p, number = (correlation[name] for name in ("spearman", "p", "networks"))
            axes.set_title(f"ρ = {rho:.2f}, p = {p:.1g}, {number} networks", fontsize=NORMAL - 1)
    if not np.all(trained):
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL)
    if title:
        draw_title(figure, title, len(facts))
    return figure
