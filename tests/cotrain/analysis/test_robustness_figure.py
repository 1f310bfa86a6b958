"""Pictures of robustness: each panel shows the numbers of the summary, and nothing covers anything else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from corruption_frames import COMMON, FEW, LABELS, scores
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from cotrain.analysis import (
    condition_summary,
    draw_differences,
    draw_heat_maps,
    draw_severity_curves,
    label_summary,
    looks,
    robustness,
    robustness_differences,
    robustness_figure,
)
from cotrain.analysis._severity_curves import ALL
from cotrain.errors import CotrainError

LONG = "co-trained with V1 and V4 and IT responses at once: lr=0.001, weight 10, epochs 200, shuffled=false"


@pytest.fixture(scope="module")
def few():
    return robustness(scores(seeds=3, corruptions=FEW, severities=(1, 3, 5)))


def blank():
    return Figure(figsize=(9, 5), layout="constrained")


def covering(figure):
    """Pairs of upright texts whose boxes meet by more than a pixel, and texts that leave the figure."""
    figure.draw_without_rendering()
    hidden = unseen(figure)
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text.get_rotation() % 90 == 0 and text not in hidden
    ]
    boxes = [text.get_window_extent() for text in texts]
    found = []
    for (one, a), (other, b) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if wide > 1 and high > 1:
            found.append((one.get_text(), other.get_text()))
    whole = figure.bbox
    outside = [
        text.get_text()
        for text, box in zip(texts, boxes, strict=True)
        if box.x0 < whole.x0 - 1 or box.x1 > whole.x1 + 1 or box.y0 < whole.y0 - 1 or box.y1 > whole.y1 + 1
    ]
    return found, outside


def unseen(figure):
    """Texts of axes that are not shown, and labels of ticks beyond the limits."""
    found = set()
    for axes in figure.findobj(Axes):
        if not axes.get_visible():
            found |= set(axes.findobj(Text))
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not min(limits) <= tick.get_loc() <= max(limits):
                    found |= {tick.label1, tick.label2}
    return found


def test_overlaps_would_be_seen():
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    figure.text(0.99, 0.2, "beyond")
    assert covering(figure) == ([("one", "two")], ["beyond"])


# --- curves ---


def test_curves_show_the_means_and_their_intervals(few):
    look = looks(few.labels)
    panels = draw_severity_curves(blank(), few, look)
    assert sorted(axes.get_title() for axes in panels) == sorted(
        ["Gaussian noise", "defocus blur", "fog", "contrast", ALL]
    )
    summary = condition_summary(few).set_index(["label", "corruption", "severity"])
    fog = next(axes for axes in panels if axes.get_title() == "fog")
    lines = {line.get_color(): line for line in fog.lines}
    bands = {tuple(band.get_facecolor()[0][:3]): band for band in fog.collections}
    assert len(lines) == len(bands) == 4
    for label in few.labels:
        line = lines[look[label].colour]
        at = [("clean", 0), ("fog", 1), ("fog", 3), ("fog", 5)]
        assert list(line.get_xdata()) == [0, 1, 3, 5]
        assert list(line.get_ydata()) == [summary["mean"][label, *condition] for condition in at]
        corners = bands[to_rgba(look[label].colour)[:3]].get_paths()[0].vertices
        for (severity, _), (low, high) in zip(
            [(severity, name) for name, severity in at],
            [summary.loc[(label, *condition), ["low", "high"]] for condition in at],
            strict=True,
        ):
            heights = corners[corners[:, 0] == severity, 1]
            assert (heights.min(), heights.max()) == pytest.approx((low, high))


def test_the_last_panel_is_the_mean_over_corruptions_of_each_run(few):
    panels = draw_severity_curves(blank(), few, looks(few.labels))
    (line, *_) = next(axes for axes in panels if axes.get_title() == ALL).lines
    own = few.values[few.values.label == few.labels[0]]
    expected = [own.value[own.severity == severity].mean() for severity in (0, 1, 3, 5)]
    assert list(line.get_ydata()) == pytest.approx(expected)


def test_the_battery_has_a_row_a_category():
    held = robustness(scores(LABELS[:1], seeds=1, severities=(5,)))
    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = draw_severity_curves(figure, held, looks(held.labels))
    assert len(panels) == 16
    figure.draw_without_rendering()
    tops = {axes.get_title(): round(axes.get_position().y1, 3) for axes in panels}
    assert len(set(tops.values())) == 4
    assert tops["snow"] == tops["brightness"] < tops["zoom blur"] < tops["impulse noise"] == tops[ALL]
    bands = [axes for axes in figure.axes if axes not in panels]
    assert [axes.texts[0].get_text() for axes in bands] == ["noise", "blur", "weather", "digital"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 11, 15])
def test_any_number_of_corruptions_has_one_panel_each(count):
    held = robustness(scores(("one",), 1, COMMON[:count], (1,)))
    panels = draw_severity_curves(blank(), held, looks(held.labels))
    assert len({axes.get_title() for axes in panels}) == len(panels) == count + 1


def test_a_line_is_broken_where_the_score_is_undefined():
    frame = scores(("one",), 1, FEW)
    frame.loc[(frame.corruption == "fog") & (frame.severity == 3), "value"] = np.nan
    held = robustness(frame)
    panels = draw_severity_curves(blank(), held, looks(held.labels))
    heights = {axes.get_title(): np.asarray(axes.lines[0].get_ydata(), float) for axes in panels}
    assert np.isnan(heights["fog"]).tolist() == np.isnan(heights[ALL]).tolist() == [False] * 3 + [True] + [False] * 2
    assert not np.isnan(heights["contrast"]).any()


# --- heat maps ---


def test_each_cell_says_its_mean_in_letters_that_can_be_read(few):
    figure = blank()
    panels = draw_heat_maps(figure, few)
    assert len(panels) == 4
    summary = condition_summary(few).set_index(["label", "corruption", "severity"])["mean"]
    of_battery = label_summary(few).set_index(["label", "score"])["mean"]
    for label, axes in zip(few.labels, panels, strict=True):
        expected = [[summary[label, name, severity] for severity in (1, 3, 5)] for name in FEW]
        assert np.allclose(axes.images[0].get_array(), expected)
        said = {(round(text.get_position()[1]), round(text.get_position()[0])): text for text in axes.texts}
        for (row, column), text in said.items():
            assert float(text.get_text()) == pytest.approx(expected[row][column], abs=0.005)
            cell = axes.images[0].cmap(axes.images[0].norm(expected[row][column]))
            assert contrast(cell, to_rgba(text.get_color())) > 4.5
        assert len(said) == 12
        clean, corrupted = (f"{of_battery[label, score]:.2f}".lstrip("0") for score in ("clean", "corrupted"))
        assert axes.get_title() == f"{label}\nclean {clean}, corrupted {corrupted}"
    assert len({axes.images[0].get_clim() for axes in panels}) == 1, "one scale"
    assert [text.get_text() for text in panels[0].get_yticklabels()] == [
        "Gaussian noise",
        "defocus blur",
        "fog",
        "contrast",
    ]


def contrast(one, other):
    """Of two colours, as the WCAG defines it: 1 to 21; 4.5 is enough for small letters."""
    lights = []
    for colour in (one, other):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_cells_without_a_score_are_hatched():
    frame = scores(("one", "two"), 2, FEW, (1, 2))
    frame.loc[(frame.label == "one") & (frame.corruption == "fog"), "value"] = np.nan
    frame = frame[~((frame.label == "two") & (frame.corruption == "contrast") & (frame.severity == 2))]
    one, two = draw_heat_maps(blank(), robustness(frame))
    for axes, cells in ((one, {(2, 0), (2, 1)}), (two, {(3, 1)})):
        hatched = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]
        assert {(round(patch.get_y() + 0.5), round(patch.get_x() + 0.5)) for patch in hatched} == cells
        assert len(axes.texts) == 8 - len(cells)
    assert one.get_title().endswith("corrupted –")


def test_nothing_but_undefined_scores_is_drawn_all_the_same(tmp_path):
    frame = scores(("one",), 1, FEW).assign(value=math.nan)
    robustness_figure(robustness(frame), baseline="one").savefig(tmp_path / "picture.png", dpi=40)


@pytest.mark.parametrize(
    ("value", "text"), [(0.714, ".71"), (-0.05, "-.05"), (1.204, "1.20"), (0.999, "1.00"), (23.14, "23.1"), (0, ".00")]
)
def test_numbers_in_cells(value, text):
    from cotrain.analysis._severity_heat_map import two_digits

    assert two_digits(value) == text


# --- differences ---


def test_points_stand_at_the_differences_with_their_intervals(few):
    look = looks(few.labels)
    axes = draw_differences(blank(), few, "baseline", look)
    found = robustness_differences(few, "baseline")
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == ["clean", ALL, "Gaussian noise", "defocus blur", "fog", "contrast"]
    scored = dict(zip(["clean", "corrupted", *FEW], range(6), strict=True))
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    bars = [bar.get_segments()[0] for bar in axes.collections]
    assert len(points) == len(bars) == len(found) == 18
    for row in found.itertuples():
        colour = look[row.label].colour
        own = [p for p in points if p.get_color() == colour and round(float(p.get_xdata()[0])) == scored[row.score]]
        assert [float(p.get_ydata()[0]) for p in own] == [row.difference]
        place = own[0].get_xdata()[0]
        (bar,) = [bar for bar in bars if bar[0][0] == place]
        assert bar[:, 1].tolist() == pytest.approx([row.low, row.high])
    assert any(list(line.get_ydata()) == [0, 0] for line in axes.lines), "a line at zero"
    assert [text.get_text() for text in axes.texts] == ["noise", "blur", "weather", "digital"]


def test_one_seed_is_a_hollow_point_without_an_interval():
    held = robustness(scores(LABELS[:2], 1, FEW, (1,)))
    axes = draw_differences(blank(), held, "baseline", looks(held.labels))
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(points) == 6
    assert {point.get_markerfacecolor() for point in points} == {"w"}
    assert not axes.collections


# --- all together ---


@pytest.mark.parametrize(
    ("labels", "seeds", "corruptions", "severities", "baseline"),
    [
        (LABELS, 3, COMMON, (1, 2, 3, 4, 5), "baseline"),
        (("one",), 1, FEW, (1, 5), None),
        ((LONG, LONG[::-1], "c", "d", "e", "f"), 2, FEW, (1, 5), LONG),
        (LABELS[:2], 2, ("fog",), (3,), "with V1"),
    ],
    ids=["the battery", "one run", "long names", "one condition"],
)
def test_nothing_covers_anything(labels, seeds, corruptions, severities, baseline, tmp_path):
    held = robustness(scores(labels, seeds, corruptions, severities))
    figure = robustness_figure(held, baseline=baseline)
    assert covering(figure) == ([], [])
    letters = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert [letter for letter in letters if letter in "ABC"] == ["A", "B", "C"][: 2 + (baseline is not None)]
    (legend,) = figure.legends
    assert [text.get_text().replace("\n", " ") for text in legend.get_texts()] == list(labels)
    assert figure.get_suptitle() == "objects: accuracy under corruption"
    for axes in figure.findobj(lambda found: hasattr(found, "get_subplotspec") and found.get_visible()):
        box = axes.get_window_extent()
        assert box.height > 25 and box.width > 5, f"{axes.get_title()!r} has no room"


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ((1, 1), "Means of one seed: without intervals"),
        ((3, 3), "Means over seeds; bands and bars: 95% intervals over 3 seeds (Student's t)"),
        (
            (1, 3),
            "Means over seeds; bands and bars: 95% intervals over 1 to 3 seeds (Student's t); no interval of one seed",
        ),
    ],
)
def test_the_figure_says_what_its_intervals_are(seeds, text):
    frame = scores(LABELS[:2], 3, FEW[:1], (1,))
    counts = dict(zip(LABELS, seeds, strict=False))
    held = robustness(frame[frame.seed < frame.label.map(counts)])
    assert robustness_figure(held).legends[0].get_title().get_text() == text


def test_a_baseline_that_is_not_there():
    held = robustness(scores(LABELS[:2], 1, FEW[:1], (1,)))
    with pytest.raises(CotrainError, match=r"No evaluated run has the label 'base'\. Did you mean 'baseline'\?"):
        robustness_figure(held, baseline="base")
