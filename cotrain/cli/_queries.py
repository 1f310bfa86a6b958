"""Commands that ask what there is and what came of it: `show`, `ls`, `report`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from cotrain.cli._commands import Commands, positive
from cotrain.cli._connected import database
from cotrain.cli._selection import add_conditions, conditions_of, selected
from cotrain.cli._text import as_columns, as_text

if TYPE_CHECKING:
    import pandas as pd


def add_commands(commands: Commands) -> None:
    added = commands.add("show", show, "show a run, a builder's config, or what a room offers", "models", "a2493a00")
    added.add_argument("what", help="key (or its beginning) or label of a run; a room (data, models, losses, training)")

    added = commands.add(
        "ls",
        ls,
        "list runs, how far they are and what they scored",
        "--recipe digits_v1",
        "--where lr=1e-3 --where 'epochs>=20' --status done --sort monitored --descending --limit 10",
        "--score 'v4 correlation > 0.4' --columns label,seed,lr,commit,'v4 correlation' --csv",
    )
    add_conditions(added)
    columns = (
        "these columns, with commas: label, seed, state, epoch, best, monitored, recipe, tags, added, attempt, worker, "
        "host, device, started, finished, seconds, commit, error, config values (lr), scores ('v4 correlation')"
    )
    added.add_argument("--columns", metavar="NAMES", help=columns)
    added.add_argument("--sort", metavar="COLUMN", help="any of these columns, lowest first")
    added.add_argument("--descending", action="store_true", help="highest first")
    added.add_argument("--limit", type=positive, metavar="N", help="the first N alone")
    form = added.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="as comma-separated values, with whole keys")
    form.add_argument("--json", action="store_true", help="as JSON, one list with an object a run")

    added = commands.add(
        "report",
        report,
        "print a recipe's test scores and draw its curves and RDMs",
        "digits_v1 --out digits_v1.png",
        'hvm_v4_weighting --baseline "V4 only"',
    )
    added.add_argument("recipe", help="name of a recipe in the database")
    added.add_argument("--out", type=Path, help="draw a picture into this .png, .pdf or .svg file")
    baseline = "also print how each experiment differs from this one, seed by seed"
    added.add_argument("--baseline", metavar="LABEL", help=baseline)


def show(options: argparse.Namespace) -> int:
    from cotrain import describe

    if (text := describe.describe(options.what)) is not None:
        print(text)
        return 0
    with database():
        from cotrain.tables import provenance, queries, runs, tags

        key = queries.find_run(options.what)
        experiment = runs.Run.load(key)
        print(queries.overview(queries.runs() & key).T.to_string(header=False))
        for note in tags.notes_of(key):
            print(f"note {note['note']}, {note['note_by']} on {note['note_ts']:%Y-%m-%d}: {note['note_text']}")
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
    conditions = conditions_of(options)
    with database():
        from cotrain.tables import queries, selection

        columns = [name.strip() for name in options.columns.split(",")] if options.columns else None
        table = queries.overview(selected(options, conditions), columns=columns)
        if options.sort and len(table):
            table = _sorted(table, options.sort, descending=options.descending)
        unknown = [] if len(table) else selection.unknown_paths(conditions["where"])
    table = table.iloc[:: -1 if options.descending and not options.sort else 1].head(options.limit or len(table))
    if options.csv:
        print(table.to_csv(), end="")
    elif options.json:
        print(table.reset_index().to_json(orient="records", date_format="iso", indent=1))
    elif len(table):
        table.index = [key[:8] for key in table.index]
        print(as_columns(table))
    else:
        print(" ".join(["No such runs.", *(unknown or ["`cotrain enqueue RECIPE` makes some."])]))
    return 0


def _sorted(table: pd.DataFrame, column: str, *, descending: bool) -> pd.DataFrame:
    """The table by a column that it need not show; runs without a value come last."""
    from cotrain.tables import queries, selection

    by = (
        table[column]
        if column in table
        else queries.overview(queries.runs() & selection.only(table.index), columns=[column]).iloc[:, 0]
    )
    with contextlib.suppress(TypeError, ValueError):
        by = by.astype(float)  # config values are text
    return table.loc[by.sort_values(ascending=not descending, kind="stable").index]


def report(options: argparse.Namespace) -> int:
    if options.out:
        from cotrain.analysis import check_picture_path

        check_picture_path(options.out)
    with database():
        from cotrain.tables import queries, report

        recipe = queries.find_recipe_name(options.recipe)
        print(report.text(recipe, baseline=options.baseline))
        if options.out:
            report.draw(recipe, options.out)
            print(f"\npicture: {options.out}")
    return 0
