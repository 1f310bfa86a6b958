"""Files in the layout of Deep Mouse Trap, generated: values come back, halves are repeats, faults are named."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from cotrain.analysis import split_half_reliability
from cotrain.data import RecordedConfig, recorded
from cotrain.data.recordings import detect_format, read_brain_observatory
from cotrain.errors import DataError

STIMULI, CELLS, SIDE = 23, 6, 10
IDS = [517_400_000 + 3 * number for number in range(CELLS)]
AREAS = ["VISp", "VISp", "VISl", "VISl", "VISrl", "VISp"]
LAYERS = ["23", "4", "23", "5", "4", "5"]


def write(folder, parts=("average", "even", "odd"), metadata="cell_metadata.csv", change=None):
    random = np.random.default_rng(0)
    signal = random.normal(size=(CELLS, STIMULI))
    halves = {name: signal + 0.3 * random.normal(size=signal.shape) for name in ("even", "odd")}
    tables = {**halves, "average": (halves["even"] + halves["odd"]) / 2}
    files = {
        f"cell_response_{part}.csv": pd.DataFrame(tables[part], index=pd.Index(IDS, name="cell_specimen_id"))
        for part in parts
    }
    described = pd.DataFrame(
        {
            "cell_specimen_id": IDS,
            "cortical_area": AREAS,
            "cortical_layer": LAYERS,
            "significant_running": [False, True] * 3,
            "splithalf_reliability": np.linspace(0.1, 0.9, CELLS),
        }
    ).set_index("cell_specimen_id")
    files[metadata] = described.iloc[::-1]  # in another order than the responses
    if change is not None:
        change(files)
    folder.mkdir(exist_ok=True)
    for name, table in files.items():
        table.to_csv(folder / name)
    np.save(folder / "stimulus_set.npy", random.integers(0, 256, (STIMULI, SIDE, SIDE), np.uint8))
    return tables


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    return tmp_path / "mouse"


@pytest.mark.parametrize("metadata", ["cell_metadata.csv", "cell_metadata_mini.csv"])
def test_cells_stimuli_and_halves_come_back(folder, metadata, caplog):
    tables = write(folder, metadata=metadata)
    assert detect_format(folder) == "brain_observatory"
    with caplog.at_level(logging.WARNING):
        session = read_brain_observatory(folder).sessions["cells"]
    assert session.responses.shape == (STIMULI, 2, CELLS) and caplog.text == ""
    np.testing.assert_allclose(session.responses[:, 0], tables["even"].T, atol=1e-6)
    np.testing.assert_allclose(session.responses[:, 1], tables["odd"].T, atol=1e-6)
    np.testing.assert_allclose(session.mean, tables["average"].T, atol=1e-6)
    np.testing.assert_array_equal(session.images, np.load(folder / "stimulus_set.npy"))
    assert session.neurons["area"] == tuple(AREAS) and session.neurons["layer"] == tuple(LAYERS)
    assert session.neurons["cell_specimen_id"] == tuple(map(str, IDS))
    assert session.neurons["significant_running"] == ("False", "True") * 3
    assert session.neurons["splithalf_reliability"] == pytest.approx(np.linspace(0.1, 0.9, CELLS))
    # two halves of the trials: their correlation, corrected by Spearman and Brown, whatever way they are halved
    r = np.array([np.corrcoef(tables["even"][cell], tables["odd"][cell])[0, 1] for cell in range(CELLS)])
    np.testing.assert_allclose(split_half_reliability(session.responses), 2 * r / (1 + r), atol=0.01)


def test_averages_alone_are_enough(folder):
    tables = write(folder, parts=("average",))
    session = read_brain_observatory(folder).sessions["cells"]
    np.testing.assert_allclose(session.responses, tables["average"].T, atol=1e-6)


def test_networks_can_be_trained_on_them(folder):
    write(folder)
    data = recorded(RecordedConfig(path="mouse", format="brain_observatory", task="mouse"), seed=0)
    source = data.splits["train"]["mouse"]["cells"]
    assert source.images.shape[1:] == (1, SIDE, SIDE) and source.repeats.shape[1] == 2
    assert source.neuron_metadata["area"] == tuple(AREAS)


def test_uneven_halves_are_told(folder, caplog):
    def change(files):
        files["cell_response_average.csv"].iloc[2] += 0.5

    write(folder, change=change)
    with caplog.at_level(logging.WARNING):
        read_brain_observatory(folder)
    assert "of 1 of 6 cells the mean of even and odd trials is not the average" in caplog.text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda files: files.pop("cell_response_odd.csv"), "holds cell_response_even.csv, cell_response_average.csv;"),
        (lambda files: files.pop("cell_metadata.csv"), "lacks cell_metadata.csv"),
        (
            lambda files: files.update({"cell_metadata.csv": files["cell_metadata.csv"].iloc[1:]}),
            f"1 cells have responses and no row: {IDS[-1]}",
        ),
        (
            lambda files: files.update({"cell_response_odd.csv": files["cell_response_odd.csv"].iloc[::-1]}),
            "cell_response_odd.csv has other cells or stimuli, or in another order",
        ),
        (lambda files: [files[name].pop(3) for name in list(files)[:3]], "23 stimuli, .* responses to 22"),
        (
            lambda files: files["cell_response_even.csv"].__setitem__(3, AREAS),
            "cell_response_even.csv: the columns 3 hold no numbers",
        ),
        (
            lambda files: files.update(
                {"cell_metadata.csv": pd.concat([files["cell_metadata.csv"], files["cell_metadata.csv"].iloc[:1]])}
            ),
            f"cells stand there twice: {IDS[-1]}",
        ),
    ],
)
def test_faults_are_named(folder, change, text):
    write(folder, parts=("even", "odd", "average"), change=change)
    with pytest.raises(DataError, match=text):
        read_brain_observatory(folder)
