"""Commands on the database itself: `db`."""

from __future__ import annotations

import argparse

from cotrain.cli._commands import Commands


def add_commands(commands: Commands) -> None:
    added = commands.add("db", db, "start, stop or look at the embedded database", "start", "status")
    added.add_argument("action", choices=("start", "stop", "status"))


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
