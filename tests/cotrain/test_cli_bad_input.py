"""Wrong input at the command line: one clear message, status 1, no traceback, and nothing half-written."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cotrain import cli
from cotrain.errors import ConfigError, RecipeError
from cotrain.recipe import find_recipe
from cotrain.training import load

TINY = Path(__file__).parents[1] / "tables" / "tiny.py"
RECIPE = f"""
import runpy
from cotrain import Recipe
Tiny = runpy.run_path({str(TINY)!r})["Tiny"]

class Wrong(Recipe):
    '''Is what is wrong told?'''

    def experiments(self):
        together, alone = Tiny().experiments()
        yield together
        yield together.vary("second", CHANGE)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with right data and a right experiment in `one.yaml`."""
    for name in [name for name in os.environ if name.startswith(("COTRAIN_", "DJ_"))]:
        monkeypatch.delenv(name)
    recipe = find_recipe(f"{TINY}:Tiny")
    sys.modules["cotrain_recipe_tiny"].write_data(tmp_path)
    (tmp_path / "one.yaml").write_text(recipe().expand()[0].to_yaml())
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(place, capsys):
    """A function that runs a command line, which must fail in order, and returns its message."""

    def run(*arguments):
        capsys.readouterr()
        assert cli.main(arguments) == 1
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "unexpected" not in err
        assert err.startswith("cotrain: ")
        assert err.count("cotrain: ") == 1
        assert err.endswith("\n")
        return err.removeprefix("cotrain: ").removesuffix("\n")

    return run


def require_nothing_written(place):
    """No database, and of a run no file but its lock."""
    assert not (place / "home" / "database").exists()
    assert [path for path in place.glob("*/**/*") if path.is_file() and path.name != ".lock"] == []


def change_yaml(place, old, new):
    text = (place / "one.yaml").read_text()
    assert old in text
    (place / "one.yaml").write_text(text.replace(old, new, 1))


def change_data(place, **arrays):
    with np.load(place / "tiny.npz") as held:
        arrays = {**held, **arrays}
    np.savez(place / "tiny.npz", **arrays)


# --- what a config says ---

CONFIGS = {
    "an unknown key": ("epochs: 2", "epoch: 2", r"trainer: .*epoch: unknown name\. Did you mean 'epochs'\?"),
    "an unknown part": ("trainer:", "trainr:", r"trainr: unknown name\. Did you mean 'trainer'\?"),
    "a wrong type": ("epochs: 2", "epochs: two", r"epochs: .*integer, found 'two'"),
    "out of range": ("epochs: 2", "epochs: 0", r"epochs: .*greater than or equal to 1, found 0"),
    "a number as text": ("lr: 0.002", "lr: 2e-3", r"optimiser\.lr: .*found '2e-3' \(this is text: .*1\.0e-3"),
    "a wrong builder": (
        "cotrain.models.small_cnn",
        "cotrain.models.small_cn",
        r"'cotrain\.models\.small_cn' does not exist in 'cotrain\.models'\. Did you mean 'small_cnn'\?",
    ),
    "a wrong module": (
        "cotrain.models.small_cnn",
        "cotrain.model.small_cnn",
        r"'cotrain\.model\.small_cnn': there is no module 'cotrain\.model'",
    ),
    "a module that is not allowed": (
        "cotrain.models.small_cnn",
        "os.system",
        r"'os\.system': builders of package 'os' are not allowed here .*COTRAIN_BUILDERS=os ",
    ),
    "no mapping": ("label: together", "- together", r"This is not valid YAML"),
    "one name twice": ("seed: 0", "seed: 0\nseed: 1", r"YAML line \d+: 'seed' stands twice\. Keep one\."),
}


@pytest.mark.parametrize("wrong", CONFIGS)
@pytest.mark.parametrize("command", [("key",), ("check",), ("run", "--out", "runs")], ids=lambda words: words[0])
def test_a_wrong_experiment(wrong, command, refused, place):
    old, new, text = CONFIGS[wrong]
    change_yaml(place, old, new)
    assert re.search(text, refused(command[0], "one.yaml", *command[1:]))
    require_nothing_written(place)


RECIPES = {
    "an unknown key": ("trainer={'epoch': 3}", r"'second', trainer: .*epoch: unknown name\. Did you mean 'epochs'\?"),
    "several": (
        "trainer={'epoch': 3, 'seed': 1}, data={'pth': 'x'}",
        r"(?s)'second', data: .*pth.*Did you mean 'path'\?.*'second', trainer: .*2 errors\n.*epoch: .*\n.*seed: ",
    ),
    "a wrong builder": (
        "model={'backbone': {'kind': 'cotrain.models.smal_cnn'}}",
        r"'second', model: .*'cotrain\.models\.smal_cnn' does not exist .* Did you mean 'small_cnn'\?",
    ),
    "not allowed": ("model={'backbone': {'kind': 'os.system'}}", r"builders of package 'os' are not allowed here"),
    "twice the same": ("seed=0", r"'together' and 'second' are the same experiment"),
}


@pytest.mark.parametrize("wrong", RECIPES)
@pytest.mark.parametrize("command", ["key", "check", "run", "enqueue"])
def test_a_wrong_recipe(wrong, command, refused, place):
    change, text = RECIPES[wrong]
    (place / "wrong.py").write_text(RECIPE.replace("CHANGE", change))
    message = refused(command, "wrong.py")
    assert message.startswith("Wrong has ")
    assert re.search(text, message)
    (place / "wrong.py").unlink()
    require_nothing_written(place)


@pytest.mark.parametrize("text", ["1 +", "import no_such_module", "raise OSError('odd')", "x = 1"])
def test_a_recipe_that_is_no_python_or_no_recipe(text, place, capsys):
    (place / "odd.py").write_text(text)
    assert cli.main(["key", "odd.py"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("cotrain: ")
    assert "Traceback" not in err


def test_a_file_that_is_no_text(refused, place):
    (place / "one.yaml").write_bytes(b"\xff\xfe\x00")
    assert re.search(r"^one\.yaml is no UTF-8 text", refused("key", "one.yaml"))


def test_debug_shows_the_traceback(place):
    (place / "wrong.py").write_text(RECIPE.replace("CHANGE", "trainer={'epoch': 3}"))
    with pytest.raises(RecipeError, match="Did you mean 'epochs'"):
        cli.main(["key", "wrong.py", "--debug"])
    change_yaml(place, "epochs", "epoch")
    with pytest.raises(ConfigError, match="Did you mean 'epochs'"):
        cli.main(["check", "one.yaml", "--debug"])


# --- what a data file holds ---


def shorter(place):
    change_data(place, responses=np.zeros((80, 5)))


def nan_images(place):
    images = np.load(place / "tiny.npz")["images"] / 255
    images[7, 3, 3] = np.nan
    change_data(place, images=images)


def wrong_labels(place):
    labels = np.load(place / "tiny.npz")["labels"]
    change_data(place, labels=np.where(labels == 2, 3, labels))


DATA = {
    "missing": (lambda place: (place / "tiny.npz").unlink(), r"There is no data file .*tiny\.npz\. Set COTRAIN_DATA "),
    "damaged": (lambda place: (place / "tiny.npz").write_bytes(b"PK\x03\x04"), r"tiny\.npz is no readable NPZ file"),
    "lacks an array": (
        lambda place: np.savez(place / "tiny.npz", image=[1]),
        r"no array 'images'\. Did you mean 'image'\?",
    ),
    "other lengths": (shorter, r"task 'cells': 90 images but responses of shape \(80, 5\)\."),
    "fewer labels": (
        lambda place: change_data(place, labels=np.zeros(9, int)),
        r"90 images but labels of shape \(9,\)",
    ),
    "NaN images": (nan_images, r"'images': 1 images hold NaN or infinite pixels, first at rows \[7\]\."),
    "wrong labels": (wrong_labels, r"labels must lie in 0\.\.2 \(3 classes\), found 0\.\.3\."),
    "an empty split": (
        lambda place: change_yaml(place, "test: 0.15", "test: 0.001"),
        r"The split 'test' is empty: 90 groups of stimuli are too few for its share\.",
    ),
    "nothing to learn from": (
        lambda place: change_yaml(place, "test: 0.15", "test: 0.9"),
        r"validation 0\.15 and test 0\.9 leave no stimuli for training\.",
    ),
    "one brightness": (
        lambda place: change_data(place, images=np.full((90, 12, 12), 9, np.uint8)),
        r"of one brightness|The split '\w+' is empty",
    ),
}


@pytest.mark.parametrize("wrong", DATA)
@pytest.mark.parametrize("command", [("check",), ("run", "--out", "runs")], ids=lambda words: words[0])
def test_wrong_data(wrong, command, refused, place):
    break_it, text = DATA[wrong]
    break_it(place)
    assert re.search(text, refused(command[0], "one.yaml", *command[1:]))
    assert not list(place.glob("**/*.pt")) + list(place.glob("**/*.jsonl")) + list(place.glob("**/*.json"))
    assert not (place / "home").exists()


def test_a_run_that_cannot_begin_does_not_occupy_its_folder(refused, place):
    """Whoever corrects the config, which gives another key, may name the same folder again."""
    nan_images(place)
    refused("run", "one.yaml", "--out", "runs")
    require_nothing_written(place)


def test_after_the_data_are_put_right_the_same_command_trains(refused, place):
    whole = (place / "tiny.npz").read_bytes()
    nan_images(place)
    refused("run", "one.yaml", "--out", "runs")
    (place / "tiny.npz").write_bytes(whole)
    assert cli.main(["run", "one.yaml", "--out", "runs"]) == 0
    (folder,) = (place / "runs").iterdir()
    assert load(folder).best_epoch in (1, 2)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "main: stripes",
            "main: stripe",
            r"mixing names the task 'stripe', which the data lack\. Did you mean 'stripes'",
        ),
        ("tap: layer2", "tap: layer9", r"layer9"),
        ("device: cpu", "device: cpuu", r"There is no device 'cpuu'"),
    ],
)
@pytest.mark.parametrize("command", [("check",), ("run", "--out", "runs")], ids=lambda words: words[0])
def test_configs_that_do_not_fit_the_data(old, new, text, command, refused, place):
    change_yaml(place, old, new)
    assert re.search(text, refused(command[0], "one.yaml", *command[1:]))
