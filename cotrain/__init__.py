"""Co-train one network on pictures and on the brain.

Importing this needs neither torch nor a database: `run` and `load` bring them in when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cotrain import errors
from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.recipe import Experiment, Recipe
from cotrain.resolve import AnyConfig, build, resolve

if TYPE_CHECKING:
    from cotrain.training import load, run

__all__ = [
    "AddedLater",
    "AnyConfig",
    "Config",
    "Experiment",
    "NotIdentity",
    "Recipe",
    "__version__",
    "build",
    "errors",
    "load",
    "resolve",
    "run",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in {"load", "run"}:
        return getattr(import_module("cotrain.training"), name)
    raise AttributeError(f"module 'cotrain' has no attribute {name!r}")
