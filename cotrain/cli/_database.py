"""Commands that ask the database: `show`, `enqueue`, `work`, `ls`, `report`, `db`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from cotrain.cli._text import as_text
from cotrain.errors import ConfigError, CotrainError, RecipeError
from cotrain.recipe import find_recipe


def show(options: argparse.Namespace) -> int:
    from cotrain import describe

    if (text := describe.describe(options.what)) is not None:
        print(text)
        return 0
    with _database():
        from cotrain.tables import queries, runs

        key = queries.find_run(options.what)
        experiment = runs.Run.load(key)
        print(queries.overview(queries.runs() & key).T.to_string(header=False))
        print("\n" + experiment.to_yaml())
        for attempt in queries.attempts_of(key):
            commits = "; ".join(
                f"{place} at {held['commit'] or 'no commit'}{' with uncommitted changes' * held['dirty']}"
                for place, held in attempt["repositories"].items()
            )
            print(
                f"attempt {attempt['attempt']}: {attempt['status']} on {attempt['host']} ({attempt['device']}), "
                f"cotrain {attempt['cotrain_version']}, Python {attempt['python_version']}; "
                f"{commits or 'no repository'}"
            )
            if attempt["error"]:
                print(f"  {attempt['error']}")
        curves = queries.curves(key)
        if len(curves):
            shown = curves[(curves.session == "") & (curves.split == "validation")]
            wide = shown.pivot_table(index="epoch", columns=["task", "metric"], values="value")
            print("\nvalidation scores\n" + wide.to_string(float_format="{:.3f}".format))
        scores = queries.held_out_scores(queries.runs() & key)
        if len(scores):
            print("\ntest scores\n" + as_text(scores[["task", "session", "metric", "value"]]))
    return 0


def enqueue(options: argparse.Namespace) -> int:
    if options.recipe.endswith((".yaml", ".yml")):
        raise RecipeError(f"The queue takes recipes; {options.recipe} is one experiment, which `cotrain run` trains.")
    recipe = find_recipe(options.recipe)
    experiments = recipe().expand()  # before the database: a wrong recipe needs none to be refused
    with _database():
        from cotrain.tables import queue

        counts = queue.enqueue(recipe, recipe.name(), priority=options.priority)
    besides = f" {counts.needed} more that these need were queued with them." if counts.needed else ""
    print(
        f"{recipe.name()}: {len(experiments)} runs; {counts.queued} queued now, {counts.waiting} were queued or begun "
        f"before, {counts.finished} are finished.{besides}"
    )
    return 0


def work(options: argparse.Namespace) -> int:
    with _database():
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


def ls(options: argparse.Namespace) -> int:
    where = dict(_assignment(text) for text in options.where)
    with _database():
        from cotrain.tables import queries

        recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
        table = queries.overview(queries.runs(recipe=recipe, where=where))
    if options.csv:
        print(table.to_csv(), end="")
    elif len(table):
        table.index = [key[:8] for key in table.index]
        print(table.to_string(float_format="{:.3f}".format, na_rep="-"))
    else:
        print("No such runs. `cotrain enqueue RECIPE` makes some.")
    return 0


def report(options: argparse.Namespace) -> int:
    if options.out and not options.out.parent.is_dir():
        raise CotrainError(f"There is no folder {options.out.parent} for the picture. Make it, or name another.")
    with _database():
        from cotrain.tables import queries, report

        recipe = queries.find_recipe_name(options.recipe)
        print(report.text(recipe, baseline=options.baseline))
        if options.out:
            report.draw(recipe, options.out)
            print(f"\npicture: {options.out}")
    return 0


def db(options: argparse.Namespace) -> int:
    from cotrain.tables.connect import embedded

    database = embedded()
    if options.action == "start":
        database.start()
    elif options.action == "stop":
        print("stopped" if database.stop() else "was not running")
        return 0
    status = database.status()
    place = f"at {status.host}:{status.port}, process {status.pid}" if status.running else "not running"
    print(f"embedded PostgreSQL {status.version or ''} in {status.home}: {place}")
    return 0


@contextlib.contextmanager
def _database() -> Iterator[None]:
    from cotrain.tables.connect import connect, disconnect

    connect()
    try:
        yield
    finally:
        disconnect()


def _assignment(text: str) -> tuple[str, Any]:
    """`lr=1e-3` as ("lr", 0.001)."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--where needs PATH=VALUE, for example optimiser.lr=1e-3; found {text!r}.")
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return path, kind(value)
    return path, {"true": True, "false": False, "null": None}.get(value, value)
