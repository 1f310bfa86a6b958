"""A run trained again: what differs is named, and its scores are compared."""

import subprocess
import sys

import numpy as np
import pytest

from cotrain.tables import exact
from cotrain.tables.exact import Matters
from cotrain.tables.runs import EpochScore, RecipeRun, TrainedModel
from cotrain.training import load


@pytest.fixture
def key(trained):
    return {"run_key": (RecipeRun() & {"label": "together"}).fetch1("run_key")}


def differences(key, row, lab, **options):
    found = exact.differences(key, row, runs=lab.home / "runs", **options)
    # of the checkout that is tested, where someone is at work
    return [difference for difference in found if "no patch holds whole" not in difference.what]


def test_a_run_repeated_in_its_environment_is_equal(trained, key, command):
    status, out, err = command("run", "--exact", key["run_key"][:8])
    assert (status, err) == (0, "")
    head, same, *_, training, equal = out.splitlines()
    assert head.startswith(f"{key['run_key']}: attempt 1 finished it on ")
    assert same == "Nothing differs here that may change a number."
    folder = trained.home / "runs" / f"exact-{key['run_key'][:8]}-1"
    assert training == f"Training it again in {folder}"
    scores = len(load(folder).scores)
    assert scores > 50
    assert equal == f"All {scores} scores are equal to the stored ones, bit for bit."
    status, out, err = command("run", "--exact", "together", "--out", str(folder))
    assert (status, out.splitlines()[-2:]) == (0, [f"{folder} holds it, finished", equal])
    own = trained.home / "runs" / key["run_key"]
    status, out, err = command("run", "--exact", "together", "--out", str(own))
    assert (status, out) == (1, "")
    assert err.startswith(f"cotrain: {own} may be the run itself")


@pytest.mark.slow
def test_another_number_of_threads_is_named(trained, key):
    done = trained.cotrain("run", "--exact", "together", "--check-only", OMP_NUM_THREADS="2")
    assert (done.returncode, done.stderr) == (1, "")
    assert "What differs here and may change a number, what matters most first:\n" in done.stdout
    assert "  threads: then 1, now 2\n    export OMP_NUM_THREADS=1\n" in done.stdout
    assert "  OMP_NUM_THREADS: then 1, now 2\n    export OMP_NUM_THREADS=1\n" in done.stdout


def test_versions_flags_and_devices_are_named_with_what_to_do(trained, key):
    row = exact.origin(key)
    now = row["packages"]["torch"]
    row["packages"] |= {"torch": "2.0.1", "tqdm": "1.0", "gone": "3"}
    row["environment"] |= {"gpus": ["NVIDIA H100"], "tf32": True, "cuda": "12.8"}
    row |= {"image": "lab/cotrain@sha256:12", "cotrain_version": "0.0.1", "command": "cotrain work --ranks 2"}
    found = {difference.what: difference for difference in differences(key, row, trained)}
    assert (found["package torch"].then, found["package torch"].now) == ("2.0.1", now)
    assert found["package torch"].remedy == "pip install torch==2.0.1"
    assert found["gpus"].now == "none"
    assert {"tf32", "cuda", "image", "ranks", "package gone"} < set(found)
    assert [what for what in found if what in ("cotrain", "package torch", "package tqdm")] == [
        "cotrain",
        "package torch",
        "package tqdm",
    ], "what matters most comes first"
    assert found["package tqdm"].matters is Matters.REST
    assert differences(key, exact.origin(key), trained) == []


def git(folder, *arguments):
    options = ["-c", "user.name=A B", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", folder, *options, *arguments], check=True, capture_output=True)


def test_another_commit_and_its_changes_are_named_and_can_be_had_again(trained, key, tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    git(folder, "init")
    (folder / "ours.py").write_text("a = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    (folder / "ours.py").write_text("a = 2\n")
    monkeypatch.chdir(folder)
    row = exact.origin(key)
    row |= {name: value for name, value in exact.capture().items() if name in ("repositories", "changes")}
    assert not [d for d in differences(key, row, trained) if d.what.startswith("code of")]
    git(folder, "commit", "-am", "second")
    commit = row["repositories"][str(folder)]["commit"]
    code, changes = (d for d in differences(key, row, trained, patches=tmp_path / "out") if "current" in d.what)
    assert (code.matters, code.then, code.remedy) == (Matters.CODE, commit, f"git -C {folder} checkout {commit}")
    assert changes.now == "none"
    git(folder, "checkout", commit)
    subprocess.run(["bash", "-ec", changes.remedy.rpartition("; ")[2]], check=True)
    assert (folder / "ours.py").read_text() == "a = 2\n"
    assert not [d for d in differences(key, row, trained) if d.what.startswith("code of")]


def test_other_data_come_first(trained, key, tmp_path, monkeypatch):
    sys.modules[trained.recipe("Tiny").__module__].write_data(tmp_path)
    with np.load(tmp_path / "tiny.npz") as arrays:
        changed = dict(arrays)
    changed["responses"][0, 0] += 1
    np.savez(tmp_path / "tiny.npz", **changed)
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    (first,) = differences(key, exact.origin(key), trained)
    assert (first.matters, first.what) == (Matters.DATA, "data")
    assert "a data file has changed" in str(first)
    (tmp_path / "tiny.npz").unlink()
    (first,) = differences(key, exact.origin(key), trained)
    assert "they cannot be read: There is no data file" in first.now


def test_scores_that_differ_are_counted_and_the_largest_is_named(trained, key):
    scores = load(trained.home / "runs" / key["run_key"]).scores
    assert exact.compare(key, scores).equal
    one = (scores.epoch == 2) & (scores.split == "validation") & (scores.metric == "accuracy")
    scores.loc[one, "value"] += 0.25
    slightly = (scores.epoch == 1) & (scores.split == "train") & (scores.metric == "loss")
    scores.loc[slightly, "value"] += 1e-9
    found = exact.compare(key, scores)
    assert not found.equal
    assert (found.compared, found.different, found.where) == (
        len(scores),
        1 + slightly.sum(),
        (2, "stripes", "", "validation", "accuracy"),
    )
    assert found.largest == pytest.approx(0.25)
    fewer = exact.compare(key, scores[scores.split != "test"])
    assert fewer.missing
    assert {cell[3] for cell in fewer.missing} == {"test"}


def test_what_is_not_finished_cannot_be_repeated(trained, command):
    trained.enqueue("Long")
    status, _, err = command("run", "--exact", "long")
    TrainedModel.jobs.delete_quick()
    assert status == 1
    assert "is not finished: there are no scores to compare with." in err


@pytest.mark.parametrize("options", [("--only", "together"), ("--restart",)])
def test_options_that_do_not_go_together(options, trained, command):
    status, _, err = command("run", "--exact", "together", *options)
    assert (status, err.count("--exact takes one run")) == (1, 1)
    assert command("run", "tiny", "--check-only")[2].startswith("cotrain: --check-only belongs to --exact")


def test_attempts_with_other_code_that_trained_some_epochs_are_told(trained, key):
    row = exact.origin(key)
    assert exact.other_attempts(key, row) == []
    assert exact.other_attempts(key, {**row, "provenance_key": "other"}) == [1]
    assert len(EpochScore() & key) > 0
