"""Commands that ask, mark, write out and delete: `ls`, `diff`, `tag`, `note`, `watch`, `export`, `rm`."""

import io
import json
import re

import pandas as pd
import pytest

from cotrain.cli import main
from cotrain.tables import queries, queue
from cotrain.tables.runs import Attempt, EpochScore, ParentRun, RecipeRun, Run, TrainedModel
from cotrain.tables.tags import Note, Tag
from cotrain.training import load, load_state

SCORES = ["cell_rdm spearman", "cells correlation", "stripes accuracy"]


def key_of(lab, name, label):
    return next(e.key() for e in lab.recipe(name)().expand() if e.label == label)


@pytest.fixture
def command(lab, capsys, monkeypatch):
    """A function that runs a command line on the open connection: connecting takes longer than most commands."""
    monkeypatch.setattr("cotrain.tables.connect.connect", lambda **_: False)
    monkeypatch.setattr("cotrain.tables.connect.disconnect", lambda: None)

    def run(*arguments):
        capsys.readouterr()
        return main([*arguments]), *capsys.readouterr()

    return run


@pytest.fixture
def asked(trained):
    """`Tiny` is trained, `Again` has one more run in the queue."""
    if not RecipeRun() & {"recipe": "tiny.Again"}:
        trained.enqueue("Again")
    yield trained
    Tag().delete()
    Note().delete()


@pytest.fixture
def extra(asked):
    """A run of its own for a test, finished by hand as a copy of one that is trained; it is gone after the test."""
    key = {"run_key": key_of(asked, "Long", "long")}
    asked.enqueue("Long")
    (TrainedModel.jobs & key).delete_quick()
    some = (Attempt() & {"run_key": key_of(asked, "Tiny", "together")}).fetch1()
    del some["heartbeat"]
    Attempt.insert1({**some, **key, "status": "failed", "error": "TrainingError: it is all wrong"})
    row = {"task": "", "session": "", "split": "train", "metric": "loss", "value": 0.5, "attempt": 1}
    EpochScore.insert({**key, **row, "epoch_number": epoch} for epoch in range(3))
    yield key
    (Run() & key).delete()
    (TrainedModel.jobs & key).delete_quick()


def listed(command, *arguments):
    status, out, err = command("ls", "--csv", *arguments)
    assert (status, err) == (0, "")
    return pd.read_csv(io.StringIO(out), index_col="run").reindex(
        columns=out.splitlines()[0].split(",")[1:] or ["label"]
    )


# --- ls ---


@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        (["--where", "epochs>2"], ["longer"]),
        (["--where", "epochs<=2", "--where", "data.kind=cotrain.data.arrays"], ["once more / together"]),
        (["--where", "tap=layer1", "--where", "epochs!=3"], ["once more / together"]),
        (["--where", "seed>0"], []),
        (["--where", "seed>=0", "--status", "queued"], ["longer"]),
        (["--status", "done", "--status", "queued", "--recipe", "Again"], ["once more / together", "longer"]),
        (["--status", "failed"], []),
        (["--score", "stripes accuracy >= 0"], ["once more / together", "stripes only"]),
        (["--score", "cells correlation < 2"], ["once more / together"]),
        (["--score", "cells/first correlation < 2"], ["once more / together"]),
        (["--score", "validation: cells correlation > 1"], []),
        (["--score", "monitored > -9"], []),
        (["--score", "validation: monitored > -9"], ["once more / together", "stripes only"]),
        (["--since", "2020-01-01", "--until", "2999-01-01", "--status", "queued"], ["longer"]),
        (["--until", "2020-01-01"], []),
        (["--since", "2999-01-01T10:00"], []),
        (["--tag", "paper"], []),
        (["--sort", "epochs", "--descending", "--limit", "1"], ["longer"]),
        (["--sort", "label", "--limit", "2"], ["longer", "once more / together"]),
        (["--sort", "stripes accuracy", "--where", "epochs=3"], ["longer"]),
        (["--descending", "--limit", "1"], ["stripes only"]),
    ],
)
def test_ls_selects(arguments, labels, asked, command):
    assert list(listed(command, *arguments).label) == labels


def test_ls_shows_the_columns_that_are_asked_for(asked, command):
    names = "label,recipe,lr,tap,state,commit,validation: stripes accuracy,device,added"
    table = listed(command, "--columns", names, "--where", "epochs=2")
    taps = [f"model.tasks.{task}.tap" for task in ("cell_rdm", "cells", "stripes")]
    assert sorted(table.columns) == sorted([*names.replace("tap,", "").split(","), *taps])
    assert set(table.lr) == {0.002}
    assert list(table["model.tasks.cells.tap"].fillna("none")) == ["layer1", "none"]
    for run, row in table.iterrows():
        held = load(asked.home / "runs" / run)
        best = held.scores[(held.scores.epoch == held.best_epoch) & (held.scores.task == "stripes")]
        best = best[(best.split == "validation") & (best.metric == "accuracy")].value.item()
        assert row["validation: stripes accuracy"] == pytest.approx(best)
        assert row["state"] == "done"


def test_ls_as_json(asked, command):
    status, out, err = command("ls", "--json", "--where", "epochs=3")
    assert (status, err) == (0, "")
    (row,) = json.loads(out)
    assert row["run"] == key_of(asked, "Again", "longer")
    assert (row["label"], row["seed"], row["state"], row["best"]) == ("longer", 0, "queued", None)
    assert json.loads(command("ls", "--json", "--where", "epochs=99")[1]) == []


def test_ls_says_which_path_no_config_has(asked, command):
    assert command("ls", "--where", "epoch=2")[1] == "No such runs. No config has 'epoch'. Did you mean 'epochs'?\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--status", "don"], r"There is no state 'don'\. Did you mean 'done'\?"),
        (["--since", "monday"], r"A date is written 2026-11-30 or 2026-11-30T18:00, found 'monday'\."),
        (["--columns", "label,colour"], r"There is no column 'colour': no config has .* Known besides: label, .*\."),
        (["--sort", "colour"], r"There is no column 'colour': .*"),
        (["--where", "kind>a"], r"kind>a: only numbers have an order; use = or != with text\."),
        (["--score", "high"], r"--score needs .*; found 'high'\."),
    ],
)
def test_ls_refuses(arguments, text, asked, command):
    status, out, err = command("ls", *arguments)
    assert (status, out) == (1, "")
    assert re.fullmatch(f"cotrain: {text}\n", err)


# --- diff ---


def test_diff_shows_what_differs_and_nothing_else(asked, command):
    status, out, err = command("diff", "together", "longer", "--debug")
    assert (status, err) == (0, "")
    configs, _, scores = out.split("\n\n")[:3]
    first, second = key_of(asked, "Tiny", "together")[:8], key_of(asked, "Again", "longer")[:8]
    title, head, row = configs.splitlines()
    assert (title, head.split(), row.split()) == ("configs", [first, second], ["trainer.epochs", "2", "3"])
    value = (TrainedModel.Score() & {"run_key": key_of(asked, "Tiny", "together"), "split": "test"}) & {
        "task": "stripes",
        "metric": "accuracy",
    }
    assert re.search(rf"^stripes accuracy +{value.fetch1('value'):.4f} +- +-$", scores, re.MULTILINE)


def test_diff_of_scores_and_of_code(asked, command):
    runs = [key_of(asked, "Tiny", label) for label in ("together", "stripes only")]
    out = command("diff", *runs)[1]
    values = [
        (TrainedModel.Score() & {"run_key": run, "split": "test", "metric": "accuracy"}).fetch1("value") for run in runs
    ]
    row = re.search(r"^stripes accuracy +(\S+) +(\S+) +(\S+)$", out, re.MULTILINE)
    assert [float(text) for text in row.groups()] == pytest.approx([*values, values[1] - values[0]], abs=1e-4)
    assert "data.data.path" in out
    assert "code: no difference" in out
    attempt = {"run_key": runs[0], "attempt": 1}
    before = (Attempt() & attempt).fetch1("device")
    Attempt.update1({**attempt, "device": "NVIDIA Abacus"})
    assert re.search(r"^code\n.*\ndevice +NVIDIA Abacus +\S+$", command("diff", *runs)[1], re.MULTILINE)
    Attempt.update1({**attempt, "device": before})


@pytest.mark.parametrize(
    ("runs", "text"),
    [(["together"], "Name two runs or more"), (["together", "once more"], "Name different runs; together, once more")],
)
def test_diff_of_one_run(runs, text, asked, command):
    status, _, err = command("diff", *runs)
    assert status == 1
    assert err.startswith(f"cotrain: {text}")


# --- tag and note ---


def test_tags_find_runs_and_are_shown(asked, command):
    run = key_of(asked, "Again", "longer")
    assert command("tag", "longer", "paper", "figure-3") == (0, f"{run[:8]}: figure-3 paper\n", "")
    assert command("tag", "longer", "paper")[1] == f"{run[:8]}: figure-3 paper\n"
    table = listed(command, "--tag", "paper", "--tag", "figure-3")
    assert list(table.tags) == ["figure-3 paper"]
    assert listed(command)[["label", "tags"]].dropna().label.tolist() == ["longer"]
    assert re.search(r"^tags +figure-3 paper$", command("show", "longer")[1], re.MULTILINE)
    assert command("tag", "longer", "--remove", "paper") == (0, f"{run[:8]}: figure-3\n", "")
    status, _, err = command("tag", "longer", "--remove", "paper")
    assert (status, err) == (
        1,
        "cotrain: No such run has the tag 'paper'. `cotrain show RUN` lists its tags.\n",
    )
    assert command("tag", "longer", "two words")[0] == 1
    assert command("tag", "longer")[1] == f"{run[:8]}: figure-3\n"


def test_notes_are_kept_in_order(asked, command):
    command("note", "longer", "It's warm: 100 %")
    assert command("note", "longer", "colder")[0] == 0
    out = command("show", "longer")[1]
    assert re.findall(r"^note (\d), \S* ?on 20\d\d-\d\d-\d\d: (.*)$", out, re.MULTILINE) == [
        ("1", "It's warm: 100 %"),
        ("2", "colder"),
    ]
    assert command("note", "longer", " ")[2] == "cotrain: A note has 1 to 2000 characters, found 0.\n"


# --- watch ---


def test_watch_ends_when_nothing_is_ahead(asked, command):
    assert command("watch", "--recipe", "Tiny") == (0, "2 done\n", "")
    assert command("watch", "longer", "--once") == (0, "1 queued\n", "")


def test_watch_of_a_run_that_is_trained(extra, command):
    (Attempt() & extra).delete()
    some = (Attempt() & "attempt = 1").to_dicts(limit=1)[0]
    del some["heartbeat"]
    Attempt.insert1({**some, **extra, "status": "running", "epoch": 1, "host": "gpu7"})
    row = {"task": "stripes", "session": "", "split": "validation", "metric": "accuracy", "value": 0.5, "attempt": 1}
    EpochScore.insert({**extra, **row, "epoch_number": epoch} for epoch in range(2))
    status, out, _ = command("watch", "long", "--once")
    assert status == 0
    head, line = out.splitlines()
    assert head == "1 running"
    start = rf"{extra['run_key'][:8]}  long, seed 0: epoch 1 of 25, stripes accuracy 0\.500, \S+ s an epoch, at most "
    assert re.fullmatch(start + r"[\d.]+ (s|min|h) left, on gpu7", line)


# --- export ---


def test_export_into_a_folder(asked, command, tmp_path):
    status, out, err = command("export", "--recipe", "Tiny", "--out", str(tmp_path / "all"), "--checkpoints")
    assert (status, err) == (0, "")
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "all").glob("*.csv")}
    assert {name: len(table) for name, table in tables.items()} == {
        "runs": 2,
        "configs": 2,
        "epoch_scores": len(EpochScore() & queries.runs(recipe="tiny.Tiny").proj()),
        "test_scores": len(TrainedModel.Score() & {"split": "test"} & queries.runs(recipe="tiny.Tiny").proj()),
    }
    lines = {name: f"{tmp_path}/all/{name}.csv: {len(table)} rows" for name, table in tables.items()}
    assert set(out.splitlines()) == {*lines.values(), f"{tmp_path}/all/checkpoints: 2 files"}
    configs = tables["configs"].set_index("run")
    run = key_of(asked, "Tiny", "together")
    assert configs.loc[run, "trainer.optimiser.lr"] == 0.002
    assert configs.loc[run, "model.tasks.cells.tap"] == "layer1"
    assert set(tables["runs"].state) == {"done"}
    with (tmp_path / "all" / "checkpoints" / f"{run}.pt").open("rb") as file:
        weights = load_state(file)["model"]
    assert set(weights) == set(load(asked.home / "runs" / run).model.state_dict())
    epochs = tables["epoch_scores"].fillna({"task": "", "session": ""})
    told = queries.curves({"run_key": run})
    mine = epochs[epochs.run_key == run].rename(columns={"epoch_number": "epoch"})[list(told.columns)]
    pd.testing.assert_frame_equal(mine.reset_index(drop=True), told, check_dtype=False)
    again = command("export", "--recipe", "Tiny", "--out", str(tmp_path / "all"))
    assert again[0] == 1
    assert re.fullmatch(rf"cotrain: {tmp_path}/all/\w+\.csv is there already\. Name another folder\.\n", again[2])
    assert not list((tmp_path / "all").glob(".*"))


def test_export_into_one_file(asked, command, tmp_path):
    assert command("export", "--out", str(tmp_path / "all.csv"))[:2] == (0, f"{tmp_path}/all.csv: 3 rows\n")
    table = pd.read_csv(tmp_path / "all.csv").set_index("label")
    assert table["trainer.epochs"].to_dict() == {"once more / together": 2, "stripes only": 2, "longer": 3}
    assert table["stripes accuracy"].notna().to_dict() == {
        "once more / together": True,
        "stripes only": True,
        "longer": False,
    }


def test_export_as_parquet(asked, command, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert command("export", "--out", str(tmp_path / "all"), "--format", "parquet")[0] == 0
    assert command("export", "--out", str(tmp_path / "csv"))[0] == 0
    for path in (tmp_path / "all").glob("*.parquet"):
        held, text = parquet.read_table(path).to_pandas(), pd.read_csv(tmp_path / "csv" / f"{path.stem}.csv")
        assert held.shape == text.shape
        assert list(held.columns) == list(text.columns)
    assert parquet.read_table(tmp_path / "all" / "epoch_scores.parquet").schema.field("value").type == "double"
    assert command("export", "--out", str(tmp_path / "all.parquet"))[1] == f"{tmp_path}/all.parquet: 3 rows\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--out", "no/all.csv"], r"There is no folder no\. Make it, or name another\."),
        (["--out", "all.csv", "--checkpoints"], r"Weights need a folder, and all\.csv is one file\. .*"),
        (["--out", "all", "--where", "epochs=99"], r"No run is selected; there is nothing to export\."),
    ],
)
def test_export_refuses(arguments, text, asked, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("export", *arguments)
    assert (status, out) == (1, "")
    assert re.fullmatch(f"cotrain: {text}\n", err)
    assert not list(tmp_path.iterdir())


def test_parquet_without_pyarrow(asked, command, tmp_path, monkeypatch):
    monkeypatch.setattr("cotrain.tables.export.find_spec", lambda name: None)
    status, _, err = command("export", "--out", str(tmp_path / "all.parquet"))
    assert (status, err) == (
        1,
        "cotrain: Parquet files need pyarrow: pip install pyarrow. CSV files need nothing.\n",
    )


# --- rm ---


def test_rm_says_what_would_go_and_deletes_nothing(extra, command):
    status, out, err = command("rm", "long")
    assert (status, err) == (0, "")
    rows = dict(re.findall(r"^ +(\d+) (.*)$", out, re.MULTILINE)[::-1])
    counted = {name: int(count) for count, name in re.findall(r"^ +(\d+) ([\w ]+)", out, re.MULTILINE)}
    assert rows
    assert {name: counted[name] for name in ("run", "attempt", "epoch score", "recipe run")} == {
        "run": 1,
        "attempt": 1,
        "epoch score": 3,
        "recipe run": 1,
    }
    assert out.endswith("Nothing was deleted; --yes does it.\n")
    assert len(Run() & extra) == 1


def test_rm_deletes(extra, asked, command):
    folder = asked.home / "runs" / extra["run_key"]
    folder.mkdir(parents=True)
    TrainedModel.jobs.insert1({**extra, "status": "error", "priority": 5})
    others = len(Run()), len(Attempt()), len(TrainedModel())
    assert command("rm", "--status", "failed", "--yes")[0] == 0
    assert not Run() & extra
    assert not EpochScore() & extra
    assert not TrainedModel.jobs & extra
    assert (len(Run()), len(Attempt()), len(TrainedModel())) == (others[0] - 1, others[1] - 1, others[2])
    assert folder.is_dir()
    asked.enqueue("Long")
    assert command("rm", "long", "--yes", "--folders")[0] == 0
    assert not folder.exists()
    assert not Run() & extra
    assert not TrainedModel.jobs & extra


def test_rm_refuses_a_run_that_is_trained(extra, command):
    Attempt.update1({**extra, "attempt": 1, "status": "running"})
    status, _, err = command("rm", "long", "--yes")
    assert status == 1
    assert err == (
        f"cotrain: 1 of these runs are being trained: {extra['run_key'][:8]}. Stop their workers first, or wait.\n"
    )
    assert len(Run() & extra) == 1
    Attempt.update1({**extra, "attempt": 1, "heartbeat": "2026-01-01"})  # its worker is dead
    assert command("rm", "long", "--yes")[0] == 0
    assert not Run() & extra


def test_rm_mentions_runs_that_need_it(extra, asked, command):
    needing = {"run_key": key_of(asked, "Tiny", "together")}
    pair = {**needing, "parent_key": extra["run_key"]}
    ParentRun.insert1(pair)
    out = command("rm", "long")[1]
    (ParentRun() & pair).delete()
    assert f"Mind: {needing['run_key'][:8]} needs {extra['run_key'][:8]}, and stays;" in out


def test_rm_of_nothing(asked, command):
    assert command("rm", "--yes")[2] == (
        "cotrain: Say which runs: RUN, --recipe, --where, --score, --status, --tag, --since or --until.\n"
    )
    assert command("rm", "--where", "epochs=99", "--yes") == (0, "No such runs.\n", "")
    assert queue.Enqueued(0, 2, 0) == asked.enqueue("Tiny")
