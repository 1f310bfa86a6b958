"""Which code ran in which environment: asked of git, stored once."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

import cotrain
from cotrain.tables import provenance
from cotrain.tables.runs import Attempt, Provenance

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
    assert found["repositories"][str(repository)] == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}
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
    (tmp_path / "recipe.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert provenance.capture()["repositories"][str(tmp_path)] == {"commit": "", "dirty": True}


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


def test_versions_are_told(monkeypatch):
    monkeypatch.setenv("COTRAIN_IMAGE", "registry/cotrain@sha256:12")
    found = provenance.capture()
    assert found["cotrain_version"] == cotrain.__version__
    assert found["python_version"] == platform.python_version()
    assert found["image"] == "registry/cotrain@sha256:12"
    assert found["packages"]["torch"] == version("torch")
    assert list(found["packages"]) == sorted(found["packages"])


def test_one_row_for_one_environment(lab, repository):
    first = provenance.record_provenance()
    assert provenance.record_provenance() == first
    assert len(Provenance()) == 1
    (repository / "recipe.py").write_text("epochs = 2\n")
    second = provenance.record_provenance()
    assert second != first
    assert len(Provenance()) == 2
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
