"""`diff`: what differs between runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.cli._selection import add_runs
from cotrain.errors import DatabaseError

if TYPE_CHECKING:
    import pandas as pd


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "diff",
        diff,
        "show what differs between runs: config values, code, test scores",
        "a2493a00 5e1f2a77",
        'co-trained "digits only"',
    )
    add_runs(added, nargs="+")
    added.add_argument("--packages", action="store_true", help="also the versions of all packages")


def diff(options: argparse.Namespace) -> int:
    if len(options.run) < 2:
        raise DatabaseError("Name two runs or more to compare.")
    with database():
        from cotrain.tables import difference, queries

        runs = [queries.find_run(text)["run_key"] for text in options.run]
        if len(set(runs)) < len(runs):
            raise DatabaseError(f"Name different runs; {', '.join(options.run)} are {', '.join(runs)}.")
        configs = difference.config_differences(runs)
        code = difference.code_differences(runs, packages=options.packages)
        scores = difference.score_differences(runs)
    _print("configs", configs)
    _print("code", code)
    if len(scores):
        _print("test scores", scores)
    return 0


def _print(title: str, table: pd.DataFrame) -> None:
    columns = [name if name == "difference" else name[:8] for name in table.columns]
    text = table.set_axis(columns, axis=1).to_string(float_format="{:.4f}".format, na_rep="-")
    print(f"{title}\n{text}\n" if len(table) else f"{title}: no difference\n")
