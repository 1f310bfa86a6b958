"""From what a command line names to a recipe class."""

import sys

import pytest

from cotrain import Recipe
from cotrain.errors import RecipeError
from cotrain.recipe import find_recipe

ONE = "from cotrain import Recipe\nclass One(Recipe):\n    '''Is it one?'''\n"
TWO = "from cotrain import Recipe\nfrom ownlab.one import One\nclass Alpha(One): ...\nclass Beta(Recipe): ...\n"
pytestmark = pytest.mark.usefixtures("lab")


@pytest.fixture
def folder(package, monkeypatch):
    found = package({"ownlab/one": ONE, "ownlab/two": TWO, "ownlab/none": "from ownlab.one import One"})
    monkeypatch.chdir(found)
    return found


@pytest.mark.parametrize(
    "target",
    ["ownlab/one.py", "./ownlab/one.py", "ownlab/one.py:One", "{}/ownlab/one.py", "ownlab.one", "ownlab.one:One"],
)
def test_found(target, folder):
    found = find_recipe(target.format(folder))
    assert issubclass(found, Recipe)
    assert found.question() == "Is it one?"
    assert found.name() == "one.One"


@pytest.mark.parametrize("target", ["ownlab/two.py", "ownlab.two"])
def test_of_several_one_must_be_named(target, folder):
    assert find_recipe(f"{target}:Alpha").__name__ == "Alpha"
    assert find_recipe(f"{target}:Beta").__name__ == "Beta"
    with pytest.raises(
        RecipeError, match=rf"^{target} holds several recipes; write {target}:Alpha\. Found: Alpha, Beta\.$"
    ):
        find_recipe(target)
    with pytest.raises(RecipeError, match=rf"^{target} holds no recipe 'Alfa'\. Did you mean 'Alpha'\?$"):
        find_recipe(f"{target}:Alfa")
    with pytest.raises(RecipeError, match=rf"^{target} holds no recipe 'One'\. Known: Alpha, Beta\.$"):
        find_recipe(f"{target}:One")  # imported, not its own


@pytest.mark.parametrize("target", ["ownlab/none.py", "ownlab.none", "cotrain.recipe", "cotrain.config"])
def test_no_recipe_there(target, folder):
    with pytest.raises(RecipeError, match=rf"^{target} holds no subclass of cotrain\.Recipe\. Found: none\.$"):
        find_recipe(target)


def test_files_that_do_not_exist(folder):
    with pytest.raises(RecipeError, match=rf"^There is no recipe file ownlab/on\.py \(looked from {folder}\)\.$"):
        find_recipe("ownlab/on.py")


@pytest.mark.parametrize(
    ("target", "module"),
    [
        ("no_such", "cotrain.recipes.no_such"),
        ("ownlab.on", "ownlab.on"),
        ("", "cotrain.recipes."),
        ("ownlab.a.b", "ownlab.a"),
    ],
)
def test_modules_that_do_not_exist(target, module, folder):
    with pytest.raises(
        RecipeError, match=rf"^There is no recipe '{target}': no module '{module}' and no file {target}\.py"
    ):
        find_recipe(target)


@pytest.mark.parametrize("target", ["os.path", "mylab.builders", "recipes.digits_v1", "../one"])
def test_packages_that_are_not_allowed(target, folder):
    with pytest.raises(
        RecipeError, match=rf"^'{target}': package not allowed; name the file, or allow it with COTRAIN_"
    ):
        find_recipe(target)


def test_errors_inside_a_recipe_are_its_own(folder):
    (folder / "ownlab" / "broken.py").write_text("import nowhere_to_be_found")
    for target in ("ownlab/broken.py", "ownlab.broken"):
        with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere_to_be_found'"):
            find_recipe(target)
        assert "cotrain_recipe_broken" not in sys.modules


def test_a_file_never_takes_the_name_of_a_module(folder):
    (folder / "json.py").write_text(ONE)
    assert find_recipe("json.py").__module__ == "cotrain_recipe_json"
    import json

    assert hasattr(json, "dumps")


def test_a_file_is_read_anew(folder):
    assert find_recipe("ownlab/one.py").__name__ == "One"
    (folder / "ownlab" / "one.py").write_text(ONE.replace("class One", "class Another"))
    assert find_recipe("ownlab/one.py").__name__ == "Another"


def test_a_shipped_recipe_is_one_class_by_whatever_name():
    """Else DataJoint and `isinstance` would see two."""
    from pathlib import Path

    import cotrain

    shipped = Path(cotrain.__file__).parent / "recipes"
    path = min(shipped.glob("*.py"))
    first = find_recipe(str(path)) if path.read_text().count("(Recipe)") == 1 else pytest.skip("it holds several")
    assert first.__module__ == f"cotrain.recipes.{path.stem}"
    assert (
        find_recipe(path.stem)
        is find_recipe(f"cotrain.recipes.{path.stem}")
        is find_recipe(str(path.resolve()))
        is first
    )
