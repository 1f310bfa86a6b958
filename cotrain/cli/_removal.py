"""`rm`: runs leave the database."""

from __future__ import annotations

import argparse
import shutil

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.cli._selection import add_conditions, add_runs, conditions_of, require_selection, selected
from cotrain.errors import DatabaseError
from cotrain.settings import home_folder


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "rm",
        rm,
        "say what deleting runs would take with it; with --yes, delete them",
        "a2493a00",
        "--recipe digits_v1 --status failed --yes",
    )
    add_runs(added)
    add_conditions(added)
    added.add_argument("--yes", action="store_true", help="delete them")
    added.add_argument("--folders", action="store_true", help="also their folders on this machine")


def rm(options: argparse.Namespace) -> int:
    require_selection(options)
    conditions = conditions_of(options)
    with database():
        from cotrain.tables.removal import folders_of, plan_removal, remove

        plan = plan_removal(selected(options, conditions))
        if not plan.runs:
            print("No such runs.")
            return 0
        for name, count in plan.rows.items():
            print(f"{count:9,} {name}")
        folders = folders_of(plan.runs, home_folder())
        kept = "" if options.folders else " (kept; --folders deletes them too)"
        print(f"{len(folders):9,} folders of runs on this machine{kept}")
        for run, parent in plan.needed:
            print(f"Mind: {run[:8]} needs {parent[:8]}, and stays; it cannot be trained again without it.")
        if plan.training:
            raise DatabaseError(
                f"{len(plan.training)} of these runs are being trained: "
                f"{', '.join(key[:8] for key in plan.training[:5])}. Stop their workers first, or wait."
            )
        if not options.yes:
            print("Nothing was deleted; --yes does it.")
            return 0
        remove(plan.runs)
    print(f"{len(plan.runs)} runs deleted. Weights stay in the store until `cotrain gc`.")
    if options.folders:
        from cotrain.training import RunFolder

        for folder in folders:
            with RunFolder(folder).locked():  # `cotrain run` may train there
                shutil.rmtree(folder)
    return 0
