"""Pictures of RDMs: what is drawn is what was given, without a warning, and names do not lie on each other."""

import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance as distance
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cotrain.analysis import (
    Rdm,
    ceiling_bars_figure,
    mds_figure,
    pair_scatter_figure,
    rdm_difference_figure,
    rdm_figure,
    rsa_bootstrap,
    rsa_table,
    rsa_tests,
    save_figure,
    scaled_to_plane,
    second_order_figure,
    second_order_rdm,
    similarity_curves_figure,
)
from cotrain.analysis._rdm_figure import category_looks
from cotrain.errors import DataError

CATEGORIES = ["face", "face", "house", "house", "house", "car", "car", "face"]


def random_rdm(stimuli=8, seed=0, dimensions=20):
    values = np.random.default_rng(seed).normal(size=(stimuli, dimensions))
    return distance.squareform(distance.pdist(values))


def pictures(stimuli=8):
    return np.random.default_rng(0).integers(0, 255, (stimuli, 6, 6, 3), dtype=np.uint8)


def drawn(figure):
    """The figure, after all was laid out."""
    FigureCanvasAgg(figure).draw()
    return figure


def test_rdms_are_drawn_in_their_order_with_bands_and_icons():
    first, second = random_rdm(), random_rdm(seed=1)
    figure = drawn(rdm_figure({"one": first, "two": second}, categories=CATEGORIES, icons=pictures(), title="Both"))
    axes = figure.axes[:2]
    assert [one.get_title() for one in axes] == ["one", "two"]
    assert figure.get_suptitle() == "Both"
    shown = axes[1].images[0].get_array().filled(np.nan)
    assert np.isnan(np.diag(shown)).all()
    off = ~np.eye(8, dtype=bool)
    assert np.corrcoef(np.argsort(np.argsort(shown[off])), np.argsort(np.argsort(second[off])))[0, 1] > 0.99
    assert np.nanmin(shown) >= 0 and np.nanmax(shown) <= 100
    assert len(axes[0].patches) == 2 * 4  # runs of a category, above and beside
    assert len(axes[0].images) == 1 + 2 * 8
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["face", "house", "car"]


def test_order_and_scale_are_what_was_asked_for():
    matrix = random_rdm()
    by_category = rdm_figure({"one": matrix}, categories=CATEGORIES, order="category", scale="own")
    rows = [0, 1, 7, 2, 3, 4, 5, 6]
    shown = by_category.axes[0].images[0].get_array().filled(0)
    np.testing.assert_allclose(shown, matrix[np.ix_(rows, rows)])
    assert len(by_category.axes[0].patches) == 2 * 3
    shared = rdm_figure({"one": matrix, "two": 3 * matrix}, scale="shared")
    limits = {one.images[0].get_clim() for one in shared.axes[:2]}
    assert limits == {(matrix[matrix > 0].min(), 3 * matrix.max())}
    own = rdm_figure({"one": matrix, "two": 3 * matrix}, scale="own")
    assert len({one.images[0].get_clim() for one in own.axes if one.images}) == 2
    clusters = rdm_figure({"one": matrix}, order="cluster", scale="own").axes[0].images[0].get_array().filled(0)
    np.testing.assert_allclose(np.sort(clusters.ravel()), np.sort(matrix.ravel()))


def test_the_difference_is_the_models_less_the_targets():
    target, model = random_rdm(), random_rdm(seed=1)
    figure = drawn(
        rdm_difference_figure(
            target, model, names=("IT", "net"), scale="shared", categories=CATEGORIES, icons=pictures()
        )
    )
    panels = figure.axes[:3]
    assert [one.get_title() for one in panels] == ["IT", "net", "net less IT"]
    off = ~np.eye(8, dtype=bool)
    np.testing.assert_allclose(panels[2].images[0].get_array().filled(np.nan)[off], (model - target)[off])
    assert panels[0].images[0].get_clim() == panels[1].images[0].get_clim()
    low, high = panels[2].images[0].get_clim()
    assert low == -high == -np.abs(model - target).max()
    alike = rdm_difference_figure(target, 2 * target)  # percentiles leave out scale
    assert np.nanmax(np.abs(alike.axes[2].images[0].get_array().filled(0))) == 0
    drawn(alike)


@pytest.mark.parametrize(("stimuli", "constant", "seed"), [(3, False, 0), (14, True, 1)])
def test_pictures_of_any_size_are_drawn(stimuli, constant, seed):
    matrix = 1.0 - np.eye(stimuli) if constant else random_rdm(stimuli, seed)
    drawn(rdm_figure({"a": Rdm(matrix)}, icons=pictures(stimuli)[..., :1], order="cluster"))
    drawn(mds_figure({"a": matrix}, icons=pictures(stimuli)))


def test_more_categories_than_colours_differ():
    looks = category_looks([f"category {number}" for number in range(28)])
    assert len({(look["facecolor"], look["hatch"]) for look in looks.values()}) == 28


def test_points_in_the_plane_are_found_again():
    points = np.random.default_rng(0).normal(size=(15, 2))
    matrix = distance.squareform(distance.pdist(points))
    found = scaled_to_plane(matrix)
    np.testing.assert_allclose(distance.squareform(distance.pdist(found.points)), matrix, atol=1e-5)
    assert found.stress < 1e-5 and found.correlation == pytest.approx(1)
    np.testing.assert_array_equal(found.points, scaled_to_plane(matrix).points)
    flat = scaled_to_plane(random_rdm(20, dimensions=50))
    assert 0.1 < flat.stress < 0.6 and flat.correlation < 0.9
    noisy = random_rdm(6)
    noisy[0, 1] = noisy[1, 0] = -0.3  # as crossvalidated distances may be
    assert np.isfinite(scaled_to_plane(noisy).points).all()
    for bad in (np.zeros((5, 5)), random_rdm(2)):
        with pytest.raises(DataError, match="A map needs 3 stimuli or more"):
            scaled_to_plane(bad)


def test_maps_lie_on_the_first():
    points = np.random.default_rng(0).normal(size=(8, 2))
    turned = 3 * points @ np.array([[0, 1], [1, 0]])  # turned, mirrored, larger
    held = {name: distance.squareform(distance.pdist(one)) for name, one in (("a", points), ("b", turned))}
    figure = drawn(mds_figure(held, categories=CATEGORIES, labels=list("abcdefgh"), title="Maps"))
    first, second = (axes.collections[0].get_offsets() for axes in figure.axes)
    np.testing.assert_allclose(first - first.mean(0), second - second.mean(0), atol=1e-4)
    assert [text.get_text() for text in figure.axes[0].texts] == list("abcdefgh")
    with pytest.raises(DataError, match="map of 8 stimuli needs as many labels, found 2"):
        mds_figure(held, labels=["a", "b"])


def bootstrapped(models=3):
    data = np.stack([random_rdm(10, seed) + 3 * random_rdm(10, 50) for seed in range(4)])
    for one in data:
        np.fill_diagonal(one, 0)
    named = {f"model {number} with a name": random_rdm(10, 50 + number) for number in range(models)}
    return rsa_bootstrap(named, data, "pearson", draws=50)


def test_bars_errors_ceiling_and_stars():
    held = bootstrapped()
    table, tests = held.table(), rsa_tests(held)
    figure = drawn(ceiling_bars_figure(table, tests=tests, title="Models"))
    axes = figure.axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], table.similarity)
    stars = [text for text in axes.texts if text.get_text() == "*"]
    passed = tests[tests.p_corrected < 0.05]
    assert len(stars) == (passed.test == "zero").sum() >= 1
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx(held.ceiling)
    brackets = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(brackets) == min(10, (passed.test == "models").sum()) >= 1
    assert all(max(line.get_ydata()) < axes.get_ylim()[1] for line in brackets)


def test_bars_of_layers_have_a_panel_an_area():
    data = np.stack([random_rdm(seed=seed) for seed in range(3)])
    table = rsa_table({"conv1": random_rdm(seed=7), "fc": random_rdm(seed=8)}, {"IT": data, "V4": data[0]})
    figure = drawn(ceiling_bars_figure(table))
    assert [axes.get_title() for axes in figure.axes] == ["IT", "V4"]
    assert [len(axes.patches) for axes in figure.axes] == [2, 2]
    with pytest.raises(DataError, match="beside one area, found 2"):
        ceiling_bars_figure(table, tests=rsa_tests(bootstrapped()))
    with pytest.raises(DataError, match="lacks method, standard_error"):
        ceiling_bars_figure(table.drop(columns=["method", "standard_error"]))
    with pytest.raises(DataError, match="has no rows"):
        ceiling_bars_figure(table[:0])


def test_curves_with_a_band_and_a_ceiling():
    frame = pd.DataFrame({"label": ["a"] * 3 + ["b"] * 3, "epoch": [2, 0, 1] * 2, "value": [0.3, 0.1, 0.2] * 2})
    frame = frame.assign(low=frame.value - 0.1, high=frame.value + 0.1)
    figure = drawn(similarity_curves_figure(frame, ceiling=(0.4, 0.6), title="Training"))
    axes = figure.axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in curves] == [[0.1, 0.2, 0.3]] * 2
    assert len(axes.collections) == 2
    assert any(text.get_text() == "noise ceiling" for text in axes.texts)
    names = pd.DataFrame({"label": "a", "layer": ["conv1", "fc"], "value": [0.1, 0.2]})
    layers = drawn(similarity_curves_figure(names, x="layer"))
    assert [text.get_text() for text in layers.axes[0].get_xticklabels()] == ["conv1", "fc"]
    with pytest.raises(DataError, match="frame of the curves lacks epoch"):
        similarity_curves_figure(names)
    with pytest.raises(DataError, match="frame of the curves has no rows"):
        similarity_curves_figure(frame[:0])


def test_pairs_are_points_of_two_kinds():
    first, second = random_rdm(), random_rdm(seed=1)
    axes = drawn(pair_scatter_figure(first, second, names=("IT", "IT"), categories=CATEGORIES)).axes[0]
    counts = [len(points.get_offsets()) for points in axes.collections]
    assert counts == [28 - 7, 7]  # 3 + 3 + 1 pairs within face, house and car
    assert axes.get_title().startswith("Pearson ") and "Spearman" in axes.get_title()
    second[0, 1] = second[1, 0] = np.nan
    drawn(pair_scatter_figure(first, second))
    many = drawn(pair_scatter_figure(random_rdm(210), random_rdm(210, 1)))
    assert "pairs" in [axes.get_ylabel() for axes in many.axes]


def test_models_beside_each_other_have_names_that_do_not_touch():
    names = ["ResNet-50, trained with an RDM head", "untrained", "pixels", "V1", "animacy", "IT of the monkey"]
    table = second_order_rdm({name: random_rdm(seed=number) for number, name in enumerate(names)}, "spearman")
    figure = drawn(second_order_figure(table, method="spearman", title="Geometries"))
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert len(numbers) == 30 and f"{1 - table.iloc[0, 1]:.2f}".replace("0.", ".", 1) in numbers
    boxes = [text.get_window_extent() for text in figure.axes[1].texts]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])
    assert len(drawn(second_order_figure(table.iloc[:2, :2])).axes) == 2  # a matrix and its scale, no map
    with pytest.raises(DataError, match="same names on both sides"):
        second_order_figure(table.iloc[::-1])


def test_what_cannot_be_drawn_is_refused(tmp_path):
    matrix = random_rdm()
    with pytest.raises(DataError, match="no RDM to draw"):
        rdm_figure({})
    with pytest.raises(DataError, match=r"of the same stimuli, found a: \(8, 8\), b: \(7, 7\)"):
        rdm_figure({"a": matrix, "b": random_rdm(7)})
    with pytest.raises(DataError, match="8 stimuli needs as many categories, found 2"):
        rdm_figure({"a": matrix}, categories=["x", "y"])
    with pytest.raises(DataError, match="8 stimuli needs as many categories, found 2"):
        pair_scatter_figure(matrix, matrix, categories=["x", "y"])
    with pytest.raises(DataError, match=r"must be uint8 \(8, height, width, channels\), found float64"):
        rdm_figure({"a": matrix}, icons=np.zeros((8, 4, 4, 3)))
    with pytest.raises(DataError, match="has 1 all along the diagonal"):
        rdm_figure({"a": np.corrcoef(np.random.default_rng(0).normal(size=(5, 9)))})
    path = tmp_path / "rdm.pdf"
    save_figure(rdm_figure({"a": matrix}), path)
    assert path.read_bytes().startswith(b"%PDF")
