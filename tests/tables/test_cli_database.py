"""The command line on a database: queue, list, show, report, and the embedded server."""

import io
import os
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from cotrain import Experiment
from cotrain.cli import main
from cotrain.tables import queries
from cotrain.tables.connect import connect, embedded
from cotrain.tables.runs import Attempt, EpochScore, RecipeRun, Run, TrainedModel

FAILURE = r"Run (\w{32}) failed: The loss of task '\w+', at the tap '[\w.]+', is not finite in epoch 1\."


@pytest.fixture(scope="module")
def failing(trained):
    """`Tiny` is trained; `Failing` was worked through."""
    trained.enqueue("Failing")
    done = trained.cotrain("work", "--recipe", "Failing")
    assert done.returncode == 1
    assert re.search(r"^2 runs finished, 1 failed\.\n$", done.stdout, re.MULTILINE)
    assert re.fullmatch(rf"ERROR cotrain\.tables\.worker: {FAILURE}.*\n", done.stderr), "one line, and no traceback"
    return trained


def key_of(lab, name, label):
    return next(e.key() for e in lab.recipe(name)().expand() if e.label == label)


def recipe(name):
    return f"{Path(__file__).with_name('tiny.py')}:{name}"


# --- queue ---


def test_enqueue_counts(trained, command):
    status, out, err = command("enqueue", recipe("Tiny"))
    assert (status, err) == (0, "")
    assert out == "tiny.Tiny: 2 runs; 0 queued now, 0 were queued or begun before, 2 are finished.\n"
    status, out, _ = command("enqueue", recipe("Again"), "--priority", "3")
    assert out == "tiny.Again: 2 runs; 1 queued now, 0 were queued or begun before, 1 are finished.\n"
    assert TrainedModel.jobs.fetch1("priority") == 3
    assert "0 queued now, 1 were queued or begun before, 1 are finished" in command("enqueue", recipe("Again"))[1]


@pytest.mark.slow
def test_work_takes_some_runs_of_one_recipe(trained, command):
    command("enqueue", recipe("Again"), "--priority", "3")
    command("enqueue", recipe("Six"))
    assert command("work", "--recipe", "Again") == (
        0,
        f"longer ({key_of(trained, 'Again', 'longer')[:8]})\n1 runs finished, 0 failed.\n",
        "",
    )
    status, out, _ = command("work", "--max-runs", "2")
    assert status == 0
    assert re.fullmatch(r"(watched \(\w{8}\)\n){2}2 runs finished, 0 failed\.\n", out)
    assert command("work", "--max-runs", "0")[1] == "0 runs finished, 0 failed.\n"
    assert len(TrainedModel.jobs) == 4
    TrainedModel.jobs.delete_quick()


def test_a_priority_out_of_range(lab, command):
    before = len(RecipeRun()), len(Run())
    status, out, err = command("enqueue", recipe("Long"), "--priority", "300")
    assert (status, out) == (1, "")
    assert err == "cotrain: A priority is a whole number from 0 to 127, found 300.\n"
    assert (len(RecipeRun()), len(Run())) == before


def test_data_that_cannot_be_read_fail_the_run_and_leave_no_scores(lab, command, monkeypatch, tmp_path, caplog):
    command("enqueue", recipe("Long"))
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    status, out, err = command("work", "--recipe", "Long")
    assert status == 1
    assert out.endswith("0 runs finished, 1 failed.\n")
    assert "Traceback" not in out + err
    told = [record.getMessage() for record in caplog.records if record.levelname != "INFO"]
    assert len(told) == 1
    assert re.search(rf"failed: There is no data file {tmp_path}/tiny\.npz\. Set COTRAIN_DATA", told[0])
    key = {"run_key": key_of(lab, "Long", "long")}
    assert (Attempt() & key).fetch1("status", "epoch") == ("failed", -1)
    assert not EpochScore() & key
    assert not TrainedModel() & key
    assert command("show", key["run_key"])[0] == 0


# --- ls ---


def test_ls_lists_runs(failing, command):
    status, out, err = command("ls", "--recipe", "tiny.Failing")
    assert (status, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split()[:6] == ["label", "seed", "state", "epoch", "best", "monitored"]
    assert {row.split()[1]: row.split()[3] for row in rows} == {"before": "done", "absurd": "failed", "after": "done"}
    for row in rows:
        assert row.startswith(key_of(failing, "Failing", row.split()[1])[:8])


def test_ls_as_csv_has_whole_keys_and_numbers(failing, command):
    status, out, _ = command("ls", "--csv", "--recipe", "Failing")
    assert status == 0
    table = pd.read_csv(io.StringIO(out), index_col="run")
    expected = queries.overview(queries.runs(recipe="tiny.Failing"))
    assert list(table.index) == list(expected.index)
    assert list(table.columns) == list(expected.columns)
    assert list(table.monitored.dropna()) == list(expected.monitored.dropna())


@pytest.mark.parametrize(
    ("where", "labels"),
    [
        (["epochs=4"], {"absurd"}),
        (["optimiser.lr=1e30"], {"absurd"}),
        (["optimiser.lr=1e-3"], {"after"}),
        (["optimiser.lr=0.001", "epochs=1.0"], {"after"}),
        (["optimiser.lr=0.001", "epochs=4"], set()),
        (["kind=cotrain.data.arrays", "epochs=4"], {"absurd"}),
        (["clip_norm=null", "epochs=4"], {"absurd"}),
        (["data.grey=false", "trainer.epochs=4"], {"absurd"}),
        (["data.grey=true"], set()),
        (["model.tasks.cells.tap=layer1", "epochs=4"], {"absurd"}),
        (["seed=0", "epochs=4"], {"absurd"}),
        (["seed=7"], set()),
        (["seed=x"], set()),
        (["seed=0.5"], set()),
        (["seed=null"], set()),
        (["epochs=nan"], set()),
        (["epochs=inf"], set()),
        (["data.path=it's 100 %"], set()),
        (["data.path=a=b"], set()),
        (["data.path="], set()),
    ],
)
def test_ls_finds_by_config_values(where, labels, failing, command):
    arguments = [word for condition in where for word in ("--where", condition)]
    status, out, err = command("ls", "--csv", *arguments)
    assert (status, err) == (0, "")
    assert set(pd.read_csv(io.StringIO(out)).get("label", [])) == labels


def test_ls_of_nothing_says_what_to_do(failing, command):
    assert command("ls", "--where", "epochs=99") == (0, "No such runs. `cotrain enqueue RECIPE` makes some.\n", "")


@pytest.mark.parametrize("name", ["ls", "work"])
def test_a_recipe_that_the_database_lacks(name, failing, command):
    status, out, err = command(name, "--recipe", "tinny")
    assert (status, out) == (1, "")
    assert re.fullmatch(r"cotrain: No recipes in the database are called 'tinny'\. It has: tiny\.\w+.*\n", err)


# --- show ---


def test_show_a_finished_run(trained, command):
    key = key_of(trained, "Tiny", "together")
    status, out, err = command("show", key[:8])
    assert (status, err) == (0, "")
    assert out == command("show", "together")[1]
    text = re.search(r"^label: .*?(?=^attempt)", out, re.DOTALL | re.MULTILINE)[0]
    assert Experiment.from_yaml(text).key() == key
    assert re.search(r"^attempt 1: done on \S+ \(cpu\), cotrain [\d.]+, Python 3\.\d+\.\d+; ", out, re.MULTILINE)
    scores = queries.curves({"run_key": key})
    value = scores[(scores.epoch == 2) & (scores.split == "validation") & (scores.metric == "accuracy")].value.item()
    validation = out.split("validation scores\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in validation[-3:]] == ["0", "1", "2"]
    assert f"{value:.3f}" in validation[-1]
    test = TrainedModel.Score() & {"run_key": key, "split": "test", "metric": "accuracy"}
    assert re.search(rf"stripes +accuracy +{test.fetch1('value'):.4f}$", out, re.MULTILINE)


def test_show_a_failed_run(failing, command):
    status, out, _ = command("show", "absurd")
    assert status == 0
    assert re.search(r"^attempt 1: failed .*\n  TrainingError: The loss of task", out, re.MULTILINE)
    assert "test scores" not in out


def test_show_a_run_that_waits(failing, command):
    failing.enqueue("Again")
    TrainedModel.jobs.delete_quick()
    Run().add(failing.recipe("Six")().expand()[5])
    status, out, err = command("show", failing.recipe("Six")().expand()[5].key())
    assert (status, err) == (0, "")
    assert "seed: 5" in out


def test_show_what_is_unknown(failing, command):
    assert command("show", "nothing") == (
        1,
        "",
        "cotrain: No runs have a key that begins with 'nothing', or that label. `cotrain ls` lists all runs.\n",
    )


# --- report ---


def test_report_prints_and_draws(trained, command, tmp_path):
    status, out, err = command("report", "Tiny", "--out", str(tmp_path / "picture.png"))
    assert (status, err) == (0, "")
    assert out.startswith("Do two layers learn stripes and cells at once?\n")
    assert out.endswith(f"\npicture: {tmp_path}/picture.png\n")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.format == "PNG"
        assert image.width > 1500 < image.width
        assert image.height > 1000
    assert command("report", "Tiny")[1] == out.split("\n\npicture")[0] + "\n"


def test_report_into_a_folder_that_does_not_exist(trained, command, tmp_path):
    status, _, err = command("report", "Tiny", "--out", str(tmp_path / "no" / "picture.png"))
    assert status == 1
    assert re.fullmatch(r"cotrain: There is no folder .*/no for the picture\. Make it, or name another\.\n", err)


def test_report_before_anything_is_finished(failing, command):
    failing.enqueue("Long")
    status, out, err = command("report", "Long")
    assert (status, out) == (1, "")
    assert err.startswith("cotrain: No run of tiny.Long is finished yet.")


# --- a database that is down ---


@pytest.mark.parametrize(
    "arguments",
    [("enqueue", recipe("Tiny")), ("work",), ("ls",), ("report", "Tiny"), ("show", "together")],
    ids=lambda words: words[0],
)
def test_every_command_says_that_the_database_is_down(arguments, lab, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setenv("DJ_PORT", "1")
        patch.setattr("cotrain.cli._queue.START_SECONDS", 0)
        patch.setenv("DJ_HOST", "127.0.0.1")
        assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"cotrain: No database answers at 127\.0\.0\.1:1: .*\. Is the server running, .*\n", err)
    connect()


# --- the embedded server ---


@pytest.fixture
def embedded_home(monkeypatch):
    """A home that root's server may enter, on which no server is left running."""
    folder = Path(tempfile.mkdtemp(prefix="cotrain-cli-"))
    folder.chmod(0o755)
    monkeypatch.setenv("COTRAIN_HOME", str(folder))
    yield folder
    embedded(folder).stop()
    shutil.rmtree(folder)


def test_the_embedded_server_is_started_stopped_and_looked_at(embedded_home, capsys):
    def command(*arguments):
        return main(arguments), *capsys.readouterr()

    where = re.escape(str(embedded_home / "database"))
    stopped = rf"embedded PostgreSQL \d* ?in {where}: not running\n"
    assert re.fullmatch(stopped, command("db", "status")[1])
    assert not list(embedded_home.iterdir()), "looking makes nothing"
    assert command("db", "stop") == (0, "was not running\n", "")
    status, out, err = command("db", "start")
    assert (status, err) == (0, "")
    found = re.fullmatch(rf"embedded PostgreSQL \d+ in {where}: at 127\.0\.0\.1:\d+, process (\d+)\n", out)
    assert found, out
    os.kill(int(found[1]), 0)  # it is there
    assert command("db", "start")[1] == command("db", "status")[1] == out, "one is enough"
    assert command("db", "stop") == (0, "stopped\n", "")
    assert re.fullmatch(stopped, command("db", "status")[1])
