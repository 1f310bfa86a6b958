"""Every recipe that ships: found by its name, whole, and with a docstring that says what to expect."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import cotrain
from cotrain import Experiment, Recipe
from cotrain.recipe import find_recipe

FOLDER = Path(cotrain.__file__).parent / "recipes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
MINIMUM = 12  # recipes found; raise it when one is added, so that a broken search is seen


def module_docstring(name):
    return ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))) or ""


def test_the_recipes_are_found():
    assert len(NAMES) >= MINIMUM
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_found_by_its_name_and_by_its_file(name):
    recipe = find_recipe(name)
    assert issubclass(recipe, Recipe)
    assert find_recipe(str(FOLDER / f"{name}.py")) is recipe
    assert recipe.name() == f"{name}.{recipe.__name__}"
    assert recipe.__name__.lower() == name.replace("_", ""), "the class is called as its file"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_expands_to_different_experiments(name):
    experiments = find_recipe(name)().expand()
    assert all(isinstance(experiment, Experiment) for experiment in experiments)
    keys = [experiment.key() for experiment in experiments]
    assert len(set(keys)) == len(keys) > 1
    assert [experiment.key() for experiment in find_recipe(name)().expand()] == keys
    assert all(Experiment.from_yaml(experiment.to_yaml()) == experiment for experiment in experiments)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_asks_a_question(name):
    recipe = find_recipe(name)
    assert recipe.question().endswith("?")
    assert len(recipe.question()) <= 120
    assert module_docstring(name).partition("\n")[0].endswith("?")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_states_command_time_and_expected_scores(name):
    text = module_docstring(name)
    for word in ("Command", "Time", "Expected"):
        assert re.search(rf"^{word}\b", text, re.MULTILINE), (
            f"{name}: its docstring lacks a line that begins with {word}"
        )
    assert f"cotrain enqueue {name}" in text or f"cotrain run {name}" in text
    assert re.search(r"^Expected.*?\d*\.\d", text, re.MULTILINE | re.DOTALL), "numbers, measured"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_a_control(name):
    """Something to compare with: parts alone, or shuffled targets."""
    labels = {experiment.label for experiment in find_recipe(name)().expand()}
    assert any(re.search(r"only|control|shuffled", label) for label in labels)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_holds_configs_and_trains_nothing(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= {"__future__", "collections", "typing", "cotrain"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert inspect.isgeneratorfunction(find_recipe(name).experiments)
