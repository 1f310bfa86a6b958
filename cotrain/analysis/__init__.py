"""Analyses and pictures of data and of what was trained."""

from cotrain.analysis._figures import draw_rdm, overview_figure
from cotrain.analysis._inspect import Copies, Inspection, find_copies, inspect_data
from cotrain.analysis._inspection_figure import inspection_figure
from cotrain.analysis._paired import paired_differences

__all__ = [
    "Copies",
    "Inspection",
    "draw_rdm",
    "find_copies",
    "inspect_data",
    "inspection_figure",
    "overview_figure",
    "paired_differences",
]
