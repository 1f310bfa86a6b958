"""`tag` and `note`: what people say of runs."""

from __future__ import annotations

import argparse

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "tag", tag, "hang tags on a run, to find it by", "a2493a00 paper figure-3", "a2493a00 --remove paper"
    )
    added.add_argument("run", metavar="RUN", help="key (or its beginning) or label of a run")
    added.add_argument("tags", nargs="*", metavar="TAG", help="a word")
    added.add_argument("--remove", action="append", default=[], metavar="TAG", help="take this tag off; repeatable")

    added = commands.add("note", note, "write a note on a run", 'a2493a00 "the scanner was warm that day"')
    added.add_argument("run", metavar="RUN", help="key (or its beginning) or label of a run")
    added.add_argument("text")


def tag(options: argparse.Namespace) -> int:
    with database():
        from cotrain.tables import queries, tags

        run = queries.find_run(options.run)["run_key"]
        if options.tags:
            tags.add_tags([run], options.tags)
        if options.remove:
            tags.remove_tags([run], options.remove)
        print(f"{run[:8]}: {' '.join(tags.tags_of({'run_key': run})) or 'no tags'}")
    return 0


def note(options: argparse.Namespace) -> int:
    with database():
        from cotrain.tables import queries, tags

        run = queries.find_run(options.run)["run_key"]
        tags.add_note(run, options.text)
        print(f"{run[:8]}: {len(tags.notes_of({'run_key': run}))} notes")
    return 0
