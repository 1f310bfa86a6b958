"""What git tells of a repository, and that its patch gives the same files again."""

import os
import subprocess

import pytest

from cotrain.tables import repositories
from cotrain.tables.repositories import repositories_of


def git(folder, *arguments):
    options = ["-c", "user.name=A B", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    options += ["-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", folder, *options, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _no_variables_of_git(monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def repository(tmp_path):
    return made(tmp_path / "our lab's recipes")


def made(folder):
    folder.mkdir()
    git(folder, "init")
    (folder / "recipe.py").write_text("epochs = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def files(folder):
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_the_patch_gives_the_same_files_again(repository, tmp_path):
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "color.ui", "always")
    (repository / "recipe.py").write_text("epochs = 2\nname = 'M\u00fcller'")
    (repository / "deep er").mkdir()
    (repository / "deep er" / "n\u00e9w file.py").write_text("a = 1\n\nb = 2\n")
    (repository / "no_newline.txt").write_text("one\ntwo")
    (repository / "empty.py").write_text("")
    (repository / "run.sh").write_text("true\n")
    (repository / "run.sh").chmod(0o755)
    (found,) = repositories_of(repository)
    assert (found.commit, found.dirty, found.left_out) == (git(repository, "rev-parse", "HEAD"), True, {})
    git(tmp_path, "clone", str(repository), "copy")
    subprocess.run(["git", "apply"], input=found.patch.encode(), cwd=tmp_path / "copy", check=True)
    assert files(tmp_path / "copy") == files(repository)


def test_nothing_is_written_into_the_repository(repository):
    before = {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")}
    (repository / "new.py").write_text("a = 1\n")
    assert repositories_of(repository)[0].dirty
    assert {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")} == before


def test_files_with_secrets_are_left_out(repository):
    for name in (".env", "id_rsa"):
        (repository / name).write_text("DJ_PASS=hunter2\n")
    git(repository, "add", "-f", ".env")
    (found,) = repositories_of(repository)
    assert found.left_out == {".env": "may hold secrets", "id_rsa": "may hold secrets"}
    assert "hunter2" not in found.patch


def test_a_secret_in_another_file_is_masked_and_told(repository):
    (repository / "server.yaml").write_text("host: db\npassword: hunter2\n")
    (repository / "recipe.py").write_text("token = next(tokens)\nurl = 'mysql://ann:hunter2@db/lab'\n")
    (found,) = repositories_of(repository)
    assert set(found.left_out) == {"server.yaml", "recipe.py"}
    assert "+token = next(tokens)\n+url = 'mysql://ann:***@db/lab'" in found.patch
    assert "hunter2" not in found.patch


def test_what_is_no_text_or_too_large_is_left_out(repository, monkeypatch):
    monkeypatch.setattr(repositories, "LARGEST_PATCH", 150_000)
    (repository / "picture.png").write_bytes(b"\x89PNG\0\xff")
    (repository / "huge.csv").write_text("1,2\n" * 50_000)
    for name in ("a.txt", "b.txt"):
        (repository / name).write_text("x" * 79 + "\n")
        (repository / name).write_text(("x" * 79 + "\n") * 1_000)
    (repository / "link").symlink_to("recipe.py")
    git(repository, "add", "picture.png")
    (found,) = repositories_of(repository)
    assert found.left_out == {
        "picture.png": "no text",
        "huge.csv": "200,000 bytes",
        "b.txt": "too many changes together",
        "link": "no plain file",
    }
    assert len(found.patch) < repositories.LARGEST_PATCH
    assert "+++ b/a.txt" in found.patch


def test_many_files_that_were_left_out_are_counted(repository):
    for number in range(30):
        (repository / f"{number}.pem").write_text("")
    said = repositories_of(repository)[0].record()["left_out"]
    assert len(said) == 21
    assert said["..."] == "and 10 more"


def test_submodules_are_repositories_of_their_own(repository, tmp_path):
    other = made(tmp_path / "other")
    git(repository, "submodule", "add", str(other), "builders")
    git(repository, "commit", "-m", "second")
    (repository / "builders" / "recipe.py").write_text("epochs = 5\n")
    top, below = repositories_of(repository)
    assert (top.folder, top.dirty, top.patch) == (str(repository), False, "")
    assert (below.folder, below.commit) == (str(repository / "builders"), git(other, "rev-parse", "HEAD"))
    assert "+epochs = 5" in below.patch
    git(repository / "builders", "commit", "-am", "third")
    assert "+Subproject commit" in repositories_of(repository)[0].patch


def test_what_git_refuses_to_tell_is_said(repository):
    (repository / ".git" / "config").write_text("[core\n")
    (found,) = repositories_of(repository)
    assert found.commit == ""
    assert "config" in found.problem


def test_the_remote_is_told_without_its_password(repository):
    git(repository, "remote", "add", "origin", "https://ann:hunter2@lab.org/recipes.git")
    assert repositories_of(repository)[0].remote == "https://ann:***@lab.org/recipes.git"


def test_variables_that_git_sets_for_hooks_lead_nowhere_else(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    (found,) = repositories_of(repository)
    assert found.folder == str(repository)
