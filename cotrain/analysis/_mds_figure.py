"""RDMs as maps: stimuli in the plane, like ones near each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._arrays import Given
from cotrain.analysis._rdm_figure import PANEL, as_matrices, category_looks, draw_category_legend, stimuli_in_order
from cotrain.analysis._style import COLOURS, NORMAL, SMALL, broken, draw_title
from cotrain.analysis._tagged_rdm import Rdm
from cotrain.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROUNDS = 500
ICONS = 120  # at most, as pictures


class Arrangement(NamedTuple):
    """Stimuli in the plane.

    Args:
        points: (stimuli, 2).
        stress: Kruskal's stress-1, 0 (the plane holds all distances) to 1.
        correlation: Pearson, of distances in the plane and in the RDM.
    """

    points: NDArray[np.float64]
    stress: float
    correlation: float


def scaled_to_plane(rdm: Given | Rdm) -> Arrangement:
    """Metric multidimensional scaling to two dimensions, the same each time.

    SMACOF (de Leeuw 1977) from the classical solution of Torgerson 1952 (Psychometrika 17:401); no random start.
    Distances below 0 count as 0.

    Args:
        rdm: (stimuli, stimuli), 3 or more.

    Raises:
        DataError: There are fewer than 3 stimuli, a pair is NaN, or all distances are 0.
    """
    matrix = np.maximum(as_matrices({"RDM": rdm})["RDM"], 0)
    if len(matrix) < 3 or not np.isfinite(matrix).all() or not matrix.any():
        raise DataError("A map needs 3 stimuli or more, without NaN among their distances, which must not all be 0.")
    from sklearn.manifold import smacof

    matrix = (matrix + matrix.T) / 2
    centring = np.eye(len(matrix)) - 1 / len(matrix)
    value, vector = np.linalg.eigh(-centring @ matrix**2 @ centring / 2)
    start = vector[:, :-3:-1] * np.sqrt(np.maximum(value[:-3:-1], 0))
    start *= np.where(start[np.abs(start).argmax(0), [0, 1]] < 0, -1, 1)  # the sign of an eigenvector is by chance
    points, _ = smacof(matrix, n_components=2, init=start, n_init=1, max_iter=ROUNDS, eps=1e-9, normalized_stress=False)
    rows = np.triu_indices(len(matrix), 1)
    far = np.linalg.norm(points[rows[0]] - points[rows[1]], axis=1)
    given = matrix[rows]
    stress = float(np.sqrt(((far - given) ** 2).sum() / (far**2).sum())) if far.any() else 1.0
    varies = np.ptp(far) > 0 and np.ptp(given) > 0
    return Arrangement(points, stress, float(np.corrcoef(far, given)[0, 1]) if varies else float("nan"))


def mds_figure(
    rdms: Mapping[str, Given | Rdm],
    *,
    categories: Sequence[str] = (),
    icons: Given | None = None,
    labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Maps of RDMs side by side, each turned, mirrored and scaled to lie on the first as well as it can.

    Args:
        rdms: {name: (stimuli, stimuli)} of the same stimuli.
        categories: Of each stimulus: the colour of its point, or of its picture's frame.
        icons: Pictures of the stimuli, uint8 (stimuli, height, width, 3 or 1); of more than 120 stimuli, points.
        labels: A name beside each point.
        title: Above all.

    Raises:
        DataError: As `rdm_figure` and `scaled_to_plane`; or labels are not one a stimulus.
    """
    from matplotlib.figure import Figure

    matrices = as_matrices(rdms)
    number = len(next(iter(matrices.values())))
    stimuli = stimuli_in_order(next(iter(matrices.values())), categories, icons, "given")
    if labels and len(labels) != number:
        raise DataError(f"A map of {number} stimuli needs as many labels, found {len(labels)}.")
    figure = Figure(figsize=(PANEL * len(matrices) + 0.4, PANEL + 0.3), layout="constrained")
    reference = None
    looks = category_looks(stimuli.names)
    colours = [looks[name]["facecolor"] for name in stimuli.categories] or [COLOURS[0]] * number
    for axes, (name, matrix) in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True):
        found = scaled_to_plane(matrix)
        points = found.points if reference is None else _turned(found.points, reference)
        reference = points if reference is None else reference
        pictures = stimuli.icons if stimuli.icons is not None and number <= ICONS else None
        _draw_map(axes, points, colours, pictures, labels)
        axes.set_title(broken(name), fontsize=NORMAL)
        axes.set_xlabel(f"stress {found.stress:.2f}, r {found.correlation:.2f}", fontsize=SMALL)
    if title:
        draw_title(figure, title, len(matrices))
    draw_category_legend(figure, stimuli.names, len(matrices))
    return figure


def _turned(points: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Procrustes: rotation, mirror and scale, about the middle."""
    from scipy.linalg import orthogonal_procrustes

    centred, aim = points - points.mean(0), reference - reference.mean(0)
    rotation, scale = orthogonal_procrustes(centred, aim)
    return np.asarray(centred @ rotation * scale / max(float((centred**2).sum()), 1e-300))


def _draw_map(
    axes: Axes,
    points: NDArray[np.float64],
    colours: Sequence[str],
    pictures: NDArray[np.uint8] | None,
    labels: Sequence[str],
) -> None:
    span = float(np.ptp(points, axis=0).max()) or 1.0
    side = span * min(0.09, 0.55 / len(points) ** 0.5) / 2
    axes.scatter(points[:, 0], points[:, 1], c=list(colours), s=0 if pictures is not None else 22, lw=0, alpha=0.85)
    if pictures is not None:
        from matplotlib.patches import Rectangle

        for (x, y), picture, colour in zip(points, pictures, colours, strict=True):
            shown = np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture
            axes.imshow(shown, extent=(x - side, x + side, y - side, y + side), zorder=2, interpolation="antialiased")
            frame = Rectangle((x - side, y - side), 2 * side, 2 * side, fill=False, ec=colour, lw=1.2, zorder=3)
            axes.add_patch(frame)
    for (x, y), label in zip(points, labels, strict=False):
        axes.annotate(label, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=SMALL - 1)
    middle = (points.max(0) + points.min(0)) / 2
    half = span / 2 + 2 * side + (0.08 * span if labels else 0.02 * span)
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_color("0.8")
