"""Which code, in which environment (docs/provenance.md)."""

from __future__ import annotations

import getpass
import importlib.util
import inspect
import platform
from pathlib import Path
from typing import Any

import cotrain
from cotrain.config import content_key
from cotrain.recipe import Recipe as RecipeClass
from cotrain.settings import allowed_packages, cache_folder, data_folder, home_folder
from cotrain.tables.environment import container_image, environment, installation, packages
from cotrain.tables.repositories import repositories_of, top_of
from cotrain.tables.runs import Attempt, Provenance, RecipeRun

# {folder: commit and changes} when this process first looked: what it imported then stays as it was
_first_seen: dict[str, tuple[str, str]] = {}


def record_provenance(recipe: type[RecipeClass] | None = None) -> dict[str, str]:
    """Store the code and environment of this process unless they are there; their primary key.

    Args:
        recipe: Whose repository is recorded with cotrain's; None: that of the current folder.
    """
    row = capture(recipe)
    key = {"provenance_key": content_key("cotrain-provenance/1", row)}
    if not (Provenance() & key):
        Provenance.insert1({**key, **row, "changes": row["changes"] or None}, skip_duplicates=True)
    return key


def enqueued_from(recipe: type[RecipeClass]) -> dict[str, str]:
    """Columns of `RecipeRun`: the code that a recipe is enqueued from, and who does it."""
    return {**record_provenance(recipe), "enqueued_by": user()}


def user() -> str:
    """The user of the operating system; empty where it has no name, as in some containers."""
    try:
        return getpass.getuser()[:64]
    except (OSError, KeyError, ImportError):
        return ""


def capture(recipe: type[RecipeClass] | None = None) -> dict[str, Any]:
    """Versions, repositories with their commits and uncommitted changes, hardware and flags of this process.

    Git, variables and flags are asked anew each time: between two attempts of one worker they may change. What is
    installed, and the hardware, are asked once.
    """
    ignored = [home_folder(), data_folder(), cache_folder()]
    repositories: dict[str, dict[str, Any]] = {}
    changes: dict[str, str] = {}
    roles: dict[Path, list[str]] = {}
    for role, place in _places(recipe).items():
        roles.setdefault(top_of(place), []).append(role)
    for place, of in roles.items():
        for found in repositories_of(place, ignored):
            repositories[found.folder] = {**found.record(), "of": of}
            state = (found.commit, found.patch)
            if _first_seen.setdefault(found.folder, state) != state:
                repositories[found.folder]["changed_since_start"] = True
            if found.patch:
                changes[found.folder] = found.patch
    own = any("cotrain" in said["of"] for said in repositories.values())
    return {
        "cotrain_version": cotrain.__version__,
        "python_version": platform.python_version(),
        "platform": platform.platform()[:128],
        "image": container_image(),
        "packages": packages(),
        "environment": {**environment(), **({} if own else {"installation": installation()})},
        "repositories": dict(sorted(repositories.items())),
        "changes": changes,
    }


def _places(recipe: type[RecipeClass] | None) -> dict[str, Path]:
    """{whose code: folder}: cotrain's, the recipe's or the current folder's, and those of a lab's builders."""
    places = {"cotrain": Path(cotrain.__file__).resolve().parent}
    for package in allowed_packages()[1:]:
        try:
            found = importlib.util.find_spec(package)  # does not import it
        except (ImportError, ValueError):
            continue
        if found is not None and found.origin:
            places[package] = Path(found.origin).resolve().parent
    source = inspect.getsourcefile(recipe) if recipe is not None else None
    places["recipe" if source else "current folder"] = Path(source).resolve().parent if source else Path.cwd()
    return places


def describe(key: dict[str, str]) -> str:
    """Everything that is known of where a run came from, as text: who enqueued it, and each attempt at it."""
    lines: list[str] = []
    told: dict[str, int] = {}
    for row in ((Attempt() * Provenance()) & key).to_dicts(order_by="attempt"):
        lines.append(
            f"attempt {row['attempt']}: {row['status']} on {row['host']} ({row['device']}), "
            f"cotrain {row['cotrain_version']}, Python {row['python_version']}; {_commits(row)}"
        )
        lines += [f"  {row['error']}"] if row["error"] else []
        lines.append(f"  started {row['started']}: {row['command']}")
        same = told.setdefault(row["provenance_key"], row["attempt"])
        details = [f"code and environment as of attempt {same}"] if same != row["attempt"] else _details(row)
        lines += [f"  {detail}" for detail in details]
    for row in (RecipeRun() & key).to_dicts(order_by="recipe"):
        if row["provenance_key"]:
            code = (Provenance() & {"provenance_key": row["provenance_key"]}).fetch1()
            by = f" by {row['enqueued_by']}" if row["enqueued_by"] else ""
            lines.append(f"enqueued in {row['recipe']}{by}, cotrain {code['cotrain_version']}; {_commits(code)}")
    return "\n".join(lines)


def _commits(row: dict[str, Any]) -> str:
    said = [
        f"{folder} at {held['commit'] or 'no commit'}{' with uncommitted changes' * held['dirty']}"
        for folder, held in row["repositories"].items()
    ]
    return "; ".join(said) or "no repository"


def _details(row: dict[str, Any]) -> list[str]:
    held = row["environment"]
    gpus = ", ".join(held["gpus"]) or "no GPU"
    drivers = ", ".join(f"{name} {held[name]}" for name in ("driver", "cuda", "cudnn") if held.get(name))
    versions = ", ".join(f"{name} {row['packages'][name]}" for name in ("torch", "numpy") if name in row["packages"])
    flags = ("threads", "tf32", "cudnn_tf32", "matmul_precision", "deterministic", "cudnn_benchmark")
    lines = [
        f"{row['platform']}; {held.get('cpu', '')} ({held.get('cpu_capability', '')}); {gpus}"
        + f"; {drivers}" * bool(drivers),
        f"{versions}; {', '.join(f'{name} {held[name]}' for name in flags if name in held)}",
    ]
    lines += [f"image {row['image']}"] if row["image"] else []
    if variables := held.get("variables"):
        lines.append(" ".join(f"{name}={value}" for name, value in variables.items()))
    if installed := held.get("installation"):
        lines.append("installed: " + ", ".join(f"{name} {value}" for name, value in installed.items()))
    for folder, said in row["repositories"].items():
        of = f"{folder} ({', '.join(said.get('of', ()))})"
        if patch := (row["changes"] or {}).get(folder):
            files = patch.count("\ndiff --git ") + 1
            lines.append(
                f"{of}: uncommitted changes of {files} files, {len(patch):,} characters; `cotrain run --exact`"
            )
        lines += [f"{of}: {path} left out ({why})" for path, why in said.get("left_out", {}).items()]
        lines += [f"{of}: git says {said['problem']}"] if said.get("problem") else []
        if said.get("changed_since_start"):
            lines.append(f"{of}: changed after this worker started, which may run the code from before")
    return lines
