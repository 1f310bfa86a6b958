"""Commands on the database itself: `db init`, `db upgrade`, `db check`, `db diagram`, `db grants`, `db start` ..."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.errors import CotrainError


def add_commands(commands: Commands) -> None:
    group = commands.group("db", "make, upgrade, check or draw the database", "init", "check", "grants > grants.sql")

    group.add("init", init, "make the schema with its tables, where there is none", "")

    added = group.add("upgrade", upgrade, "add tables and columns that this release has and the database lacks", "")
    added.add_argument("--dry-run", action="store_true", help="say what would be added, and add nothing")

    added = group.add("check", check, "look through the whole database for what is wrong", "", "--no-checkpoints")
    no_files = "do not look whether the file of each checkpoint is there"
    added.add_argument("--no-checkpoints", action="store_true", help=no_files)
    added.add_argument("--full", action="store_true", help="read the files of the store and compare their checksums")

    added = group.add("diagram", diagram, "draw the tables and how they refer to each other", "--out schema.png")
    kinds = "a picture (.png, .svg), or a text that wikis draw (.md)"
    added.add_argument("--out", type=Path, default=Path("schema.png"), help=f"{kinds}; default schema.png")

    added = group.add(
        "grants",
        grants,
        "print a script of accounts and their rights, for the server's administrator",
        "--worker gpu --reader student > grants.sql",
        "--backend mysql",
    )
    for kind, rights in (
        ("admin", "may do everything in the schema"),
        ("worker", "enqueues and trains"),
        ("reader", "looks"),
    ):
        added.add_argument(f"--{kind}", default=f"cotrain_{kind}", metavar="NAME", help=f"account that {rights}")
    added.add_argument("--backend", choices=("postgresql", "mysql"), help="default: the setting")

    group.add("start", start, "start the embedded database", "")
    group.add("stop", stop, "stop the embedded database", "")
    group.add("status", status, "say where the embedded database is, and whether it runs", "")


def init(options: argparse.Namespace) -> int:  # noqa: ARG001
    from cotrain.tables.settings import database_settings

    name = database_settings().schema
    with database(create=True) as made:
        print(f"The schema {name} {'is made' if made else 'was there already'}.")
    return 0


def upgrade(options: argparse.Namespace) -> int:
    from cotrain.tables.settings import database_settings

    database_settings()
    from cotrain.tables.connect import disconnect
    from cotrain.tables.upgrade import upgrade

    try:
        added = upgrade(dry_run=options.dry_run)
    finally:
        disconnect()
    for missing in added:
        print(f"{'would add' if options.dry_run else 'added'} {missing}")
    if not added:
        print("Nothing is missing.")
    return 0


def check(options: argparse.Namespace) -> int:
    with database():
        from cotrain.tables.check import check

        findings = check(checkpoints=not options.no_checkpoints, full=options.full, progress=sys.stderr.isatty())
        for finding in findings:
            print(finding)
    wrong = sum(not finding.warning for finding in findings)
    print(f"{wrong or 'Nothing is'} wrong, {len(findings) - wrong} warnings.")
    return 1 if wrong else 0


def diagram(options: argparse.Namespace) -> int:
    if not options.out.parent.is_dir():
        raise CotrainError(f"There is no folder {options.out.parent} for the picture. Make it, or name another.")
    with database():
        from cotrain.tables.diagram import draw

        draw(options.out)
    print(f"picture: {options.out}")
    return 0


def grants(options: argparse.Namespace) -> int:
    from cotrain.tables.settings import database_settings

    settings = database_settings()
    from cotrain.tables.accounts import Accounts, grants

    accounts = Accounts(options.admin, options.worker, options.reader)
    print(grants(accounts, schema=settings.schema, backend=options.backend or settings.backend), end="")
    return 0


def start(options: argparse.Namespace) -> int:
    from cotrain.tables.connect import embedded

    embedded().start()
    return status(options)


def stop(options: argparse.Namespace) -> int:  # noqa: ARG001
    from cotrain.tables.connect import embedded

    print("stopped" if embedded().stop() else "was not running")
    return 0


def status(options: argparse.Namespace) -> int:  # noqa: ARG001
    from cotrain.tables.connect import embedded

    database = embedded()
    found = database.status()
    place = f"at {found.host}:{found.port}, process {found.pid}" if found.running else "not running"
    print(f"embedded PostgreSQL {found.version or ''} in {found.home}: {place}")
    return 0
