"""Commands that put runs into the queue and take them out: `enqueue`, `work`, `retry`, `reap`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any

from cotrain.cli._commands import RANKS_HELP, RECIPE_HELP, Commands, positive
from cotrain.cli._connected import database
from cotrain.errors import CotrainError, RecipeError
from cotrain.recipe import find_recipe

START_SECONDS = 120.0  # in which a database that starts together with its workers is up


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "enqueue", enqueue, "put a recipe's runs into the database and the queue", "digits_v1 --priority 1"
    )
    added.add_argument("recipe", help=RECIPE_HELP)
    added.add_argument("--priority", type=int, default=5, help="0 to 127, smaller ones are taken first (default 5)")

    added = commands.add(
        "work",
        work,
        "train runs from the queue, one after the other",
        "",
        "--recipe digits_v1 --max-runs 1",
        "--device cuda:1 --forever",
    )
    added.add_argument("--recipe", help="take only runs of this recipe, and what they need")
    added.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:N: all that this worker uses and sees")
    added.add_argument("--ranks", type=int, metavar="N", help=RANKS_HELP)
    added.add_argument("--max-runs", type=int, metavar="N", help="stop after N runs")
    failures = "stop when N runs in a row have failed: then it is the machine (default 5)"
    added.add_argument("--max-failures", type=positive, default=5, metavar="N", help=failures)
    until = added.add_mutually_exclusive_group()
    until.add_argument("--until-empty", action="store_true", help="end when nothing waits (the default)")
    until.add_argument("--forever", action="store_true", help="wait for more when nothing waits")

    added = commands.add(
        "retry", retry, "put failed runs back into the queue", "a2493a00", "--recipe digits_v1", "--all"
    )
    added.add_argument("runs", nargs="*", metavar="RUN", help="key (or its beginning) or label of a failed run")
    added.add_argument("--recipe", help="all failed runs of this recipe")
    added.add_argument("--all", action="store_true", help="all failed runs")

    added = commands.add(
        "reap",
        reap,
        "put runs of workers that have been silent back into the queue (workers do it themselves after a minute)",
        "",
        "--silent 30",
    )
    silent = "for so many seconds, by the clock of the database (default 300)"
    added.add_argument("--silent", type=positive, default=300, metavar="SECONDS", help=silent)


def enqueue(options: argparse.Namespace) -> int:
    if options.recipe.endswith((".yaml", ".yml")):
        raise RecipeError(f"The queue takes recipes; {options.recipe} is one experiment, which `cotrain run` trains.")
    recipe = find_recipe(options.recipe)
    experiments = recipe().expand()  # before the database: a wrong recipe needs none to be refused
    with database():
        from cotrain.tables import queue

        counts = queue.enqueue(recipe, recipe.name(), priority=options.priority)
    besides = f" {counts.needed} more that these need were queued with them." if counts.needed else ""
    failed = f" {counts.failed} of these have failed: `cotrain retry`." if counts.failed else ""
    print(
        f"{recipe.name()}: {len(experiments)} runs; {counts.queued} queued now, {counts.waiting} were queued or begun "
        f"before, {counts.finished} are finished.{failed}{besides}"
    )
    return 0


def work(options: argparse.Namespace) -> int:
    if options.device is not None:
        _use_only(options.device)
    with database(patience=START_SECONDS):
        from cotrain.tables import queries, worker

        def announce(key: dict[str, Any]) -> None:
            row = queries.overview(queries.runs() & key).iloc[0]
            print(f"{row['label']} ({key['run_key'][:8]})", flush=True)

        recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
        finished, failed = worker.work(
            recipe=recipe,
            max_runs=options.max_runs,
            forever=options.forever,
            progress=sys.stderr.isatty(),
            on_start=announce,
            ranks=options.ranks,
            max_failures=options.max_failures,
        )
    print(f"{finished} runs finished, {failed} failed.")
    return 1 if failed else 0


def retry(options: argparse.Namespace) -> int:
    if sum(map(bool, (options.runs, options.recipe, options.all))) != 1:
        raise CotrainError("Say which: `cotrain retry RUN ...`, `--recipe RECIPE` or `--all`.")
    with database():
        from cotrain.tables import claims, queries

        if options.runs:
            keys = [queries.find_run(text) for text in options.runs]
        else:
            keys = claims.failed(None if options.all else queries.find_recipe_name(options.recipe))
        print(f"{claims.retry(keys)} runs are in the queue again.")
    return 0


def reap(options: argparse.Namespace) -> int:
    with database():
        from cotrain.tables import claims

        print(f"{claims.reap_all(options.silent)} runs were taken from silent workers and are in the queue again.")
    return 0


def _use_only(device: str) -> None:
    """Show this process, and all that it starts, one device; before anything has asked for the others."""
    import torch

    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if not found:
        raise CotrainError(f"--device is cpu, cuda or cuda:N, found {device!r}.")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    # counted without asking the driver, which would fix what this process sees
    count, number = torch.cuda.device_count(), int(found[1] or 0)
    if number >= count:
        raise CotrainError(f"There is no {device} here: this machine shows {count} GPUs (counted from 0).")
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found[1] is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[number] if seen else found[1]
