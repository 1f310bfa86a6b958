"""Pictures: what is drawn is what was given, for one epoch and for many labels, without a warning."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from cotrain.analysis import draw_rdm, overview_figure
from cotrain.analysis._figures import cluster_order

METRICS = {"objects": "accuracy", "v4": "correlation"}


def scores(epochs=4, tasks=("objects", "v4"), offset=0.0):
    rows = [
        {"epoch": epoch, "task": task, "metric": metric, "value": offset + epoch / 10}
        for epoch, task, metric in itertools.product(range(epochs), tasks, ["accuracy", "correlation", "loss"])
    ]
    return pd.DataFrame(rows, columns=["epoch", "task", "metric", "value"]).sample(frac=1, random_state=0)


def random_rdm(stimuli, seed=0):
    distance = 1 - np.corrcoef(np.random.default_rng(seed).normal(size=(stimuli, 20)))
    return (distance + distance.T) / 2


def drawn(path, curves, metrics, test, rdms, title="Why?"):
    """The figure, written once, since warnings come then."""
    figure = overview_figure(curves, metrics, test, rdms, title=title)
    figure.savefig(path / "picture.png")
    return figure


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_title()]


def percentiles(matrix):
    """Of each off-diagonal value, counted one by one: 0 the smallest, 100 the largest, equal ones alike."""
    n = len(matrix)
    values = [matrix[i, j] for i in range(n) for j in range(n) if i != j]
    out = np.full((n, n), np.nan)
    for i, j in itertools.permutations(range(n), 2):
        smaller = sum(value < matrix[i, j] for value in values)
        equal = sum(value == matrix[i, j] for value in values)
        out[i, j] = 100 * (smaller + (equal - 1) / 2) / (len(values) - 1)
    return out


# --- curves ---


def test_each_task_has_a_panel_with_its_metric(tmp_path):
    curves = {"together": scores(), "objects only": scores(tasks=("objects",), offset=0.5)}
    test = {"together": {"objects": 0.9, "v4": 0.4}, "objects only": {"objects": 0.95}}
    figure = drawn(tmp_path, curves, METRICS, test, {})
    objects, v4 = visible(figure)
    assert [axes.get_title() for axes in (objects, v4)] == ["objects: accuracy", "v4: correlation"]
    lines = [line for line in objects.lines if len(line.get_xdata()) == 4]
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2, 3]] * 2, "in the order of epochs"
    assert list(lines[0].get_ydata()) == [0.0, 0.1, 0.2, 0.3]
    assert list(lines[1].get_ydata()) == [0.5, 0.6, 0.7, 0.8]
    points = [line for line in objects.lines if len(line.get_xdata()) == 1]
    assert len({line.get_marker() for line in points}) == 2, "told apart in grey"
    assert [line.get_ydata()[0] for line in points] == [0.9, 0.95]
    assert all(line.get_xdata()[0] > 3 for line in points), "beside the curves"
    assert [line.get_color() for line in points] == [line.get_color() for line in lines]
    assert len([line for line in v4.lines if len(line.get_xdata()) == 4]) == 1
    assert figure.get_suptitle() == "Why?"


def test_the_legend_names_each_label_once(tmp_path):
    curves = {"V4 only": scores(tasks=("v4",)), "together": scores()}
    figure = drawn(tmp_path, curves, METRICS, {}, {})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["V4 only", "together"]


def test_many_labels_look_different_and_fit(tmp_path):
    labels = [f"with a rather long label, number {number}" for number in range(20)]
    figure = drawn(tmp_path, {label: scores() for label in labels}, {"objects": "accuracy"}, {}, {})
    (axes,) = visible(figure)
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(set(looks)) == 20
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert axes.get_window_extent().height > 200


def test_a_long_title_fits(tmp_path):
    question = "Does a network that learns to name objects also learn the geometry of V4 from the same 640 pictures?"
    figure = drawn(tmp_path, {"together": scores()}, {"objects": "accuracy"}, {}, {}, title=question)
    assert figure.get_suptitle().replace("\n", " ") == question
    box = figure._suptitle.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("curves", "test"),
    [
        ({"together": scores(epochs=1)}, {"together": {"objects": 0.9}}),
        ({"together": scores(epochs=0)}, {"together": {"objects": 0.9}}),
        ({}, {"only tested": {"objects": 0.9}}),
        ({"together": scores(offset=np.nan)}, {"together": {"objects": np.nan}}),
        ({}, {}),
    ],
    ids=["one epoch", "no epoch", "no curve", "undefined", "nothing"],
)
def test_little_is_drawn_all_the_same(curves, test, tmp_path):
    drawn(tmp_path, curves, METRICS, test, {})
    with Image.open(tmp_path / "picture.png") as image:
        assert image.width > 500


def test_no_task_at_all(tmp_path):
    assert visible(drawn(tmp_path, {}, {}, {}, {})) == []


# --- RDMs ---


def test_rdms_stand_below_in_one_order(tmp_path):
    target, found = random_rdm(8), random_rdm(8, seed=1)
    figure = drawn(tmp_path, {"together": scores()}, METRICS, {}, {"target": target, "together": found})
    panels = {axes.get_title(): axes for axes in visible(figure)}
    order = cluster_order(target)
    for name, matrix in (("target", target), ("together", found)):
        image = panels[name].images[0]
        assert np.allclose(image.get_array().filled(np.nan), percentiles(matrix[np.ix_(order, order)]), equal_nan=True)
        assert image.get_clim() == (0, 100)
        assert panels[name].get_xlabel().startswith("8 test stimuli")
    assert panels["target"].get_position().y1 < panels["objects: accuracy"].get_position().y0


def test_rdms_of_other_stimuli_have_an_order_of_their_own(tmp_path):
    rdms = {f"of {n}": random_rdm(n) for n in (9, 5, 12)}
    figure = drawn(tmp_path, {}, {"objects": "accuracy"}, {}, rdms)
    for axes in visible(figure)[1:]:
        matrix = rdms[axes.get_title()]
        assert axes.images[0].get_array().shape == matrix.shape


@settings(max_examples=20)
@given(stimuli=st.integers(2, 7), seed=st.integers(0, 99), ties=st.booleans())
def test_percentiles_are_counted_right(stimuli, seed, ties):
    matrix = random_rdm(stimuli, seed)
    matrix = np.round(matrix) if ties else matrix
    image = draw_rdm(Figure().subplots(), matrix, "name")
    shown = image.get_array().filled(np.nan)
    assert np.allclose(shown, percentiles(matrix), equal_nan=True)
    assert np.isnan(np.diag(shown)).all()


def test_percentiles_do_not_know_the_scale():
    one, other = (
        draw_rdm(Figure().subplots(), matrix, "").get_array() for matrix in (random_rdm(6), np.exp(5 * random_rdm(6)))
    )
    assert np.array_equal(one.filled(-1), other.filled(-1))


@settings(max_examples=20)
@given(stimuli=st.integers(2, 12), seed=st.integers(0, 99))
def test_an_order_holds_each_stimulus_once(stimuli, seed):
    assert sorted(cluster_order(random_rdm(stimuli, seed))) == list(range(stimuli))


def test_like_stimuli_stand_together():
    groups = np.array([0, 1, 0, 2, 1, 2, 0, 1])
    distance = (groups[:, None] != groups).astype(float)
    found = groups[cluster_order(distance)]
    assert (np.diff(found) != 0).sum() == 2
