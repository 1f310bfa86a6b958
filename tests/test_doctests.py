"""Every example in a docstring runs and shows what it says."""

import doctest
import pkgutil
from importlib import import_module

import cotrain

MINIMUM = 5  # examples found; fewer means that the walk is broken


def test_examples_in_docstrings_are_true():
    names = ["cotrain"] + [found.name for found in pkgutil.walk_packages(cotrain.__path__, "cotrain.")]
    results = {name: doctest.testmod(import_module(name)) for name in names if name != "cotrain.__main__"}
    assert {name: result for name, result in results.items() if result.failed} == {}
    assert sum(result.attempted for result in results.values()) >= MINIMUM
