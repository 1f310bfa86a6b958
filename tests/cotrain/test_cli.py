"""The command line where no database is needed: what it says, what it leaves behind, and its exit status."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cotrain import Experiment, __version__
from cotrain.recipe import find_recipe
from cotrain.training import TensorBoardSink, load

TINY = Path(__file__).parents[1] / "tables" / "tiny.py"
EXPERIMENTS = ("run", "check", "bench", "find-lr", "key", "enqueue", "work", "retry", "reap")
QUERIES = ("show", "ls", "report", "diff", "watch", "export", "rm", "tag", "note")
COMMANDS = (*EXPERIMENTS, *QUERIES, "evaluate", "deltas", "plot", "gc", "data", "db")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data and a home that does not exist yet."""
    for name in [name for name in os.environ if name.startswith(("COTRAIN_", "DJ_"))]:
        monkeypatch.delenv(name)
    find_recipe(f"{TINY}:Tiny")
    sys.modules["cotrain_recipe_tiny"].write_data(tmp_path)
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def experiments(name="Tiny"):
    return find_recipe(f"{TINY}:{name}")().expand()


def shell(line, place):
    """What a shell line does; standard output is buffered, as it is for most people."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment["cotrain"] = f"{sys.executable} -c 'import sys; from cotrain.cli import main; sys.exit(main())'"
    script = f"set -o pipefail; cotrain() {{ eval $cotrain '\"$@\"'; }}; {line}"
    return subprocess.run(["bash", "-c", script], cwd=place, env=environment, capture_output=True, text=True)


# --- help and usage ---


def test_every_command_has_help_with_an_example(command):
    status, out, _ = command("--help")
    assert status == 0
    assert re.findall(r"^    ([\w-]+) ", out, re.MULTILINE) == list(COMMANDS)
    for name in COMMANDS:
        status, out, err = command(name, "--help")
        assert (status, err) == (0, "")
        assert f"usage: cotrain {name} " in out
        assert re.search(rf"^examples:\n(  cotrain {name}\b.*\n?)+\Z", out, re.MULTILINE), out


def test_the_version_is_told(command):
    assert command("--version") == (0, f"cotrain {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [(), ("enqueu",), ("key",), ("key", "a", "b"), ("work", "--max-runs", "x"), ("db", "restart")]
)
def test_wrong_usage_is_status_2(arguments, command):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: cotrain")
    assert "Traceback" not in err


# --- key ---


def test_keys_are_those_of_the_experiments(command):
    status, out, err = command("key", f"{TINY}:Six")
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{e.key()}  watched, seed {e.seed}" for e in experiments("Six")]


def test_keys_of_some(command):
    assert command("key", f"{TINY}:Tiny", "--only", "together")[1].split()[0] == experiments()[0].key()
    both = command("key", f"{TINY}:Tiny", "--only", "together", "--only", "stripes only")[1]
    assert len(both.splitlines()) == 2


def test_an_experiment_as_yaml_is_the_same_experiment(command, place):
    _, out, _ = command("key", f"{TINY}:Tiny", "--only", "together", "--yaml")
    first, text = out.split("\n", 1)
    assert Experiment.from_yaml(text) == experiments()[0]
    (place / "one.yaml").write_text(text)
    assert command("key", "one.yaml")[1] == f"{first}\n"


def test_recipes_by_their_shipped_name(command):
    assert command("key", "digits_v1")[1] == command("key", "cotrain.recipes.digits_v1:DigitsV1")[1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("key", "nowhere.py"), r"There is no recipe file nowhere\.py \(looked from .*\)\."),
        (("key", "nowhere.yaml"), r"There is no file nowhere\.yaml \(looked from .*\)\."),
        (("check", "digits_v2"), r"There is no recipe 'digits_v2': .*"),
        (("run", "os.path"), r"'os\.path': package not allowed; .*COTRAIN_BUILDERS\."),
        (("key", str(TINY)), r".*tiny\.py holds several recipes; write .*tiny\.py:Tiny\. Found: Tiny, .*"),
        (("key", f"{TINY}:Tinny"), r".*tiny\.py holds no recipe 'Tinny'\. Did you mean 'Tiny'\?"),
        (
            ("run", f"{TINY}:Tiny", "--only", "togther"),
            r".* has no experiment 'togther'; it has: together, stripes only\.",
        ),
        (
            ("enqueue", "one.yaml"),
            r"The queue takes recipes; one\.yaml is one experiment, which `cotrain run` trains\.",
        ),
        (("enqueue", "digits_v2"), r"There is no recipe 'digits_v2': .*"),
        (("show", "cotrain.models.smal_cnn"), r"'cotrain\.models\.smal_cnn' .* Did you mean 'small_cnn'\?"),
        (
            ("ls", "--where", "lr"),
            r"--where needs PATH=VALUE, for example optimiser\.lr=1e-3; found 'lr'\. Besides .*\.",
        ),
    ],
)
def test_names_that_lead_nowhere(arguments, text, command, place):
    status, out, err = command(*arguments)
    assert (status, out) == (1, "")
    assert re.fullmatch(f"cotrain: {text}\n", err)
    assert not (place / "home").exists(), "no database was started for that"


# --- check and run ---


def test_check_says_what_would_be_trained_and_writes_nothing(command, place):
    status, out, err = command("check", f"{TINY}:Tiny")
    assert (status, err) == (0, "")
    for experiment in experiments():
        assert f"{experiment.label}, seed 0  (key {experiment.key()})" in out
    assert "2 epochs" in out
    assert "stripes: classification, 3 classes, 63 training images (1, 12, 12), tap layer2; 3 batches of 16 " in out
    assert "cells: neural, 5 neurons in 1 session(s), 63 training images" in out
    assert "cell_rdm: rdm, RDM, 63 training images" in out
    assert out.endswith("Nothing was trained or written.\n")
    assert [path.name for path in place.iterdir()] == ["tiny.npz"]


def test_run_trains_once(command, place):
    arguments = ("run", f"{TINY}:Tiny", "--only", "together", "--out", "runs")
    status, first, err = command(*arguments)
    assert (status, err) == (0, "")
    folder = place / "runs" / experiments()[0].key()
    held = load(folder)
    assert first.startswith(f"together, seed 0: runs/{folder.name}\n")
    assert f"test scores of epoch {held.best_epoch}, which validation chose:" in first
    test = held.scores[(held.scores.split == "test") & (held.scores.metric == "accuracy")]
    assert re.search(rf"stripes +accuracy +{test.value.item():.4f}\n", first)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    again = first.replace(f"{folder.name}\n", f"{folder.name} is finished; nothing is trained\n")
    assert command(*arguments) == (0, again, "")
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the second time nothing is trained"
    assert command(*arguments, "--restart") == (0, first, "")
    assert folder.joinpath("journal.jsonl").stat().st_mtime_ns > before[folder / "journal.jsonl"]
    assert not (place / "home").exists()


def test_runs_go_into_the_home_folder_by_default(command, place):
    assert command("run", f"{TINY}:Tiny", "--only", "stripes only")[0] == 0
    assert load(place / "home" / "runs" / experiments()[1].key()).best_epoch in (1, 2)


def test_ctrl_c_is_status_130_and_the_run_goes_on_later(command, place, monkeypatch):
    whole = TensorBoardSink.epoch

    def interrupted(sink, epoch, scores, seconds):
        whole(sink, epoch, scores, seconds)
        if epoch == 1:
            raise KeyboardInterrupt

    arguments = ("run", f"{TINY}:Tiny", "--only", "together", "--out", "runs")
    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardSink, "epoch", interrupted)
        status, _, err = command(*arguments)
    assert (status, err) == (130, "cotrain: interrupted\n")
    assert command(*arguments)[0] == 0
    assert set(load(place / "runs" / experiments()[0].key()).scores.epoch) == {0, 1, 2}


# --- show ---


@pytest.mark.parametrize("room", ["data", "losses", "models", "tasks", "training"])
def test_show_lists_a_room(room, command):
    status, out, err = command("show", room)
    assert (status, err) == (0, "")
    assert out.startswith(f"cotrain.{room}.")


def test_show_tells_the_fields_of_a_builder(command):
    status, out, _ = command("show", "cotrain.models.small_cnn")
    assert status == 0
    assert out.startswith("cotrain.models.small_cnn\n")
    assert re.search(r"^    activation: 'relu' \| 'elu' = 'relu'", out, re.MULTILINE)


# --- pipes ---


@pytest.mark.parametrize("line", ["cotrain key tiny.py:Six --yaml | head -1", "cotrain key tiny.py:Six | true"])
def test_a_reader_that_has_seen_enough_is_no_error(line, place):
    (place / "tiny.py").write_text(TINY.read_text())
    done = shell(line, place)
    assert (done.returncode, done.stderr) == (0, "")
    if "head" in line:
        assert re.fullmatch(r"\w{32}  watched, seed 0\n", done.stdout)


def test_output_and_errors_are_kept_apart(place):
    done = shell("cotrain key nowhere.py 2>/dev/null", place)
    assert (done.returncode, done.stdout) == (1, "")
