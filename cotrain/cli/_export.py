"""`export`: runs, configs, scores and weights as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.cli._selection import add_conditions, add_runs, conditions_of, selected


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "export",
        export,
        "write runs, configs and scores to CSV or Parquet files",
        "--recipe digits_v1 --out digits_v1 --checkpoints",
        "--tag paper --out paper.csv",
        "--format parquet --out everything",
    )
    add_runs(added)
    add_conditions(added)
    out = "a folder for four tables (runs, configs, epoch scores, test scores); or a .csv or .parquet file, a row a run"
    added.add_argument("--out", type=Path, required=True, help=out)
    # those of cotrain.tables.export, named here so that --help needs no database
    added.add_argument("--format", choices=("csv", "parquet"), default="csv", help="of the tables in a folder")
    added.add_argument("--checkpoints", action="store_true", help="also the weights of finished runs")


def export(options: argparse.Namespace) -> int:
    conditions = conditions_of(options)
    with database():
        from cotrain.tables.export import export as write

        written = write(
            selected(options, conditions), options.out, form=options.format, checkpoints=options.checkpoints
        )
    for name, count in written.items():
        unit = "files" if name == "checkpoints" else "rows"
        print(f"{options.out if options.out.is_file() else options.out / name}: {count} {unit}")
    return 0
