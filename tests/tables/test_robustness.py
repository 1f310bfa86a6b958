"""Scores under corruptions in the database: the same from one process and from two, on from where one was killed."""

import json
import math
import re
import signal
import textwrap

import pytest
import torch
from PIL import Image

from cotrain import build
from cotrain.cli._evaluate import SUITES
from cotrain.data.corruptions import CORRUPTIONS_VERSION
from cotrain.evaluations import (
    CorruptedFoldersConfig,
    CorruptionsConfig,
    NoiseMixtureConfig,
    corruptions,
    noise_mixture,
)
from cotrain.metrics import classification_errors, mean_corruption_error
from cotrain.tables import configs, evaluate, queries
from cotrain.tables.evaluations import TABLES, Evaluation, NoiseMixture, Robustness
from cotrain.tables.runs import RecipeRun
from cotrain.tables.worker import work
from cotrain.training import load
from tests.tables.conftest import forget_evaluations

CPU = torch.device("cpu")
CONFIG = CorruptionsConfig(corruptions=("gaussian_noise",), severities=(1, 5), preset="cifar_c", seed=3)
YAML = "corruptions: [gaussian_noise]\nseverities: [1, 5]\npreset: cifar_c\nseed: 3\n"
COLUMNS = ["run_key", "label", "seed", "task", "session", "corruption", "severity", "metric", "value", "images"]


@pytest.fixture(scope="module")
def larger(lab):
    """A lab in which `Larger` is trained."""
    lab.enqueue("Larger")
    assert work(recipe="tiny.Larger") == (3, 0)
    return lab


@pytest.fixture
def fresh(larger):
    """Nothing is evaluated."""
    forget_evaluations()
    return larger


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "noise.yaml"
    path.write_text(YAML)
    return str(path)


def key_of(label):
    return {"run_key": (RecipeRun() & {"label": label}).fetch1("run_key")}


def stored_run(lab, key):
    """Model and data of a run, from its folder."""
    run = load(lab.home / "runs" / key["run_key"])
    return run.model, build(run.experiment.data, seed=run.experiment.seed)


def test_what_is_stored_is_what_the_library_finds(fresh, capsys):
    found = evaluate.evaluate(CONFIG, queries.runs(), progress=True)
    assert (found.done, found.known, found.failed) == (3, 0, {})
    assert re.search(r"corruptions: 100%.* 9/9 ", capsys.readouterr().err), "three conditions of three runs"
    rows = evaluate.frame(CONFIG, queries.runs())
    assert sorted(rows.columns) == sorted(COLUMNS)
    assert list(rows.columns[:3]) == COLUMNS[:3]
    for label in ("together", "stripes only", "cells only"):
        key = key_of(label)
        wanted = corruptions(*stored_run(fresh, key), CONFIG, device=CPU)
        held = rows[rows.run_key == key["run_key"]]
        assert set(held.label) == {label}
        by_key = {(row.task, row.session, row.corruption, row.severity, row.metric): row for row in held.itertuples()}
        assert len(by_key) == len(held) == len(wanted)
        for row in wanted:
            stored = by_key[row.task, row.session, row.corruption, row.severity, row.metric]
            assert stored.images == row.images
            assert stored.value == row.value or (math.isnan(stored.value) and not math.isfinite(row.value))
        master = (Robustness() & key).fetch1()
        assert master["robustness_count"] == len(wanted)
        facts = master["robustness_preset"], master["robustness_seed"], master["corruptions_version"]
        assert facts == ("cifar_c", 3, CORRUPTIONS_VERSION)
    assert set(rows[rows.label == "cells only"].task) == {"cells"}
    assert rows.value.dtype == float
    assert not (fresh.home / "evaluations").exists() or not list((fresh.home / "evaluations").rglob("*.jsonl"))


def test_what_is_undefined_is_null_and_read_as_nan(fresh):
    config = CONFIG.replace(images=3, tasks=("cell_rdm",))
    evaluate.evaluate(config, queries.runs())
    rows = evaluate.frame(config, queries.runs())
    assert set(rows.images) == {3}
    assert set(rows.metric) == {"spearman", "pearson", "loss"}, "of three stimuli there is no CKA"
    assert evaluate._stored(math.nan) is evaluate._stored(math.inf) is None
    for row in (Robustness.Score() & {"metric": "spearman"}).to_dicts():
        Robustness.Score.update1({**row, "value": evaluate._stored(math.nan)})
    again = evaluate.frame(config, queries.runs())
    assert again[again.metric == "spearman"].value.isna().all()
    assert again[again.metric == "loss"].equals(rows[rows.metric == "loss"])


def test_an_interrupted_evaluation_goes_on(fresh):
    """The journal that is in the home folder is used, and goes when the rows are stored."""
    key = key_of("stripes only")
    journal = evaluate.journal_of(fresh.home, CONFIG.key(), key["run_key"])
    told = []

    def stop_at_the_second():
        told.append(1)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corruptions(*stored_run(fresh, key), CONFIG, device=CPU, journal=journal, on_condition=stop_at_the_second)
    lines = journal.read_text().splitlines()
    marked = json.loads(lines[2])
    marked["scores"][0][3] = 123.0  # what no evaluation would find
    journal.write_text("\n".join([*lines[:2], json.dumps(marked)]) + '\n{"corr')
    assert evaluate.evaluate(CONFIG, queries.runs() & key).done == 1
    rows = evaluate.frame(CONFIG, queries.runs() & key)
    assert rows[rows.value == 123.0][["corruption", "severity"]].values.tolist() == [["gaussian_noise", 1]]
    assert not journal.exists()
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_text("of a process that was killed when the rows were stored")
    assert evaluate.evaluate(CONFIG, queries.runs() & key).known == 1
    assert not journal.exists()


def test_another_version_is_told_apart(fresh):
    """Scores of an older version stay where they are; the present one is another evaluation."""
    key = key_of("stripes only")
    evaluate.evaluate(CONFIG, queries.runs() & key)
    older = CONFIG.replace(version=CORRUPTIONS_VERSION + 1)
    assert len(evaluate.frame(older, queries.runs())) == 0
    found = evaluate.evaluate(older, queries.runs() & key)
    assert "gave other pixels" in found.failed[key["run_key"]]
    assert len(Robustness()) == 1


def test_noise_mixture(fresh):
    config = NoiseMixtureConfig(seed=4)
    assert evaluate.evaluate(config, queries.runs()).done == 3
    rows = evaluate.frame(config, queries.runs() & key_of("together"))
    wanted = noise_mixture(*stored_run(fresh, key_of("together")), config, device=CPU)
    assert {(row.task, row.split, row.shown, row.metric): row.value for row in rows.itertuples()} == {
        (row.task, row.split, row.shown, row.metric): row.value for row in wanted
    }
    assert set((NoiseMixture()).to_arrays("mixture_seed")) == {4}
    assert (NoiseMixture() & key_of("cells only")).fetch1("mixture_count") == 0


def test_folders(fresh, command, tmp_path):
    for name in ("thin", "middle", "broad"):
        for number in range(2):
            folder = fresh.home / "tiny-c" / "gaussian_noise" / "2" / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (10 * number, 0, 0)).save(folder / f"{number}.JPEG")
    path = tmp_path / "folders.yaml"
    path.write_text("path: tiny-c\ncorruptions: [gaussian_noise]\nseverities: [2]\n")
    status, out, err = command("evaluate", "--suite", "corrupted_folders", "--config", str(path))
    assert (status, err) == (0, "")
    assert out.endswith("3 runs evaluated, 0 were before, 0 failed.\n")
    config = CorruptedFoldersConfig.from_yaml(path.read_text())
    rows = evaluate.frame(config, queries.runs())
    assert set(rows.label) == {"together", "stripes only"}
    assert set(rows[rows.corruption == "gaussian_noise"].images) == {6}
    facts = (Robustness() & key_of("together")).fetch1()
    assert (facts["robustness_preset"], facts["robustness_seed"], facts["corruptions_version"]) == ("files", None, None)
    status, _, err = command("evaluate", "--suite", "corrupted_folders")
    assert (status, "path: a value is required" in err) == (1, True)


def test_the_command_prints_what_people_ask_first(fresh, command, file):
    asked = ("evaluate", "--suite", "corruptions", "--config", file)
    status, out, err = command(*asked, "--baseline", "stripes only")
    assert (status, err) == (0, "")
    rows = evaluate.frame(CONFIG, queries.runs())
    accuracy = rows[(rows.task == "stripes") & (rows.metric == "accuracy")]
    errors = {label: classification_errors(held) for label, held in accuracy.groupby("label")}
    for label, held in errors.items():
        clean, corrupted = 1 - held["clean", 0], 1 - (held["gaussian_noise", 1] + held["gaussian_noise", 5]) / 2
        share = mean_corruption_error(held, errors["stripes only"]).value
        line = rf"^ *{label} +0 +\w{{8}} +stripes +accuracy +{clean:.4f} +{corrupted:.4f} +{share:.4f} "
        assert re.search(line, out, re.MULTILINE), (line, out)
    correlation = rows[(rows.task == "cells") & (rows.metric == "correlation") & (rows.session == "")]
    means = correlation[correlation.severity > 0].groupby("label").value.mean()
    at = out.index("cells correlation: mean over severities, median over 2 runs by label:\n")
    header, line = out[at:].splitlines()[1:3]
    assert header.split("  ")[-2:] == ["cells only", "together"] or "together" in header
    assert {f"{value:.4f}" for value in means} == set(line.split()[1:])
    assert out.endswith("\n3 runs evaluated, 0 were before, 0 failed.\n")
    status, out, _ = command(*asked, "together", "--baseline", "stripes only")
    assert out.endswith("\n0 runs evaluated, 2 were before, 0 failed.\n"), "the baseline is evaluated, too"
    assert "cells only" not in out
    assert "mCE" not in command(*asked)[1]


def test_wrong_uses_of_the_command(fresh, command, file):
    assert command("evaluate", "corruptions")[0] == 2, "--suite is required"
    status, _, err = command("evaluate", "--suite", "corruption")
    assert (status, "Did you mean 'corruptions'?" in err) == (1, True)
    status, _, err = command("evaluate", "--suite", "corruptions", "--baseline", "absent", "--config", file)
    assert (status, "No runs have a key that begins with 'absent', or that label" in err) == (1, True)
    status, _, err = command("evaluate", "--suite", "neuron_scores", "--baseline", "together")
    assert (status, "--baseline is for the suites corruptions and corrupted_folders" in err) == (1, True)
    status, out, _ = command("evaluate", "--suite", "corruptions", "--baseline", "cells only", "--config", file)
    assert "No corruption errors of stripes: the baseline has no such task, or is not evaluated." in out
    fresh.enqueue("Again")
    status, _, err = command(
        *(
            "evaluate",
            "--suite",
            "corruptions",
            "--config",
            file,
            "--recipe",
            "Again",
            "--baseline",
            "together",
        )
    )
    assert (status, "The recipe Again has no run 'together', the baseline." in err) == (1, True)


def test_help_names_every_suite(command):
    out = command("evaluate", "--help")[1]
    assert {kind.rpartition(".")[2] for kind in TABLES} == set(SUITES)
    assert all(suite in out for suite in SUITES)


def test_names_of_columns_are_fit_for_all_servers(larger):
    """Of no table's own columns two are called alike, so that all can be joined, and none is a word of SQL."""
    words = {"rank", "range", "condition", "key", "keys", "groups", "system", "row", "rows", "read", "interval", "show"}
    for table in (Robustness, NoiseMixture):
        for held in (table(), table.part()()):
            assert not words & set(held.heading.names)
            assert len(held.table_name) + len(configs.schema.database) < 64
    both = (Robustness() * NoiseMixture()).heading.names
    assert len(both) == len(set(both))


@pytest.mark.slow
def test_one_process_that_is_killed_and_two_that_share_the_rest(fresh, file):
    """What they store is what one process finds that nobody disturbs."""
    asked = ("evaluate", "--suite", "corruptions", "--config", file)
    code = """
        import os, signal, sys
        from cotrain.cli import main
        from cotrain.evaluations import _journal

        add, told = _journal.Journal.add, []

        def add_and_die(*arguments):
            add(*arguments)
            told.append(1)
            if len(told) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        _journal.Journal.add = add_and_die
        sys.exit(main())
    """
    killed = fresh.start_python(textwrap.dedent(code), *asked)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert len(Robustness()) == 0
    (journal,) = (fresh.home / "evaluations").rglob("*.jsonl")
    assert journal.read_bytes().count(b"\n") == 1 + 2
    processes = [fresh.start(*asked) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum(int(re.search(r"(\d+) runs evaluated", out)[1]) for out, _ in said) == 3
    assert not journal.exists()
    shared = evaluate.frame(CONFIG, queries.runs())
    (Evaluation() & True).delete()
    evaluate.evaluate(CONFIG, queries.runs())
    alone = evaluate.frame(CONFIG, queries.runs())
    assert shared.drop(columns="value").equals(alone.drop(columns="value"))
    assert shared.value.tolist() == pytest.approx(alone.value.tolist(), rel=1e-12, nan_ok=True)
