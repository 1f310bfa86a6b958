"""What git knows of the code: commits, and what was changed since, as patches that `git apply` takes."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotrain.tables.masking import is_secret_file, masked

LARGEST_FILE = 100_000  # bytes of one file that git does not know, or of one file's changes
LARGEST_PATCH = 1_000_000  # bytes of all changes of a repository
MOST_NAMED = 20  # files that were left out, by name

# set by git for its hooks, these would lead to another repository than the folder's
OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
# whatever the user's settings are, the patch is one that git can apply
PLAIN = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")


@dataclass
class Repository:
    """A repository as it stands.

    Args:
        folder: Its top.
        commit: Empty before the first one.
        dirty: Whether a file differs from the commit, or is not in it (and not ignored).
        patch: These differences, as far as they are text, no secrets, and not too large.
        left_out: {file: why it is not in the patch}, or in the patch only with masks.
        problem: Why git tells nothing.
    """

    folder: str
    commit: str = ""
    dirty: bool = False
    patch: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    remote: str = ""
    problem: str = ""

    def record(self) -> dict[str, Any]:
        """JSON-ready values, without the patch; what is empty is left out."""
        few = dict(list(self.left_out.items())[:MOST_NAMED])
        if more := len(self.left_out) - len(few):
            few["..."] = f"and {more} more"
        rest = {"left_out": few, "remote": self.remote, "problem": self.problem}
        return {"commit": self.commit, "dirty": self.dirty, **{name: held for name, held in rest.items() if held}}


def top_of(place: Path) -> Path:
    """The top of the repository that a folder belongs to, by its name alone; the folder itself outside of one."""
    return next((folder for folder in (place, *place.parents) if (folder / ".git").exists()), place)


def repositories_of(place: Path, ignored: Iterable[Path] = ()) -> list[Repository]:
    """The repository that a folder belongs to, and its submodules; none without git, or outside of one.

    Args:
        place: The folder.
        ignored: Folders within it that hold no code, such as those of data and runs.
    """
    found = _git(place, "rev-parse", "--show-toplevel")
    if found is None:
        return []
    if not (top := found.text.rstrip("\n")):
        # of a folder that belongs to another user, for example in a container, git tells nothing
        unknown = "not a git repository" in found.error or not found.error
        return [] if unknown else [Repository(str(place), problem=found.error.splitlines()[0][:200])]
    return list(_with_submodules(Path(top), [path.resolve() for path in ignored]))


def _with_submodules(top: Path, ignored: list[Path]) -> Iterator[Repository]:
    yield _read(top, ignored)
    if (top / ".gitmodules").is_file():
        listed = _text(top, "submodule", "status")
        for line in listed.splitlines():
            path = re.sub(r" \([^()]*\)$", "", line[1:].partition(" ")[2])
            if not line.startswith("-"):  # else it is not checked out
                yield from _with_submodules(top / path, ignored)


def _read(top: Path, ignored: list[Path]) -> Repository:
    commit = _text(top, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    found = Repository(str(top), commit, remote=masked(_text(top, "config", "--get", "remote.origin.url").strip()))
    without = [f":(exclude,literal){p.relative_to(top)}" for p in ignored if p != top and p.is_relative_to(top)]
    listed = _text(top, "status", "--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=dirty",
                   "--no-renames", "--", ".", *without)  # fmt: skip
    states = {entry[3:]: entry[:2] for entry in listed.split("\0") if entry}
    found.dirty = bool(states)
    changed = [path for path, state in states.items() if state != "??" and _may_be_kept(found, path)]
    size = 0
    # a list of files may be longer than a command line: git is asked for all of them then
    few = [f":(literal){path}" for path in changed] if len(changed) < 100 else ["."]
    patch = _text(top, "diff", "HEAD", *PLAIN, "--ignore-submodules=dirty", "--", *few) if commit and changed else ""
    kept: list[str] = []
    for path, text in _by_file(patch, changed):
        size += _keep(found, kept, path, text, size)
    for path, state in states.items():
        if (state == "??" or not commit) and _may_be_kept(found, path) and (text := _as_patch(found, top, path)):
            size += _keep(found, kept, path, text, size)
    found.patch = "".join(kept)
    return found


def _may_be_kept(found: Repository, path: str) -> bool:
    if secret := is_secret_file(path):
        found.left_out[path] = "may hold secrets"
    return not secret


def _keep(found: Repository, kept: list[str], path: str, text: str, size: int) -> int:
    """Add the patch of a file unless it is too large or no text; the bytes that were added."""
    if "\nBinary files " in text:
        found.left_out[path] = "no text"
    elif len(text) > LARGEST_FILE:
        found.left_out[path] = f"changes of {len(text):,} bytes"
    elif size + len(text) > LARGEST_PATCH:
        found.left_out[path] = "too many changes together"
    else:
        safe = masked(text, code=path.endswith((".py", ".ipynb")))
        if safe != text:
            found.left_out[path] = "passwords or tokens are masked in the patch"
        kept.append(safe)
        return len(text)
    return 0


def _by_file(patch: str, paths: list[str]) -> Iterator[tuple[str, str]]:
    """(file, its patch); git quotes unusual names, but keeps the order of names that it was not told of."""
    parts = re.split(r"^(?=diff --git )", patch, flags=re.MULTILINE)[1:]
    for part in parts:
        head = part.partition("\n")[0]
        named = [path for path in paths if head == f"diff --git a/{path} b/{path}"]
        path = named[0] if named else head.removeprefix("diff --git ")
        if not is_secret_file(path):
            yield path, part


def _as_patch(found: Repository, top: Path, path: str) -> str:
    """A patch that makes a file which git does not know; empty where there is nothing to be kept."""
    file = top / path
    try:
        if file.is_symlink() or not file.is_file():
            found.left_out[path] = "no plain file"
            return ""
        if (size := file.stat().st_size) > LARGEST_FILE:
            found.left_out[path] = f"{size:,} bytes"
            return ""
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        found.left_out[path] = "no text"
        return ""
    if "\0" in text or re.search(r"[\x00-\x1f\"\\]", path):
        found.left_out[path] = "no text" if "\0" in text else "its name"
        return ""
    mode = "100755" if os.access(file, os.X_OK) else "100644"
    head = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n"
    if not text:
        return f"{head}index 0000000..e69de29\n"
    lines = text.split("\n")
    last = "" if text.endswith("\n") else "\n\\ No newline at end of file\n"
    lines = lines if last else lines[:-1]
    tab = "\t" if " " in path else ""  # ends a name with spaces
    body = "\n".join(f"+{line}" for line in lines)
    return f"{head}--- /dev/null\n+++ b/{path}{tab}\n@@ -0,0 +1,{len(lines)} @@\n{body}{last or chr(10)}"


@dataclass
class _Told:
    text: str
    error: str


def _text(folder: Path, *arguments: str) -> str:
    """What git says, or nothing where it refuses."""
    told = _git(folder, *arguments)
    return "" if told is None else told.text


def _git(folder: Path, *arguments: str) -> _Told | None:
    """What git says; None where there is no git."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_HOOKS}
    # without locks: another git may be at work here, or the folder may be read-only
    command = ["git", "--no-optional-locks", "-C", str(folder), "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env={**environment, "LC_ALL": "C"}, check=False)
    except OSError:
        return None
    told = done.stdout if done.returncode == 0 else b""
    return _Told(told.decode(errors="replace"), "" if done.returncode == 0 else done.stderr.decode(errors="replace"))
