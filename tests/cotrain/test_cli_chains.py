"""`cotrain run` and `check` on recipes whose runs need each other."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from cotrain import cli
from cotrain.recipe import find_recipe
from cotrain.training import load

TINY = Path(__file__).parents[1] / "tables" / "tiny.py"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data and a home that does not exist yet."""
    for name in [name for name in os.environ if name.startswith(("COTRAIN_", "DJ_"))]:
        monkeypatch.delenv(name)
    find_recipe(f"{TINY}:Chain")
    sys.modules["cotrain_recipe_tiny"].write_data(tmp_path)
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(place, capsys):
    """A function that runs a command line here: the lines that begin a run, and its errors."""

    def run(*arguments):
        capsys.readouterr()
        status = cli.main(arguments)
        out, err = capsys.readouterr()
        return status, re.findall(r"^(\w+, seed \d.*): \S*/(\w{8})", out, re.MULTILINE), err or out

    return run


def keys(seed=0):
    return {e.label: e.key() for e in find_recipe(f"{TINY}:Chain")().expand() if e.seed == seed}


def begun(label, seed, why=""):
    return f"{label}, seed {seed}{why}", keys(seed)[label][:8]


def modified(folder):
    return {path.name: (path / "journal.jsonl").stat().st_mtime_ns for path in folder.iterdir()}


NEEDED = ", needed by {!r} and not trained yet"


def test_what_is_needed_is_trained_first(command, place):
    why = NEEDED.format("started")
    arguments = ("run", f"{TINY}:OneChain", "--only", "started")
    status, told, _ = command(*arguments)
    assert (status, told) == (0, [begun("teacher", 0, why), begun("student", 0, why), begun("started", 0)])
    runs = place / "home" / "runs"
    assert len(list(runs.iterdir())) == 3
    assert load(runs / keys()["started"]).experiment.label == "started"
    # a finished run needs nothing, and is shown
    shutil.rmtree(runs / keys()["teacher"])
    assert command(*arguments)[:2] == (0, [begun("started", 0)])
    # what a finished run needed is not trained for the sake of what needs that run
    shutil.rmtree(runs / keys()["started"])
    assert command(*arguments)[:2] == (0, [begun("started", 0)])
    # anew is what was asked for
    before = modified(runs)
    assert command(*arguments, "--restart")[:2] == (0, [begun("started", 0)])
    assert {name for name, time in modified(runs).items() if before[name] != time} == {keys()["started"]}


@pytest.mark.slow
def test_a_whole_recipe_is_trained_once_in_any_order(command, place):
    why = NEEDED.format("started")
    for more in ((), ("--restart",)):
        status, told, _ = command("run", f"{TINY}:Chain", "--out", "runs", *more)
        of_seed = [[begun("teacher", s, why), begun("student", s, why), begun("started", s)] for s in (0, 1)]
        assert (status, told) == (0, [*of_seed[0], *of_seed[1]])
    assert len(list((place / "runs").iterdir())) == 6
    assert not (place / "home").exists(), "what is needed lies beside what needs it"


def test_a_recipe_of_the_last_alone_and_its_yaml(command, place, capsys):
    status, told, _ = command("run", f"{TINY}:Last")
    assert status == 0 and len(told) == 6
    shutil.rmtree(place / "home")
    cli.main(("key", f"{TINY}:Last", "--yaml"))
    first = re.split(r"^\w{32}  .*\n", capsys.readouterr().out, flags=re.MULTILINE)[2]  # of seed 1
    (place / "one.yaml").write_text(first)
    why = NEEDED.format("started")
    status, told, _ = command("run", "one.yaml")
    assert (status, told) == (0, [begun("teacher", 1, why), begun("student", 1, why), begun("started", 1)])


def test_what_is_named_by_its_key_alone_is_an_error_that_names_it(command):
    status, _, said = command("run", f"{TINY}:Named")
    assert status == 1
    assert re.fullmatch(
        r"cotrain: There is no finished run \w{32}, which 'named' needs, in \S+/home/runs\. Train it first "
        r"\(`cotrain run RECIPE` or `cotrain work` with this COTRAIN_HOME\), or copy its folder there\.\n",
        said,
    )


def test_check_says_what_must_be_trained_before(command):
    status, _, said = command("check", f"{TINY}:Chain")
    assert status == 0
    for label, needed in (("started", "student"), ("student", "teacher")):
        for seed in (0, 1):
            line = f"  cannot be tried before this is trained: {keys(seed)[needed]} ('{needed}', seed {seed})\n"
            assert f"{label}, seed {seed}  (key {keys(seed)[label]})\n{line}" in said
    assert said.count("parameters on") == 2, "the teachers were tried"
