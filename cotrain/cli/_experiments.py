"""Commands that need no database: `run`, `check`, `bench`, `find-lr`, `key`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from cotrain.chains import chain, needed_runs
from cotrain.cli._commands import RANKS_HELP, RECIPE_HELP, Commands, positive
from cotrain.cli._exact import add_exact, run_exact
from cotrain.cli._text import as_text, duration
from cotrain.errors import RecipeError
from cotrain.recipe import Experiment, find_recipe
from cotrain.settings import home_folder


def add_commands(commands: Commands) -> None:
    def add_selection(added: argparse.ArgumentParser) -> None:
        added.add_argument("recipe", help=f"{RECIPE_HELP}; or one experiment's .yaml")
        added.add_argument("--only", action="append", metavar="LABEL", help="only this experiment; repeatable")

    added = commands.add(
        "run",
        run,
        "train a recipe's experiments here, without a database",
        "digits_v1 --only co-trained",
        "--exact a2493a00",
    )
    add_selection(added)
    added.add_argument("--out", type=Path, help="folder of the runs (default: runs/ in the home folder)")
    added.add_argument("--ranks", type=int, metavar="N", help=RANKS_HELP)
    added.add_argument("--restart", action="store_true", help="train anew instead of going on where it stopped")
    add_exact(added)

    added = commands.add(
        "check", check, "build everything, try one batch a task, say what would be trained", "digits_v1"
    )
    add_selection(added)

    added = commands.add(
        "bench",
        bench,
        "train some steps, say how fast, where the time goes and what limits it",
        "hvm_v4 --only co-trained",
        "vgg_v1 --only co-trained --steps 100 --json",
    )
    add_selection(added)
    added.add_argument("--steps", type=positive, default=30, metavar="N", help="optimiser steps to time (default 30)")
    added.add_argument("--json", action="store_true", help="as JSON, one line an experiment")

    added = commands.add(
        "find-lr",
        find_lr,
        "try learning rates from low to high for some steps, and say where the loss falls most steeply",
        "digits_v1 --only co-trained --out rates.png",
    )
    add_selection(added)
    added.add_argument("--from", dest="lowest", type=float, default=1e-6, metavar="RATE", help="default 1e-6")
    added.add_argument("--to", dest="highest", type=float, default=1.0, metavar="RATE", help="default 1")
    added.add_argument("--steps", type=int, default=100, help="optimiser steps of the sweep (default 100)")
    added.add_argument("--out", type=Path, help="draw loss over learning rate into this PNG file (of one experiment)")

    added = commands.add("key", key, "print the keys of a recipe's experiments", "digits_v1")
    add_selection(added)
    added.add_argument("--yaml", action="store_true", help="print each experiment as YAML as well")


def every(options: argparse.Namespace) -> list[Experiment]:
    """All experiments of the recipe, or the one of the file, that is named."""
    target = options.recipe
    if target.endswith((".yaml", ".yml")):
        path = Path(target)
        if not path.is_file():
            raise RecipeError(f"There is no file {path} (looked from {Path.cwd()}).")
        try:
            return [Experiment.from_yaml(path.read_text(encoding="utf-8"))]
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path} is no UTF-8 text: {error}.") from None
    return list(find_recipe(target)().expand())


def selected(options: argparse.Namespace, experiments: list[Experiment]) -> list[Experiment]:
    """Those that `--only` leaves."""
    if not options.only:
        return experiments
    labels = [experiment.label for experiment in experiments]
    for label in options.only:
        if label not in labels:
            known = ", ".join(dict.fromkeys(labels))
            raise RecipeError(f"{options.recipe} has no experiment {label!r}; it has: {known}.")
    return [experiment for experiment in experiments if experiment.label in options.only]


def first_seeds(options: argparse.Namespace) -> list[Experiment]:
    """The selected experiments, each with its first seed alone."""
    found: dict[str, Experiment] = {}
    for experiment in selected(options, every(options)):
        found.setdefault(experiment.label, experiment)
    return list(found.values())


def run(options: argparse.Namespace) -> int:
    if options.exact or options.check_only:
        return run_exact(options)
    from cotrain import training

    with nullcontext(training.Ranks()) if options.ranks else training.ranks_here() as here:
        if not here.first:  # one rank is heard
            logging.getLogger().setLevel(logging.ERROR)
        return _run(options, here.agreed, tell=here.first)


Agreed = Callable[[Callable[[], bool]], bool]


def _run(options: argparse.Namespace, agreed: Agreed, *, tell: bool) -> int:
    from cotrain import training

    folder = options.out or home_folder() / "runs"
    experiments = every(options)
    known = {experiment.key(): experiment for experiment in experiments}
    wanted = {experiment.key(): experiment for experiment in selected(options, experiments)}
    done: set[str] = set()

    def finished(key: str) -> bool:
        def found() -> bool:
            with training.looking_beside(folder):
                return training.find_run(key) is not None and not (options.restart and key in wanted)

        return key in done or agreed(found)

    def train(experiment: Experiment, why: str = "") -> None:
        place = folder / experiment.key()
        # what others need is begun anew only where it was asked for as well
        resume = not options.restart or experiment.key() not in wanted
        if tell:
            known_result = resume and training.RunFolder(place).result.is_file()
            held = " is finished; nothing is trained" if known_result else ""
            print(f"{experiment.label}, seed {experiment.seed}{why}: {place}{held}", flush=True)
        progress = sys.stderr.isatty()
        result = training.run(experiment, out=place, resume=resume, progress=progress, ranks=options.ranks)
        scores = result.scores[result.scores.split == "test"]
        if tell:
            print(f"test scores of epoch {result.best_epoch}, which validation chose:")
            print(as_text(scores[["task", "session", "metric", "value"]]))
        done.add(experiment.key())

    for key, experiment in wanted.items():
        for needed in () if finished(key) else chain(experiment, known, finished=finished):
            if needed.experiment is not None:  # else it cannot be trained, and the run that needs it says so
                train(needed.experiment, f", needed by {experiment.label!r} and not trained yet")
        if key not in done:
            train(experiment)
    return 0


def check(options: argparse.Namespace) -> int:
    from cotrain import training

    seconds = 0.0
    for experiment in selected(options, every(options)):
        print(f"{experiment.label}, seed {experiment.seed}  (key {experiment.key()})")
        missing = [needed for needed in needed_runs(experiment) if training.find_run(needed.key) is None]
        if missing:
            print(f"  cannot be tried before this is trained: {', '.join(map(str, missing))}")
            continue
        found = training.check(experiment)
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


def bench(options: argparse.Namespace) -> int:
    from cotrain import training

    for experiment in first_seeds(options):
        found = training.bench(experiment, steps=options.steps, progress=sys.stderr.isatty())
        if options.json:
            derived = {name: getattr(found, name) for name in ("samples_a_second", "peak_share", "epoch_seconds")}
            print(json.dumps({"experiment": experiment.label, **asdict(found), **derived, "limit": found.limit()}))
            continue
        print(f"{experiment.label}: {found.device}, {found.precision}")
        batches = ", ".join(f"{count / found.steps:.3g} of {task}" for task, count in found.micro_steps.items())
        print(
            f"  a step: {1e3 * found.step_seconds:.1f} ms; batches: {batches}; {found.samples_a_second:,.0f} samples/s"
        )
        whole = sum(found.phases.values())
        parts = (f"{name} {1e3 * held:.1f} ms ({held / whole:.0%})" for name, held in found.phases.items())
        print(f"  phase by phase: {', '.join(parts)}")
        print(
            f"  arithmetic: {found.flops / found.step_seconds / 1e9:,.1f} GFLOP/s, {found.peak_share:.1%} of the "
            f"{found.peak_flops / 1e9:,.0f} GFLOP/s of a matrix product here"
        )
        print(
            f"  once an epoch: validation {found.validation_seconds:.2f} s, copy of the state "
            f"{found.copy_seconds:.3f} s; writing it takes {found.write_seconds:.3f} s beside training"
        )
        print(f"  peak memory: {found.memory / 1e6:,.0f} MB {'of the process' * found.device.startswith('cpu')}")
        print(
            f"  an epoch of {found.epoch_steps} steps: {duration(found.epoch_seconds)}; all {found.epochs}: "
            f"{duration(found.epochs * found.epoch_seconds)}"
        )
        print(f"  limited by {found.limit()}")
    return 0


def find_lr(options: argparse.Namespace) -> int:
    from cotrain import training

    experiments = first_seeds(options)
    if options.out and len(experiments) > 1:
        raise RecipeError(
            f"--out draws one experiment, and {len(experiments)} are selected. Name one of them with --only: "
            f"{', '.join(experiment.label for experiment in experiments)}."
        )
    for experiment in experiments:
        found = training.find_learning_rate(
            experiment, lowest=options.lowest, highest=options.highest, steps=options.steps
        )
        print(f"{experiment.label}, seed {experiment.seed}: the loss falls most steeply at lr {found.suggestion:.2g}")
        print(f"  tried {found.rates[0]:.2g} to {found.rates[-1]:.2g} in {len(found.rates)} steps")
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            found.plot(options.out)
            print(f"  drawn: {options.out}")
    return 0


def key(options: argparse.Namespace) -> int:
    for experiment in selected(options, every(options)):
        print(f"{experiment.key()}  {experiment.label}, seed {experiment.seed}")
        if options.yaml:
            print(experiment.to_yaml())
    return 0
