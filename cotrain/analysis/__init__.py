"""Analyses and pictures of what was trained."""

from cotrain.analysis._figures import draw_rdm, overview_figure

__all__ = ["draw_rdm", "overview_figure"]
