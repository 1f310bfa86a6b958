"""Commands that ask what there is and what came of it: `show`, `ls`, `report`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.cli._text import as_text
from cotrain.errors import ConfigError, CotrainError


def add_commands(commands: Commands) -> None:
    added = commands.add("show", show, "show a run, a builder's config, or what a room offers", "models", "a2493a00")
    added.add_argument("what", help="key (or its beginning) or label of a run; a room (data, models, losses, training)")

    added = commands.add(
        "ls", ls, "list runs, how far they are and what they scored", "--recipe digits_v1", "--where lr=1e-3"
    )
    added.add_argument("--recipe", help="only runs of this recipe")
    only = "only runs with this config value; repeatable"
    added.add_argument("--where", action="append", default=[], metavar="PATH=VALUE", help=only)
    added.add_argument("--csv", action="store_true", help="as comma-separated values, with whole keys")

    added = commands.add(
        "report",
        report,
        "print a recipe's test scores and draw its curves and RDMs",
        "digits_v1 --out digits_v1.png",
        'hvm_v4_weighting --baseline "V4 only"',
    )
    added.add_argument("recipe", help="name of a recipe in the database")
    added.add_argument("--out", type=Path, help="draw a picture into this PNG file")
    baseline = "also print how each experiment differs from this one, seed by seed"
    added.add_argument("--baseline", metavar="LABEL", help=baseline)


def show(options: argparse.Namespace) -> int:
    from cotrain import describe

    if (text := describe.describe(options.what)) is not None:
        print(text)
        return 0
    with database():
        from cotrain.tables import provenance, queries, runs

        key = queries.find_run(options.what)
        experiment = runs.Run.load(key)
        print(queries.overview(queries.runs() & key).T.to_string(header=False))
        print("\n" + experiment.to_yaml())
        if origin := provenance.describe(key):
            print(origin)
        curves = queries.curves(key)
        if len(curves):
            shown = curves[(curves.session == "") & (curves.split == "validation")]
            wide = shown.pivot_table(index="epoch", columns=["task", "metric"], values="value")
            print("\nvalidation scores\n" + wide.to_string(float_format="{:.3f}".format))
        scores = queries.held_out_scores(queries.runs() & key)
        if len(scores):
            print("\ntest scores\n" + as_text(scores[["task", "session", "metric", "value"]]))
    return 0


def ls(options: argparse.Namespace) -> int:
    where = dict(_assignment(text) for text in options.where)
    with database():
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
    with database():
        from cotrain.tables import queries, report

        recipe = queries.find_recipe_name(options.recipe)
        print(report.text(recipe, baseline=options.baseline))
        if options.out:
            report.draw(recipe, options.out)
            print(f"\npicture: {options.out}")
    return 0


def _assignment(text: str) -> tuple[str, Any]:
    """`lr=1e-3` as ("lr", 0.001)."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--where needs PATH=VALUE, for example optimiser.lr=1e-3; found {text!r}.")
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return path, kind(value)
    return path, {"true": True, "false": False, "null": None}.get(value, value)
