"""The format of Cadena et al. 2024, written in small and compared with a loop over trials; each fault is named."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cotrain.data._image_files import ImageFiles
from cotrain.data.recordings import read_cadena2024
from cotrain.errors import DataError

BINS = 12
NEURONS = {"3631": 4, "3632": 3}


def write_session(folder, name, *, neurons, train, test, repeats, seed=0):
    """Trials in shuffled order with shuffled trial ids; returns them as (image id, trial id, counts)."""
    rng = np.random.default_rng([seed, int(name)])
    written = {}
    for tier, ids, times in (("train", train, 1), ("test", test, repeats)):
        place = folder / tier / name
        place.mkdir(parents=True)
        shown = rng.permutation(np.repeat(ids, times))
        trials = [
            (int(number), int(trial), rng.poisson(1.0, (neurons, BINS)))
            for number, trial in zip(shown, rng.permutation(len(shown)), strict=True)
        ]
        with (place / "responses.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["", "responses", "image_id", "trial_id", "previous_image_id"])
            for row, (number, trial, counts) in enumerate(trials):
                table.writerow([row, json.dumps(counts.tolist()), number, trial, 1])
        (place / "meta_data.json").write_text(json.dumps({"subject_id": 31, "session_id": name}))
        written[tier] = trials
    return written


def write_recording(folder, *, repeats=4):
    (folder / "images").mkdir(parents=True)
    for number in range(1, 31):
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(folder / "images" / f"{number:06d}.png")
    (folder / "images" / "about.png").write_bytes(b"no picture, and no number")
    train = {"3631": range(5, 25), "3632": range(1, 21)}
    return {
        name: write_session(folder, name, neurons=count, train=train[name], test=range(25, 31), repeats=repeats)
        for name, count in NEURONS.items()
    }


@pytest.fixture
def folder(tmp_path):
    write_recording(tmp_path / "v4")
    return tmp_path / "v4"


@pytest.mark.parametrize(
    ("window", "bins"), [(None, slice(0, 12)), ((70.0, 160.0), slice(3, 12)), ((40, 50), slice(1))]
)
def test_every_trial_is_where_it_belongs(tmp_path, window, bins):
    written = write_recording(tmp_path)
    recording = read_cadena2024(tmp_path, window_ms=window, progress=True)
    assert recording.window_ms == (window or (40.0, 160.0))
    assert recording.unit == {None: "spikes in 120 ms", (70.0, 160.0): "spikes in 90 ms"}.get(window, "spikes in 10 ms")
    assert list(recording.sessions) == ["3631", "3632"]
    for name, tiers in written.items():
        session = recording.sessions[name]
        expected = {}
        for tier in ("train", "test"):
            for number, _, counts in sorted(tiers[tier], key=lambda trial: trial[:2]):
                expected.setdefault((tier, number), []).append(counts[:, bins].sum(1))
        assert list(zip(session.split, map(int, session.stimuli), strict=True)) == list(expected)
        for row, held in enumerate(expected.values()):
            assert session.repeats[row] == len(held)
            np.testing.assert_array_equal(session.responses[row, : len(held)], held)
            assert np.isnan(session.responses[row, len(held) :]).all()
        assert isinstance(session.images, ImageFiles)
        assert [int(path.stem) for path in session.images.paths] == [int(number) for number in session.stimuli]
        assert all(path.is_file() for path in session.images.paths)
        assert session.neurons == {"animal": ("31",) * NEURONS[name]}


def test_without_repeats_responses_have_two_axes(tmp_path):
    write_recording(tmp_path, repeats=1)
    session = read_cadena2024(tmp_path, sessions=["3632"]).sessions["3632"]
    assert session.responses.shape == (26, 3)


def edit(path, change):
    """Rewrite a table through a function of its rows, header first."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_zeros_in_front_of_ids_do_not_matter(folder):
    before = read_cadena2024(folder).sessions["3631"]

    def pad(rows):
        for row in rows[1::2]:
            row[2] = f"{int(row[2]):06d}"
        for row in rows[2::2]:
            row[2] += ".0"

    edit(folder / "train" / "3631" / "responses.csv", pad)
    for path in (folder / "images").glob("0*.png"):
        path.rename(path.with_name(f"{int(path.stem)}.png"))
    after = read_cadena2024(folder).sessions["3631"]
    assert after.stimuli == before.stimuli
    np.testing.assert_array_equal(after.responses, before.responses)


def test_without_trial_ids_the_order_of_the_file_counts(folder):
    path = folder / "test" / "3631" / "responses.csv"

    def drop(rows):
        for row in rows:
            del row[3]

    edit(path, drop)
    with path.open(newline="") as file:
        trials = [(int(row["image_id"]), json.loads(row["responses"])) for row in csv.DictReader(file)]
    session = read_cadena2024(folder).sessions["3631"]
    row = session.stimuli.index("27")
    expected = [np.sum(counts, 1) for number, counts in trials if number == 27]
    np.testing.assert_array_equal(session.responses[row], expected)


def cell(row, column, value, *, tier="train"):
    """Spoil one cell of session 3631; row 1 is the first trial."""

    def change(rows):
        rows[row][column] = value

    return lambda folder: edit(folder / tier / "3631" / "responses.csv", change)


def fill(column, value, tier="train"):
    def change(rows):
        for row in rows[1:]:
            row[column] = value

    return lambda folder: edit(folder / tier / "3631" / "responses.csv", change)


def rename_column(old, new):
    def change(rows):
        rows[0][rows[0].index(old)] = new

    return lambda folder: edit(folder / "train" / "3631" / "responses.csv", change)


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


FOUR_ROWS = json.dumps(np.ones((3, BINS), int).tolist())
FEW_BINS = json.dumps(np.ones((3, 5), int).tolist())
TABLE = "train/3631/responses.csv"
ABOUT = "train/3631/meta_data.json"


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (cell(3, 1, "[[1, 2], [3"), rf"{TABLE}, row 3: the responses are not neurons x time bins: .*delimiter"),
        (cell(3, 1, "[[1, 2], [3]]"), rf"{TABLE}, row 3: the responses are not neurons x time bins"),
        (cell(3, 1, ""), "row 3: the responses are not"),
        (cell(3, 1, "[" * 100_000), "row 3: the responses are not"),
        (cell(3, 1, "[1, 2, 3]"), r"row 3: the responses must be numbers, neurons x time bins, found int64 \(3,\)"),
        (cell(3, 1, '[["a"], ["b"]]'), "row 3: the responses must be numbers"),
        (cell(3, 1, "[[1, null]]"), "row 3: the responses must be numbers"),
        (cell(3, 1, FOUR_ROWS), "row 3: 3 neurons x 12 time bins, but row 1 has 4 x 12"),
        (cell(3, 1, FEW_BINS), "row 3: 3 neurons x 5 time bins, but row 1 has 4 x 12"),
        (fill(1, FOUR_ROWS), "session 3631: neurons x time bins differ: train 3 x 12, test 4 x 12"),
        (cell(2, 2, "nine"), rf"{TABLE}, row 2: image_id must be a whole number, found 'nine'"),
        (cell(2, 2, ""), "row 2: image_id must be a whole number, found ''"),
        (cell(2, 2, "1.5"), "row 2: image_id must be a whole number"),
        (cell(2, 3, "x"), "row 2: trial_id must be a whole number"),
        (cell(1, 2, "77"), "session 3631: 1 stimuli have no picture in .*images: 77"),
        (cell(1, 2, "26"), "session 3631: 1 image ids are in train and in test: 26"),
        (
            cell(1, 2, "1", tier="test"),
            "session 3631 tests are in another session's training set, first that of 3632: 1",
        ),
        (rename_column("responses", "counts"), rf"{TABLE} lacks the columns responses; it has: "),
        (rename_column("image_id", "picture"), "lacks the columns image_id"),
        (write(TABLE, ""), rf"{TABLE} cannot be read"),
        (write(TABLE, "responses,image_id\n"), rf"{TABLE} holds no trial"),
        (write(TABLE, 'responses,image_id\n"[[1]],3'), rf"{TABLE} cannot be read"),
        (lambda f: (f / TABLE).write_bytes(b"\xff\xfe\x00responses"), rf"{TABLE} cannot be read"),
        (lambda f: (f / TABLE).unlink(), rf"{TABLE} cannot be read"),
        (write(ABOUT, "{"), rf"{ABOUT} cannot be read"),
        (write(ABOUT, "[]"), rf"{ABOUT} must hold subject_id and session_id"),
        (write(ABOUT, '{"subject_id": 3}'), rf"{ABOUT} must hold subject_id and session_id"),
        (write(ABOUT, '{"subject_id": 3, "session_id": [1]}'), "each a text or a number"),
        (write(ABOUT, '{"subject_id": 3, "session_id": "3631"}'), "session 3631: meta_data.json of .* contradict"),
        (lambda f: (f / ABOUT).unlink(), rf"{ABOUT} cannot be read"),
        (lambda f: (f / "images" / "7.png").write_bytes(b""), "000007.png and 7.png have one number"),
        (lambda f: shutil.rmtree(f / "images"), "There is no folder .*images"),
        (lambda f: shutil.rmtree(f / "train"), "There is no folder .*train. .* must hold images, train and test"),
        (lambda f: shutil.rmtree(f / "test" / "3632"), r"no partner: 3632 \(only in train\)"),
        (lambda f: (f / "test" / "9").mkdir(), r"no partner: 9 \(only in test\)"),
        (
            lambda f: [shutil.rmtree(f / tier / name) for tier in ("train", "test") for name in NEURONS],
            "holds no session",
        ),
    ],
)
def test_faults_are_named(folder, spoil, text):
    spoil(folder)
    with pytest.raises(DataError, match=text):
        read_cadena2024(folder)


def test_sessions_with_other_bins_are_not_mixed(folder):
    cells = json.dumps(np.ones((4, 5), int).tolist())
    fill(1, cells)(folder)
    fill(1, cells, "test")(folder)
    with pytest.raises(DataError, match=r"sessions differ in their number of time bins: .*'3631': 5, '3632': 12"):
        read_cadena2024(folder)
    assert read_cadena2024(folder, sessions=["3631"]).window_ms == (40.0, 90.0)


def test_infinite_responses_are_named(folder):
    cell(1, 1, json.dumps([[float("inf")] * BINS] * 4))(folder)
    with pytest.raises(DataError, match=r"v4: session 3631: the response of neuron 0 .* is infinite"):
        read_cadena2024(folder)


@pytest.mark.parametrize(
    ("window", "text"),
    [((45.0, 160.0), "cuts a bin.*from 40 to 160 ms"), ((40.0, 200.0), "leaves what was recorded.*from 40 to 160 ms")],
)
def test_windows_that_fit_no_bins_name_the_file(folder, window, text):
    with pytest.raises(DataError, match=rf"{TABLE}: .*{text}"):
        read_cadena2024(folder, window_ms=window)


def test_unknown_sessions_are_named(folder):
    with pytest.raises(DataError, match=r"lacks the sessions 1, 2; it has: 3631, 3632"):
        read_cadena2024(folder, sessions=["1", "3631", "2"])
    with pytest.raises(DataError, match="no session, or none was named"):
        read_cadena2024(folder, sessions=[])


def test_a_leak_between_sessions_matters_only_among_those_that_are_read(folder):
    cell(1, 2, "1", tier="test")(folder)
    assert read_cadena2024(folder, sessions=["3631"]).sessions["3631"].split.count("test") == 7
