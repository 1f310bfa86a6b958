"""Which code ran in which environment: asked of git, stored once."""

import hashlib
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import cotrain
from cotrain.recipe import find_recipe
from cotrain.tables import environment, provenance, worker
from cotrain.tables.runs import Attempt, Provenance, RecipeRun, TrainedModel

CHECKOUT = Path(cotrain.__file__).parents[1]


def git(folder, *arguments):
    options = ["-c", "user.name=A B", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", "-C", folder, *options, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A recipe's repository with one commit, where a worker was started."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "our lab's recipes"
    folder.mkdir()
    git(folder, "init")
    (folder / "recipe.py").write_text("epochs = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    monkeypatch.chdir(folder)
    return folder


def test_a_clean_repository_is_its_commit(repository):
    found = provenance.capture()
    head = git(repository, "rev-parse", "HEAD")
    assert found["repositories"][str(repository)] == {"commit": head, "dirty": False, "of": ["current folder"]}
    assert str(repository) not in found["changes"]


def test_uncommitted_changes_are_kept_as_a_patch(repository):
    (repository / "recipe.py").write_text("epochs = 2\nname = 'Müller'\n")
    found = provenance.capture()
    assert found["repositories"][str(repository)]["dirty"]
    patch = found["changes"][str(repository)]
    assert "-epochs = 1\n+epochs = 2\n+name = 'Müller'\n" in patch
    git(repository, "checkout", "recipe.py")
    subprocess.run(["git", "apply"], input=patch, cwd=repository, check=True, text=True)
    assert (repository / "recipe.py").read_text() == "epochs = 2\nname = 'Müller'\n"


def test_a_staged_change_is_a_change(repository):
    (repository / "recipe.py").write_text("epochs = 3\n")
    git(repository, "add", ".")
    assert "+epochs = 3" in provenance.capture()["changes"][str(repository)]


def test_an_untracked_file_makes_a_repository_dirty(repository):
    (repository / "new.py").write_text("")
    found = provenance.capture()
    assert found["repositories"][str(repository)]["dirty"]
    (repository / ".gitignore").write_text("new.py\n.gitignore\n")
    assert not provenance.capture()["repositories"][str(repository)]["dirty"]


def test_a_subfolder_belongs_to_its_repository(repository, monkeypatch):
    (repository / "deep").mkdir()
    monkeypatch.chdir(repository / "deep")
    assert str(repository) in provenance.capture()["repositories"]


def test_a_repository_without_a_commit(tmp_path, monkeypatch):
    git(tmp_path, "init")
    (tmp_path / "recipe.py").write_text("epochs = 1\n")
    monkeypatch.chdir(tmp_path)
    found = provenance.capture()
    assert found["repositories"][str(tmp_path)] == {"commit": "", "dirty": True, "of": ["current folder"]}
    assert "+epochs = 1\n" in found["changes"][str(tmp_path)]


def test_a_folder_without_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = provenance.capture()["repositories"]
    assert str(tmp_path) not in found
    if (CHECKOUT / ".git").exists():
        assert list(found) == [str(CHECKOUT)], "cotrain's own code is always told"


def test_a_machine_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = provenance.capture()
    assert (found["repositories"], found["changes"]) == ({}, {})


def test_the_recipes_repository_is_that_of_its_file(repository, lab, monkeypatch):
    (repository / "ours.py").write_text("from cotrain import Recipe\n\n\nclass Ours(Recipe):\n    pass\n")
    recipe = find_recipe(str(repository / "ours.py"))
    monkeypatch.chdir(lab.home)
    found = provenance.capture(recipe)
    assert found["repositories"][str(repository)]["of"] == ["recipe"]
    assert "+class Ours(Recipe):" in found["changes"][str(repository)]
    assert str(repository) not in provenance.capture()["repositories"]


def test_the_repository_of_a_labs_builders_is_told(repository, tmp_path, monkeypatch):
    (repository / "ourbuilders.py").write_text("")
    monkeypatch.syspath_prepend(repository)
    monkeypatch.setenv("COTRAIN_BUILDERS", "ourbuilders,nowhere")
    monkeypatch.chdir(tmp_path)
    assert provenance.capture()["repositories"][str(repository)]["of"] == ["ourbuilders"]


def test_a_change_between_two_attempts_of_a_worker_is_seen(repository):
    assert "changed_since_start" not in provenance.capture()["repositories"][str(repository)]
    (repository / "recipe.py").write_text("epochs = 2\n")
    found = provenance.capture()
    assert found["repositories"][str(repository)]["changed_since_start"]
    assert "+epochs = 2" in found["changes"][str(repository)]


def test_folders_of_runs_and_data_are_no_code(repository, monkeypatch):
    for name, setting in (("home", "COTRAIN_HOME"), ("pictures", "COTRAIN_DATA")):
        (repository / name).mkdir()
        (repository / name / "large.txt").write_text("1")
        monkeypatch.setenv(setting, str(repository / name))
    found = provenance.capture()
    assert not found["repositories"][str(repository)]["dirty"]


def test_variables_and_flags_that_change_numbers_are_told(repository, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setenv("DJ_PASS", "hunter2")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(not before)
    try:
        row = provenance.capture()
        found = row["environment"]
    finally:
        torch.use_deterministic_algorithms(before)
    assert found["variables"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["deterministic"] is not before
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu_capability"]
    assert "hunter2" not in str(row)


def test_an_installed_cotrain_is_named_by_its_wheel(tmp_path, monkeypatch):
    """Where cotrain lies in no repository."""
    folder = tmp_path / "cotrain-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: cotrain\nVersion: 9.9\n")
    (folder / "RECORD").write_text("cotrain/__init__.py,sha256=abc,1\n")
    (folder / "direct_url.json").write_text('{"url": "https://ann:hunter2@lab.org/cotrain.whl"}')
    monkeypatch.syspath_prepend(tmp_path)
    environment.installation.cache_clear()
    try:
        found = environment.installation()
    finally:
        environment.installation.cache_clear()
    assert found["version"] == "9.9"
    assert found["record_sha256"] == hashlib.sha256(b"cotrain/__init__.py,sha256=abc,1\n").hexdigest()
    assert found["direct_url"] == '{"url": "https://ann:***@lab.org/cotrain.whl"}'


def test_versions_are_told(monkeypatch):
    monkeypatch.setenv("COTRAIN_IMAGE", "registry/cotrain@sha256:12")
    found = provenance.capture()
    assert found["cotrain_version"] == cotrain.__version__
    assert found["python_version"] == platform.python_version()
    assert found["image"] == "registry/cotrain@sha256:12"
    assert found["packages"]["torch"] == version("torch")
    assert list(found["packages"]) == sorted(found["packages"])


def test_one_row_for_one_environment(lab, repository):
    before = len(Provenance())
    first = provenance.record_provenance()
    assert provenance.record_provenance() == first
    assert len(Provenance()) == before + 1
    (repository / "recipe.py").write_text("epochs = 2\n")
    second = provenance.record_provenance()
    assert second != first
    assert len(Provenance()) == before + 2
    row, captured = (Provenance() & second).fetch1(), provenance.capture()
    assert {name: row[name] for name in captured} == captured


def test_every_attempt_names_its_code(trained):
    for row in (Attempt() * Provenance()).to_dicts():
        assert row["cotrain_version"] == cotrain.__version__
        assert row["host"] == platform.node()
        assert row["pid"] == os.getpid()
        assert row["device"] == "cpu"
        assert row["command"]
    assert len(Attempt() * Provenance()) == len(Attempt()) == 2


def test_a_recipe_run_names_the_code_and_who_enqueued_it(trained):
    for row in (RecipeRun() * Provenance()).to_dicts():
        assert row["enqueued_by"] == provenance.user()
        assert "recipe" in {role for said in row["repositories"].values() for role in said["of"]}
    assert len(RecipeRun() * Provenance()) == len(RecipeRun()) == 2


def test_all_of_it_is_described(trained):
    key = (RecipeRun() & {"label": "together"}).proj().fetch1()
    text = provenance.describe({"run_key": key["run_key"]})
    head, *rest = text.splitlines()
    assert re.fullmatch(rf"attempt 1: done on \S+ \(cpu\), cotrain {re.escape(cotrain.__version__)}, .*", head)
    assert any(line.startswith("  started 2") for line in rest)
    assert any(f"torch {version('torch')}" in line and "threads 1, tf32" in line for line in rest)
    assert any("OMP_NUM_THREADS=1" in line for line in rest)
    assert rest[-1].startswith(f"enqueued in tiny.Tiny by {provenance.user()}, cotrain {cotrain.__version__}; ")
    assert provenance.describe({"run_key": "0" * 32}) == ""


def test_a_failure_is_told_without_its_secrets(lab, monkeypatch, caplog):
    def fail(*_, **__):
        raise ValueError("cannot open postgresql://ann:hunter2@db/lab")

    monkeypatch.setattr(worker, "train", fail)
    lab.enqueue("Long")
    assert worker.work(recipe="tiny.Long", home=lab.home) == (0, 1)
    row = (Attempt() & "status = 'failed'").fetch1()
    assert row["error"] == "ValueError: cannot open postgresql://ann:***@db/lab"
    assert "***" in row["stack"]
    stored = (TrainedModel.jobs & {"run_key": row["run_key"]}).fetch1("error_message", "error_stack")
    log = (lab.home / "logs" / row["run_key"] / "attempt_1.log").read_text()
    assert "postgresql://ann:***@db/lab" in log
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "hunter2" not in "".join([row["error"], row["stack"], row["command"], *stored, log, *told])
