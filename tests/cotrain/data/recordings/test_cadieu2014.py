"""Files of Cadieu et al. 2014 in small: order kept, what the file proves and what is assumed, faults named."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pytest
from scipy.io import savemat

from cotrain.data.recordings import read_cadieu2014
from cotrain.errors import DataError

CATEGORIES = ["Animals", "Cars", "Chairs", "Faces", "Fruits", "Planes", "Tables"]
SITES = 3
NAME = "NeuralData_IT_multiunits.mat"


def rows_of(path_of, *, objects=2, each=40, seed=0):
    """(path, category, splits) in an order that mixes categories but keeps objects one after the other in each."""
    rng = np.random.default_rng(seed)
    waiting = {c: [(c, o, i) for o in range(objects) for i in range(each)] for c in CATEGORIES}
    order = rng.permutation(np.repeat(CATEGORIES, objects * each))
    rows = []
    for category in order:
        category, held, image = waiting[str(category)].pop(0)
        splits = rng.integers(0, 2, 10).astype(str).tolist()
        rows.append((path_of(category, held, image), category, splits))
    rows[0][2][:] = ["1"] * 10
    rows[1][2][:] = ["0"] * 10
    return rows


def hashed(category, held, image):
    return f"images/{hashlib.sha1(f'{category} {held} {image}'.encode()).hexdigest()}.png"


def write_file(folder, rows, name=NAME, features=None, cells=False):
    texts = [" ".join([path, category, *splits]) for path, category, splits in rows]
    meta = np.array(texts, object)[:, None] if cells else np.array(texts)
    if features is None:
        features = np.random.default_rng(3).normal(size=(len(rows), SITES))
    savemat(folder / name, {"features": features, "meta": meta})
    return folder / name


@pytest.mark.parametrize("cells", [False, True])
def test_order_categories_and_splits_are_kept(tmp_path, cells, caplog):
    rows = rows_of(hashed)
    features = np.random.default_rng(1).normal(size=(len(rows), SITES))
    with caplog.at_level(logging.WARNING):
        recording = read_cadieu2014(write_file(tmp_path, rows, features=features, cells=cells))
    assert list(recording.sessions) == ["IT_multiunits"] and recording.unit == "trial-averaged response"
    session = recording.sessions["IT_multiunits"]
    assert session.images is None and session.split == ()
    np.testing.assert_array_equal(session.responses, features.astype(np.float32))
    assert session.stimuli == session.conditions["image"] == tuple(row[0] for row in rows)
    assert session.conditions["category"] == tuple(row[1] for row in rows)
    for number in range(10):
        expected = tuple("train" if row[2][number] == "1" else "test" for row in rows)
        assert session.conditions[f"published_split_{number + 1}"] == expected
    assert session.neurons == {"area": ("IT",) * SITES}
    # nothing names an object: 40 consecutive images of a category are taken for one, and this is said
    assert "object" not in session.conditions and '"object_assumed" assumes' in caplog.text
    seen = dict.fromkeys(CATEGORIES, 0)
    for row, name in zip(rows, session.conditions["object_assumed"], strict=True):
        assert name == f"{row[1]}_{seen[row[1]] // 40 + 1}"
        seen[row[1]] += 1


@pytest.mark.parametrize(
    ("path_of", "name_of"),
    [
        (lambda c, o, i: f"images/{c}/{c.lower()}{o}/{i:04d}.png", lambda c, o: f"{c.lower()}{o}"),
        (lambda c, o, i: f"images/{c}/{c.lower()}{'ab'[o]}_{i:04d}.png", lambda c, o: f"{c.lower()}{'ab'[o]}"),
        (lambda c, o, i: f"{c.lower()}_{'xy'[o]}-{i}.jpg", lambda c, o: f"{c.lower()}_{'xy'[o]}"),
    ],
)
def test_objects_that_paths_name_are_used(tmp_path, path_of, name_of, caplog):
    rows = rows_of(path_of, each=5)
    session = read_cadieu2014(write_file(tmp_path, rows)).sessions["IT_multiunits"]
    known = {path_of(c, o, i): name_of(c, o) for c in CATEGORIES for o in range(2) for i in range(5)}
    assert session.conditions["object"] == tuple(known[row[0]] for row in rows)
    assert "object_assumed" not in session.conditions and caplog.text == ""


def test_without_objects_of_forty_images_none_are_assumed(tmp_path, caplog):
    session = read_cadieu2014(write_file(tmp_path, rows_of(hashed, each=5))).sessions["IT_multiunits"]
    assert not {"object", "object_assumed"} & set(session.conditions)
    assert "objects are not known" in caplog.text


@pytest.mark.parametrize("area", ["IT", "V4"])
@pytest.mark.parametrize("units", ["multi", "single"])
def test_the_files_name_tells_area_and_units(tmp_path, area, units):
    path = write_file(tmp_path, rows_of(hashed), f"NeuralData_{area}_{units}units.mat")
    (name, session), *_ = read_cadieu2014(str(path)).sessions.items()
    assert name == f"{area}_{units}units" and session.neurons["area"] == (area,) * SITES


def with_row(number, row):
    rows = rows_of(hashed, each=5)
    rows[number] = row
    return rows


@pytest.mark.parametrize(
    ("rows", "features", "text"),
    [
        (
            with_row(6, ("images/x.png", "Cars", ["1"] * 9)),
            None,
            "row 7 of meta: expected a path, a category and 10 numb",
        ),
        (with_row(6, ("images/my x.png", "Cars", ["1"] * 10)), None, "row 7 of meta: .*found 'images/my x.png Cars"),
        (with_row(6, ("a.png", "Cars", ["3"] * 10)), None, r"published split 1 must hold 1 \(train\) .* found 0, 1, 3"),
        (with_row(0, ("a.png", "Cars", ["1"] * 10))[:1], None, None),
        (with_row(0, ("a.png", "Cars", ["0"] * 10))[:1], None, "published split 1 must hold 1"),
        (rows_of(hashed, each=5), np.ones((7, SITES)), "meta describes 70 images, features 7"),
        (rows_of(hashed, each=5), np.ones((70, 0)), r"features must be numbers \(images, sites\)"),
        (rows_of(hashed, each=5), np.full((70, SITES), "x"), "features must be numbers"),
        (rows_of(hashed, each=5), np.full((70, SITES), np.nan), "session IT_multiunits: no response at all"),
        (rows_of(hashed, each=5)[:3] * 2, None, "session IT_multiunits: stimulus ids must stand once each"),
    ],
)
def test_faults_are_named(tmp_path, rows, features, text):
    path = write_file(tmp_path, rows, features=features)
    if text is None:
        assert read_cadieu2014(path).sessions["IT_multiunits"].conditions["published_split_1"] == ("train",)
        return
    with pytest.raises(DataError, match=rf"{NAME}.*{text}"):
        read_cadieu2014(path)


def test_damaged_files_are_named(tmp_path):
    path = write_file(tmp_path, rows_of(hashed, each=5))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"no MATLAB file", b"", whole[:124] + bytes(4) + whole[128:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=NAME):
            read_cadieu2014(path)
    savemat(path, {"features": np.ones((2, 2))})
    with pytest.raises(DataError, match="lacks meta"):
        read_cadieu2014(path)
    with pytest.raises(DataError, match=r"V4_multiunits.mat cannot be read"):
        read_cadieu2014(tmp_path / "NeuralData_V4_multiunits.mat")
    with pytest.raises(DataError, match="it tells the area"):
        read_cadieu2014(tmp_path / "IT.mat")
