"""Commands that put runs into the queue and take them out: `enqueue`, `work`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from cotrain.cli._commands import RANKS_HELP, RECIPE_HELP, Commands
from cotrain.cli._connected import database
from cotrain.errors import RecipeError
from cotrain.recipe import find_recipe


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "enqueue", enqueue, "put a recipe's runs into the database and the queue", "digits_v1 --priority 1"
    )
    added.add_argument("recipe", help=RECIPE_HELP)
    added.add_argument("--priority", type=int, default=5, help="0 to 127, smaller ones are taken first (default 5)")

    added = commands.add(
        "work", work, "train runs from the queue until it is empty", "", "--recipe digits_v1 --max-runs 1"
    )
    added.add_argument("--recipe", help="take only runs of this recipe")
    added.add_argument("--ranks", type=int, metavar="N", help=RANKS_HELP)
    added.add_argument("--max-runs", type=int, metavar="N", help="stop after N runs")


def enqueue(options: argparse.Namespace) -> int:
    if options.recipe.endswith((".yaml", ".yml")):
        raise RecipeError(f"The queue takes recipes; {options.recipe} is one experiment, which `cotrain run` trains.")
    recipe = find_recipe(options.recipe)
    experiments = recipe().expand()  # before the database: a wrong recipe needs none to be refused
    with database():
        from cotrain.tables import queue

        counts = queue.enqueue(recipe, recipe.name(), priority=options.priority)
    besides = f" {counts.needed} more that these need were queued with them." if counts.needed else ""
    print(
        f"{recipe.name()}: {len(experiments)} runs; {counts.queued} queued now, {counts.waiting} were queued or begun "
        f"before, {counts.finished} are finished.{besides}"
    )
    return 0


def work(options: argparse.Namespace) -> int:
    with database():
        from cotrain.tables import queries, queue

        def announce(key: dict[str, Any]) -> None:
            row = queries.overview(queries.runs() & key).iloc[0]
            print(f"{row['label']} ({key['run_key'][:8]})", flush=True)

        recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
        finished, failed = queue.work(
            recipe=recipe,
            max_runs=options.max_runs,
            progress=sys.stderr.isatty(),
            on_start=announce,
            ranks=options.ranks,
        )
    print(f"{finished} runs finished, {failed} failed.")
    return 1 if failed else 0
