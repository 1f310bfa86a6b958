"""The command on the store of trained weights: `gc`."""

from __future__ import annotations

import argparse

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database

WHAT = {"file": "no row names it", "stored": "its run is stored", "unknown": "not in the database"}


def add_commands(commands: Commands) -> None:
    text = "show what may be deleted: files in the store that no run names, folders of finished runs"
    added = commands.add("gc", gc, text, "--yes", "--folders stored --grace 168 --yes")
    folders = "also folders of finished runs: whose weights and scores are stored, or that the database does not know"
    added.add_argument("--folders", action="append", default=[], choices=("stored", "unknown"), help=folders)
    grace = "leave what was written in the last so many hours (default 24): a worker may be about to insert it"
    added.add_argument("--grace", type=float, metavar="HOURS", help=grace)
    added.add_argument("--yes", action="store_true", help="delete it; without this nothing is changed")


def gc(options: argparse.Namespace) -> int:
    with database():
        from cotrain.tables.gc import GRACE_HOURS, delete, find_garbage

        grace = GRACE_HOURS if options.grace is None else options.grace
        found = find_garbage(folders=options.folders, grace_hours=grace)
        for garbage in found:
            print(f"{garbage.size / 1e6:10.1f} MB  {garbage.place}  ({WHAT[garbage.kind]})")
        deleted = delete(found) if options.yes else []
    size = sum(garbage.size for garbage in (deleted if options.yes else found)) / 1e6
    if options.yes:
        print(f"{len(deleted)} of {len(found)} deleted, {size:.1f} MB.")
    else:
        print(f"{len(found)} may be deleted, {size:.1f} MB." + " Add --yes to delete them." * bool(found))
    return 0
