"""Commands that need no database: `run`, `check`, `key`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cotrain.cli._text import as_text, duration
from cotrain.errors import RecipeError
from cotrain.recipe import Experiment, find_recipe
from cotrain.settings import home_folder


def selected(options: argparse.Namespace) -> list[Experiment]:
    target = options.recipe
    if target.endswith((".yaml", ".yml")):
        path = Path(target)
        if not path.is_file():
            raise RecipeError(f"There is no file {path} (looked from {Path.cwd()}).")
        try:
            experiments = [Experiment.from_yaml(path.read_text(encoding="utf-8"))]
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path} is no UTF-8 text: {error}.") from None
    else:
        experiments = list(find_recipe(target)().expand())
    if options.only:
        labels = [experiment.label for experiment in experiments]
        for label in options.only:
            if label not in labels:
                raise RecipeError(f"{target} has no experiment {label!r}; it has: {', '.join(dict.fromkeys(labels))}.")
        experiments = [experiment for experiment in experiments if experiment.label in options.only]
    return experiments


def run(options: argparse.Namespace) -> int:
    from cotrain import training

    for experiment in selected(options):
        folder = (options.out or home_folder() / "runs") / experiment.key()
        print(f"{experiment.label}, seed {experiment.seed}: {folder}")
        result = training.run(experiment, out=folder, resume=not options.restart, progress=sys.stderr.isatty())
        scores = result.scores[result.scores.split == "test"]
        print(f"test scores of epoch {result.best_epoch}, which validation chose:")
        print(as_text(scores[["task", "session", "metric", "value"]]))
    return 0


def check(options: argparse.Namespace) -> int:
    from cotrain import training

    seconds = 0.0
    for experiment in selected(options):
        found = training.check(experiment)
        print(f"{experiment.label}, seed {experiment.seed}  (key {experiment.key()})")
        print(f"  {found.parameters:,} parameters on {found.device}, {found.epochs} epochs")
        for task in found.tasks:
            info = found.info.tasks[task.name]
            stimuli = sum(session.stimuli["train"] for session in info.sessions.values())
            neurons = sum(session.neurons for session in info.sessions.values())
            what = {
                "classification": f"{len(info.class_names)} classes",
                "neural": f"{neurons} neurons in {len(info.sessions)} session(s)",
                "rdm": "RDM",
                "manifolds": f"manifolds of {len(info.class_names)} classes",
            }[info.kind]
            print(
                f"  {task.name}: {info.kind}, {what}, {stimuli} training images {info.image_shape}, tap {task.tap}; "
                f"{task.batches} batches of {task.batch} an epoch, first loss {task.loss:.3f}"
            )
        print(f"  about {duration(found.seconds)} of training on this machine as it is busy now")
        seconds += found.seconds
    print(f"All of it would take about {duration(seconds)}. Nothing was trained or written.")
    return 0


def key(options: argparse.Namespace) -> int:
    for experiment in selected(options):
        print(f"{experiment.key()}  {experiment.label}, seed {experiment.seed}")
        if options.yaml:
            print(experiment.to_yaml())
    return 0
