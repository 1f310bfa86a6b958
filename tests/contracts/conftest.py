"""The tiny experiment of the trainer's tests, for contracts that train."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PLACE = Path(__file__).parents[1] / "cotrain" / "training" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("tiny_experiment", _PLACE)
assert _SPEC is not None and _SPEC.loader is not None
_held = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_held)

_patches_are_cut_once = _held._patches_are_cut_once
_one_thread = _held._one_thread
tiny, pull_plug = _held.tiny, _held.pull_plug
journal, assert_same_run = _held.journal, _held.assert_same_run
