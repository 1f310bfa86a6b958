"""Reading configs and computing keys needs neither torch nor a database, so that it works on any machine."""

import importlib
import subprocess
import sys

import pytest

import cotrain

HEAVY = ("torch", "torchvision", "datajoint", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "PIL", "psycopg2")
KEYS = """
from typing import ClassVar
from cotrain import Config, Experiment, Recipe
from cotrain.seeds import derive_seed

class PondConfig(Config):
    kind: ClassVar[str] = "mylab.pond"
    frogs: int = 3

class Ponds(Recipe):
    def experiments(self):
        yield Experiment("pond", PondConfig(), PondConfig(frogs=4), PondConfig())

pond = PondConfig.from_yaml("frogs: 5")
assert PondConfig.from_record(pond.record()).key() == pond.replace(frogs=5).key()
assert next(Ponds().experiments()).key() and derive_seed(0, "split")
"""


def heavy_after(code: str, *options: str) -> str:
    """The heavy modules that a fresh interpreter has loaded after this code."""
    command = [sys.executable, *options, "-c", f"{code}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules])"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code", ["import cotrain", KEYS, "from cotrain.recipe import find_recipe"], ids=["face", "keys", "recipe"]
)
def test_nothing_heavy_is_imported(code):
    assert heavy_after(code, "-W", "error") == "[]"


def test_the_check_would_see_it():
    assert "numpy" in heavy_after("import numpy")


def test_the_face():
    assert cotrain.__all__ == sorted(cotrain.__all__)
    for name in cotrain.__all__:
        assert getattr(cotrain, name) is not None
    with pytest.raises(AttributeError, match=r"^module 'cotrain' has no attribute 'rum'$"):
        _ = cotrain.rum


def test_training_is_brought_in_at_the_first_use():
    training = importlib.import_module("cotrain.training")
    for name in ("load", "run"):
        assert getattr(cotrain, name) is getattr(training, name)
