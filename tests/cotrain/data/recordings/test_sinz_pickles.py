"""Session pickles written in small and compared with a loop over trials; each fault is named."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from cotrain.data.recordings import read_sinz_pickles
from cotrain.errors import DataError

IMAGES, BINS = 56, 12
TRAIN, TEST, REPEATS = 50, 6, 4
NEURONS = {3631: 5, 3632: 7}


def session_dict(session_id, neurons, *, seed=0, **more):
    """50 training pictures in shuffled order, 6 test pictures shown four times each, all shuffled."""
    rng = np.random.default_rng([seed, session_id])
    order = np.random.default_rng(session_id)
    test_ids = order.permutation(np.repeat(np.arange(TRAIN + 1, TRAIN + TEST + 1), REPEATS))
    return {
        "subject_id": 22,
        "session_id": session_id,
        "training_image_ids": order.permutation(np.arange(1, TRAIN + 1)),
        "testing_image_ids": test_ids,
        "training_responses": rng.poisson(1.0, (neurons, BINS, TRAIN)).astype(np.float64),
        "testing_responses": rng.poisson(1.0, (neurons, BINS, TEST * REPEATS)).astype(np.float64),
        **more,
    }


def write(folder, name, content, protocol=4):
    (folder / "neuronal_data").mkdir(parents=True, exist_ok=True)
    with (folder / "neuronal_data" / name).open("wb") as file:
        pickle.dump(content, file, protocol)


def write_images(folder):
    (folder / "images" / "statistics").mkdir(parents=True)
    for number in range(1, IMAGES + 1):
        np.save(folder / "images" / f"{number:06d}.npy", np.full((4, 5), number, np.uint8))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "monkey"
    write_images(root)
    for session_id, neurons in NEURONS.items():
        write(root, f"CSRF_{session_id}.pickle", session_dict(session_id, neurons))
    return root


@pytest.mark.parametrize(
    ("window", "bins"), [(None, range(12)), ((70.0, 160.0), range(3, 12)), ((40.0, 60.0), range(2))]
)
def test_every_trial_is_where_it_belongs(folder, window, bins):
    recording = read_sinz_pickles(folder, window_ms=window, progress=True)
    assert recording.window_ms == (window or (40.0, 160.0)) and recording.unit == f"spikes in {10 * len(bins)} ms"
    assert list(recording.sessions) == ["3631", "3632"]
    for session_id, neurons in NEURONS.items():
        content = session_dict(session_id, neurons)
        session = recording.sessions[str(session_id)]
        assert session.responses.shape == (TRAIN + TEST, REPEATS, neurons)
        assert session.stimuli == tuple(str(number) for number in range(1, TRAIN + TEST + 1))
        assert session.split == ("train",) * TRAIN + ("test",) * TEST
        assert session.repeats.tolist() == [1] * TRAIN + [REPEATS] * TEST
        seen = dict.fromkeys(session.stimuli, 0)
        for part in ("training", "testing"):
            for trial, number in enumerate(content[f"{part}_image_ids"]):
                row, repeat = session.stimuli.index(str(number)), seen[str(number)]
                seen[str(number)] += 1
                for neuron in range(neurons):
                    expected = sum(content[f"{part}_responses"][neuron, position, trial] for position in bins)
                    assert session.responses[row, repeat, neuron] == expected
        assert [int(path.stem) for path in session.images.paths] == list(range(1, TRAIN + TEST + 1))
        assert session.neurons == {"animal": ("22",) * neurons}
        assert session.conditions == {}


def test_metadata_and_labels(folder):
    content = session_dict(
        9,
        4,
        unit_ids=np.array([1, 2, 3, 17]),
        unit_type=np.array([1, 10, 20, 5]),
        electrode_nums=np.array([[1.0], [2.0], [2.0], [3.0]]),
        relative_micron_depth=[0.0, 12.5, np.nan, 80.0],
        x_grid_location=np.array([0, 0, 1, 1]),
        y_grid_location=(1.0, 2.0, 3.0, 4.0),
        training_labels=np.arange(TRAIN) % 3,
    )
    content["testing_labels"] = content["testing_image_ids"] % 5
    write(folder, "nine.pickle", content)
    session = read_sinz_pickles(folder, sessions=["9"]).sessions["9"]
    assert session.neurons["unit_id"] == ("1", "2", "3", "17")
    assert session.neurons["unit_type"] == ("isolated", "MUA", "LFP", "5")
    assert session.neurons["electrode"] == ("1", "2", "2", "3")
    np.testing.assert_array_equal(session.neurons["depth"], (0.0, 12.5, np.nan, 80.0))
    assert session.neurons["x"] == (0.0, 0.0, 1.0, 1.0) and session.neurons["y"] == (1.0, 2.0, 3.0, 4.0)
    label = dict(zip(content["training_image_ids"], content["training_labels"], strict=True))
    label |= dict(zip(content["testing_image_ids"], content["testing_labels"], strict=True))
    assert session.conditions["label"] == tuple(str(label[int(number)]) for number in session.stimuli)


def test_unit_types_in_words(folder):
    kinds = np.array(["isolated_neuron_depth_probe", "MUA", "LFP", "MUA", "MUA"], object)
    write(folder, "CSRF_3631.pickle", session_dict(3631, 5, unit_type=kinds), protocol=5)
    session = read_sinz_pickles(folder, sessions=["3631"]).sessions["3631"]
    assert session.neurons["unit_type"] == ("isolated", "MUA", "LFP", "MUA", "MUA")


def test_units_of_several_pickles_stand_side_by_side(folder):
    alone = read_sinz_pickles(folder).sessions["3631"]
    more = session_dict(3631, 3, seed=1, unit_ids=np.arange(3), relative_micron_depth=np.arange(3.0))
    write(folder, "MUA_3631.pickle", more)
    both = read_sinz_pickles(folder).sessions["3631"]
    write(folder, "CSRF_3631.pickle", session_dict(3631, 3, seed=1))
    (folder / "neuronal_data" / "MUA_3631.pickle").unlink()
    other = read_sinz_pickles(folder).sessions["3631"]
    np.testing.assert_array_equal(both.responses, np.concatenate([alone.responses, other.responses], 2))
    assert both.neurons["unit_id"] == ("", "", "", "", "", "0", "1", "2")
    np.testing.assert_array_equal(both.neurons["depth"], [np.nan] * 5 + [0, 1, 2])


def test_units_that_saw_other_pictures_are_not_joined(folder):
    content = session_dict(3631, 3)
    content["training_image_ids"] = content["training_image_ids"][::-1]
    write(folder, "MUA_3631.pickle", content)
    with pytest.raises(
        DataError, match=r"CSRF_3631.pickle and .*MUA_3631.pickle are of one session, but their image ids"
    ):
        read_sinz_pickles(folder)
    assert list(read_sinz_pickles(folder, sessions=["3632"]).sessions) == ["3632"]


def move_images(folder, *, absolute=False, missing=()):
    """Pictures under other names, listed in a pickle."""
    listed = {}
    for number in range(1, IMAGES + 1):
        (folder / "images" / f"{number:06d}.npy").unlink()
        path = folder / "photos" / f"p{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        if number not in missing:
            path.write_bytes(b"")
        listed[number] = str(path if absolute else path.relative_to(folder))
    (folder / "images" / "individual_image_paths.pickle").write_bytes(pickle.dumps(listed))


@pytest.mark.parametrize("absolute", [False, True])
def test_pictures_may_be_listed(folder, absolute):
    move_images(folder, absolute=absolute)
    session = read_sinz_pickles(folder).sessions["3631"]
    assert session.images.paths[6] == folder / "photos" / "p7.jpg"


def listing(content):
    def change(folder):
        move_images(folder)
        (folder / "images" / "individual_image_paths.pickle").write_bytes(pickle.dumps(content))

    return change


def spoil(**changes):
    """Session 3631 with other values; None removes one."""

    def change(folder):
        content = {**session_dict(3631, 5), **changes}
        write(folder, "CSRF_3631.pickle", {key: value for key, value in content.items() if value is not None})

    return change


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


IDS = np.arange(1, TRAIN + 1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (spoil(training_responses=None), "CSRF_3631.pickle lacks training_responses; it has: session_id"),
        (spoil(session_id=None), "CSRF_3631.pickle lacks session_id"),
        (spoil(session_id=np.arange(2)), "session_id must be one text or number"),
        (
            spoil(training_responses=np.zeros((5, TRAIN))),
            r"must be \(neurons, time bins, trials\) with 50 trials, found",
        ),
        (spoil(training_responses=np.zeros((TRAIN, 5, BINS))), r"training_responses must be .* found \(50, 5, 12\)"),
        (spoil(testing_responses=np.zeros((5, BINS, 7))), "testing_responses must be .* with 24 trials"),
        (spoil(testing_responses=np.zeros((4, BINS, 24))), r"\(5, 12\) in training, \(4, 12\) in test"),
        (spoil(training_responses=np.zeros((5, BINS, TRAIN), "U2")), "CSRF_3631.pickle, training_responses: .*numbers"),
        (spoil(training_image_ids=IDS.astype(float)), "training_image_ids must be whole numbers, found float64"),
        (
            spoil(training_image_ids=IDS.reshape(5, 10)),
            r"training_image_ids must be one value each, found shape \(5, 10\)",
        ),
        (spoil(training_image_ids=[[1, 2], [3]]), "training_image_ids must be one value each"),
        (spoil(training_image_ids=IDS + 1), "session 3631: 1 image ids are in train and in test: 51"),
        (spoil(training_image_ids=IDS + 50, testing_image_ids=np.repeat(200, 24)), "in another session's training set"),
        (spoil(training_image_ids=IDS + 1000), "session 3631: 50 stimuli have no picture in .*: 1001, .*, ..."),
        (spoil(training_labels=np.zeros(TRAIN)), "labels of training or of testing pictures, but not of both"),
        (spoil(training_labels=np.zeros(3), testing_labels=np.zeros(24)), "training_labels: 3 values for 50 trials"),
        (spoil(training_labels=np.zeros(TRAIN), testing_labels=np.arange(24)), "session 3631: image 5. is labelled"),
        (spoil(unit_ids=np.arange(3)), "unit_ids: 3 values for 5 neurons"),
        (spoil(relative_micron_depth=np.arange(3)), "relative_micron_depth must be 5 numbers"),
        (spoil(x_grid_location=list("abcde")), "x_grid_location must be 5 numbers, found <U1"),
        (lambda f: write(f, "x.pickle", [1, 2]), "x.pickle must hold a dict, found list"),
        (lambda f: (f / "neuronal_data" / "x.pickle").write_bytes(b"nothing"), "x.pickle cannot be read"),
        (lambda f: [path.unlink() for path in (f / "neuronal_data").iterdir()], r"holds no \*.pickle"),
        (lambda f: (f / "images" / "7.npy").write_bytes(b""), "000007.npy and 7.npy have one number"),
        (lambda f: (f / "images" / "000007.npy").unlink(), "1 stimuli have no picture in .*images: 7"),
        (lambda f: [path.unlink() for path in (f / "images").glob("*.npy")], "neither 000001.npy and so on nor"),
        (lambda f: move_images(f, missing=[9]), "names photos/p9.jpg for image 9, but there is no file"),
        (listing(["a"]), "individual_image_paths.pickle must hold a dict"),
        (listing({1: 2}), "must hold a dict {number: path} with paths as texts"),
        (listing({"1": "photos/p1.jpg"}), "found the number '1'"),
    ],
)
def test_faults_are_named(folder, change, text):
    change(folder)
    with pytest.raises(DataError, match=text):
        read_sinz_pickles(folder)


def test_programs_in_pickles_are_not_run(folder, tmp_path):
    canary = tmp_path / "canary"
    content = session_dict(3631, 5, unit_ids=Touch(canary))
    write(folder, "CSRF_3631.pickle", content)
    with pytest.raises(DataError, match=r"CSRF_3631.pickle holds posix.system: numpy arrays alone are admitted"):
        read_sinz_pickles(folder)
    (folder / "neuronal_data" / "CSRF_3631.pickle").unlink()
    listing({1: Touch(canary)})(folder)
    with pytest.raises(DataError, match=r"individual_image_paths.pickle holds posix.system"):
        read_sinz_pickles(folder)
    assert not canary.exists()


def test_windows_that_fit_no_bins_name_the_file(folder):
    with pytest.raises(DataError, match=r"CSRF_3631.pickle, training_responses: .*45 to 160 ms cuts a bin"):
        read_sinz_pickles(folder, window_ms=(45.0, 160.0))


def test_pickles_of_other_lengths_need_a_window(folder):
    content = session_dict(3632, 7)
    for part in ("training", "testing"):
        content[f"{part}_responses"] = content[f"{part}_responses"][:, :6]
    write(folder, "CSRF_3632.pickle", content)
    with pytest.raises(DataError, match=r"CSRF_3631.pickle 40 to 160, CSRF_3632.pickle 40 to 100. Give a window_ms"):
        read_sinz_pickles(folder)
    assert read_sinz_pickles(folder, window_ms=(40.0, 100.0)).window_ms == (40.0, 100.0)


def test_unknown_sessions_are_named(folder):
    with pytest.raises(DataError, match="lacks the sessions 5; it has: 3631, 3632"):
        read_sinz_pickles(folder, sessions=["5"])
