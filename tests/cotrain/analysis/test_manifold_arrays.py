"""Manifolds with gaps, arrays of sessions, and the files of the MATLAB code."""

import h5py
import numpy as np
import pytest
import torch

from cotrain.analysis import manifold_geometry, manifolds_of_sessions, read_tuning
from cotrain.errors import DataError


def tuning(sessions=2, neurons=6, samples=5, objects=4, seed=0):
    """With a neuron that the second session lacks, a silent one, and objects with fewer samples."""
    values = np.random.default_rng(seed).normal(size=(sessions, neurons, samples, objects))
    values[1:, 4] = np.nan
    values[:, 2] = 0
    values[:, :, 3:, 1] = np.nan
    return values


def test_missing_neurons_silent_ones_and_missing_samples_are_left_out_of_each_session():
    values = tuning()
    first, second = manifolds_of_sessions(values)
    assert [cloud.shape for cloud in first] == [(5, 5), (5, 3), (5, 5), (5, 5)]
    assert [cloud.shape for cloud in second] == [(4, 5), (4, 3), (4, 5), (4, 5)]
    np.testing.assert_array_equal(first[1], values[0][[0, 1, 3, 4, 5]][:, :3, 1])
    np.testing.assert_array_equal(second[3], values[1][[0, 1, 3, 5]][:, :, 3])
    assert all(np.isfinite(cloud).all() for cloud in [*first, *second])


def test_neurons_are_kept_where_each_sample_is_missing_in_some_object():
    """The MATLAB code loses all neurons here."""
    values = np.random.default_rng(0).normal(size=(5, 4, 4))
    for one in range(4):
        values[:, one, one] = np.nan
    (manifolds,) = manifolds_of_sessions(values)
    assert [cloud.shape for cloud in manifolds] == [(5, 3)] * 4


def test_one_session_needs_no_axis_and_tensors_do():
    values = tuning()
    (alone,) = manifolds_of_sessions(values[0])
    for cloud, expected in zip(alone, manifolds_of_sessions(torch.from_numpy(values))[0], strict=True):
        np.testing.assert_array_equal(cloud, expected)


def test_gaps_in_lists_are_left_out_too():
    rng = np.random.default_rng(0)
    whole = [rng.normal(size=(30, 1)) + 0.2 * rng.normal(size=(30, 8)) for _ in range(4)]
    gaps = [np.insert(np.insert(cloud, 3, np.nan, axis=1), 5, np.nan, axis=0) for cloud in whole]
    expected, found = manifold_geometry(whole, n_t=50), manifold_geometry(gaps, n_t=50, origin=None)
    np.testing.assert_array_equal(found.capacity, expected.capacity)
    np.testing.assert_array_equal(found.points, [8] * 4)
    assert found.neurons == 30 and len(found.subspace) == 31


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.zeros((3, 4)), r"found the shape \(3, 4\) of float64"),
        (np.zeros((1, 3, 0, 4)), r"found the shape \(1, 3, 0, 4\)"),
        (np.full((3, 4, 5), "a"), r"of <U1"),
        (np.full((2, 3, 4, 5), np.nan), r"Session 0 has no neuron with a value other than NaN and 0"),
        (np.full((3, 4, 5), np.inf), r"Manifold 0 holds infinite values"),
    ],
)
def test_arrays_that_leave_nothing_are_refused(values, text):
    with pytest.raises(DataError, match=text):
        manifolds_of_sessions(values)


def test_an_object_without_a_sample_is_named():
    values = tuning()
    values[1, 0, :, 2] = np.nan
    with pytest.raises(DataError, match=r"NaN leaves no point of the manifolds \[2\] at which all 4 neurons are known"):
        manifolds_of_sessions(values)
    many = np.random.default_rng(0).normal(size=(2, 3, 20))
    many[0, :, 1:] = np.nan
    with pytest.raises(DataError, match=r"\[1, 2, 3, 4, 5, 6, 7, 8, 9, 10\] and 9 more"):
        manifolds_of_sessions(many)


# ---- files


def write(path, values, titles=None):
    """As MATLAB's -v7.3 does: axes in reverse, a cell of references to UTF-16 units."""
    with h5py.File(path, "w", userblock_size=512) as file:
        if values is not None:
            file["tuning_function"] = values.T
        if titles is not None:
            references = file.create_dataset("data_titles", (1, len(titles)), dtype=h5py.ref_dtype)
            for number, title in enumerate(titles):
                units = np.frombuffer(title.encode("utf-16-le"), "<u2")
                if title:
                    held = file.create_dataset(f"#refs#/{number}", data=units[:, None])
                else:
                    held = file.create_dataset(f"#refs#/{number}", data=np.zeros(2, "<u8"))
                    held.attrs["MATLAB_empty"] = np.uint8(1)
                references[0, number] = held.ref
    return path


def test_a_file_of_the_matlab_code_is_read(tmp_path):
    values = tuning()
    sessions = read_tuning(write(tmp_path / "a_tuning.mat", values, ["conv1", "größer"]))
    assert [session.title for session in sessions] == ["conv1", "größer"]
    for session, expected in zip(sessions, manifolds_of_sessions(values), strict=True):
        for cloud, other in zip(session.manifolds, expected, strict=True):
            np.testing.assert_array_equal(cloud, other)


def test_one_session_one_object_and_titles_that_lack(tmp_path):
    values = tuning()
    (session,) = read_tuning(write(tmp_path / "one.mat", values[0], [""]))
    assert session.title == "" and len(session.manifolds) == 4
    (session,) = read_tuning(write(tmp_path / "object.mat", values[0, :, :, 0]))
    assert session.title == "session 1" and [cloud.shape for cloud in session.manifolds] == [(5, 5)]


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no file .*none\.mat"):
        read_tuning(tmp_path / "none.mat")
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match=r"old\.mat cannot be read as HDF5 .* Save it in MATLAB with -v7\.3"):
        read_tuning(tmp_path / "old.mat")
    with pytest.raises(DataError, match=r"has no variable tuning_function, only \['data_titles'\]"):
        read_tuning(write(tmp_path / "titles.mat", None, ["a"]))
    with pytest.raises(DataError, match=r"has 2 sessions but 1 titles in data_titles"):
        read_tuning(write(tmp_path / "few.mat", tuning(), ["a"]))
