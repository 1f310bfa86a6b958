"""Analyses and pictures of data and of what was trained."""

from cotrain.analysis._contact_sheet import contact_sheet
from cotrain.analysis._corruption_errors import corruption_errors
from cotrain.analysis._difference_figure import draw_differences
from cotrain.analysis._figures import draw_rdm, overview_figure
from cotrain.analysis._inspect import Copies, Inspection, find_copies, inspect_data
from cotrain.analysis._inspection_figure import inspection_figure
from cotrain.analysis._paired import paired_differences
from cotrain.analysis._robustness import (
    Robustness,
    condition_summary,
    label_summary,
    robustness,
    robustness_differences,
    run_summary,
)
from cotrain.analysis._robustness_figure import robustness_figure
from cotrain.analysis._save_figure import check_picture_path, save_figure
from cotrain.analysis._severity_curves import draw_severity_curves
from cotrain.analysis._severity_heat_map import draw_heat_maps
from cotrain.analysis._style import Look, looks

__all__ = [
    "Copies",
    "Inspection",
    "Look",
    "Robustness",
    "check_picture_path",
    "condition_summary",
    "contact_sheet",
    "corruption_errors",
    "draw_differences",
    "draw_heat_maps",
    "draw_rdm",
    "draw_severity_curves",
    "find_copies",
    "inspect_data",
    "inspection_figure",
    "label_summary",
    "looks",
    "overview_figure",
    "paired_differences",
    "robustness",
    "robustness_differences",
    "robustness_figure",
    "run_summary",
    "save_figure",
]
