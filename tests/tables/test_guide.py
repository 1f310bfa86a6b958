"""The guide of queries: each of its blocks runs, here and in the lab that made its answers."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cotrain.recipe import find_recipe
from cotrain.tables import queue
from cotrain.tables.runs import TrainedModel

SCRIPT = Path(__file__).parents[2] / "docs" / "queries_lab.py"
QUESTIONS = 10


def load_script():
    spec = importlib.util.spec_from_file_location("queries_lab", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text):
    return re.findall(r"^## \d+\. (.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def guided(trained, monkeypatch):
    """The guide's recipes wait in a lab that has trained others; one of its scores is there."""
    monkeypatch.setattr("cotrain.tables.connect.connect", lambda **_: False)  # the connection is open
    monkeypatch.setattr("cotrain.tables.connect.disconnect", lambda: None)
    for name in ("Ratios", "Transfer"):
        recipe = find_recipe(f"{SCRIPT}:{name}")
        queue.enqueue(recipe, recipe.name())
    some = (TrainedModel() & "best_epoch > 0").proj().to_dicts(limit=1)[0]
    rows = [
        {**some, "task": task, "session": session, "split": split, "metric": metric, "value": 0.5}
        for task, metric in (("v4", "correlation"), ("image", "accuracy"))
        for session in ("", "may")
        for split in ("validation", "test")
    ]
    TrainedModel.Score.insert(rows, allow_direct_insert=True)
    return trained


def test_each_question_is_asked(guided):
    script = load_script()
    text = script.GUIDE.read_text(encoding="utf-8")
    questions = blocks(text)
    assert len(questions) == QUESTIONS
    names = {}
    for kind, code in script.BLOCK.findall(text.partition("## 1.")[0]):
        script.ask(kind, code, names)
    for question in questions:
        found = script.BLOCK.findall(question)
        assert found
        assert question.count("```text\n") == len(found), "each has an answer"
        for kind, code in found:
            script.ask(kind, code, names)


@pytest.mark.slow
def test_the_answers_can_be_made_again(tmp_path):
    script = load_script()
    shutil.copy(script.GUIDE, tmp_path / "queries.md")
    code = (
        f"import runpy, pathlib; runpy.run_path({str(SCRIPT)!r})['make'](pathlib.Path({str(tmp_path)!r}, 'queries.md'))"
    )
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("DJ_", "COTRAIN_"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env={**settings, "COTRAIN_BUILDERS": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    made, held = (path.read_text(encoding="utf-8") for path in (tmp_path / "queries.md", script.GUIDE))
    assert [re.sub(r"```text\n.*?```", "", text, flags=re.DOTALL) for text in (made, held)] == [
        re.sub(r"```text\n.*?```", "", held, flags=re.DOTALL)
    ] * 2

    def runs(text):
        return sorted(re.findall(r"^[0-9a-f]{8}(?= )", text, re.MULTILINE))

    assert runs(made) == runs(held)
