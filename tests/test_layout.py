"""How the checkout is laid out (docs/decisions/0001-layout.md): sizes, links, faces, and who may print."""

import ast
import importlib
import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("cotrain", "tables", "recipes", "tests", "benchmarks")
LONGEST = 400  # lines
LONGER_FILES: dict[str, str] = {}  # path: reason, with a decision record
LINKS = {"tables": Path("../tables"), "recipes": Path("../recipes")}
ROOMS = ("analysis", "data", "evaluations", "losses", "metrics", "models", "training")
FACES_WITHIN = ("cotrain.data.corruptions", "cotrain.training.hooks")  # a room's part with a face of its own
PUBLIC_FILES = {"cotrain/data/recordings.py"}  # a face within a face: one reader a published format
MINIMUM_FILES = 70


def python_files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not any((ROOT / "cotrain" / link) in path.parents for link in LINKS)]


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def faces() -> list[str]:
    """The faces that exist: the package's own, one a room, and those within."""
    rooms = [f"cotrain.{room}" for room in ROOMS if (ROOT / "cotrain" / room / "__init__.py").is_file()]
    return ["cotrain", *rooms, *FACES_WITHIN]


def test_no_file_is_too_long():
    files = python_files(*CODE)
    assert len(files) >= MINIMUM_FILES
    lengths = {name: len(path.read_text().splitlines()) for name, path in zip(names(files), files, strict=True)}
    assert {name: n for name, n in lengths.items() if n > LONGEST and name not in LONGER_FILES} == {}
    assert [name for name in LONGER_FILES if lengths.get(name, 0) <= LONGEST] == [], "these need no exception"


@pytest.mark.parametrize("name", LINKS)
def test_links_are_relative(name):
    link = ROOT / "cotrain" / name
    if link.is_file():
        pytest.skip(f"this checkout has no symbolic links: {link} is a file (git's core.symlinks is false)")
    assert link.is_symlink(), f"{link} must be a link to {LINKS[name]}"
    assert link.readlink() == LINKS[name]
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", LINKS)
def test_top_folders_are_no_packages(name):
    """With `__init__.py` they would hide PyTables' `tables`, or be a second copy of `cotrain.recipes`."""
    assert (ROOT / name).is_dir()
    assert not list((ROOT / name).rglob("__init__.py"))


def test_test_folders_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_test_files_have_names_of_their_own():
    """By default pytest imports test files by their last name alone where folders are no packages."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    if "--import-mode=importlib" in settings["addopts"]:
        return
    found = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in found if found.count(name) > 1}) == []


@pytest.mark.parametrize("face", faces())
def test_faces_state_what_they_offer(face):
    tree = ast.parse(Path(importlib.util.find_spec(face).origin).read_text())
    stated = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    assert len(stated) == 1, "one __all__ is set, and nothing is added to it later"
    offered = ast.literal_eval(stated[0])
    assert isinstance(offered, list)
    assert offered
    assert all(isinstance(name, str) for name in offered)
    assert offered == sorted(set(offered))
    module = importlib.import_module(face)
    assert module.__all__ == offered
    for name in offered:
        assert hasattr(module, name), f"{face} offers {name}, which it lacks"
        assert not name.startswith("_") or name == "__version__"


@pytest.mark.parametrize("face", faces()[1:])
def test_faces_hold_nothing_but_names(face):
    """A room's code stands in its `_files.py`; behind the face each import is from the room itself."""
    tree = ast.parse(Path(importlib.util.find_spec(face).origin).read_text())
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        is_own_import = module.startswith(f"{face}._") or (module in FACES_WITHIN and module.startswith(f"{face}."))
        is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert is_docstring or is_own_import or is_all, f"{face}, line {node.lineno}: {ast.unparse(node)}"


def test_rooms_hold_private_files():
    files = names(python_files(*(f"cotrain/{room}" for room in ROOMS)))
    public = {name for name in files if not name.rpartition("/")[2].startswith("_")}
    assert public <= PUBLIC_FILES, "a room is entered by its face; give the files behind it names with a _"


def printing(path: Path) -> list[int]:
    """Lines on which a file calls `print` or writes to a standard stream."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"print", "pprint", "sys.stdout.write", "sys.stderr.write"}
    ]


def test_the_command_line_alone_prints():
    files = [p for p in python_files("cotrain", "tables", "recipes") if p != ROOT / "cotrain" / "cli.py"]
    files = [p for p in files if ROOT / "cotrain" / "cli" not in p.parents]
    assert len(files) > 40
    assert {name: lines for name, path in zip(names(files), files, strict=True) if (lines := printing(path))} == {}


def test_printing_would_be_seen(tmp_path):
    (tmp_path / "loud.py").write_text("x = 1\nprint(x)\nimport sys\nsys.stdout.write('a')\n# print(x)\n'print(x)'\n")
    assert printing(tmp_path / "loud.py") == [2, 4]


def test_every_file_says_what_it_is_for():
    files = python_files(*CODE)
    assert [
        n for n, p in zip(names(files), files, strict=True) if not ast.get_docstring(ast.parse(p.read_text()))
    ] == []
