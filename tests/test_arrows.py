"""Which part of cotrain may import which: itself and what stands below it (docs/design)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MINIMUM_FILES = 50  # fewer found means that the walk is broken, not that the house has shrunk

# From the top to the ground. Parts of one level do not import each other.
LEVELS = (
    {"__main__"},  # `python -m cotrain` is the command line
    {"cli"},
    {"recipes"},  # imported by nobody; RECIPES_MAY_IMPORT says what it may import itself
    {"tables"},
    {"evaluations"},
    {"face"},  # cotrain/__init__.py: brings in training when `run` or `load` is first used
    {"training", "analysis"},
    {"data", "losses", "metrics", "models"},
    {"tasks", "dissimilarity", "manifolds"},
    {"cones"},
    {"_lawson_hanson", "_block_pivoting"},
    {"describe", "chains"},
    {"recipe"},
    {"resolve"},
    {"config"},
    {"_fields", "_tensors", "_yaml", "seeds", "settings"},
    {"errors"},
)
RECIPES_MAY_IMPORT = {"face", "data", "losses", "metrics", "models", "tasks", "training"}
WITHOUT_TORCH = {
    "face",
    "describe",
    "chains",
    "recipe",
    "resolve",
    "config",
    "_fields",
    "_yaml",
    "seeds",
    "settings",
    "errors",
}
FINDS_MODULES_BY_NAME = {"cotrain/recipe.py", "cotrain/resolve.py"}
EXCEPTIONS: set[tuple[str, str]] = {
    ("cotrain/recipe.py", "cotrain.recipes."),  # a shipped recipe's file is imported under its one name
    ("cotrain/describe.py", "cotrain."),  # lists the builders of a room that a person names
}


def python_files(root: Path) -> list[Path]:
    """Each source file once: the links of the package lead to folders that are walked themselves."""
    found = [path for folder in ("cotrain", "tables", "recipes") for path in sorted((root / folder).rglob("*.py"))]
    return [path for path in found if not any(p.is_symlink() for p in (path, *path.parents) if p.is_relative_to(root))]


def dotted_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    parts = parts if parts[0] == "cotrain" else ("cotrain", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, wherever it stands; "?" for one by a name that the text does not hold."""
    own = dotted_name(path, root)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.JoinedStr):
                argument = argument.values[0]
            yield node.lineno, argument.value if isinstance(argument, ast.Constant) else "?"


def part_of(name: str) -> str | None:
    """The part of cotrain that a dotted name belongs to; what is no module belongs to the face."""
    first, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    if first != "cotrain":
        return None
    return part if level(part) is not None or part.startswith("_") != part.startswith("__") else "face"


def level(part: str) -> int | None:
    return next((number for number, parts in enumerate(LEVELS) if part in parts), None)


def problem(where: str, own: str, name: str) -> str | None:
    """What is wrong with an import of `name` in the file `where` of the part `own`."""
    top = name.partition(".")[0]
    if name == "?":
        return None if where in FINDS_MODULES_BY_NAME else "finds a module by name, which only resolve and recipe may"
    if top in {"tables", "recipes"}:
        return f"write cotrain.{name}"
    if top == "datajoint" and own != "tables":
        return "datajoint belongs to tables"
    if top in {"torch", "torchvision"} and own in WITHOUT_TORCH:
        return f"{own} works without torch"
    other = part_of(name)
    if other is None or (where, name) in EXCEPTIONS:
        return None
    if other == "recipes":
        return "nobody imports recipes"
    if other == own:
        return None
    if any(part.startswith("_") for part in name.split(".")[2:] if not part.startswith("__")):
        return f"import from the face cotrain.{other}"
    if own == "recipes":
        return None if other in RECIPES_MAY_IMPORT else f"a recipe does not import {other}"
    own_level, other_level = level(own), level(other)
    stands_above = own_level is not None and other_level is not None and own_level < other_level
    return None if stands_above else f"{own} does not stand above {other}"


def violations(root: Path) -> list[str]:
    """Every forbidden import under `root`, as text."""
    found = []
    for path in python_files(root):
        where = path.relative_to(root).as_posix()
        parts = dotted_name(path, root).split(".")
        own = parts[1] if len(parts) > 1 else "face"
        if level(own) is None:
            found.append(f"{where}: {own} has no level; give it one in tests/test_arrows.py")
            continue
        for line, name in imported(path, root):
            if text := problem(where, own, name):
                found.append(f"{where}:{line} imports {name}: {text}")
    return found


def test_arrows():
    assert violations(ROOT) == []


def test_enough_files_were_read():
    files = python_files(ROOT)
    assert len(files) >= MINIMUM_FILES
    assert len({path.resolve() for path in files}) == len(files)
    assert {path.relative_to(ROOT).parts[0] for path in files} == {"cotrain", "tables", "recipes"}


def test_exceptions_are_still_needed():
    found = {(p.relative_to(ROOT).as_posix(), name) for p in python_files(ROOT) for _, name in imported(p, ROOT)}
    assert found >= EXCEPTIONS
    assert {where for where, name in found if name == "?"} == FINDS_MODULES_BY_NAME


@pytest.mark.parametrize(
    ("path", "text", "wrong"),
    [
        ("cotrain/config.py", "import torch", "config works without torch"),
        ("cotrain/__init__.py", "def f():\n    import torch.nn", "face works without torch"),
        ("cotrain/seeds.py", "from torchvision import models", "seeds works without torch"),
        ("cotrain/config.py", "from cotrain.resolve import resolve", "config does not stand above resolve"),
        ("cotrain/config.py", "def f():\n    from cotrain.tasks import Task", "config does not stand above tasks"),
        ("cotrain/resolve.py", "from .recipe import Recipe", "resolve does not stand above recipe"),
        ("cotrain/errors.py", "from . import config", "errors does not stand above config"),
        ("cotrain/errors.py", "import cotrain", "errors does not stand above face"),
        ("cotrain/tasks.py", "from cotrain import Config", "tasks does not stand above face"),
        ("cotrain/data/_images.py", "from cotrain.models import Net", "data does not stand above models"),
        ("cotrain/data/_images.py", "from ..models import Net", "data does not stand above models"),
        ("cotrain/models/__init__.py", "from ..losses import Loss", "models does not stand above losses"),
        ("cotrain/models/_heads.py", "import cotrain.training", "models does not stand above training"),
        ("cotrain/training/_loop.py", "from cotrain.analysis import rdm", "training does not stand above analysis"),
        ("cotrain/analysis/_rsa.py", "from cotrain.training import run", "analysis does not stand above training"),
        ("cotrain/training/_loop.py", "from cotrain.models._heads import Head", "import from the face cotrain.models"),
        ("cotrain/training/_loop.py", "import cotrain.models._heads as heads", "import from the face cotrain.models"),
        ("cotrain/training/_loop.py", "from cotrain.tables.runs import Run", "training does not stand above tables"),
        ("cotrain/training/_loop.py", "import datajoint as dj", "datajoint belongs to tables"),
        ("cotrain/cli.py", "from datajoint import Schema", "datajoint belongs to tables"),
        ("cotrain/cli.py", "from cotrain.recipes.digits import Digits", "nobody imports recipes"),
        ("cotrain/cli.py", "from cotrain import recipes", "nobody imports recipes"),
        ("cotrain/cli.py", "import_module('cotrain.recipes.digits')", "nobody imports recipes"),
        ("cotrain/cli.py", "import importlib\nimportlib.import_module(name)", "finds a module by name"),
        ("cotrain/data/_x.py", "import_module('cotrain.training')", "data does not stand above training"),
        ("cotrain/data/_x.py", "import_module(f'cotrain.training.{x}')", "data does not stand above training"),
        ("cotrain/cli.py", "from cotrain._extra import x", "cli does not stand above _extra"),
        ("tables/runs.py", "from cotrain.cli import main", "tables does not stand above cli"),
        ("tables/runs.py", "from cotrain.training._loop import f", "import from the face cotrain.training"),
        ("tables/runs.py", "from tables.queue import work", "write cotrain.tables"),
        ("tables/runs.py", "import recipes.digits", "write cotrain.recipes"),
        ("recipes/digits.py", "from cotrain.tables.runs import Run", "a recipe does not import tables"),
        ("recipes/digits.py", "from cotrain.cli import main", "a recipe does not import cli"),
        ("recipes/digits.py", "from cotrain.data._images import x", "import from the face cotrain.data"),
        ("recipes/digits.py", "from cotrain._yaml import x", "a recipe does not import _yaml"),
        ("recipes/digits.py", "from cotrain.recipes.other import x", "nobody imports recipes"),
        ("recipes/digits.py", "from .other import x", "nobody imports recipes"),
        ("recipes/digits.py", "from cotrain.config import Config", "a recipe does not import config"),
    ],
)
def test_planted_violations_are_seen(path, text, wrong, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{path}:{len(text.splitlines())} imports ")
    assert wrong in found


@pytest.mark.parametrize("path", ["cotrain/extra.py", "cotrain/_extra.py", "cotrain/room/_file.py"])
def test_new_parts_need_a_level(path, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("import os")
    (found,) = violations(tmp_path)
    assert found.endswith("has no level; give it one in tests/test_arrows.py")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cotrain/__init__.py", "from cotrain import errors\nfrom cotrain.config import Config\nimport os, json"),
        (
            "cotrain/config.py",
            "from cotrain._yaml import read_yaml\nfrom . import errors\nfrom .errors import ConfigError",
        ),
        ("cotrain/data/_mixing.py", "import torch\nfrom ._source import Source\nfrom cotrain.tasks import Task"),
        ("cotrain/training/_loop.py", "from cotrain.data import Data\nfrom cotrain.seeds import derive_seed"),
        (
            "tables/runs.py",
            "import datajoint\nfrom cotrain import __version__\nfrom cotrain.tables._datajoint import schema",
        ),
        (
            "recipes/digits.py",
            "from cotrain import Recipe\nfrom cotrain.data import DigitsConfig\nimport cotrain.models",
        ),
        (
            "cotrain/cli.py",
            "from cotrain.tables.runs import Run\nfrom cotrain.training import run\nimport tables_of_mine",
        ),
    ],
)
def test_allowed_imports_are_left_alone(path, text, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert violations(tmp_path) == []


def test_links_are_not_followed(tmp_path):
    for folder in ("cotrain", "tables", "recipes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tables" / "runs.py").write_text("import cotrain.cli")
    (tmp_path / "cotrain" / "tables").symlink_to("../tables")
    assert len(violations(tmp_path)) == 1
